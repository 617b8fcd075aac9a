"""An export of a student: written as an ONNX model, and compared with the student before it counts (see `parity`)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdfd.base.artifacts import Artifact, Workspace
from asdfd.base.config import Run
from asdfd.evaluation.latency import Entrant, classifier_entrant, export_entrant, take_turns
from asdfd.models.onnx import FIGURES, MODEL, Exported, open_model, write_model
from asdfd.models.sizes import like_export, size

if TYPE_CHECKING:
    from asdfd.evaluation.labelled_text import LabelledText
    from asdfd.models.classifiers import Classifier

WEIGHTS = (".safetensors", ".safetensors.index.json")
ABOUT_THE_STUDENT = ("README.md", "distillation.json")
"""Files of a student that an export does not take over, beside the weights."""


def write_export(run: Run, student: Artifact, classifier: Classifier, text: LabelledText | None, form: str, workspace: Workspace) -> None:
    """The files of an export, after it was compared with the student on the processor.

    Raises:
        RefusedError: PyTorch cannot export the model, or what it exports does not answer as the student does.
    """
    from asdfd.evaluation.parity import check_parity, parity_on, parity_sequences
    from asdfd.models.encoding import encode, input_limit

    config, path = run.evaluation, workspace.artifact / MODEL
    write_model(classifier, student.path, path, form, workspace.path / "float32.onnx")
    padding = classifier.tokenizer.pad_token_id
    exported = open_model(path, padding=padding if isinstance(padding, int) else 0, form=form, student=student.digest)
    sequences = parity_sequences(classifier, run)
    parity = {"pseudo_samples": parity_on(classifier, exported, sequences, config.batch_size)}
    if text is not None:
        sequences = encode(classifier, text.inputs, config.maximum_length)
        parity["labelled_text"] = parity_on(classifier, exported, sequences, config.batch_size, text)
    for where, figures in parity.items():
        check_parity(figures, where, form, run.gate.minimum_agreement)
    longest = input_limit(classifier, config.maximum_length)
    document = {
        **_facts(exported, classifier, path, longest),
        "pairs": run.synthesis.pairs,
        "several_labels": classifier.several,
        "parity": {where: figures.document() for where, figures in parity.items()},
        **_side_by_side(classifier, student.path, exported, sequences, run),
    }
    for name in student.files:
        if not name.endswith(WEIGHTS) and name not in ABOUT_THE_STUDENT:
            shutil.copyfile(student.path / name, workspace.artifact / name)
    (workspace.artifact / FIGURES).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (workspace.artifact / "README.md").write_text(_read_me(document), encoding="utf-8")


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


def _side_by_side(classifier: Classifier, folder: Path, exported: Exported, sequences: Sequence[Sequence[int]], run: Run) -> dict[str, Any]:
    """Size and speed of both, the student in PyTorch and the export, on the same token ids in turn."""
    import torch

    from asdfd.evaluation.latency import device_name
    from asdfd.models.encoding import rows_at_once

    config = run.evaluation
    entrants: list[Entrant] = [classifier_entrant(classifier, sequences), export_entrant(exported, sequences)]
    batch_size = rows_at_once(config.batch_size, max(map(len, sequences)))
    speeds = take_turns(entrants, runs=config.latency_runs, batch_size=batch_size)
    document: dict[str, Any] = {}
    found = size(classifier, folder)
    for role, weights, speed in zip(("student", "export"), (found.bytes, exported.bytes), speeds, strict=True):
        document |= {f"{role}_bytes": weights, **speed.document(role)}
    return {
        **document,
        "compression": like_export(found.bytes, found.dtype, exported.format) / exported.bytes,
        "speedup": document["student_latency_p50_seconds"] / document["export_latency_p50_seconds"],
        "latency_device": device_name(torch.device("cpu")),
        "latency_threads": torch.get_num_threads(),
        "latency_runs": config.latency_runs,
        "latency_batch_size": batch_size,
    }


def _read_me(document: dict[str, Any]) -> str:
    from asdfd.base.templating import environment

    return environment().get_template("export.md.j2").render(export=document)
