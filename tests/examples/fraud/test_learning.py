"""The facade of the machine-learning library: proved models, equal bits alone and in a batch, refusals."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from examples.fraud import learning
from examples.fraud.learning import HANDBOOK, ConversionDiffers, FitRefused, Forest, Recipe, fit

QUICK = Recipe(trees=20, threads=1)


def _rows(count: int, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    draw = np.random.default_rng(seed)
    features = draw.normal(50, 40, (count, 15)).astype(np.float32)
    return features, features[:, 0] + features[:, 3] + draw.normal(0, 30, count) > 160


@pytest.fixture(scope="module")
def model() -> bytes:
    return fit(*_rows(4_000), Recipe(threads=1))


def test_a_forest_learns(model: bytes) -> None:
    features, fraud = _rows(2_000, seed=1)
    found = Forest(model).probability(features)
    assert found.shape == (2_000,)
    assert found.dtype == np.float64
    assert found[fraud].mean() > found[~fraud].mean() + 0.3


def test_a_row_has_the_same_bits_alone_and_in_any_batch(model: bytes) -> None:
    features, _ = _rows(960, seed=2)
    forest = Forest(model)
    whole = forest.probability(features)
    for size in (1, 2, 3, 5, 16, 37, 64, 128, 500):
        parts = [forest.probability(features[start : start + size]) for start in range(0, 960, size)]
        assert np.array_equal(np.concatenate(parts), whole), size


def test_equal_input_gives_equal_bytes_whatever_the_threads() -> None:
    one, again, two = (fit(*_rows(800), replace(QUICK, threads=threads)) for threads in (1, 1, 2))
    assert one == again == two
    assert fit(*_rows(800), replace(QUICK, seed=1)) != one


def test_the_published_forest_is_available() -> None:
    assert (HANDBOOK.trees, HANDBOOK.depth) == (100, None)
    assert Recipe().depth == 12


def test_a_conversion_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "TOLERANCE", 0.0)
    with pytest.raises(ConversionDiffers, match="pinned versions"):
        fit(*_rows(500), QUICK)


def test_rows_that_cannot_train_are_refused() -> None:
    features, fraud = _rows(50)
    with pytest.raises(FitRefused, match="0 frauds in 50"):
        fit(features, np.zeros(50, np.bool_))
    with pytest.raises(FitRefused, match="do not match 49 labels"):
        fit(features, fraud[:49])
    features[7, 3] = np.nan
    with pytest.raises(FitRefused, match="the first is row 7"):
        fit(features, fraud)


@pytest.mark.parametrize("shape", [(15,), (1, 14), (2, 3, 15)])
def test_rows_of_another_shape_are_refused(model: bytes, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="float32 rows of 15 features"):
        Forest(model).probability(np.zeros(shape, np.float32))


def test_rows_of_another_type_are_refused(model: bytes) -> None:
    with pytest.raises(ValueError, match="got float64"):
        Forest(model).probability(np.zeros((1, 15)))  # type: ignore[arg-type]  # the wrong type is the point


def test_serving_imports_no_training_library(model: bytes) -> None:
    script = (
        "import sys\n"
        "from examples.fraud.learning import Forest\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "Forest(sys.stdin.buffer.read())\n"
        "print(sorted({'onnxruntime', 'sklearn', 'skl2onnx', 'onnx', 'scipy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], input=model, capture_output=True, check=True)
    assert found.stdout.decode().strip() == "['onnxruntime']"
