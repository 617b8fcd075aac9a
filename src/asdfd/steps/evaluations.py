"""Steps that compare: a student with its teacher, an export with its student."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact, Recipe, library_versions, open_workspace
from asdfd.base.config import Run
from asdfd.base.errors import InputError, RefusedError
from asdfd.base.parts import part_of_run
from asdfd.base.telemetry import read_records, tell
from asdfd.monitoring.metrics import evaluation_samples
from asdfd.monitoring.observation import observe
from asdfd.steps.banks import synthesis_parameters
from asdfd.steps.students import DISTILLATION, metrics_path

if TYPE_CHECKING:
    from asdfd.evaluation.comparison import PseudoEvaluation, TextEvaluation
    from asdfd.evaluation.labelled_text import LabelledText
    from asdfd.evaluation.report import ReportContent
    from asdfd.models.classifiers import Classifier
    from asdfd.models.onnx import Exported


def evaluate(run: Run, teacher: Path | Artifact, student: Path | Artifact, out: Path, records: Path | None = None, export: Path | None = None) -> Artifact:
    """Compare the student with its teacher, on the labelled text `run.evaluation.data` or, where that is empty, on held-out pseudo samples.

    The artifact holds metrics.json, predictions.csv and report.html. The report's curves are drawn from `records`, or from those that lie beside the student.
    An `export` of the student is measured with them, all on the processor, where it runs; the gate then asks of it what it would ask of the student.

    Raises:
        InputError: wrong paths, a student of another teacher, an export of another student, or data that cannot be read.
        RefusedError: a model gives logits that are not finite.
    """
    teacher_artifact, student_artifact = artifacts.verified(teacher, "teacher"), artifacts.verified(student, "student")
    teacher, student = teacher_artifact.path, student_artifact.path
    if student_artifact.recipe.inputs.get("teacher") != teacher_artifact.digest:
        raise InputError(f"{student}: was distilled from another teacher than {teacher}; name the one that it was made from")
    from asdfd.evaluation.comparison import metrics_document, write_predictions
    from asdfd.evaluation.latency import measure
    from asdfd.evaluation.report import write_report
    from asdfd.models.classifiers import choose_device, load_student, load_teacher
    from asdfd.models.sizes import size

    exported = None if export is None else _read_export(export, student_artifact)
    device = choose_device(run.device if exported is None else "cpu")
    models = (load_teacher(teacher_artifact, device), load_student(student_artifact, device))
    config = run.evaluation
    inputs = {"teacher": teacher_artifact.digest, "student": student_artifact.digest, **({"export": exported.digest} if exported else {})}
    text, run = None, for_student(run, student)
    parameters = config.model_dump(mode="json", exclude={"data"})  # what it holds counts, not where it lies
    if run.evaluation.data:
        text = read_data(run, models[0].label_names, several=models[0].several)
        inputs["data"] = text.digest
    else:
        parameters["synthesis"] = synthesis_parameters(run, "samples")  # the held-out samples are made with it
    workspace = open_workspace(out, Recipe("evaluation", inputs, parameters, run.seed))
    if isinstance(workspace, Artifact):
        return workspace
    with observe(run, "evaluate", workspace) as samples:
        result, timed = _compare(run, models, text)
        latency = measure(*models, timed, runs=config.latency_runs, batch_size=config.batch_size, maximum_length=config.maximum_length, export=exported)
        metrics = metrics_document(result, teacher_size=size(models[0], teacher), student_size=size(models[1], student), latency=latency)
        if exported is not None:
            from asdfd.evaluation.parity import add_export

            add_export(metrics, exported, models, latency, run, result, text)
        (workspace.artifact / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        samples += evaluation_samples(metrics)
        write_predictions(workspace.artifact / "predictions.csv", result)
        write_report(workspace.artifact / "report.html", _report_content(run, student, records or metrics_path(student), student_artifact, models, metrics))
        return workspace.finish(library_versions())


def export(run: Run, student: Path | Artifact, out: Path, form: str) -> Artifact:
    """Write the student as an ONNX model of the format `onnx` or `onnx-int8`, and compare the two on pseudo samples and on the labelled text
    `run.evaluation.data`, if that is named.

    The artifact holds model.onnx, the tokenizer, config.json with the label names, README.md and export.json with the figures.

    Raises:
        InputError: a wrong path or format, data that cannot be read, or the extra `onnx` is not installed.
        RefusedError: the model cannot be exported, or what is exported does not answer as the student does; nothing is left.
    """
    source = artifacts.verified(student, "student")
    from asdfd.models import onnx

    onnx.check_possible(form)  # before PyTorch is imported
    from asdfd.models.classifiers import load_student
    from asdfd.steps.exporting import write_export

    classifier, text, run = load_student(source, "cpu"), None, for_student(run, source.path)
    evaluation = run.evaluation.model_dump(mode="json", exclude={"data"})
    config = {"format": form, "evaluation": evaluation, "synthesis": synthesis_parameters(run, "samples"), "minimum_agreement": run.gate.minimum_agreement}
    inputs = {"student": source.digest}
    if run.evaluation.data:
        text = read_data(run, classifier.label_names, several=classifier.several)
        inputs["data"] = text.digest
    workspace = open_workspace(out, Recipe("export", inputs, config, run.seed))
    if isinstance(workspace, Artifact):
        return workspace
    try:
        write_export(run, source, classifier, text, form, workspace)
    except RefusedError:
        workspace.remove()
        raise
    return workspace.finish(onnx.export_versions())


def for_student(run: Run, student: Path) -> Run:
    """The run with what the student's own folder says of its pseudo samples: whether they are pairs."""
    made = json.loads((student / DISTILLATION).read_text(encoding="utf-8"))["parameters"]["synthesis"]
    pairs = bool(made.get("pairs"))
    shortest = max(run.synthesis.minimum_length, 2 if pairs else 1)
    synthesis = run.synthesis.changed(pairs=pairs, minimum_length=shortest).model_dump(mode="json")
    wanted = part_of_run({**run.model_dump(mode="json", include=set(vars(run))), "synthesis": synthesis})  # a task's run has some sections only
    check_pairs(wanted)
    return wanted


def check_pairs(run: Run) -> None:
    """Refuse labelled texts that are pairs where samples are single texts, and the other way round.

    Raises:
        InputError: they are.
    """
    column, pairs = run.evaluation.pair_column, run.synthesis.pairs
    if column and not pairs:
        raise InputError(
            f"evaluation.pair_column: is {column!r}, and the student learns from single texts; synthesize and distil with --set synthesis.pairs=true"
        )
    if pairs and run.evaluation.data and not column:
        raise InputError("evaluation.pair_column: is empty, and the student learns from pairs of texts; name the column of the second text")


def read_data(run: Run, label_names: Sequence[str], *, several: bool) -> LabelledText:
    """The labelled texts of an evaluation, with the classes of the teacher by their names, and `several` of them where its texts can have that; the user is
    told what was read."""
    from asdfd.evaluation.labelled_text import read_labelled_text

    text = read_labelled_text(run.evaluation, label_names, several=several)
    tell(f"{text.name}: {'; '.join(text.remarks)}")
    return text


def _compare(run: Run, models: tuple[Classifier, Classifier], text: LabelledText | None) -> tuple[TextEvaluation | PseudoEvaluation, Sequence[Any]]:
    """The evaluation, and the texts or token sequences that latency is measured on."""
    from asdfd.evaluation.comparison import evaluate_pseudo, evaluate_text
    from asdfd.method.inspection import drawn_sequences, held_out_logits

    config = run.evaluation
    if text is not None:
        compared = evaluate_text(*models, text, batch_size=config.batch_size, maximum_length=config.maximum_length)
        for remark in compared.remarks[len(text.remarks) :]:
            tell(f"{text.name}: {remark}")
        return compared, text.inputs
    logits = held_out_logits(*models, run.synthesis, config.pseudo_samples, run.seed)
    return evaluate_pseudo(*logits, several=models[0].several), drawn_sequences(models[0], run.synthesis, config.latency_runs, run.seed)


def _read_export(export: Path, student: Artifact) -> Exported:
    """The export, which must be one of this student."""
    from asdfd.models.onnx import load_export

    exported = load_export(export)
    if exported.student != student.digest:
        raise InputError(f"{export}: was exported from another student than {student.path}; export this one")
    return exported


def _report_content(
    run: Run, student: Path, records: Path, artifact: Artifact, models: tuple[Classifier, Classifier], metrics: dict[str, Any]
) -> ReportContent:
    """What the report shows: the metrics beside what the student's folder tells of its distillation."""
    from asdfd.evaluation.report import PseudoSample, ReportContent

    facts = json.loads((student / DISTILLATION).read_text(encoding="utf-8"))
    return ReportContent(
        title=f"{models[0].model.config.model_type}: {len(models[0].label_names)} classes, {models[0].layers} to {models[1].layers} layers",
        metrics=metrics,
        label_names=models[0].label_names,
        layer_map=[int(layer) for layer in artifact.recipe.config["layer_map"]],
        teacher_layers=models[0].layers,
        records=read_records(records),
        bank=facts["bank"],
        pseudo_samples=[PseudoSample(**sample) for sample in facts["pseudo_samples"]],
        declared_source=facts.get("declared_source", ""),
        hidden_size=models[1].model.config.hidden_size,
        teacher_hidden_size=models[0].model.config.hidden_size,
        parameters={**facts["parameters"], "evaluation": run.evaluation.model_dump(mode="json", exclude={"data"})},
        provenance={
            "teacher digest": artifact.recipe.inputs["teacher"],
            "bank digest": artifact.recipe.inputs["bank"],
            "student digest": artifact.digest,
            "seed": str(artifact.recipe.seed),
            "made by": artifact.recipe.made_by,
            **artifact.versions,
        },
    )
