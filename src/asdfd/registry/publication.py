"""What happens to a student after its evaluation: it is judged against the version that holds the stage, stored as a version, and the stage is moved to it.

A stage is moved by whoever wins; a loser judges again, against the version that won, before it tries again.
"""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from asdfd import __version__
from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact, Recipe, open_workspace
from asdfd.base.config import Run
from asdfd.base.errors import InputError, RefusedError
from asdfd.base.figures import recorded
from asdfd.monitoring.metrics import verdict_samples
from asdfd.monitoring.observation import observe, push_promotion
from asdfd.registry.aliases import Held, history, move, read_alias, rollback_target
from asdfd.registry.evidence import Champion, Evidence, champion_of, read_evidence
from asdfd.registry.gate import judge
from asdfd.registry.records import PUSHED, Alias, Version, checked_name, version_of
from asdfd.registry.verdict import Verdict
from asdfd.registry.versions import announced, artifact_files, digests_of, now, read_version, store_version, verify
from asdfd.storage.objects import Conflict, ObjectStore, open_objects


@dataclass(frozen=True)
class Pushed:
    """A version that holds a stage now."""

    name: str
    version: str
    stage: str
    location: str
    previous: str | None
    """The version that held it before."""


@dataclass(frozen=True)
class Reason:
    """Why a stage is moved, for the history."""

    action: str
    actor: str
    run: str
    text: str


def judge_evaluation(run: Run, evaluation: Path, out: Path) -> Artifact:
    """Judge an evaluation by `run.gate` against the version that holds the stage `run.registry.stage`; a rejection is a verdict too and raises nothing.

    The artifact, of kind verdict, holds verdict.json and verdict.md.

    Raises:
        InputError: the evaluation is damaged, or the registry cannot be read.
    """
    evidence = read_evidence(evaluation)
    store = open_objects(run.registry.location)
    name, stage = checked_name(run.registry.name, "model"), checked_name(run.registry.stage, "stage")
    champion = champion_of(store, read_alias(store, name, stage), evidence.data, signed=run.registry.require_signature)
    workspace = open_workspace(out, verdict_recipe(run, evidence, champion))
    if isinstance(workspace, Artifact):
        return workspace
    with observe(run, "judge", workspace) as samples:
        verdict = judge(run.gate, evidence, champion)
        write_verdict(workspace.artifact, verdict)
        samples += verdict_samples(verdict.document(), time.time())
        return workspace.finish({})


def verdict_recipe(run: Run, evidence: Evidence, champion: Champion | None) -> Recipe:
    """What decides a verdict: the rules, the evaluation, and who holds the stage with which evaluation, or why there is none to compare with."""
    inputs = {"evaluation": evidence.evaluation, "student": evidence.student}
    config: dict[str, Any] = {"gate": run.gate.model_dump(mode="json"), "champion": None}
    if champion is not None:
        config["champion"] = {"version": champion.version, "student": champion.student, "problem": champion.problem}
        if champion.evidence is not None:
            inputs["champion_evaluation"] = champion.evidence.evaluation
    return Recipe("verdict", inputs, config)


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Write verdict.json and verdict.md."""
    (folder / "verdict.json").write_text(json.dumps(verdict.document(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "verdict.md").write_text(verdict.markdown(), encoding="utf-8")


def push(run: Run, folders: Mapping[str, Path], provenance: Mapping[str, str]) -> Pushed:
    """Store a version, move `run.registry.stage` to it, and export that it was moved. `folders` are those of the artifacts PUSHED, and of the
    `export` where the student was evaluated with one.

    Raises:
        InputError: the artifacts do not belong together or are damaged, or the registry cannot be written.
        RefusedError: the verdict did not pass, or would not against the version that holds the stage by now.
    """
    name, stage = checked_name(run.registry.name, "model"), checked_name(run.registry.stage, "stage")
    store = open_objects(run.registry.location)
    found = {kind: artifacts.read(folders[kind], kind) for kind in (*PUSHED, *(["export"] if "export" in folders else []))}
    evidence = read_evidence(found["evaluation"])
    version = describe(run, found, evidence, provenance)
    with announced(store, name, version.version):
        stored = store_version(store, version, folders, sign=run.registry.require_signature)
        reason = Reason("push", actor(), provenance.get("pipeline_run", ""), "the gate passed")
        alias = move_stage(store, stored, stage, evidence, run, reason)
    push_promotion(name, stage, stored.version, evidence.metrics)
    return Pushed(name, stored.version, stage, store.location, alias.previous)


def describe(run: Run, found: Mapping[str, Artifact], evidence: Evidence, provenance: Mapping[str, str]) -> Version:
    """The version that these artifacts make, if they belong together and the verdict passed; `evidence` is what the evaluation says.

    Raises:
        InputError: they do not belong together.
        RefusedError: the verdict did not pass.
    """
    _belong(found, "student", "teacher")
    _belong(found, "evaluation", "student")
    judged = found["evaluation"].recipe.inputs.get("export", "")
    if judged and "export" not in found:
        raise InputError(f"{found['evaluation'].path}: was made with an export of the student, which is what was judged; name its folder with --export")
    if judged:
        _belong(found, "evaluation", "export")
        _belong(found, "export", "student")
    _belong(found, "verdict", "evaluation")
    _belong(found, "verdict", "student")
    verdict = json.loads((found["verdict"].path / "verdict.json").read_text(encoding="utf-8"))
    if verdict.get("passed") is not True:
        reasons = "; ".join(verdict.get("reasons", [])) or "no reason is given"
        raise RefusedError(f"{found['verdict'].path}: the gate rejected this {verdict.get('judged', 'student')}: {reasons}")
    files = artifact_files({kind: artifact for kind, artifact in found.items() if kind != "export" or judged})
    return Version(
        name=run.registry.name,
        version=version_of(files),
        digests={**digests_of(files), "teacher": found["teacher"].digest, "bank": found["student"].recipe.inputs.get("bank", "")},
        teacher_reference=run.teacher.reference or str(found["teacher"].recipe.config["reference"]),
        data=evidence.data,
        metrics=recorded(evidence.metrics),
        parameters=run.model_dump(mode="json"),
        provenance=dict(provenance),
        files=files,
        created=now(),
        made_by=f"asdfd {__version__}",
        evidence=evidence.level,
    )


def move_stage(store: ObjectStore, version: Version, stage: str, evidence: Evidence, run: Run, reason: Reason) -> Alias:
    """Judge a stored version against the one that holds the stage, and move the stage to it; nothing is done where it holds the stage already.

    Call it within `announced`.

    Raises:
        RefusedError: a rule of `run.gate` rejects it.
    """
    while True:
        held = read_alias(store, version.name, stage)
        if held is not None and (held.alias.version, held.alias.manifest) == (version.version, version.sha256):
            return held.alias
        verdict = judge(run.gate, evidence, champion_of(store, held, evidence.data, signed=run.registry.require_signature))
        if not verdict.passed:
            raise RefusedError(f"{version.name}@{version.version}: is not moved to {stage}: {'; '.join(verdict.reasons)}")
        alias = successor(held, version, stage, reason, verdict.document())
        try:
            move(store, held, alias)
            return alias
        except Conflict:
            _see_that_somebody_won(store, held, version.name, stage)


def rollback(store: ObjectStore, name: str, stage: str, reason: Reason, *, signed: bool) -> tuple[Alias, Version]:
    """Move a stage back to the version before, after reading every byte of it; a second rollback goes one further back. Nothing is judged.

    Returns the move and the version that holds the stage now.

    Raises:
        RefusedError: there is nothing to go back to, or somebody moved the stage meanwhile.
        InputError: the version before is gone or damaged.
    """
    held = read_alias(store, name, stage)
    if held is None:
        raise RefusedError(f"{name}@{stage}: no version holds this stage, so there is nothing to roll back; move it with `asdfd promote`")
    target = rollback_target(history(store, name, stage), name, stage)
    with announced(store, name, target.version):
        version = read_version(store, name, target.version, signed=signed)
        verify(store, version)
        alias = successor(held, version, stage, reason, {})
        try:
            move(store, held, alias)
        except Conflict:
            _see_that_somebody_won(store, held, name, stage)
            raise RefusedError(f"{name}@{stage}: was moved by somebody else meanwhile; look at `asdfd registry history {name}` and try again") from None
    return alias, version


def successor(held: Held | None, version: Version, stage: str, reason: Reason, verdict: Mapping[str, Any]) -> Alias:
    """The move that follows the one that was read."""
    return Alias(
        name=version.name,
        stage=stage,
        number=held.alias.number + 1 if held else 1,
        version=version.version,
        manifest=version.sha256,
        previous=held.alias.version if held else None,
        previous_entry=held.sha256 if held else "",
        action=reason.action,
        actor=reason.actor,
        run=reason.run,
        reason=reason.text,
        time=now(),
        identity=uuid4().hex,
        verdict=verdict,
    )


def actor() -> str:
    """Who is at work, as far as the environment tells: ASDFD_ACTOR, the user of the CI job, or the user of the system."""
    try:
        return os.environ.get("ASDFD_ACTOR") or os.environ.get("GITHUB_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"


def job() -> str:
    """The CI job at work; empty outside of CI."""
    return os.environ.get("GITHUB_RUN_ID", "") or os.environ.get("CI_PIPELINE_ID", "")


def _see_that_somebody_won(store: ObjectStore, held: Held | None, name: str, stage: str) -> None:
    """After a lost race: see that there was one.

    Raises:
        InputError: the write was refused although nobody else wrote; trying again would never end.
    """
    if (found := read_alias(store, name, stage)) is None or (held is not None and found.content == held.content):
        raise InputError(
            f"{store.location}: refuses to move {name}@{stage} although nobody else moved it; "
            "the server's conditional writes do not work, as `asdfd doctor` will show"
        )


def _belong(found: Mapping[str, Artifact], kind: str, source: str) -> None:
    if found[kind].recipe.inputs.get(source) != found[source].digest:
        raise InputError(f"{found[kind].path}: was made from another {source} than {found[source].path}; name the folders of one run")
