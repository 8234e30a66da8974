"""Where trained models live: files named by version, pinned by the hash of their bytes."""

import hashlib
import os
from functools import cached_property
from pathlib import Path

from allotrope import Refused, component, query
from examples.fraud.learning import Forest

MODEL = "fraud"


def digest_of(model: bytes) -> str:
    """Return the hash that pins a model's bytes."""
    return hashlib.sha256(model).hexdigest()


@component
class Models:
    """Answers for every version that is kept; each file is loaded once and never changes."""

    folder: str = ".allotrope/models"

    @cached_property
    def _loaded(self) -> dict[str, Forest]:
        return {}

    @query
    async def probability(self, version: str, digest: str, row: tuple[float, ...]) -> float:
        """Return how likely a payment with these 15 features is a fraud, by one version of the model."""
        forest = self._loaded.get(digest)
        if forest is None:
            forest = self._loaded[digest] = self._load(version, digest)
        return forest.single(row)

    def _load(self, version: str, digest: str) -> Forest:
        file = Path(self.folder) / f"{version}.onnx"
        if not file.is_file():
            raise Refused(f"{file}: the promoted model is not there; train it or restore the file")
        model = file.read_bytes()
        if digest_of(model) != digest:
            raise Refused(
                f"{file}: its bytes are not those that were promoted; restore it or promote it anew"
            )
        return Forest(model)


def keep(model: bytes, folder: Path, version: str = "") -> tuple[str, str]:
    """Store a model and return (version, digest); without a version it is named after its content.

    Its file appears whole or not at all, so that several processes may store the same model.
    """
    digest = digest_of(model)
    version = version or f"forest-{digest[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{version}.{os.getpid()}"
    partial.write_bytes(model)
    partial.replace(folder / f"{version}.onnx")
    return version, digest
