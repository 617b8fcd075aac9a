"""The last steps: the gate, the registry, and how a run ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact
from asdfd.base.config import Run
from asdfd.base.errors import AsdfdError
from asdfd.monitoring.observation import observe, push_run_ending
from asdfd.steps.ending import Ending, ending_of, read_notes

if TYPE_CHECKING:
    from asdfd.registry.publication import Pushed


def judge(run: Run, evaluation: Path, out: Path) -> Artifact:
    """Judge an evaluation by the rules of `run.gate`, against the version that holds `run.registry.stage`. A rejection is a verdict too, and raises nothing.

    The artifact, of kind verdict, holds verdict.json and verdict.md.

    Raises:
        InputError: no evaluation, or a registry that cannot be read.
    """
    from asdfd.registry.publication import judge_evaluation

    return judge_evaluation(run, evaluation, out)


def push(run: Run, teacher: Path, student: Path, evaluation: Path, verdict: Path, provenance: Mapping[str, str], export: Path | None = None) -> Pushed:
    """Store a student that passed as an immutable version of `run.registry.name`, and move `run.registry.stage` to it. Doing it again changes nothing.

    The version holds the `export` that was evaluated with the student; one that was not is left out.

    `provenance` adds to what the environment and the working folder tell: git_commit, image, pipeline_run, dvc_lock.

    Raises:
        InputError: artifacts that are damaged or do not belong together, or a registry that cannot be written.
        RefusedError: the gate rejected the student, or does so against a version that took the stage since the verdict.
    """
    from asdfd.registry import publication
    from asdfd.registry.provenance import surroundings
    from asdfd.registry.records import PUSHED

    folders: dict[str, Path] = dict(zip(PUSHED, (teacher, student, evaluation, verdict), strict=True)) | ({"export": export} if export else {})
    with observe(run, "push"):
        return publication.push(run, folders, {**surroundings(Path.cwd()), **provenance})


def report_status(run: Run, pipeline_run: str, state: str, out: Path) -> Ending:
    """Find out how a run of the pipeline ended, write it beside the names of what the run was to make to `out`, a JSON file, and push it.

    What the tasks left beside the registry tells it; where that cannot be read, Kubeflow's `state` has to do.
    """
    try:
        ending = ending_of(read_notes(run.registry.location, pipeline_run), state)
    except AsdfdError as error:
        ending = ending_of({}, state)
        ending = replace(ending, line=f"{ending.line}{'; ' if ending.line else ''}what its tasks left cannot be read: {error}")
    out.parent.mkdir(parents=True, exist_ok=True)
    document = {**ending.document(), "pipeline_run": pipeline_run, "registry": run.registry.model_dump(mode="json")}
    artifacts.write_atomically(out, json.dumps(document, indent=2) + "\n")
    push_run_ending(run, ending.outcome, pipeline_run)
    return ending
