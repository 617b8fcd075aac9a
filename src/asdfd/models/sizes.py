"""How large a model is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asdfd.models.classifiers import Classifier


@dataclass(frozen=True)
class Size:
    """How large a model is."""

    parameters: int
    bytes: int
    """Bytes of its *.safetensors on disk."""
    dtype: str = "float32"
    """The type that most of its weights are saved in."""

    def bytes_in(self, dtype: str) -> float:
        """The bytes that it would have, saved in another type."""
        return self.bytes * WIDTHS[dtype] / WIDTHS[self.dtype]


WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of a number of each type."""


def size(classifier: Classifier, folder: Path) -> Size:
    """Parameters of the model (shared ones count once) and bytes of the weights in its folder."""
    parameters = sum(parameter.numel() for parameter in classifier.model.parameters())
    dtype = str(classifier.saved.dtype).removeprefix("torch.")
    return Size(parameters, sum(path.stat().st_size for path in folder.glob("*.safetensors")), dtype)
