"""An export of a student, or of a teacher: written as an ONNX model; a student's is compared with it before it counts (see `parity`). It holds no timing: the
same student makes the same export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdfd.base.artifacts import Artifact, Workspace
from asdfd.base.config import Run
from asdfd.base.evidence import LABELLED, UNLABELLED
from asdfd.base.telemetry import tell
from asdfd.models.footprint import FILE as FOOTPRINT
from asdfd.models.onnx import FIGURES, MODEL, Exported, open_model, write_model
from asdfd.models.sizes import like_export, size

if TYPE_CHECKING:
    from asdfd.evaluation.texts import Texts
    from asdfd.models.classifiers import Classifier

WEIGHTS = (".safetensors", ".safetensors.index.json")
ABOUT_THE_SOURCE = ("README.md", "distillation.json", FOOTPRINT)
"""Files of a model that an export does not take over, beside the weights."""


def write_export(run: Run, student: Artifact, classifier: Classifier, text: Texts | None, form: str, workspace: Workspace) -> None:
    """The files of an export, after it was compared with the student on the processor.

    Raises:
        RefusedError: PyTorch cannot export the model, or what it exports does not answer as the student does.
    """
    from asdfd.evaluation.parity import check_parity, parity_on, parity_sequences
    from asdfd.models.encoding import encode

    config = run.evaluation
    exported, facts = write_model_of(student, classifier, form, workspace, config.maximum_length)
    sequences = parity_sequences(classifier, run)
    parity = {"pseudo_samples": parity_on(classifier, exported, sequences, config.batch_size)}
    if text is not None:
        sequences = encode(classifier, text.inputs, config.maximum_length)
        parity[LABELLED if text.labelled else UNLABELLED] = parity_on(classifier, exported, sequences, config.batch_size, text)
    for where, figures in parity.items():
        check_parity(figures, where, form, run.gate)
    _write_figures(workspace, facts | {"pairs": run.synthesis.pairs, "parity": {where: figures.document() for where, figures in parity.items()}})


def write_model_of(
    source: Artifact, classifier: Classifier, form: str, workspace: Workspace, maximum_length: int = 0, saved: Path | None = None
) -> tuple[Exported, dict[str, Any]]:
    """The files of an export before it is compared with what it was made from, a teacher or a student: the model, and what its export.json begins with.
    Where the classifier is not the source as it is, its folder is `saved`.

    Raises:
        RefusedError: PyTorch cannot export the model.
    """
    from asdfd.models.encoding import input_limit

    path, padding = workspace.artifact / MODEL, classifier.tokenizer.pad_token_id
    folder = saved or source.path
    write_model(classifier, folder, path, form, workspace.path / "float32.onnx")
    exported = open_model(path, padding=padding if isinstance(padding, int) else 0, form=form)
    for name in sorted(file.name for file in folder.iterdir()) if saved else source.files:
        if not name.endswith(WEIGHTS) and name not in ABOUT_THE_SOURCE:
            shutil.copyfile(folder / name, workspace.artifact / name)
    facts = _facts(exported, classifier, source, input_limit(classifier, maximum_length))
    _write_figures(workspace, facts)
    return exported, facts


def write_teacher(teacher: Artifact, classifier: Classifier, workspace: Workspace, *, pruned: bool) -> None:
    """The files of a teacher's int8; one that is `pruned` has the words that its student has.

    Raises:
        RefusedError: PyTorch cannot export the model.
    """
    if not pruned:
        write_model_of(teacher, classifier, "int8", workspace)
        return
    from asdfd.method.vocabulary import with_fewer_words
    from asdfd.models.students import save_student

    fewer, folder = with_fewer_words(classifier, classifier), workspace.path / "pruned"
    tell(fewer.line("the teacher's int8"))
    shutil.rmtree(folder, ignore_errors=True)
    save_student(fewer.classifier.model, fewer.classifier, folder)
    _, facts = write_model_of(teacher, fewer.classifier, "int8", workspace, saved=folder)
    _write_figures(workspace, {**facts, "vocabulary": fewer.facts()})
    shutil.rmtree(folder)


def _write_figures(workspace: Workspace, document: dict[str, Any]) -> None:
    (workspace.artifact / FIGURES).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (workspace.artifact / "README.md").write_text(_read_me(document), encoding="utf-8")


def _facts(exported: Exported, classifier: Classifier, source: Artifact, longest: int) -> dict[str, Any]:
    """What an export is."""
    import onnx

    path, weights = exported.path, size(classifier, source.path)
    return {
        "format": exported.format,
        "source": source.recipe.kind,
        "opset": max(entry.version for entry in onnx.load(path).opset_import if entry.domain == ""),
        "inputs": [entry.name for entry in exported.session.get_inputs()],
        "label_names": list(classifier.label_names),
        "maximum_length": longest,
        "padding": exported.padding,
        "source_bytes": weights.bytes,
        "export_bytes": exported.bytes,
        "compression": like_export(weights.bytes, weights.dtype, exported.format) / exported.bytes,
        "pairs": False,
        "several_labels": classifier.several,
        "parity": {},
    }


def _read_me(document: dict[str, Any]) -> str:
    from asdfd.base.templating import environment

    return environment().get_template("export.md.j2").render(export=document)
