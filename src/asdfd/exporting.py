"""Write a student as an ONNX model: PyTorch's own exporter, and onnxruntime's dynamic quantization, which needs no data, for int8.

What is written is compared with the student before it counts: see `parity`.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdfd.artifacts import Artifact, Workspace
from asdfd.config import Run
from asdfd.errors import InputError, RefusedError
from asdfd.exported import FIGURES, MODEL, NEEDS_ONNX, Exported, open_model
from asdfd.latency import Entrant, classifier_entrant, export_entrant, size, take_turns

if TYPE_CHECKING:
    from asdfd.labelled_text import LabelledText
    from asdfd.models import Classifier

FORMATS = ("onnx", "onnx-int8")
LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
LARGEST = 2**31 - 2**24
"""Bytes of weights that fit into one ONNX file, which protobuf limits to 2 GiB, beside its graph."""
WEIGHTS = (".safetensors", ".safetensors.index.json")
ABOUT_THE_STUDENT = ("README.md", "distillation.json")
"""Files of a student that an export does not take over, beside the weights."""


def check_possible(form: str) -> None:
    """Tell at once what would fail later.

    Raises:
        InputError: an unknown format, or a library that is missing.
    """
    if form not in FORMATS:
        raise InputError(f"--format {form!r} is unknown; choose one of {', '.join(FORMATS)}")
    if any(importlib.util.find_spec(name) is None for name in LIBRARIES):
        raise InputError(f"asdfd export {NEEDS_ONNX}")


def export_versions() -> dict[str, str]:
    """Versions of what decides an export, for its manifest."""
    return {name: version(name) for name in ("torch", "transformers", "numpy", *LIBRARIES)}


def write_export(run: Run, student: Artifact, classifier: Classifier, text: LabelledText | None, form: str, workspace: Workspace) -> None:
    """The files of an export, after it was compared with the student on the processor.

    Raises:
        RefusedError: PyTorch cannot export the model, or what it exports does not answer as the student does.
    """
    from asdfd.evaluation import encode
    from asdfd.models import positions
    from asdfd.parity import check_parity, parity_on, parity_sequences

    config, path = run.evaluation, workspace.artifact / MODEL
    write_model(classifier, student.path, path, form, workspace.path / "float32.onnx")
    padding = classifier.tokenizer.pad_token_id
    exported = open_model(path, padding=padding if isinstance(padding, int) else 0, form=form, student=student.digest)
    sequences = parity_sequences(classifier, run)
    parity = {"pseudo_samples": parity_on(classifier, exported, sequences, config.batch_size)}
    if text is not None:
        sequences = encode(classifier, text.texts, config.maximum_length)
        parity["labelled_text"] = parity_on(classifier, exported, sequences, config.batch_size, text)
    for where, figures in parity.items():
        check_parity(figures, where, form, run.gate.minimum_agreement)
    longest = min(config.maximum_length, classifier.tokenizer.model_max_length, positions(classifier.model))
    document = {
        **_facts(exported, classifier, path, longest),
        "parity": {where: figures.document() for where, figures in parity.items()},
        **_side_by_side(classifier, student.path, exported, sequences, run),
    }
    for name in student.files:
        if not name.endswith(WEIGHTS) and name not in ABOUT_THE_STUDENT:
            shutil.copyfile(student.path / name, workspace.artifact / name)
    (workspace.artifact / FIGURES).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (workspace.artifact / "README.md").write_text(_read_me(document), encoding="utf-8")


def write_model(classifier: Classifier, folder: Path, path: Path, form: str, scratch: Path) -> None:
    """Write the ONNX file of a format; `scratch` is where the float32 model lies in between.

    Raises:
        RefusedError: the model is too large for one ONNX file, or PyTorch cannot export it.
    """
    weights = size(classifier, folder).bytes
    if weights > LARGEST:
        raise RefusedError(f"{folder}: its weights have {weights:,} bytes, one ONNX file holds less than 2 GiB; distil a smaller student")
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
        kind, reason = classifier.model.config.model_type, " ".join(str(error).split())[:200]
        raise RefusedError(f"{folder}: PyTorch cannot export this {kind} as ONNX ({type(error).__name__}: {reason}); deploy the student itself") from None


def input_names(classifier: Classifier) -> list[str]:
    """Inputs of the exported model: token types only where the tokenizer makes them and the model has a table of them."""
    typed = "token_type_ids" in classifier.tokenizer.model_input_names and getattr(classifier.model.config, "type_vocab_size", 0) > 0
    return ["input_ids", "attention_mask", *(["token_type_ids"] if typed else [])]


def _facts(exported: Exported, classifier: Classifier, path: Path, longest: int) -> dict[str, Any]:
    """What an export is."""
    import onnx

    return {
        "format": exported.format,
        "opset": max(entry.version for entry in onnx.load(path).opset_import if entry.domain == ""),
        "inputs": [entry.name for entry in exported.session.get_inputs()],
        "label_names": list(classifier.label_names),
        "maximum_length": longest,
        "padding": exported.padding,
    }


def _side_by_side(classifier: Classifier, folder: Path, exported: Exported, sequences: list[list[int]], run: Run) -> dict[str, Any]:
    """Size and speed of both, the student in PyTorch and the export, on the same token ids in turn."""
    import torch

    from asdfd.latency import device_name

    config = run.evaluation
    entrants: list[Entrant] = [classifier_entrant(classifier, sequences), export_entrant(exported, sequences)]
    speeds = take_turns(entrants, runs=config.latency_runs, batch_size=config.batch_size)
    document: dict[str, Any] = {}
    for role, weights, speed in zip(("student", "export"), (size(classifier, folder).bytes, exported.bytes), speeds, strict=True):
        document |= {f"{role}_bytes": weights, **speed.document(role)}
    return {
        **document,
        "compression": document["student_bytes"] / document["export_bytes"],
        "speedup": document["student_latency_p50_seconds"] / document["export_latency_p50_seconds"],
        "latency_device": device_name(torch.device("cpu")),
        "latency_threads": torch.get_num_threads(),
        "latency_runs": config.latency_runs,
        "latency_batch_size": config.batch_size,
    }


def _read_me(document: dict[str, Any]) -> str:
    from asdfd.templating import environment

    return environment().get_template("export.md.j2").render(export=document)


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
