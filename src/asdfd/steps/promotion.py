"""Promotion: a stored version is verified, evaluated again on a fixed data set, judged against the version that holds the stage, and the stage is moved to it.
The data are texts, with labels or without; only a file models/NAME.yaml can say that a version is promoted without any, by its predicted fidelity.

This is the only way in which `production` is moved, and CI does it: first with `check`, which does all of it but the move, on a pull request.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from pydantic import ValidationError

from asdfd import steps
from asdfd.base.artifacts import Artifact
from asdfd.base.config import Frozen, Run
from asdfd.base.errors import InputError, RefusedError
from asdfd.base.evidence import LEVELS, Level
from asdfd.monitoring.observation import push_promotion
from asdfd.registry import publication
from asdfd.registry.aliases import read_alias
from asdfd.registry.evidence import Champion, champion_of, read_evidence, store_evaluation
from asdfd.registry.gate import judge
from asdfd.registry.publication import Reason
from asdfd.registry.records import Alias, Version, checked_name
from asdfd.registry.verdict import Verdict
from asdfd.registry.versions import announced, pull, resolve
from asdfd.steps.banks import fetch_again
from asdfd.storage.objects import ObjectStore, open_objects


class Wanted(Frozen):
    """The content of models/<name>.yaml: which version a stage shall hold."""

    version: str
    """Version, as `asdfd registry list` shows it."""
    stage: str = "production"
    """Stage that shall hold it."""
    reason: str
    """Why, for the history."""
    data: str = ""
    """Fixed texts that decide, with labels or without, as of the folder that the command runs in."""
    evidence: Level = "texts"
    """What decides at least: labels, texts, or none, which lets a version in whose fidelity is only predicted; the rule gate.evidence may ask for more."""
    location: str = ""
    """Registry; empty takes the parameter registry.location."""
    teacher: str = ""
    """Where to fetch the teacher from; empty takes the reference that the version was made from."""


@dataclass(frozen=True)
class Request:
    """What is to be promoted."""

    reference: str
    """NAME@VERSION or NAME@STAGE."""
    stage: str
    reason: str
    teacher: str = ""
    """Where to fetch the teacher from; empty takes the reference that the version was made from."""
    evidence: Level = "texts"
    """What decides at least."""


@dataclass(frozen=True)
class Promotion:
    """What came of it."""

    version: Version
    stage: str
    verdict: Verdict
    alias: Alias | None
    """The move, or the earlier one by which the version holds the stage already; None after a rejection or a check."""


def read_wanted(path: Path) -> tuple[str, Wanted]:
    """The name of a model, which is that of its file, and what is wanted of it.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return checked_name(path.stem, "model"), Wanted.model_validate(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a file such as models/NAME.yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{path}: is not valid YAML; docs/production.md shows the form") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}; docs/production.md shows the form") from None


def promote(run: Run, request: Request, *, check: bool = False) -> Promotion:
    """Promote a version; with `check` do all of it but the move, and write nothing to the registry.

    `run` gives the registry, the rules and, in `run.evaluation`, the data. Of the rule gate.evidence and what the request asks for the stricter counts.

    Raises:
        InputError: no such version, or one that is damaged, or its teacher or the data cannot be read.
        RefusedError: the signature is missing or wrong.
    """
    if not run.evaluation.data and request.evidence != "none":
        raise InputError("promote: name the fixed texts that decide with --data; evidence: none in models/NAME.yaml does without")
    if not request.reason.strip():
        raise InputError("promote: say why with --reason; the history keeps it")
    run = run.changed(gate=run.gate.changed(evidence=max(run.gate.evidence, request.evidence, key=LEVELS.index)))
    stage = checked_name(request.stage, "stage")
    store = open_objects(run.registry.location)
    version = resolve(store, request.reference, signed=run.registry.require_signature)
    at_work = contextlib.nullcontext() if check else announced(store, version.name, version.version)
    with at_work, tempfile.TemporaryDirectory(prefix="asdfd-promote-") as folder:
        evaluation = evaluate_version(store, run, version, request.teacher, Path(folder) / "version")
        evidence = read_evidence(evaluation)
        if not check:
            store_evaluation(store, version, evaluation)
        held = read_alias(store, version.name, stage)
        champion = champion_of(store, held, evidence.data, signed=run.registry.require_signature)
        champion = _with_evidence(store, run, champion, version, request.teacher, Path(folder) / "champion", keep=not check)
        verdict = judge(run.gate, evidence, champion)
        if check or not verdict.passed:
            return Promotion(version, stage, verdict, None)
        reason = Reason("promote", publication.actor(), publication.job(), request.reason)
        alias = publication.move_stage(store, version, stage, evidence, run, reason)
        push_promotion(version.name, stage, version.version, evidence.metrics)
    return Promotion(version, stage, verdict, alias)


def roll_back(run: Run, name: str, stage: str, reason: str) -> Alias:
    """Move a stage of a model back to the version before, after reading every byte of it; nothing is judged.

    Raises:
        RefusedError: there is nothing to go back to, or somebody moved the stage meanwhile.
        InputError: the version before is gone or damaged, or no reason is given.
    """
    if not reason.strip():
        raise InputError("rollback: say why with --reason; the history keeps it")
    store = open_objects(run.registry.location)
    why = Reason("rollback", publication.actor(), publication.job(), reason)
    checked = checked_name(name, "model"), checked_name(stage, "stage")
    alias, version = publication.rollback(store, *checked, why, signed=run.registry.require_signature)
    push_promotion(name, stage, version.version, {**version.metrics, "data": {"digest": version.data}})
    return alias


def evaluate_version(store: ObjectStore, run: Run, version: Version, teacher: str, folder: Path) -> Artifact:
    """Fetch a version and its teacher into `folder`, verify every byte, and evaluate student and export on `run.evaluation.data`, beside the teacher's int8.

    Raises:
        InputError: the version or the teacher is damaged or cannot be fetched.
    """
    folder.mkdir(parents=True)
    pull(store, version, folder / "pulled")
    reference = teacher or version.teacher_reference
    if reference.startswith("folder:"):
        raise InputError(f"{version.name}@{version.version}: its teacher was a local folder; name where it is now with --teacher")
    base = run.teacher.base or str(version.parameters.get("teacher", {}).get("base", ""))  # the teacher's digest is that with its footprint
    words = version.parameters.get("student", {}).get("vocabulary", run.student.vocabulary)
    origin = run.teacher.changed(reference=reference, digest=version.digests["teacher"], base=base)
    wanted = run.changed(teacher=origin, student=run.student.changed(vocabulary=words), registry=run.registry.changed(name=version.name))
    fetched = fetch_again(wanted, folder / "teacher")
    beside = steps.Beside()
    if "export" in version.digests:
        beside = steps.Beside(folder / "pulled" / "export", steps.export_teacher(wanted, fetched, folder / "teacher-int8"))
    return steps.evaluate(wanted, fetched, folder / "pulled" / "student", folder / "evaluation", beside=beside)


def _with_evidence(store: ObjectStore, run: Run, champion: Champion | None, challenger: Version, teacher: str, folder: Path, *, keep: bool) -> Champion | None:
    """The champion with its evaluation on the data at hand; where it was never evaluated on that, it is now, and with `keep` the registry keeps it.

    Where its teacher cannot be fetched any more it stays without one, and the rule that compares the two rejects and says so.
    """
    if champion is None or champion.evidence is not None or champion.problem or run.gate.champion_margin >= 1 or not run.evaluation.data:
        return champion
    version = resolve(store, f"{challenger.name}@{champion.version}", signed=run.registry.require_signature)
    if version.version == challenger.version:
        return champion
    same_teacher = version.digests["teacher"] == challenger.digests["teacher"]
    try:
        evaluation = evaluate_version(store, run, version, teacher if same_teacher else "", folder)
    except (InputError, RefusedError) as error:
        return replace(champion, problem=f"version {champion.version} could not be evaluated on this data: {error}")
    if keep:
        store_evaluation(store, version, evaluation)
    return replace(champion, evidence=read_evidence(evaluation))
