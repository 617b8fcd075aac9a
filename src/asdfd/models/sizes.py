"""How large a model is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asdfd.models.classifiers import Classifier

WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of a number of each type that weights are saved in."""


@dataclass(frozen=True)
class Size:
    """How large a model is."""

    parameters: int
    bytes: int
    """Bytes of its *.safetensors on disk."""
    dtype: str = "float32"
    """The type that its weights are saved in."""

    def bytes_in(self, dtype: str) -> float:
        """The bytes that it would have, saved in another type: sizes of models are compared in one."""
        return self.bytes * (WIDTHS[dtype] / WIDTHS[self.dtype])


def size(classifier: Classifier, folder: Path) -> Size:
    """Parameters of the model (shared ones count once) and bytes of the weights in its folder."""
    parameters = sum(parameter.numel() for parameter in classifier.model.parameters())
    dtype = str(classifier.saved.dtype).removeprefix("torch.")
    return Size(parameters, sum(path.stat().st_size for path in folder.glob("*.safetensors")), dtype)


def like_export(weights: int, dtype: str, form: str) -> float:
    """The bytes of a model that an export is compared with: in float32 where the export is, as they are where it has made numbers smaller by its format."""
    return Size(0, weights, dtype).bytes_in("float32") if form == "onnx" else float(weights)
