"""The one door to the machine-learning library: everything else sees arrays and bytes.

`fit` needs the extras of training; `Forest` needs onnxruntime only, because a host that serves must start
fast. It stores no model and chooses no threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

Rows = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

TOLERANCE = 1e-5  # between the trained and the served forest; float32 sums of 100 trees differ by some 1e-6
PROVED = 2_000  # rows of training on which the two are compared


class FitRefused(ValueError):
    """A model cannot be trained from these rows; the message says which ones and what to do."""


class ConversionDiffers(RuntimeError):
    """The model to be served does not answer as the trained one does: it must not be stored."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a forest is grown; `depth` None grows each tree until its leaves are pure.

    Depth 12 against no limit, on the Handbook's protocol, three seeds: AUC 0.868-0.878 against 0.867-0.873,
    average precision 0.651-0.654 against 0.656-0.663, 11 us against 19 us for one row, 1.0 MB against 3.5 MB.
    """

    trees: int = 100
    depth: int | None = 12
    seed: int = 0
    threads: int = 2  # of training; the forest does not depend on it


HANDBOOK = Recipe(depth=None)  # the published forest, for comparison with published figures


def fit(features: Rows, fraud: Flags, recipe: Recipe | None = None) -> bytes:
    """Return a forest as an ONNX model, proved on rows of the training to answer as the trained one.

    `features` has shape (rows, columns), `fraud` (rows,). Equal input gives equal bytes under equal versions
    of the libraries.

    Raises FitRefused when a value is not finite or a class is absent, ConversionDiffers when the proof fails.
    """
    from sklearn.ensemble import RandomForestClassifier

    _examine(features, fraud)
    recipe = recipe or Recipe()
    forest = RandomForestClassifier(
        recipe.trees, max_depth=recipe.depth, random_state=recipe.seed, n_jobs=recipe.threads
    ).fit(features, fraud)
    model = _converted(forest, features.shape[1])
    rows = features[np.random.default_rng(recipe.seed).permutation(len(features))[:PROVED]]
    _prove(model, rows, forest.predict_proba(rows)[:, 1])
    return model


class Forest:
    """A model that serves; threads may share it. A row has the same bits alone and in a batch of any size."""

    def __init__(self, model: bytes) -> None:
        """Load what `fit` returned."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # More threads would split the sum of the trees: slower for few rows, and another order of additions.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._run = session.run
        self._input: str = session.get_inputs()[0].name
        self._columns: int = session.get_inputs()[0].shape[1]

    def probability(self, rows: Rows) -> Floats:
        """Return the probability of fraud, shape (rows,), for features of shape (rows, columns), all finite.

        Raises ValueError when the shape or the type does not fit the model.
        """
        if rows.ndim != 2 or rows.shape[1] != self._columns or rows.dtype != np.float32:
            raise ValueError(
                f"The model takes float32 rows of {self._columns} features, "
                f"got {rows.dtype} of shape {rows.shape}. Build the rows in the order it was trained on."
            )
        found: npt.NDArray[np.float32] = self._run(["probabilities"], {self._input: rows})[0]
        return found[:, 1].astype(np.float64)

    def single(self, row: tuple[float, ...]) -> float:
        """Return the probability of fraud for one row of features, the same bits as in any batch."""
        found = self._run(["probabilities"], {self._input: np.array((row,), np.float32)})[0]
        return float(found[0, 1])


def _examine(features: Rows, fraud: Flags) -> None:
    if features.ndim != 2 or len(features) != len(fraud):
        raise FitRefused(
            f"Features of shape {features.shape} do not match {len(fraud)} labels; give a row each."
        )
    bad = np.nonzero(~np.isfinite(features).all(axis=1))[0]
    if len(bad):
        raise FitRefused(f"{len(bad)} row(s) are not finite, the first is row {bad[0]}; leave them out.")
    if len(np.unique(fraud)) != 2:
        raise FitRefused(
            f"{int(fraud.sum())} frauds in {len(fraud)} rows; both kinds are needed: take more days."
        )


def _converted(forest: RandomForestClassifier, columns: int) -> bytes:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    # Without zipmap the probabilities come as one array, not as a list with a dict per row.
    graph = to_onnx(
        forest,
        initial_types=[("features", FloatTensorType([None, columns]))],
        options={id(forest): {"zipmap": False}},
    )
    model: bytes = graph.SerializeToString(deterministic=True)
    return model


def _prove(model: bytes, rows: Rows, expected: Floats) -> None:
    """Raise ConversionDiffers unless the model answers as expected, and the same alone as in a batch."""
    served = Forest(model)
    found = served.probability(rows)
    apart = float(np.abs(found - expected).max())
    if not apart < TOLERANCE:
        raise ConversionDiffers(
            f"The converted forest differs from the trained one by {apart:.1e} on {len(rows)} of its rows, "
            f"{TOLERANCE:.0e} is allowed. Train with the pinned versions of scikit-learn and skl2onnx."
        )
    alone = np.concatenate([served.probability(rows[row : row + 1]) for row in range(min(64, len(rows)))])
    if not np.array_equal(alone, found[:64]):
        raise ConversionDiffers(
            "The converted forest answers a row alone with other bits than in a batch. "
            "Serve with the pinned version of onnxruntime."
        )
