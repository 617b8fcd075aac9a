"""What the pipeline's first task decides: which parameters each task gets, and what may come from a cache.

A cache knows a task by its inputs, so a task is given nothing that does not concern it, and something that changes where what it reads can change unseen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from asdfd.base.config import Run
from asdfd.base.errors import InputError
from asdfd.base.form import Form, read_form, run_of
from asdfd.base.parts import part_of_run
from asdfd.steps.evaluations import PARITY
from asdfd.steps.sources import source_state

FORM = "the run form"
"""What the errors of a form that was filled in by hand call it."""


class Plan(NamedTuple):
    """What `plan` hands to the other tasks: parts, which `read_part` reads, and a location."""

    run: str
    """The whole run, for a task that is never cached."""
    fetching: str
    synthesis: str
    distillation: str
    evaluation: str
    checkpoints: str
    """Location of what syntheses and distillations have done so far; empty where a folder outlives the task."""


def plan(pipeline_run: str, values: Mapping[str, Any], *, in_pod: bool) -> Plan:
    """The plan of a run whose form was filled in with `values`; `in_pod` says that the tasks see no folder of the person's machine.

    Raises:
        InputError: a field or a parameter that is wrong, no teacher, or what the later tasks would find after hours.
    """
    form = read_form(values, FORM)
    run = run_of(form, FORM)
    (check_places if in_pod else check_reference)(run)
    from asdfd.steps.checks import check_ahead  # it reads the teacher's config and the texts, and imports what that needs

    check_ahead(run)
    once = pipeline_run if form.fresh else ""
    words = source_state(run.synthesis.prior_text, "dataset") or source_state(run.synthesis.prior_model, "model")
    teacher = "" if run.teacher.digest else source_state(run.teacher.reference, "model") + source_state(run.teacher.base, "model")
    data = source_state(run.evaluation.data, "dataset") if run.evaluation.data else words
    evaluated = {"seed": True, "device": True, "synthesis": True, "export": True, "evaluation": True, "gate": PARITY}
    noted = {"registry": {"location"}}  # where a task leaves word of how it ended
    exported = {"registry": {"location", "name"}}  # one that exports metrics files them under the model's name
    computed = _on_accelerators(run, form) if in_pod else run
    return Plan(
        run=_part(run, dict.fromkeys(Run.model_fields, True), ""),
        fetching=_part(run, {"teacher": True, "export": True, "student": {"vocabulary"}, **noted}, f"{teacher}{once}"),
        synthesis=_part(computed.changed(synthesis=run.bank), {"seed": True, "device": True, "synthesis": True, **exported}, f"{words}{once}"),
        distillation=_part(computed, {"seed": True, "device": True, "student": True, "distillation": True, **exported}, once),
        evaluation=_part(computed, {**evaluated, **exported}, f"{data}{once}"),
        checkpoints="/".join(part for part in (run.registry.location.rstrip("/"), "checkpoints", once) if part) if in_pod else "",
    )


def _on_accelerators(run: Run, form: Form) -> Run:
    """The run on the accelerators that its pods ask for: `auto` would hold them and compute on the processor, unseen, where a pod has no usable one."""
    return run.changed(device="cuda") if int(form.accelerator_count) and run.device == "auto" else run


def _part(run: Run, include: Mapping[str, Any], state: str) -> str:
    """The parameters that concern a task, and the state of what it reads beside its artifacts, as the text that a cache knows it by."""
    return json.dumps({"parameters": run.model_dump(mode="json", include=dict(include)), "state": state})


def read_part(part: str) -> Run:
    """The parameters of a part. What does not concern its task is not there, and reading it is an error."""
    return part_of_run(json.loads(part)["parameters"])


def check_reference(run: Run) -> None:
    """Refuse a run that names no teacher."""
    if not run.teacher.reference:
        raise InputError("teacher.reference: is empty; name a folder, hf://organisation/name@revision or s3://bucket/prefix with --teacher")


PLACES = (
    ("teacher.reference", ("hf://", "s3://"), "name hf://organisation/name@revision or s3://bucket/prefix"),
    ("teacher.base", ("hf://", "s3://"), "name hf://organisation/name@revision or s3://bucket/prefix"),
    ("evaluation.data", ("hf://", "s3://"), "name s3://bucket/key of the file, or hf://organisation/name"),
    ("registry.location", ("s3://",), "name s3://bucket/prefix"),
    ("synthesis.prior_text", (), "it is read on one machine only: asdfd run"),
    ("synthesis.prior_model", (), "it is read on one machine only: asdfd run"),
)
"""Parameters that name a place, what such a place begins with where a pod can reach it, and what to do about another one."""


def check_places(run: Run) -> None:
    """Refuse places that a pod does not have: a folder or file is one of this machine, and a registry in a pod is gone with it.

    Raises:
        InputError: the teacher, its encoder, the data, a source of word order or the registry lies in such a place, or no teacher is named.
    """
    if not run.teacher.reference:
        raise InputError("teacher.reference: is empty; name hf://organisation/name@revision or s3://bucket/prefix")
    for name, schemes, remedy in PLACES:
        section, _, field = name.partition(".")
        place = getattr(getattr(run, section), field)
        if place and not place.startswith(schemes):
            raise InputError(f"{name}: {place!r} is a folder or file of this machine, which a pod does not have; {remedy}")
