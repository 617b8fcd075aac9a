"""Runs of the compiled pipeline on a Kubeflow server: upload a version, submit a run, wait for its end, list the last ones."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asdfd.base.errors import AsdfdError, InputError
from asdfd.kubeflow.client import Kubeflow, TakenError, UnansweredError
from asdfd.kubeflow.compiled import Compiled, check_arguments
from asdfd.kubeflow.endings import ENDED, Pod, ending, standing
from asdfd.kubeflow.suitability import check_version
from asdfd.steps.ending import Ending

POLL_SECONDS = 5.0
LOOK_EVERY = 6
"""Polls between two looks at what the tasks wait for: the answer is as large as the run."""
PATIENCE = 24
"""Polls in a row that may stay without an answer, two minutes: an API server restarts within less."""


@dataclass(frozen=True)
class Version:
    """A pipeline on the server, or one version of it."""

    pipeline_id: str
    version_id: str
    """Empty for a pipeline without a pinned version."""
    name: str
    parameters: frozenset[str] | None = None
    """Names in its run form, where the server tells them."""


@dataclass(frozen=True)
class Submission:
    """A run that was submitted."""

    run_id: str
    name: str
    pipeline: str
    version: str
    link: str
    """Where the user interface shows it."""


@dataclass(frozen=True)
class RunRow:
    """One of the last runs."""

    run_id: str
    name: str
    state: str
    created_at: str
    """ISO 8601, with its offset."""
    finished_at: str
    recurring_run_id: str
    """Empty for a run that no schedule started."""
    ending: Ending | None
    """How it ended; None for one that goes on."""
    waiting: str
    """What keeps tasks of one that goes on from starting."""


def by_name(name: str) -> str:
    """The filter of a list for one name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def find_pipeline(kubeflow: Kubeflow, name: str) -> str | None:
    """Id of the pipeline of that name, if the server has it."""
    options = {"namespace": kubeflow.namespace} if kubeflow.namespace else {}
    found = kubeflow.ask(kubeflow.pipelines.pipeline_service_list_pipelines, filter=by_name(name), **options)
    return found.pipelines[0].pipeline_id if found.pipelines else None


def find_version(kubeflow: Kubeflow, pipeline_id: str, name: str = "") -> Version | None:
    """The version of that name, or the newest one without a name, if the pipeline has it."""
    options = {"filter": by_name(name)} if name else {"sort_by": "created_at desc", "page_size": 1}
    found = kubeflow.ask(kubeflow.pipelines.pipeline_service_list_pipeline_versions, pipeline_id, **options)
    if not found.pipeline_versions:
        return None
    version = found.pipeline_versions[0]
    specification = (version.pipeline_spec or {}).get("pipeline_spec", version.pipeline_spec or {})  # alone where there is nothing for Kubernetes beside it
    parameters = specification.get("root", {}).get("inputDefinitions", {}).get("parameters")
    return Version(pipeline_id, version.pipeline_version_id, version.display_name, frozenset(parameters) if parameters else None)


def upload(kubeflow: Kubeflow, compiled: Compiled) -> Version:
    """The compiled pipeline as a version on the server. One that is there already stays: its name says its content.

    Raises:
        InputError: the server refuses or does not answer.
    """
    from kfp_server_api import V2beta1Pipeline

    pipeline_id = find_pipeline(kubeflow, compiled.name)
    if pipeline_id is None:
        wanted = V2beta1Pipeline(display_name=compiled.name, description=compiled.description, namespace=kubeflow.namespace or None)
        pipeline_id = kubeflow.ask(kubeflow.pipelines.pipeline_service_create_pipeline, wanted).pipeline_id
    if (known := find_version(kubeflow, pipeline_id, compiled.version)) is not None:
        return known
    try:
        made = kubeflow.ask(kubeflow.uploads.upload_pipeline_version, str(compiled.path), name=compiled.version, pipelineid=pipeline_id)
    except TakenError:  # somebody uploaded the same at the same moment
        if (known := find_version(kubeflow, pipeline_id, compiled.version)) is not None:
            return known
        raise
    return Version(pipeline_id, made.pipeline_version_id, compiled.version)


def get_experiment(kubeflow: Kubeflow, name: str) -> str:
    """Id of the experiment of that name, which is made where there is none."""
    from kfp_server_api import V2beta1Experiment

    def find() -> str | None:
        options = {"namespace": kubeflow.namespace} if kubeflow.namespace else {}
        found = kubeflow.ask(kubeflow.experiments.experiment_service_list_experiments, filter=by_name(name), **options)
        return found.experiments[0].experiment_id if found.experiments else None

    if (known := find()) is not None:
        return known
    wanted = V2beta1Experiment(display_name=name, namespace=kubeflow.namespace or None)
    try:
        return kubeflow.ask(kubeflow.experiments.experiment_service_create_experiment, wanted).experiment_id
    except TakenError as error:  # made at the same moment, or archived, which the list may leave out
        if (known := find()) is not None:
            return known
        raise InputError(f"{error}; if the experiment is archived, restore it or name another with --experiment") from None


def submit_run(kubeflow: Kubeflow, compiled: Compiled, arguments: Mapping[str, Any], experiment: str, run_name: str, service_account: str = "") -> Submission:
    """Upload the compiled pipeline where that is needed, and start a run of it.

    Raises:
        InputError: an argument that the pipeline does not have, or a server that refuses or does not answer.
    """
    from kfp_server_api import V2beta1PipelineVersionReference, V2beta1Run, V2beta1RuntimeConfig

    check_arguments(compiled, arguments)
    check_version(kubeflow)
    version = upload(kubeflow, compiled)
    wanted = V2beta1Run(
        display_name=run_name,
        experiment_id=get_experiment(kubeflow, experiment),
        pipeline_version_reference=V2beta1PipelineVersionReference(pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id),
        runtime_config=V2beta1RuntimeConfig(parameters=dict(arguments)),
        service_account=service_account or None,
    )
    run_id = kubeflow.ask(kubeflow.runs.run_service_create_run, wanted).run_id
    return Submission(run_id, run_name, compiled.name, version.name, run_link(kubeflow, run_id))


def run_link(kubeflow: Kubeflow, run_id: str) -> str:
    """Where the user interface shows a run."""
    return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', kubeflow.endpoint).rstrip('/')}/#/runs/details/{run_id}"


def wait_for(kubeflow: Kubeflow, run_id: str, seconds: float, tell: Callable[[str], None], show: Callable[[Sequence[Pod]], None] | None = None) -> Ending:
    """Wait until the run ends, and say how it did; `tell` hears of each new state, and of what the run waits for, and `show` now and then of the pods of its
    tasks. An answer that stays away is asked for again.

    Raises:
        AsdfdError: it goes on after `seconds`.
        UnansweredError: the server stayed away for PATIENCE polls in a row.
    """
    deadline, polls, unanswered, state, held = time.monotonic() + seconds, 0, 0, "", ""
    while True:
        polls += 1
        try:
            run = kubeflow.ask(kubeflow.runs.run_service_get_run, run_id)
            unanswered = 0
        except UnansweredError as error:
            unanswered += 1
            if unanswered >= PATIENCE:
                raise UnansweredError(f"run {run_id}: stopped waiting, the run goes on: {error}") from None
        else:
            if run.state != state:
                state = str(run.state)
                tell(state)
            if state in ENDED:
                return ending(kubeflow, run)
            if polls % LOOK_EVERY == 0:
                found = standing(kubeflow, run_id)
                if show is not None:
                    show(found.pods)
                if found.waiting != held:
                    held = found.waiting
                    tell(f"{state}, {f'waiting in {held}' if held else 'no longer waiting'}")
        if time.monotonic() >= deadline:
            raise AsdfdError(f"run {run_id}: still {state or 'without a state'} after {seconds:g} s; it goes on in the cluster, `asdfd status` shows it")
        time.sleep(POLL_SECONDS)


def last_runs(kubeflow: Kubeflow, count: int) -> list[RunRow]:
    """The newest runs of the server (or of the namespace, where it has many users), newest first."""
    options = {"namespace": kubeflow.namespace} if kubeflow.namespace else {}
    listed = kubeflow.ask(kubeflow.runs.run_service_list_runs, sort_by="created_at desc", page_size=count, **options)
    return [_row(kubeflow, run) for run in listed.runs or []]


def _row(kubeflow: Kubeflow, run: Any) -> RunRow:
    ended = ending(kubeflow, run) if run.state in ENDED else None
    times = _moment(run.created_at), _moment(run.finished_at)
    held = "" if ended else standing(kubeflow, run.run_id).waiting
    return RunRow(run.run_id, run.display_name or "", str(run.state), *times, run.recurring_run_id or "", ended, held)


def _moment(moment: Any) -> str:
    """A time as text; a run that goes on has ended at no time, or in 1970 as some servers have it."""
    return moment.isoformat() if moment and moment.year > 1970 else ""
