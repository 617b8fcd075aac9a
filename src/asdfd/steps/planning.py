"""What the pipeline's first task decides: which parameters each task gets, which shards are made, and what may come from a cache.

A cache knows a task by its inputs, so a task is given nothing that does not concern it, and something that changes where its source can change unseen.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from asdfd.base.artifacts import canonical_json
from asdfd.base.config import Run
from asdfd.base.errors import InputError
from asdfd.base.run_form import run_of

COMMIT = re.compile(r"hf://[^@]+@[0-9a-f]{40}")
"""A reference whose content cannot change: a branch or a tag can move, a commit cannot."""


class Plan(NamedTuple):
    """What `plan` hands to the other tasks; JSON texts are trees of parameters."""

    run: str
    """The whole run, for tasks that are never cached."""
    fetching: str
    checks: str
    synthesis: str
    distillation: str
    evaluation: str
    teacher_state: str
    data_state: str
    words_state: str
    shards: list[int]


def plan(pipeline_run: str, values: Mapping[str, Any]) -> Plan:
    """The plan of a run whose form was filled in with `values`.

    Raises:
        InputError: a parameter out of its range, or no teacher.
    """
    run = run_of(values)
    check_reference(run)
    words_state = source_state(run.synthesis.prior_text or run.synthesis.prior_model, pipeline_run)
    return Plan(
        run=run.model_dump_json(),
        fetching=_part(run, "teacher"),
        checks=_part(run, "student", "evaluation"),
        synthesis=_observed_part(run, "seed", "device", "synthesis"),
        distillation=_observed_part(run, "seed", "device", "student", "distillation"),
        evaluation=_observed_part(run, "seed", "device", "synthesis", "evaluation"),
        teacher_state="" if run.teacher.digest else source_state(run.teacher.reference, pipeline_run),
        data_state=source_state(run.evaluation.data, pipeline_run) if run.evaluation.data else words_state,
        words_state=words_state,
        shards=list(range(run.synthesis.shards)),
    )


def check_reference(run: Run) -> None:
    """Refuse a run that names no teacher."""
    if not run.teacher.reference:
        raise InputError("teacher.reference: is empty; name a folder, hf://organisation/name@revision or s3://bucket/prefix with --teacher")


def source_state(reference: str, pipeline_run: str) -> str:
    """What changes whenever the content behind a reference may have: nothing for a commit of the hub, the names, sizes and times of files that lie here,
    and the run itself for anything else."""
    path = Path(reference)
    if not reference or COMMIT.fullmatch(reference):
        return ""
    if "://" in reference or not path.exists():
        return pipeline_run
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    listed = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(canonical_json(listed)).hexdigest()


def _observed_part(run: Run, *names: str) -> str:
    """Parameters of a task that exports metrics: it is told the model's name as well, under which they are filed."""
    return run.model_dump_json(include={**dict.fromkeys(names, True), "registry": {"name", "location"}})


def _part(run: Run, *names: str) -> str:
    """Parameters of a task. Each is told the registry's place, beside which it leaves word of how it ended."""
    return run.model_dump_json(include={**dict.fromkeys(names, True), "registry": {"location"}})


def check_places(run: Run) -> None:
    """Refuse places that a pod does not have: relative folders are those of this machine, and a registry in a pod is gone with it.

    Raises:
        InputError: the teacher, the data or the registry lies in such a place, or no teacher is named.
    """
    if not run.teacher.reference:
        raise InputError("teacher.reference: is empty; name hf://organisation/name@revision or s3://bucket/prefix")
    places = {"teacher.reference": run.teacher.reference, "evaluation.data": run.evaluation.data, "registry.location": run.registry.location}
    for name, place in places.items():
        if place and "://" not in place and not place.startswith("/"):
            raise InputError(f"{name}: {place!r} is a folder or file of this machine, which a pod does not have; name s3://bucket/prefix, or a mounted /path")
