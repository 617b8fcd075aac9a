"""Steps that compare: a student with its teacher, an export with its student."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact, Recipe, Workspace, library_versions, open_workspace
from asdfd.base.config import Run
from asdfd.base.errors import InputError, RefusedError
from asdfd.base.figures import measured_roles
from asdfd.base.parts import part_of_run
from asdfd.base.telemetry import read_records, tell
from asdfd.monitoring.metrics import evaluation_samples
from asdfd.monitoring.observation import observe
from asdfd.steps.banks import footprint_facts, synthesis_parameters
from asdfd.steps.students import DISTILLATION, metrics_path

if TYPE_CHECKING:
    from asdfd.evaluation.comparison import Evaluated
    from asdfd.evaluation.exports import Asked
    from asdfd.evaluation.report import ReportContent
    from asdfd.evaluation.texts import Texts
    from asdfd.models.classifiers import Classifier
    from asdfd.models.model_card import ModelCardContent
    from asdfd.models.onnx import Exported


@dataclass(frozen=True)
class Beside:
    """What is measured beside teacher and student, and what is known of them that no artifact tells."""

    export: Path | Artifact | None = None
    """The export of the student; the gate asks of it what it would ask of the student."""
    teacher_int8: Path | Artifact | None = None
    """The teacher's own int8: what its users can have at once, and what a student has to beat."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """What it took to make each model, by its role, where that is known."""


NOTHING = Beside()


def evaluate(run: Run, teacher: Path | Artifact, student: Path | Artifact, out: Path, records: Path | None = None, beside: Beside = NOTHING) -> Artifact:
    """Compare the student with its teacher, on the texts `run.evaluation.data`, with their labels or without, or, where that is empty, on held-out pseudo
    samples.

    The artifact holds metrics.json, predictions.csv, report.html, and the student's card with these figures as README.md. The report's curves are drawn from
    `records`, or from those that lie beside the student. ONNX models `beside` them are measured as well; all are timed on the processor then, where those run.

    Raises:
        InputError: wrong paths, a student of another teacher, an export of another model, or data that cannot be read.
        RefusedError: a model gives logits that are not finite.
    """
    teacher_artifact, student_artifact = artifacts.verified(teacher, "teacher"), artifacts.verified(student, "student")
    teacher, student = teacher_artifact.path, student_artifact.path
    if student_artifact.recipe.inputs.get("teacher") != teacher_artifact.digest:
        raise InputError(f"{student}: was distilled from another teacher than {teacher}; name the one that it was made from")
    from asdfd.evaluation.documents import metrics_document, write_predictions
    from asdfd.evaluation.exports import add_exports, answers_of_exports
    from asdfd.evaluation.latency import BATCH, measure
    from asdfd.evaluation.report import write_drawings, write_report
    from asdfd.models.classifiers import choose_device, load_student, load_teacher
    from asdfd.models.model_card import model_card
    from asdfd.models.sizes import size

    exports, missing = _read_exports(beside, teacher_artifact, student_artifact)
    device = choose_device(run.device)
    models = (load_teacher(teacher_artifact, device), load_student(student_artifact, device))
    config = run.evaluation
    inputs = {"teacher": teacher_artifact.digest, "student": student_artifact.digest, **{role: exported.digest for role, exported in exports.items()}}
    text, run = None, for_student(run, student)
    parameters = config.model_dump(mode="json", exclude={"data"}) | missing  # what data holds counts, not where it lies
    if run.evaluation.data:
        text = read_data(run, models[0].label_names, several=models[0].several)
        inputs["data"] = text.digest
    else:
        parameters["synthesis"] = synthesis_parameters(run, "samples")  # the held-out samples are made with it
    workspace = open_workspace(out, Recipe("evaluation", inputs, parameters, run.seed))
    if isinstance(workspace, Artifact):
        return workspace
    with observe(run, "evaluate", workspace) as samples:
        result, timed, asked = _compare(run, models, text)
        answers = answers_of_exports(exports, models, asked, config.batch_size)
        if exports:
            for model in models:
                model.model.to("cpu")  # pyright: ignore[reportArgumentType]
        latency = measure(*models, timed, runs=config.latency_runs, batch_size=BATCH, maximum_length=config.maximum_length, exports=exports)
        metrics = metrics_document(result, teacher_size=size(models[0], teacher), student_size=size(models[1], student), latency=latency)
        add_exports(metrics, exports, answers, latency)
        metrics |= missing | {f"{role}_making_seconds": seconds for role, seconds in beside.seconds.items() if role in measured_roles(metrics)}
        (workspace.artifact / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        samples += evaluation_samples(metrics)
        write_predictions(workspace.artifact / "predictions.csv", result, answers["export"].texts if "export" in answers else ())
        write_report(workspace.artifact / "report.html", _report_content(run, student, records or metrics_path(student), student_artifact, models, metrics))
        card = _card_content((teacher_artifact, student_artifact), models, metrics, write_drawings(workspace.artifact, metrics))
        (workspace.artifact / "README.md").write_text(model_card(card), encoding="utf-8")
        return workspace.finish(library_versions())


FALLBACKS: Mapping[str, tuple[str, ...]] = {"int8": ("int8", "onnx"), "onnx": ("onnx",), "none": ()}
"""What is tried for each value of the parameter `export`; where all of it is refused, the student itself is what is served."""
SWITCHED_OFF = "export is none"
PARITY = {"minimum_parity", "largest_parity_difference", "largest_export_drop"}
"""Rules of the gate that an export of 8-bit weights has to meet at once."""


def export(run: Run, student: Path | Artifact, out: Path, form: str = "") -> Artifact:
    """Write the student as an ONNX model of the format `onnx` or `int8`, and compare the two on pseudo samples and on the texts `run.evaluation.data`, if
    those are named. Without `form` it is the format that `run.export` says; what is refused falls back to the next one with a line, and
    in the end to `none`.

    The artifact holds model.onnx, the tokenizer, config.json with the label names, README.md and export.json with the figures. One of the format `none` holds
    export.json alone, which says why.

    Raises:
        InputError: a wrong path or format, or data that cannot be read.
        RefusedError: `form` is given, and the model cannot be exported, or what is exported does not answer as the student does; nothing is left.
    """
    source = artifacts.verified(student, "student")
    from asdfd.models import onnx

    if form:
        onnx.check_possible(form)  # before PyTorch is imported
    from asdfd.models.classifiers import load_student
    from asdfd.steps.exporting import write_export

    config = {"format": form} if form else {"format": run.export, "falls_back": True}
    inputs, classifier, text = {"student": source.digest}, None, None
    if form or run.export != "none":
        classifier, run = load_student(source, "cpu"), for_student(run, source.path)
        evaluation = run.evaluation.model_dump(mode="json", exclude={"data", "latency_runs"})
        config |= {"evaluation": evaluation, "synthesis": synthesis_parameters(run, "samples"), "parity": run.gate.model_dump(mode="json", include=PARITY)}
        if run.evaluation.data:
            text = read_data(run, classifier.label_names, several=classifier.several)
            inputs["data"] = text.digest
    workspace = open_workspace(out, Recipe("export", inputs, config, run.seed))
    if isinstance(workspace, Artifact):
        return workspace
    refused = ""
    for one in (form,) if form else FALLBACKS[run.export]:
        assert classifier is not None
        try:
            write_export(run, source, classifier, text, one, workspace)
        except RefusedError as error:
            workspace.clear()
            if form:
                workspace.remove()
                raise
            refused = str(error).removesuffix("; use --format onnx")
            tell(f"export {one}: {refused}")
        else:
            return workspace.finish(onnx.export_versions())
    if refused:
        tell("export: there is none, so the student itself is judged and registered")
    return finish_without_model(workspace, refused or SWITCHED_OFF)


def export_teacher(run: Run, teacher: Path | Artifact, out: Path) -> Artifact:
    """The teacher with 8-bit weights as an ONNX model, made without data: what a student has to beat. Where `run.export` is none, or the teacher cannot be
    exported, the artifact is one of the format `none`, which says why.

    Raises:
        InputError: a wrong path.
    """
    source = artifacts.verified(teacher, "teacher")
    pruned = run.student.vocabulary == "pruned" and bool(footprint_facts(source))
    config = {"format": "none"} if run.export == "none" else {"format": "int8", **({"vocabulary": "pruned"} if pruned else {})}
    workspace = open_workspace(out, Recipe("export", {"teacher": source.digest}, config))
    if isinstance(workspace, Artifact):
        return workspace
    if run.export == "none":
        return finish_without_model(workspace, SWITCHED_OFF)
    from asdfd.models import onnx
    from asdfd.models.classifiers import load_teacher
    from asdfd.steps.exporting import write_teacher

    try:
        write_teacher(source, load_teacher(source, "cpu"), workspace, pruned=pruned)
    except RefusedError as error:
        workspace.clear()
        tell(f"the teacher's int8 cannot be made, so no student is compared with it: {error}")
        return finish_without_model(workspace, str(error))
    return workspace.finish(onnx.export_versions())


def finish_without_model(workspace: Workspace, reason: str) -> Artifact:
    """An export of the format `none`, which says why."""
    from asdfd.models.onnx import FIGURES

    (workspace.artifact / FIGURES).write_text(json.dumps({"format": "none", "reason": reason}, indent=1) + "\n", encoding="utf-8")
    return workspace.finish({})


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
    """Refuse texts that are pairs where samples are single texts, and the other way round.

    Raises:
        InputError: they are.
    """
    column, pairs = run.evaluation.pair_column, run.synthesis.pairs
    if column and not pairs:
        raise InputError(
            f"evaluation.pair_column: is {column!r}, and the student learns from single texts; "
            "make bank and student again, with `asdfd synthesize --set synthesis.pairs=true` and `asdfd distill`"
        )
    if pairs and run.evaluation.data and not column:
        raise InputError("evaluation.pair_column: is empty, and the student learns from pairs of texts; name the column of the second text")


def read_data(run: Run, label_names: Sequence[str], *, several: bool) -> Texts:
    """The texts of an evaluation, with the classes of the teacher by their names, and `several` of them where its texts can have that; the user is told what
    was read."""
    from asdfd.evaluation.texts import read_texts

    text = read_texts(run.evaluation, label_names, several=several)
    tell(f"{text.name}: {'; '.join(text.remarks)}")
    return text


def _compare(run: Run, models: tuple[Classifier, Classifier], text: Texts | None) -> tuple[Evaluated, Sequence[Any], Asked]:
    """The evaluation, the texts or token sequences that latency is measured on, and what both models were asked."""
    from asdfd.evaluation.comparison import compare_on_text, evaluate_pseudo, with_cuts
    from asdfd.evaluation.exports import Asked
    from asdfd.evaluation.logits import Inputs, check_classes, logits_of
    from asdfd.evaluation.prediction import Basis
    from asdfd.evaluation.scores import mean_kl
    from asdfd.method.held_out import held_out_sequences
    from asdfd.method.inspection import drawn_sequences
    from asdfd.models.pruning import with_all_words

    config, (teacher, student) = run.evaluation, models
    check_classes(teacher, student)
    held_out = held_out_sequences(teacher, config.pseudo_samples, run.seed, pairs=run.synthesis.pairs) if text is None else ()
    inputs, basis = Inputs(teacher, text, config.maximum_length, held_out), Basis(run.synthesis.pairs, teacher.several)
    of_teacher, of_student = (logits_of(model, inputs.read_by(model), batch_size=config.batch_size) for model in models)
    if text is None:
        whole = with_all_words(student, teacher)
        of_whole = of_student if whole is None else logits_of(whole, held_out, batch_size=config.batch_size)
        by_pieces = mean_kl(of_teacher, of_student, several=basis.several) - mean_kl(of_teacher, of_whole, several=basis.several)
        timed = drawn_sequences(teacher, run.synthesis, config.latency_runs, run.seed)
        return evaluate_pseudo(of_teacher, of_whole, basis), timed, Asked(inputs, (of_teacher, of_student), basis, by_pieces)
    asked = Asked(inputs, (of_teacher, of_student), basis)
    compared = with_cuts(compare_on_text(of_teacher, of_student, text, teacher.label_names), teacher, text, config.maximum_length)
    for remark in compared.source.remarks[len(text.remarks) :]:
        tell(f"{text.name}: {remark}")
    return compared, text.inputs, asked


def _read_exports(beside: Beside, teacher: Artifact, student: Artifact) -> tuple[dict[str, Exported], dict[str, str]]:
    """The ONNX models that are measured, by their roles, and why there is none of a role; each must be one of this very model."""
    from asdfd.models.onnx import load_export, read_figures

    found: dict[str, Exported] = {}
    missing: dict[str, str] = {}
    for role, export, source in (("teacher_int8", beside.teacher_int8, teacher), ("export", beside.export, student)):
        if export is None:
            continue
        artifact, kind = artifacts.verified(export, "export"), source.recipe.kind
        if artifact.recipe.inputs.get(kind) != source.digest:
            raise InputError(f"{artifact.path}: was exported from another {kind} than {source.path}; export this one with `asdfd export`")
        figures = read_figures(artifact)
        if figures["format"] == "none":
            missing[f"{role}_missing"] = figures["reason"]
        else:
            found[role] = load_export(artifact)
    return found, missing


def _card_content(
    sources: tuple[Artifact, Artifact], models: tuple[Classifier, Classifier], metrics: dict[str, Any], drawings: Sequence[tuple[str, str]]
) -> ModelCardContent:
    """The student's card as its distillation wrote it, with what was measured since."""
    from asdfd.models.model_card import ModelCardContent

    teacher, student = sources
    facts = json.loads((student.path / DISTILLATION).read_text(encoding="utf-8"))
    return ModelCardContent(
        teacher_reference=str(teacher.recipe.config["reference"]),
        teacher_digest=teacher.digest,
        architecture=models[0].model.config.model_type,
        label_names=models[0].label_names,
        layer_map=[int(layer) for layer in student.recipe.config["layer_map"]],
        teacher_layers=models[0].layers,
        maximum_length=facts["bank"]["longest_length"],
        parameters=facts["parameters"],
        metrics=metrics,
        drawings=drawings,
        versions=student.versions,
        declared_source=facts.get("declared_source", ""),
        footprint=facts["bank"].get("what_the_teacher_reveals", {}),
        vocabulary=facts.get("vocabulary", {}),
        hidden_size=models[1].model.config.hidden_size,
        teacher_hidden_size=models[0].model.config.hidden_size,
    )


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
        vocabulary=facts.get("vocabulary", {}),
        parameters={**facts["parameters"], "evaluation": run.evaluation.model_dump(mode="json", exclude={"data"})},
        provenance={
            "teacher digest": artifact.recipe.inputs["teacher"],
            "bank digest": artifact.recipe.inputs["bank"],
            "student digest": artifact.digest,
            **({"export digest": metrics["export_digest"]} if "export_digest" in metrics else {}),
            "seed": str(artifact.recipe.seed),
            "made by": artifact.recipe.made_by,
            **artifact.versions,
        },
    )
