"""Recurring runs of a Kubeflow server: read them all, and make them those that are declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from asdfd.base.errors import InputError, RefusedError
from asdfd.kubeflow.client import Kubeflow, MissingError
from asdfd.kubeflow.endings import ENDED
from asdfd.kubeflow.reconciliation import Action, Content, Differences, Live, Wanted, differences
from asdfd.kubeflow.runs import Version, find_pipeline, find_version, get_experiment
from asdfd.kubeflow.schedules import LATEST, Schedule, Schedules, arguments, model_of, server_cron

PAGE = 100
ROUNDS = 5
"""How often one `apply` compares and acts at most: a second time is needed only where somebody else changes the same schedules at the same moment."""


def find_differences(kubeflow: Kubeflow, schedules: Schedules, moment: datetime) -> Differences:
    """What turns the server's recurring runs into the declared ones; nothing is changed.

    Raises:
        InputError: a pipeline or version that the server does not have, or a server that refuses or does not answer.
    """
    versions: dict[tuple[str, str], Version] = {}
    wanted = []
    for schedule in schedules.schedules:
        key = (schedule.pipeline, schedule.version)
        versions[key] = versions.get(key) or resolve(kubeflow, schedule)
        content = Content(
            server_cron(schedule, schedules.server_time_zone, moment),
            versions[key].pipeline_id,
            versions[key].version_id,
            checked_arguments(schedule, versions[key]),
            schedule.concurrency,
            schedule.catch_up,
        )
        wanted.append(Wanted(schedules.owner, schedule, content))
    live = list_live(kubeflow)
    found = differences(schedules.owner, wanted, live)
    return replace(found, actions=tuple(_sparing_runs(kubeflow, found.actions, live)))


def _sparing_runs(kubeflow: Kubeflow, actions: Sequence[Action], live: Sequence[Live]) -> Iterator[Action]:
    """The actions, with a recurring run disabled in place of deleted while a run of it goes on.

    Kubernetes removes a run's workflow with the object that started it: the pods end in their middle, and Kubeflow says RUNNING for ever (seen on 2.17).
    """
    busy = _busy(kubeflow) if any(action.kind == "delete" for action in actions) else set()
    enabled = {run.identifier for run in live if run.enabled}
    for action in actions:
        if action.kind != "delete" or action.identifier not in busy:
            yield action
        elif action.identifier in enabled:
            yield replace(action, kind="disable", reason=f"{action.reason}; a run of it goes on, and a later apply removes it")


def _busy(kubeflow: Kubeflow) -> set[str]:
    """The recurring runs of which one of the newest runs of the server goes on."""
    options = {"namespace": kubeflow.namespace} if kubeflow.namespace else {}
    newest = kubeflow.ask(kubeflow.runs.run_service_list_runs, sort_by="created_at desc", page_size=PAGE, **options).runs or []
    return {str(run.recurring_run_id) for run in newest if run.recurring_run_id and run.state not in ENDED}


def apply(kubeflow: Kubeflow, schedules: Schedules, moment: datetime, tell: Callable[[Action], None]) -> None:
    """Do what it takes, and see that nothing is left to be done; `tell` hears of each action that was done.

    It may be interrupted between any two calls: the same command again goes on from what it finds.

    Raises:
        RefusedError: a schedule cannot be made, or somebody else keeps changing the same ones.
        InputError: as `find_differences`.
    """
    for _ in range(ROUNDS):
        found = find_differences(kubeflow, schedules, moment)
        for action in found.actions:
            perform(kubeflow, action)
            tell(action)
        if found.conflicts:
            raise RefusedError("; ".join(found.conflicts))
        if not found.actions:
            return
    raise RefusedError(f"the schedules of owner {schedules.owner} still differ after {ROUNDS} rounds; is somebody else applying another file with that owner?")


def resolve(kubeflow: Kubeflow, schedule: Schedule) -> Version:
    """The pipeline and the version that a schedule names, by their ids.

    Raises:
        InputError: the server does not have them.
    """
    remedy = "upload it with `asdfd upload`"
    pipeline_id = find_pipeline(kubeflow, schedule.pipeline)
    if pipeline_id is None:
        raise InputError(f"schedule {schedule.name}: the server has no pipeline {schedule.pipeline}; {remedy}")
    version = find_version(kubeflow, pipeline_id, "" if schedule.version == LATEST else schedule.version)
    if version is None:
        which = "has no version yet" if schedule.version == LATEST else f"has no version {schedule.version}"
        raise InputError(f"schedule {schedule.name}: pipeline {schedule.pipeline} {which}; {remedy}, or name another")
    return replace(version, version_id="") if schedule.version == LATEST else version


def checked_arguments(schedule: Schedule, version: Version) -> dict[str, Any]:
    """What the schedule's runs are given.

    Raises:
        InputError: something that this version of the pipeline does not have.
    """
    given = arguments(schedule)
    if version.parameters is not None and (unknown := given.keys() - version.parameters):
        raise InputError(
            f"schedule {schedule.name}: version {version.name} of pipeline {schedule.pipeline} has no parameter {min(unknown)}; name another version"
        )
    return given


def list_live(kubeflow: Kubeflow) -> list[Live]:
    """All recurring runs of the server (or of the namespace, where it has many users)."""
    found: list[Live] = []
    options: dict[str, Any] = {"page_size": PAGE} | ({"namespace": kubeflow.namespace} if kubeflow.namespace else {})
    while True:
        page = kubeflow.ask(kubeflow.recurring_runs.recurring_run_service_list_recurring_runs, **options)
        found += [_live(run) for run in page.recurring_runs or []]
        if not page.next_page_token:
            return found
        options["page_token"] = page.next_page_token


def known_since(kubeflow: Kubeflow, schedules: Schedules) -> dict[str, float]:
    """When the server got the oldest schedule of each model, in Unix seconds, by the model's name. To apply the same schedules again changes nothing of it."""
    models = {schedule.name: model_of(schedule) for schedule in schedules.schedules if schedule.enabled}
    since: dict[str, float] = {}
    for live in list_live(kubeflow):
        owner, name = live.marker[:2] if live.marker else ("", "")
        if owner == schedules.owner and name in models and live.created_at:
            made = datetime.fromisoformat(live.created_at).timestamp()
            since[models[name]] = min(made, since.get(models[name], made))
    return since


def _live(run: Any) -> Live:
    """A recurring run as the server tells it."""
    created_at = run.created_at.isoformat() if run.created_at else ""
    return Live(run.recurring_run_id, run.display_name or "", run.description or "", run.mode == "ENABLE", created_at, _content(run))


def _content(run: Any) -> Content | None:
    """What a recurring run does, if it is of the kind that we make."""
    schedule, reference = run.trigger and run.trigger.cron_schedule, run.pipeline_version_reference
    if not schedule or not schedule.cron or schedule.start_time or schedule.end_time or not reference:
        return None
    parameters: Mapping[str, Any] = (run.runtime_config and run.runtime_config.parameters) or {}
    identifiers = reference.pipeline_id or "", reference.pipeline_version_id or ""
    return Content(schedule.cron, *identifiers, parameters, int(run.max_concurrency or 0), not run.no_catchup)


def perform(kubeflow: Kubeflow, action: Action) -> None:
    """Do one action. What is to be removed and is gone already is fine; the next comparison sees what else has changed meanwhile."""
    api = kubeflow.recurring_runs
    if action.wanted is not None:
        create(kubeflow, action.wanted)
        return
    calls = {
        "enable": api.recurring_run_service_enable_recurring_run,
        "disable": api.recurring_run_service_disable_recurring_run,
        "delete": api.recurring_run_service_delete_recurring_run,
    }
    try:
        kubeflow.ask(calls[action.kind], action.identifier)
    except MissingError:
        return


def create(kubeflow: Kubeflow, wanted: Wanted) -> None:
    """Make the recurring run of a schedule. Not through kfp.Client: it has no way to one that always takes the latest version."""
    from kfp_server_api import (
        V2beta1CronSchedule,
        V2beta1PipelineVersionReference,
        V2beta1RecurringRun,
        V2beta1RuntimeConfig,
        V2beta1Trigger,
    )

    schedule, content = wanted.schedule, wanted.content
    body = V2beta1RecurringRun(
        display_name=schedule.name,
        description=wanted.description,
        experiment_id=get_experiment(kubeflow, schedule.experiment),
        mode="ENABLE" if schedule.enabled else "DISABLE",
        pipeline_version_reference=V2beta1PipelineVersionReference(pipeline_id=content.pipeline_id, pipeline_version_id=content.version_id or None),
        runtime_config=V2beta1RuntimeConfig(parameters=dict(content.parameters)),
        trigger=V2beta1Trigger(cron_schedule=V2beta1CronSchedule(cron=content.cron)),
        max_concurrency=str(content.concurrency),
        no_catchup=not content.catch_up,
        namespace=kubeflow.namespace or None,
        service_account=schedule.service_account or None,
    )
    kubeflow.ask(kubeflow.recurring_runs.recurring_run_service_create_recurring_run, body)
