"""A classifier as one ONNX file: written by PyTorch's exporter and, for int8, onnxruntime's dynamic quantization, which needs no data; run by onnxruntime."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact
from asdfd.base.errors import InputError, RefusedError
from asdfd.models.encoding import types_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from asdfd.models.classifiers import Classifier

MODEL = "model.onnx"
FIGURES = "export.json"
"""File of an export that tells what it is and how it was compared with its student."""


@dataclass(frozen=True)
class Exported:
    """A loaded ONNX classifier."""

    session: InferenceSession
    padding: int
    """Token id that fills a batch's shorter rows."""
    format: str
    """`onnx` (float32) or `int8`."""
    path: Path
    """The ONNX file, the weights in it."""
    digest: str = ""
    """Digest of the export artifact."""
    own_tokenizer: bool = False
    """Whether it has fewer words than the model that it was made from."""

    @property
    def bytes(self) -> int:
        """Bytes of the ONNX file."""
        return self.path.stat().st_size

    def with_threads(self, count: int) -> Exported:
        """The same model in a session with so many threads."""
        return replace(open_model(self.path, padding=self.padding, form=self.format, digest=self.digest, threads=count), own_tokenizer=self.own_tokenizer)

    def reader(self, source: Classifier) -> Classifier:
        """Who makes token ids of texts for it: the model that it was made from, with the tokenizer that lies beside the ONNX file where that is another."""
        if not self.own_tokenizer:
            return source
        from asdfd.models.loading import without_load_reports
        from asdfd.models.tokenization import load_tokenizer

        with without_load_reports():
            return replace(source, tokenizer=load_tokenizer(self.path.parent, str(self.path.parent)))

    def ready(self, sequences: Sequence[Sequence[int]]) -> Callable[[], np.ndarray]:
        """A forward pass on token ids, padded on the right to the longest, as a function that gives the logits [B, C]."""
        length = max(len(sequence) for sequence in sequences)
        ids = np.full((len(sequences), length), self.padding, dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
            if of_row := types_of(sequence):
                types[row, : len(sequence)] = of_row
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
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


def open_model(path: Path, *, padding: int, form: str, digest: str = "", threads: int = 0) -> Exported:
    """Load an ONNX file, which then uses `threads` threads for each batch; 0 takes as many as PyTorch has.

    Raises:
        InputError: onnxruntime cannot load the file.
    """
    import onnxruntime

    if not threads:
        import torch

        threads = torch.get_num_threads()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class
        raise InputError(f"{path}: onnxruntime cannot load it ({' '.join(str(error).split())[:200]}); export the student again with `asdfd export`") from None
    return Exported(session, padding, form, path, digest)


def load_export(source: Path | Artifact) -> Exported:
    """The export in a folder, every byte of it verified.

    Raises:
        InputError: it is not an export, is damaged, or holds no model.
    """
    found = artifacts.verified(source, "export")
    figures = read_figures(found)
    if figures["format"] == "none":
        raise InputError(f"{found.path}: holds no model: {figures['reason']}")
    exported = open_model(found.path / MODEL, padding=figures["padding"], form=figures["format"], digest=found.digest)
    return replace(exported, own_tokenizer="equal_answers" in figures.get("vocabulary", {}))


def read_figures(export: Artifact) -> dict[str, Any]:
    """The content of an export's export.json; of one of the format `none`, which holds no model, it is that and the `reason`."""
    return json.loads((export.path / FIGURES).read_text(encoding="utf-8"))


FORMATS = ("onnx", "int8")


LIBRARIES = ("onnx", "onnxruntime", "onnxscript")


LARGEST = 2**31 - 2**24
"""Bytes of weights that fit into one ONNX file, which protobuf limits to 2 GiB, beside its graph."""


def check_possible(form: str) -> None:
    """Tell at once what would fail later.

    Raises:
        InputError: an unknown format.
    """
    if form not in FORMATS:
        raise InputError(f"--format {form!r} is unknown; choose one of {', '.join(FORMATS)}")


def export_versions() -> dict[str, str]:
    """Versions of what decides an export, for its manifest."""
    return {name: version(name) for name in ("torch", "transformers", "numpy", *LIBRARIES)}


def write_model(classifier: Classifier, folder: Path, path: Path, form: str, scratch: Path) -> None:
    """Write the ONNX file of a format; `scratch` is where the float32 model lies in between.

    Raises:
        RefusedError: the model is too large for one ONNX file, or PyTorch cannot export it.
    """
    from asdfd.models.sizes import size

    weights = size(classifier, folder).bytes_in("float32")
    if weights > LARGEST:
        raise RefusedError(f"{folder}: its weights have {weights:,.0f} bytes as float32, one ONNX file holds less than 2 GiB; distil a smaller one")
    if form == "onnx":
        _write_float32(classifier, folder, path)
        return
    _write_float32(classifier, folder, scratch)
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():  # weights of 7 bits: with 8, sums of two products saturate on processors without VNNI, and the answers would be others there
        quantize_dynamic(str(scratch), str(path), weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    scratch.unlink()


def _write_float32(classifier: Classifier, folder: Path, path: Path) -> None:
    """Export with a free batch size and length. The same student writes the same bytes: what the exporter notes about its own source files is left out."""
    import torch
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    names = input_names(classifier)
    example = {name: torch.ones((2, 8), dtype=torch.int64) for name in names}  # only the shape counts, and that neither side is 1
    try:
        with _quiet():
            program = torch.onnx.export(
                classifier.model,
                kwargs=example,
                dynamo=True,
                input_names=names,
                output_names=["logits"],
                dynamic_shapes={name: {0: "batch", 1: "sequence"} for name in names},
                verbose=False,
            )
            assert program is not None
            ClearMetadataAndDocStringPass()(program.model)
            program.save(str(path), external_data=False)
    except OSError:
        raise
    except Exception as error:  # whatever in a model's code the exporter cannot follow
        kind, reason = classifier.family.title, " ".join(str(error).split())[:200]
        raise RefusedError(f"{folder}: PyTorch cannot export this {kind} as ONNX ({type(error).__name__}: {reason}); deploy the model itself") from None


def input_names(classifier: Classifier) -> list[str]:
    """Inputs of the exported model: token types only where the tokenizer makes them and the model has a table of them."""
    typed = "token_type_ids" in classifier.tokenizer.model_input_names and bool(classifier.family.token_types) and classifier.model.config.type_vocab_size > 0
    return ["input_ids", "attention_mask", *(["token_type_ids"] if typed else [])]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter and the quantizer say about themselves off the terminal; a failure is an exception all the same."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).* is deprecated", category=FutureWarning)
            warnings.filterwarnings("ignore", message=".*The axis name: .* will not be used", category=UserWarning)
            yield
    finally:
        logging.disable(disabled)
