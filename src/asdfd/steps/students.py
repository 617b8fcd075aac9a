"""The step that makes a student."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact, Recipe, Workspace, library_versions, open_workspace
from asdfd.base.config import Run
from asdfd.base.errors import InputError, StoppedError
from asdfd.base.interruption import ShouldStop, never
from asdfd.base.telemetry import Progress, Record, append_record, keep_records_until, read_records, tell
from asdfd.monitoring.metrics import distillation_samples
from asdfd.monitoring.observation import observe
from asdfd.steps.launching import distill_together, is_started_by_torchrun, processes_of_machine

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from asdfd.method.distillation import Setup, State
    from asdfd.method.parallel import Processes
    from asdfd.models.classifiers import Classifier

DISTILLATION = "distillation.json"
"""File of a student that tells how it was made: facts about the bank, some pseudo samples, the parameters."""


def distill(run: Run, teacher: Path | Artifact, bank: Path | Artifact, out: Path, should_stop: ShouldStop = never, checkpoints: str = "") -> Artifact:
    """Distil the student, in `run.distillation.processes` processes of this machine, or as one of those that torchrun started.

    Metric records go to `<out>.metrics.jsonl`; they hold timings, so they lie outside of the artifact. Checkpoints are in `<out>.partial`; with `checkpoints`,
    a folder or s3://bucket/prefix, also there, for a process that finds no such folder: it goes on from the newest one of the same recipe. What the bank's
    synthesis kept there is removed.

    Raises:
        InputError: wrong paths or parameters, or a bank that another teacher made.
        StoppedError: stopped with a checkpoint.
    """
    teacher_artifact, bank_artifact = artifacts.verified(teacher, "teacher"), artifacts.verified(bank, "bank")
    if bank_artifact.recipe.inputs.get("teacher") != teacher_artifact.digest:
        raise InputError(f"{bank_artifact.path}: was made by another teacher than {teacher_artifact.path}; make one of this teacher with `asdfd synthesize`")
    if not is_started_by_torchrun():
        if checkpoints:  # who reads the bank has it from a safe place
            _forget(checkpoints, bank_artifact)
        count = processes_of_machine(run)
        if count > 1:
            distill_together(count, run, (teacher_artifact.path, bank_artifact.path, out), should_stop, checkpoints)
            return artifacts.read(out, "student")
    from asdfd.method.parallel import joined

    with joined(run) as processes:
        return _distill(run, (teacher_artifact, bank_artifact), out, processes, should_stop, checkpoints)


def _distill(run: Run, sources: tuple[Artifact, Artifact], out: Path, processes: Processes, should_stop: ShouldStop, checkpoints: str) -> Artifact:
    """Distil in this process, which may be one of several; the first one writes, and all of them return when everything is written."""
    from asdfd.method import distillation
    from asdfd.method.bank import Bank
    from asdfd.method.widths import check_width
    from asdfd.models.classifiers import choose_device, load_teacher
    from asdfd.models.layer_maps import parse_layer_map
    from asdfd.steps.checkpoints import Checkpoints

    teacher, bank = sources
    classifier = load_teacher(teacher, choose_device(run.device))
    layer_map = parse_layer_map(run.student.layers, run.student.count, classifier.layers)
    entries = Bank(bank.path)
    if run.student.width:
        check_width(run.student.width, classifier.model.config, holds_tokens=entries.holds_tokens)
    width: dict[str, int | str] = {"width": run.student.width} if run.student.width else {}
    if run.student.dtype != "teacher":
        width["dtype"] = run.student.dtype
    if _is_pruned(run, classifier):
        width["vocabulary"] = "pruned"
    learning = run.distillation.model_dump(mode="json", exclude={"checkpoint_seconds", "processes"}) | ({"steps": 0} if run.student.is_teacher else {})
    config = {"layer_map": list(layer_map), **width, "distillation": learning}
    recipe = Recipe("student", {"teacher": teacher.digest, "bank": bank.digest}, config, run.seed)
    workspace = open_workspace(out, recipe) if processes.writes else Workspace(out, recipe)
    kept = Checkpoints(checkpoints, recipe.fingerprint) if checkpoints and processes.writes and isinstance(workspace, Workspace) else None
    if kept is not None:
        kept.fetch(workspace.path)
    finished = processes.any(isinstance(workspace, Artifact))  # after the writer fetched what all of them read
    if isinstance(workspace, Artifact):
        return workspace
    if finished:
        return artifacts.read(out, "student")
    with observe(run, "distill", workspace) as samples:
        setup = distillation.prepare(classifier, entries, layer_map, run.distillation, run.seed, processes)
        state = _first_state(run, setup)
        distillation.load_checkpoint(state, workspace.path)
        if not processes.agree(f"{recipe.fingerprint} {state.step}"):
            raise InputError(f"{out}: the processes of the distillation read different inputs or checkpoints; give them all the same volume and parameters")
        hooks = distillation.Hooks(should_stop=should_stop)
        if processes.writes:
            hooks = distillation.Hooks(_recorder(workspace, run, state.step), should_stop, partial(kept.keep, workspace.path) if kept else hooks.on_checkpoint)
        try:
            if run.student.is_teacher:
                append_record(workspace.path / "metrics.jsonl", {"step": 0})
            else:
                distillation.train(setup, state, workspace.path, hooks)
        except StoppedError:
            if kept is not None:
                kept.keep_last(workspace.path)
            raise
        if not processes.writes:
            processes.wait()
            return artifacts.read(out, "student")
        _write_student(run, sources, setup, state.student, workspace)
        artifacts.write_atomically(metrics_path(out), (workspace.path / "metrics.jsonl").read_text(encoding="utf-8"))
        samples += [] if run.student.is_teacher else distillation_samples(read_records(metrics_path(out)))
        if kept is not None:
            kept.finish()
        made = workspace.finish(library_versions() | ({"processes": str(processes.count)} if processes.count > 1 else {}))
        processes.wait()
        return made


def forget_checkpoints(checkpoints: str, student: Path) -> None:
    """Remove the checkpoints at a location that `student` was made from. It is for whoever has the student safe: not for the process that made it."""
    _forget(checkpoints, artifacts.read(student, "student"))


def _forget(checkpoints: str, made: Artifact) -> None:
    """Remove what the making of an artifact kept at a location."""
    from asdfd.steps.kept import Kept

    Kept(checkpoints, made.recipe.fingerprint).clear()


def _first_state(run: Run, setup: Setup) -> State:
    """The student before its first step, the same in all processes."""
    from asdfd.method import distillation
    from asdfd.method.narrowing import narrow_student
    from asdfd.models.students import derive_student

    if not run.student.width:
        return distillation.start(setup, derive_student(setup.teacher, setup.layer_map))
    narrow = narrow_student(setup.teacher, setup.layer_map, run.student.width, run.seed, pairs=setup.bank.pairs)
    setup.processes.take_over([*narrow.student.parameters(), *narrow.projection.parameters()])
    return distillation.start(setup, narrow.student, narrow.projection)


def _write_student(run: Run, sources: tuple[Artifact, Artifact], setup: Setup, student: PreTrainedModel, workspace: Workspace) -> None:
    """The files of a student: the model, its card, and the facts that its report will show."""
    import torch

    from asdfd.method.inspection import shown_samples, summary
    from asdfd.method.word_order import declared_source
    from asdfd.models.model_card import ModelCardContent, model_card
    from asdfd.models.students import oldest_version, save_student

    (teacher, bank), classifier = sources, setup.teacher
    revealed = classifier.footprint.facts() if classifier.footprint else {}
    wanted = None if run.student.dtype == "teacher" else getattr(torch, run.student.dtype)
    saved, vocabulary = _with_its_words(run, classifier, student)
    dtype = save_student(saved.model, saved, workspace.artifact, wanted)
    if vocabulary:
        vocabulary |= _bytes(workspace.artifact, classifier, saved, dtype.itemsize)
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
        footprint=revealed,
        hidden_size=student.config.hidden_size,
        teacher_hidden_size=classifier.model.config.hidden_size,
        pairs=setup.bank.pairs,
        dtype=str(dtype).removeprefix("torch."),
        longest_input=classifier.tokenizer.model_max_length,
        oldest_version=oldest_version(student.config),
        several=classifier.several,
        vocabulary=vocabulary,
    )
    (workspace.artifact / "README.md").write_text(model_card(card), encoding="utf-8")
    facts = {
        "declared_source": declared_source(bank.recipe.config),  # of word order; empty where the pseudo samples come from the teacher alone
        "bank": summary(setup.bank, classifier) | ({"what_the_teacher_reveals": revealed} if revealed else {}),
        "pseudo_samples": shown_samples(setup.bank, classifier, run.seed),
        "parameters": parameters,
        **({"vocabulary": vocabulary} if vocabulary else {}),
    }
    (workspace.artifact / DISTILLATION).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _is_pruned(run: Run, teacher: Classifier) -> bool:
    """Whether the student is to have fewer words than its teacher."""
    return run.student.vocabulary == "pruned" and teacher.footprint is not None


def _with_its_words(run: Run, teacher: Classifier, student: PreTrainedModel) -> tuple[Classifier, dict[str, Any]]:
    """The student with its tokenizer as it is saved, and facts about its words; none where they were to be the teacher's."""
    whole = replace(teacher, model=student, footprint=None)
    if not _is_pruned(run, teacher):
        return whole, {}
    from asdfd.method.vocabulary import with_fewer_words

    fewer = with_fewer_words(whole, teacher)
    tell(fewer.line("the student"))
    return fewer.classifier, fewer.facts()


def _bytes(folder: Path, teacher: Classifier, saved: Classifier, width: int) -> dict[str, int]:
    """Bytes of a student's weights, and what they would be with all of the teacher's tokens, where one number has `width` bytes."""
    found, table = sum(path.stat().st_size for path in folder.glob("*.safetensors")), saved.embedding_table
    return {"bytes": found, "bytes_with_all": found + (len(teacher.embedding_table) - len(table)) * table.shape[1] * width}


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
