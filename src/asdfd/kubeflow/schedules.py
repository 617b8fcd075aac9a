"""Schedules as they are declared in k8s/schedules.yaml."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator

from asdfd.base.config import Frozen, Registry
from asdfd.base.errors import InputError
from asdfd.base.form import read_form, run_of
from asdfd.kubeflow import cron
from asdfd.steps.planning import check_places

LATEST = "latest"
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class Schedule(Frozen):
    """One declared schedule."""

    name: Name
    """Name of the schedule and of its recurring run: lower-case letters, digits and dashes."""
    cron: str
    """When: six fields, seconds first. '0 0 2 * * *' is every day at two."""
    time_zone: str = "UTC"
    """Time zone that cron is meant in."""
    pipeline: str
    """Name of the pipeline on the server."""
    version: Annotated[str, BeforeValidator(str)] = LATEST
    """Name of the pipeline's version, or latest: the newest one whenever a run starts."""
    parameters: dict[str, Any] = Field(default={})
    """Fields of the run form; what is left out has the pipeline's default."""
    experiment: str = "scheduled"
    """Experiment that the runs belong to."""
    concurrency: Annotated[int, Field(ge=1, le=10)] = 1
    """Runs of this schedule that may go on at the same time, 1 to 10."""
    catch_up: bool = False
    """Whether runs that were missed (the server was down, the schedule disabled) are all made up for; else only the last one is."""
    enabled: bool = True
    """Whether it starts runs."""
    service_account: str = ""
    """Kubernetes service account of the runs; empty takes the server's."""

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        cron.parse(value)
        return value

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        cron.zone(value)
        return value


class Schedules(Frozen):
    """The content of a schedules.yaml."""

    owner: Name = "asdfd"
    """Who these schedules belong to. Two files for one server need two owners: each would remove the other's."""
    server_time_zone: str = "UTC"
    """Time zone in which the server reads cron expressions: CRON_SCHEDULE_TIMEZONE of its deployment ml-pipeline-scheduledworkflow."""
    schedules: tuple[Schedule, ...] = ()

    @field_validator("server_time_zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        cron.zone(value)
        return value


def arguments(schedule: Schedule) -> dict[str, Any]:
    """The declared fields of the run form, as the pipeline takes them.

    Raises:
        InputError: an unknown field or parameter, a value out of its range, no teacher, or a place that is not there in a cluster.
    """
    source = f"schedule {schedule.name}: parameters"
    form = read_form(schedule.parameters, source)
    run = run_of(form, source)
    try:
        check_places(run)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return form.model_dump(include=form.model_fields_set)


def server_cron(schedule: Schedule, server_time_zone: str, moment: datetime) -> str:
    """The schedule's cron expression in the server's time zone, with the clocks as they are at `moment`.

    Raises:
        InputError: no single expression has these times there.
    """
    try:
        return cron.rewritten(schedule.cron, schedule.time_zone, server_time_zone, moment)
    except ValueError as error:
        raise InputError(f"schedule {schedule.name}: {error}") from None


def longest_pauses(schedules: Schedules) -> dict[str, float]:
    """The longest time in seconds that passes between two runs of a model, by the model's name; of several schedules the most frequent one counts."""
    pauses: dict[str, float] = {}
    for schedule in schedules.schedules:
        if schedule.enabled:
            model = model_of(schedule)
            pauses[model] = min(cron.longest_pause(schedule.cron), pauses.get(model, math.inf))
    return pauses


def model_of(schedule: Schedule) -> str:
    """The model that a schedule makes students of."""
    return str(schedule.parameters.get("name", Registry().name))


def read_schedules(path: Path) -> Schedules:
    """The schedules of a file, with their parameters checked.

    Raises:
        InputError: the file cannot be read, or something in it is wrong; the line names the schedule and the field.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name the file of the schedules with --schedules") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{path}: is not valid YAML; k8s/schedules.yaml shows the form") from None
    try:
        schedules = Schedules.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{path}: {_violation(error, document)}") from None
    names = [schedule.name for schedule in schedules.schedules]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path}: there are two schedules {twice[0]}; give each a name of its own")
    for schedule in schedules.schedules:
        try:
            arguments(schedule)
            server_cron(schedule, schedules.server_time_zone, datetime.now().astimezone())
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return schedules


def _violation(error: ValidationError, document: Any) -> str:
    """The first violation in one line, with the schedule's name in place of its number."""
    first = error.errors()[0]
    place = list(first["loc"])
    if len(place) > 1 and place[0] == "schedules" and isinstance(place[1], int):
        entry = document["schedules"][place[1]]
        name = entry.get("name", f"number {place[1] + 1}") if isinstance(entry, dict) else f"number {place[1] + 1}"
        place = [f"schedule {name}", *place[2:]]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "is not a field of it"
    got = "" if isinstance(first["input"], dict | list) or first["msg"].startswith("Value error") else f", got {first['input']!r}"
    return f"{': '.join(map(str, place)) or 'the file'}: {message[:1].lower()}{message[1:]}{got}; k8s/schedules.yaml shows the form"
