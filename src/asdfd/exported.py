"""An exported student as it is deployed: one ONNX file that onnxruntime runs, here on the processor."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asdfd import artifacts
from asdfd.errors import InputError, RefusedError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MODEL = "model.onnx"
FIGURES = "export.json"
"""File of an export that tells what it is and how it was compared with its student."""
NEEDS_ONNX = "needs the extra `onnx`: pip install 'asdfd[onnx]'"


@dataclass(frozen=True)
class Exported:
    """A loaded ONNX classifier."""

    session: InferenceSession
    padding: int
    """Token id that fills a batch's shorter rows."""
    format: str
    """`onnx` (float32) or `onnx-int8`."""
    bytes: int
    """Bytes of the ONNX file, the weights in it."""
    student: str = ""
    """Digest of the student artifact that it was made from."""
    digest: str = ""
    """Digest of the export artifact."""

    def ready(self, sequences: Sequence[Sequence[int]]) -> Callable[[], np.ndarray]:
        """A forward pass on token ids, padded on the right to the longest, as a function that gives the logits [B, C]."""
        length = max(len(sequence) for sequence in sequences)
        ids = np.full((len(sequences), length), self.padding, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feed = {entry.name: values[entry.name] for entry in self.session.get_inputs()}
        return lambda: np.asarray(self.session.run(["logits"], feed)[0])

    def logits(self, sequences: Sequence[Sequence[int]], batch_size: int) -> np.ndarray:
        """Logits [N, C] of token ids with special tokens, in batches of the given order.

        Raises:
            RefusedError: some are not finite.
        """
        logits = np.concatenate([self.ready(sequences[start : start + batch_size])() for start in range(0, len(sequences), batch_size)])
        if not np.isfinite(logits).all():
            raise RefusedError(f"the {self.format} model gives logits that are not finite; export another student, or this one as another format")
        return logits


def open_model(path: Path, *, padding: int, form: str, student: str = "", digest: str = "") -> Exported:
    """Load an ONNX file with as many threads as PyTorch has.

    Raises:
        InputError: onnxruntime is not installed, or cannot load the file.
    """
    import torch

    try:
        import onnxruntime
    except ImportError:
        raise InputError(f"{path.parent}: {NEEDS_ONNX}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class
        raise InputError(f"{path}: onnxruntime cannot load it ({' '.join(str(error).split())[:200]}); export the student again") from None
    return Exported(session, padding, form, path.stat().st_size, student, digest)


def load_export(folder: Path) -> Exported:
    """The export in a folder, every byte of it verified.

    Raises:
        InputError: it is no export, is damaged, or onnxruntime is not installed.
    """
    found = artifacts.read(folder, "export")
    figures = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    return open_model(folder / MODEL, padding=figures["padding"], form=figures["format"], student=found.recipe.inputs["student"], digest=found.digest)
