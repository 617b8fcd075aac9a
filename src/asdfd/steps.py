"""One function per step: artifacts in, artifacts out. The command line, DVC and the pipeline call these and nothing else.

Each step is idempotent: the finished artifact of the same recipe is returned as it is, and an interrupted one goes on from its parts or its checkpoint.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdfd import artifacts
from asdfd.artifacts import Artifact, Recipe, Workspace, open_workspace
from asdfd.config import Run
from asdfd.errors import InputError, RefusedError, StoppedError
from asdfd.launching import distill_together, is_started_by_torchrun, machines, processes_of_machine
from asdfd.metrics import distillation_samples, evaluation_samples
from asdfd.observation import observe, push_promotion, push_run_status
from asdfd.telemetry import Progress, Record, append_record, keep_records_until, read_records

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from asdfd.evaluation import PseudoEvaluation, TextEvaluation
    from asdfd.exported import Exported
    from asdfd.labelled_text import LabelledText
    from asdfd.method.distillation import Setup, State
    from asdfd.method.parallel import Processes
    from asdfd.models import Classifier
    from asdfd.registry.publication import Pushed
    from asdfd.report import ReportContent

ShouldStop = Callable[[], bool]
DISTILLATION = "distillation.json"
"""File of a student that tells how it was made: facts about the bank, some pseudo samples, the parameters."""


def never() -> bool:
    """The answer of a run that nobody can stop."""
    return False


def library_versions() -> dict[str, str]:
    """Versions of what decides the numbers, for manifests."""
    return {name: version(name) for name in ("torch", "transformers", "safetensors", "numpy")}


def fetch(run: Run, out: Path) -> Artifact:
    """Resolve `run.teacher.reference` into a verified teacher artifact.

    Raises:
        InputError: the reference is missing, unknown, unreachable or damaged.
        RefusedError: the model is unsafe or not supported.
    """
    from asdfd.fetching import fetch as fetch_teacher

    if not run.teacher.reference:
        raise InputError("teacher.reference: is empty; name a folder, hf://organisation/name@revision or s3://bucket/prefix with --teacher")
    return fetch_teacher(run.teacher.reference, out, expected_digest=run.teacher.digest)


def synthesize(run: Run, teacher: Path, out: Path, shard: int | None = None, should_stop: ShouldStop = never) -> Artifact:
    """Stage 1: make the bank, or with `shard` one of its `run.synthesis.shards` shards, part by part.

    Raises:
        InputError: wrong paths or shard number, or sequences that are too long for the teacher.
        StoppedError: stopped between two parts; the finished ones are kept.
    """
    source = artifacts.read(teacher, "teacher")  # before the imports, which take seconds: a mistyped path is told at once
    from asdfd.method.bank import part_count
    from asdfd.method.synthesis import synthesize_parts
    from asdfd.models import choose_device, load_teacher

    recipe = _bank_recipe(run, source)
    parts = list(range(part_count(run.synthesis.samples)))
    if shard is not None:
        if not 0 <= shard < run.synthesis.shards:
            raise InputError(f"--shard {shard}: shards are numbered 0 to {run.synthesis.shards - 1}; change it or synthesis.shards")
        recipe = Recipe("bank-shard", recipe.inputs, {**recipe.config, "shard": shard, "shards": run.synthesis.shards}, run.seed)
        parts = parts[shard :: run.synthesis.shards]
    classifier = load_teacher(teacher, choose_device(run.device))
    _check_length(run, classifier)
    workspace = open_workspace(out, recipe)
    if isinstance(workspace, Artifact):
        return workspace
    progress = Progress("synthesize, parts", len(parts))
    finished = iter(range(1, len(parts) + 1))

    def on_part(_: int) -> None:
        done = next(finished)
        progress.show(done)
        if should_stop() and done < len(parts):
            raise StoppedError(f"stopped after part {done} of {len(parts)}; run the same command again to go on")

    with observe(run, "synthesize" if shard is None else f"synthesize-{shard}", workspace):
        try:
            synthesize_parts(classifier, run.synthesis, run.seed, workspace.artifact, parts, on_part)
        except (InputError, RefusedError):  # a declared source that is of no use; nothing was made with it
            workspace.remove()
            raise
        return workspace.finish(library_versions())


def merge(shards: Sequence[Path], out: Path) -> Artifact:
    """Put a bank together from all of its shards; the result is the bank that one run without shards makes.

    Raises:
        InputError: a shard is missing, named twice, or of another bank.
    """
    if not shards:
        raise InputError("merge: no shard is named; name the folders that `synthesize --shard` wrote")
    found = [artifacts.read(path, "bank-shard") for path in shards]
    configs = [dict(shard.recipe.config) for shard in found]
    numbers = sorted(config.pop("shard") for config in configs)
    count = configs[0].pop("shards")
    recipe = Recipe("bank", found[0].recipe.inputs, configs[0], found[0].recipe.seed)
    for shard, config in zip(found[1:], configs[1:], strict=True):
        if (config.pop("shards"), config, shard.recipe.inputs, shard.recipe.seed) != (count, configs[0], recipe.inputs, recipe.seed):
            raise InputError(f"{shard.path}: is a shard of another bank than {found[0].path} (other teacher, parameters or seed); merge shards of one bank")
    if numbers != list(range(count)):
        raise InputError(f"merge: shards {numbers} were named, 0 to {count - 1} are needed once each; make the missing ones with `synthesize --shard N`")
    workspace = open_workspace(out, recipe)
    if isinstance(workspace, Artifact):
        return workspace
    for shard in found:
        for name in shard.files:
            shutil.copyfile(shard.path / name, workspace.artifact / name)
    return workspace.finish(found[0].versions)


def distill(run: Run, teacher: Path, bank: Path, out: Path, should_stop: ShouldStop = never) -> Artifact:
    """Stage 2: distil the student, in `run.distillation.processes` processes on every machine.

    Metric records go to `<out>.metrics.jsonl`; they hold timings, so they are no part of the artifact.

    Raises:
        InputError: wrong paths or parameters, or a bank that another teacher made.
        StoppedError: stopped with a checkpoint.
    """
    teacher_artifact, bank_artifact = artifacts.read(teacher, "teacher"), artifacts.read(bank, "bank")
    if bank_artifact.recipe.inputs.get("teacher") != teacher_artifact.digest:
        raise InputError(f"{bank}: was made by another teacher than {teacher}; synthesize a bank with this one")
    if not is_started_by_torchrun():
        count = processes_of_machine(run)
        if count > 1 or machines() > 1:
            distill_together(count, run, teacher, bank, out, should_stop)
            return artifacts.read(out, "student")
    from asdfd.method.parallel import joined

    with joined(run) as processes:
        return _distill(run, (teacher_artifact, bank_artifact), out, processes, should_stop)


def _distill(run: Run, sources: tuple[Artifact, Artifact], out: Path, processes: Processes, should_stop: ShouldStop) -> Artifact:
    """Distil in this process, which may be one of several; the first one writes, and all of them return when everything is written."""
    from asdfd.method import distillation
    from asdfd.method.bank import Bank
    from asdfd.method.narrowing import check_width
    from asdfd.models import choose_device, load_teacher, parse_layer_map

    teacher, bank = sources
    classifier = load_teacher(teacher.path, choose_device(run.device))
    layer_map = parse_layer_map(run.student.layers, run.student.count, classifier.layers)
    entries = Bank(bank.path)
    if run.student.width:
        check_width(run.student.width, classifier, holds_tokens=entries.holds_tokens)
    width = {"width": run.student.width} if run.student.width else {}
    config = {"layer_map": list(layer_map), **width, "distillation": run.distillation.model_dump(mode="json", exclude={"checkpoint_every", "processes"})}
    recipe = Recipe("student", {"teacher": teacher.digest, "bank": bank.digest}, config, run.seed)
    workspace = open_workspace(out, recipe) if processes.writes else Workspace(out, recipe)
    finished = processes.any(isinstance(workspace, Artifact))
    if isinstance(workspace, Artifact):
        return workspace
    if finished:
        return artifacts.read(out, "student")
    with observe(run, "distill", workspace) as samples:
        setup = distillation.prepare(classifier, entries, layer_map, run.distillation, run.seed, processes)
        state = _first_state(run, setup)
        distillation.load_checkpoint(state, workspace.path)
        if not processes.agree(f"{recipe.fingerprint} {state.step}"):
            raise InputError(f"{out}: the processes of the distillation read different inputs or checkpoints; give all machines the same volume and parameters")
        hooks = distillation.Hooks(_recorder(workspace, run, state.step), should_stop) if processes.writes else distillation.Hooks(should_stop=should_stop)
        distillation.train(setup, state, workspace.path, hooks)
        if not processes.writes:
            processes.wait()
            return artifacts.read(out, "student")
        _write_student(run, sources, setup, state.student, workspace)
        artifacts.write_atomically(metrics_path(out), (workspace.path / "metrics.jsonl").read_text(encoding="utf-8"))
        samples += distillation_samples(read_records(metrics_path(out)))
        made = workspace.finish(library_versions() | ({"processes": str(processes.count)} if processes.count > 1 else {}))
        processes.wait()
        return made


def _first_state(run: Run, setup: Setup) -> State:
    """The student before its first step, the same in all processes."""
    from asdfd.method import distillation
    from asdfd.method.narrowing import narrow_student
    from asdfd.models import derive_student

    if not run.student.width:
        return distillation.start(setup, derive_student(setup.teacher, setup.layer_map))
    narrow = narrow_student(setup.teacher, setup.layer_map, run.student.width, run.seed)
    setup.processes.take_over([*narrow.student.parameters(), *narrow.projection.parameters()])
    return distillation.start(setup, narrow.student, narrow.projection)


def _write_student(run: Run, sources: tuple[Artifact, Artifact], setup: Setup, student: PreTrainedModel, workspace: Workspace) -> None:
    """The files of a student: the model, its card, and the facts that its report will show."""
    from asdfd.method.inspection import shown_samples, summary
    from asdfd.method.word_order import declared_source
    from asdfd.model_card import ModelCardContent, model_card
    from asdfd.models import save_student

    (teacher, bank), classifier = sources, setup.teacher
    save_student(student, classifier.tokenizer, workspace.artifact)
    # of the two recipes only: same inputs, same bytes
    parameters = {"synthesis": {**bank.recipe.config}, "distillation": workspace.recipe.config["distillation"]}
    card = ModelCardContent(
        teacher_reference=str(teacher.recipe.config["reference"]),
        teacher_digest=teacher.digest,
        architecture=classifier.model.config.model_type,
        label_names=classifier.label_names,
        layer_map=setup.layer_map,
        teacher_layers=classifier.layers,
        maximum_length=int(setup.bank.lengths.max()),
        parameters=parameters,
        versions=library_versions(),
        declared_source=declared_source(bank.recipe.config),
        hidden_size=student.config.hidden_size,
        teacher_hidden_size=classifier.model.config.hidden_size,
    )
    (workspace.artifact / "README.md").write_text(model_card(card), encoding="utf-8")
    facts = {
        "declared_source": declared_source(bank.recipe.config),  # of word order; empty where the pseudo samples come from the teacher alone
        "bank": summary(setup.bank, classifier.label_names),
        "pseudo_samples": shown_samples(setup.bank, classifier, run.seed),
        "parameters": parameters,
    }
    (workspace.artifact / DISTILLATION).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def export(run: Run, student: Path, out: Path, form: str) -> Artifact:
    """Write the student as an ONNX model of the format `onnx` or `onnx-int8`, and compare the two on pseudo samples and on the labelled text
    `run.evaluation.data`, if that is named.

    The artifact holds model.onnx, the tokenizer, config.json with the label names, README.md and export.json with the figures.

    Raises:
        InputError: a wrong path or format, data that cannot be read, or the extra `onnx` is not installed.
        RefusedError: the model cannot be exported, or what is exported does not answer as the student does; nothing is left.
    """
    source = artifacts.read(student, "student")
    from asdfd import exporting

    exporting.check_possible(form)  # before PyTorch is imported
    from asdfd.models import load_student

    classifier, text = load_student(student, "cpu"), None
    evaluation = run.evaluation.model_dump(mode="json", exclude={"data"})
    config = {"format": form, "evaluation": evaluation, "synthesis": _synthesis_parameters(run, "samples"), "minimum_agreement": run.gate.minimum_agreement}
    inputs = {"student": source.digest}
    if run.evaluation.data:
        text = _read_data(run, classifier)
        inputs["data"] = text.digest
    workspace = open_workspace(out, Recipe("export", inputs, config, run.seed))
    if isinstance(workspace, Artifact):
        return workspace
    try:
        exporting.write_export(run, source, classifier, text, form, workspace)
    except RefusedError:
        workspace.remove()
        raise
    return workspace.finish(exporting.export_versions())


def evaluate(run: Run, teacher: Path, student: Path, out: Path, records: Path | None = None, export: Path | None = None) -> Artifact:
    """Judge the student beside its teacher, on the labelled text `run.evaluation.data` or, where that is empty, on held-out pseudo samples.

    The artifact holds metrics.json, predictions.csv and report.html. The report's curves are drawn from `records`, or from those that lie beside the student.
    An `export` of the student is judged with them, all on the processor, where it runs; the gate then asks of it what it would ask of the student.

    Raises:
        InputError: wrong paths, a student of another teacher, an export of another student, or data that cannot be read.
        RefusedError: a model gives logits that are not finite.
    """
    teacher_artifact, student_artifact = artifacts.read(teacher, "teacher"), artifacts.read(student, "student")
    if student_artifact.recipe.inputs.get("teacher") != teacher_artifact.digest:
        raise InputError(f"{student}: was distilled from another teacher than {teacher}; name the one that it was made from")
    from asdfd.evaluation import metrics_document, write_predictions
    from asdfd.latency import measure, size
    from asdfd.models import choose_device, load_student, load_teacher
    from asdfd.report import write_report

    exported = None if export is None else _read_export(export, student_artifact)
    device = choose_device(run.device if exported is None else "cpu")
    models = (load_teacher(teacher, device), load_student(student, device))
    config = run.evaluation
    inputs = {"teacher": teacher_artifact.digest, "student": student_artifact.digest, **({"export": exported.digest} if exported else {})}
    text = None
    parameters = config.model_dump(mode="json", exclude={"data"})  # what it holds counts, not where it lies
    if run.evaluation.data:
        text = _read_data(run, models[0])
        inputs["data"] = text.digest
    else:
        parameters["synthesis"] = _synthesis_parameters(run, "samples")  # the held-out samples are made with it
    workspace = open_workspace(out, Recipe("evaluation", inputs, parameters, run.seed))
    if isinstance(workspace, Artifact):
        return workspace
    with observe(run, "evaluate", workspace) as samples:
        result, timed = _judge(run, models, text)
        latency = measure(*models, timed, runs=config.latency_runs, batch_size=config.batch_size, maximum_length=config.maximum_length, export=exported)
        metrics = metrics_document(result, teacher_size=size(models[0], teacher), student_size=size(models[1], student), latency=latency)
        if exported is not None:
            from asdfd.parity import add_export

            add_export(metrics, exported, models, latency, run, result, text)
        (workspace.artifact / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        samples += evaluation_samples(metrics)
        write_predictions(workspace.artifact / "predictions.csv", result)
        write_report(workspace.artifact / "report.html", _report_content(run, student, records or metrics_path(student), student_artifact, models, metrics))
        return workspace.finish(library_versions())


def judge(run: Run, evaluation: Path, out: Path) -> Artifact:
    """Judge an evaluation by the rules of `run.gate`, against the version that holds `run.registry.stage`. A rejection is a verdict too, and raises nothing.

    The artifact, of kind verdict, holds verdict.json and verdict.md.

    Raises:
        InputError: no evaluation, or a registry that cannot be read.
    """
    from asdfd.registry.publication import judge_evaluation

    return judge_evaluation(run, evaluation, out)


def push(run: Run, teacher: Path, student: Path, evaluation: Path, verdict: Path, provenance: Mapping[str, str]) -> Pushed:
    """Store a student that passed as an immutable version of `run.registry.name`, and move `run.registry.stage` to it. Doing it again changes nothing.

    `provenance` adds to what the environment and the working folder tell: git_commit, image, pipeline_run, dvc_lock.

    Raises:
        InputError: artifacts that are damaged or do not belong together, or a registry that cannot be written.
        RefusedError: the gate rejected the student, or does so against a version that took the stage since the verdict.
    """
    from asdfd.registry import publication
    from asdfd.registry.mirror import mirror
    from asdfd.registry.provenance import surroundings

    folders = {"teacher": teacher, "student": student, "evaluation": evaluation, "verdict": verdict}
    with observe(run, "push"):
        pushed = publication.push(run, folders, {**surroundings(Path.cwd()), **provenance})
    push_promotion(pushed.name, pushed.stage, pushed.version, json.loads((evaluation / "metrics.json").read_text(encoding="utf-8")))
    mirror(pushed.location, pushed.name, pushed.stage)
    return pushed


def compress(run: Run, out: Path, should_stop: ShouldStop = never) -> dict[str, Artifact]:
    """All steps in turn, each into its own folder of `out`: teacher, bank, student, evaluation. What is finished is not done again."""
    teacher = fetch(run, out / "teacher")
    check_ahead(run, teacher.path)
    bank = synthesize(run, teacher.path, out / "bank", should_stop=should_stop)
    student = distill(run, teacher.path, bank.path, out / "student", should_stop)
    evaluation = evaluate(run, teacher.path, student.path, out / "evaluation")
    return {"teacher": teacher, "bank": bank, "student": student, "evaluation": evaluation}


def report_status(run: Run, status: Mapping[str, Any], out: Path) -> Path:
    """Tell how a run of the pipeline ended, whatever happened: write `status` beside the names of what the run was to make to `out`, a JSON file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    artifacts.write_atomically(out, json.dumps({**status, "registry": run.registry.model_dump(mode="json")}, indent=2) + "\n")
    push_run_status(run, str(status.get("state", "")), str(status.get("pipeline_run", "")))
    return out


def check_ahead(run: Run, teacher: Path) -> None:
    """Find the mistakes now that would end the last steps of a run after hours of the first ones.

    Raises:
        InputError: the student's layers or the labelled texts do not fit the teacher.
    """
    from asdfd.method.narrowing import check_width
    from asdfd.models import load_teacher, parse_layer_map

    classifier = load_teacher(teacher)
    parse_layer_map(run.student.layers, run.student.count, classifier.layers)
    if run.student.width:
        check_width(run.student.width, classifier)
    if run.evaluation.data:
        _read_data(run, classifier)


def _read_data(run: Run, classifier: Classifier) -> LabelledText:
    """The labelled texts of an evaluation, with the classes of the teacher."""
    from asdfd.labelled_text import read_labelled_text

    columns = {"text_column": run.evaluation.text_column, "label_column": run.evaluation.label_column}
    return read_labelled_text(run.evaluation.data, **columns, split=run.evaluation.split, label_names=classifier.label_names)


def _judge(run: Run, models: tuple[Classifier, Classifier], text: LabelledText | None) -> tuple[TextEvaluation | PseudoEvaluation, Sequence[Any]]:
    """The evaluation, and the texts or token sequences that latency is measured on."""
    from asdfd.evaluation import evaluate_pseudo, evaluate_text
    from asdfd.method.inspection import drawn_sequences, held_out_logits

    config = run.evaluation
    if text is not None:
        return evaluate_text(*models, text, batch_size=config.batch_size, maximum_length=config.maximum_length), text.texts
    logits = held_out_logits(*models, run.synthesis, config.pseudo_samples, run.seed)
    return evaluate_pseudo(*logits), drawn_sequences(models[0], run.synthesis, config.latency_runs, run.seed)


def _read_export(export: Path, student: Artifact) -> Exported:
    """The export, which must be one of this student."""
    from asdfd.exported import load_export

    exported = load_export(export)
    if exported.student != student.digest:
        raise InputError(f"{export}: was exported from another student than {student.path}; export this one")
    return exported


def _report_content(
    run: Run, student: Path, records: Path, artifact: Artifact, models: tuple[Classifier, Classifier], metrics: dict[str, Any]
) -> ReportContent:
    """What the report shows: the metrics beside what the student's folder tells of its distillation."""
    from asdfd.report import PseudoSample, ReportContent

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


def metrics_path(student: Path) -> Path:
    """Where the metric records of a student lie: beside it."""
    return student.with_name(f"{student.name}.metrics.jsonl")


def _recorder(workspace: Workspace, run: Run, done: int) -> Callable[[Record], None]:
    """Write records to the workspace and show progress; records after the checkpoint that a run goes on from are dropped first."""
    path = workspace.path / "metrics.jsonl"
    keep_records_until(path, done)
    progress = Progress("distill, steps", run.distillation.steps, done)

    def on_record(record: Record) -> None:
        append_record(path, record)
        progress.show(int(record["step"]), f"loss {record['loss']:.3f}, agreement {record['agreement']:.2f}, {record['samples_per_second']:.0f} samples/s")

    return on_record


def _bank_recipe(run: Run, teacher: Artifact) -> Recipe:
    """A bank's recipe; the number of shards is no part of it."""
    return Recipe("bank", {"teacher": teacher.digest}, _synthesis_parameters(run), run.seed)


def _synthesis_parameters(run: Run, *left_out: str) -> dict[str, Any]:
    """What decides pseudo samples. A declared source of word order is told by what it holds, and by nothing where there is none."""
    from asdfd.method.word_order import declared_digests

    return run.synthesis.model_dump(mode="json", exclude={"shards", "prior_text", "prior_model", *left_out}) | declared_digests(run.synthesis)


def _check_length(run: Run, classifier: Classifier) -> None:
    """Refuse samples that are longer than the teacher's positions."""
    from asdfd.method.prior import frame_of
    from asdfd.models import positions

    longest = run.synthesis.maximum_length + frame_of(classifier.tokenizer).length
    most = positions(classifier.model)
    if longest > most:
        raise InputError(f"synthesis.maximum_length: {run.synthesis.maximum_length} and special tokens exceed the teacher's {most} positions; lower it")
