"""The verbs that speak to a cluster: submit and upload the pipeline, keep its schedules, and look at what is there."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdfd.base.errors import InputError
from asdfd.base.interruption import StopRequest
from asdfd.cli.options import Verbs, add_data, add_reference, read_parameters

if TYPE_CHECKING:
    from asdfd.kubeflow.compiled import Compiled
    from asdfd.kubeflow.reconciliation import Action
    from asdfd.steps.ending import Ending

DRIFT = 4
"""Exit code of `schedule diff` where the server differs from the declaration."""
COMPILED = Path("pipelines/compress.yaml")
SCHEDULES = Path("k8s/schedules.yaml")


def add_verbs(verbs: Verbs) -> None:
    """Describe the verbs of this module."""
    verb = verbs.add(submit, "asdfd submit --params params.yaml --teacher hf://org/name@revision --wait")
    add_reference(verb)
    add_data(verb)
    _add_server(verb)
    _add_pipeline(verb)
    verb.add_argument(
        "--experiment", metavar="NAME", default="asdfd", help="experiment that the run belongs to; it is made where there is none (default: asdfd)"
    )
    verb.add_argument("--run-name", metavar="NAME", help="name of the run (default: the pipeline's, with the time)")
    verb.add_argument("--service-account", metavar="NAME", default="", help="Kubernetes service account of the run (default: the server's)")
    _add_cluster(verb)
    verb.add_argument("--fresh", action="store_true", help="do everything again, whatever Kubeflow's cache holds")
    verb.add_argument(
        "--wait",
        action="store_true",
        help="wait for the end of the run: exit code 0 if it registered its student, 3 if it was rejected, 2 for wrong input, else 1",
    )
    verb.add_argument("--timeout", metavar="SECONDS", type=float, default=86400.0, help="longest time to --wait; the run goes on after it (default: 86400)")
    verb = verbs.add(upload, "asdfd upload", parameters=False)
    _add_server(verb)
    _add_pipeline(verb)
    verb = verbs.add(schedule, "asdfd schedule diff", parameters=False)
    verb.add_argument("action", choices=("diff", "apply"), help="diff: say what differs, exit code 4 if anything does; apply: make it so")
    verb.add_argument("--schedules", metavar="FILE", type=Path, default=SCHEDULES, help=f"the declared schedules (default: {SCHEDULES})")
    verb.add_argument("--dry-run", action="store_true", help="with apply: say what would be done and do nothing")
    _add_server(verb)
    verb = verbs.add(doctor, "asdfd doctor")
    _add_server(verb)
    _add_pipeline(verb)
    _add_cluster(verb)
    verb = verbs.add(status, "asdfd status")
    _add_server(verb)
    verb.add_argument("--last", metavar="N", type=int, default=10, help="show this many runs, and this many versions of each model (default: 10)")


def _add_server(verb: argparse.ArgumentParser) -> None:
    """Where Kubeflow Pipelines is."""
    verb.add_argument("--endpoint", metavar="URL", help="address of Kubeflow Pipelines (default: KF_PIPELINES_ENDPOINT)")
    verb.add_argument("--namespace", metavar="NAME", help="your namespace, on a server of many users (default: in a pod, the pod's)")


def _add_pipeline(verb: argparse.ArgumentParser) -> None:
    """The compiled pipeline."""
    verb.add_argument("--pipeline", metavar="FILE", type=Path, help=f"the compiled pipeline (default: {COMPILED}, else the one of the installed package)")


def _add_cluster(verb: argparse.ArgumentParser) -> None:
    """Where the tasks run."""
    meaning = "a field of the run form that says where tasks run, such as accelerator_count=1 or memory=8Gi; repeat it for more"
    verb.add_argument("--cluster", metavar="NAME=VALUE", action="append", default=[], help=meaning)


def _pipeline_file(arguments: argparse.Namespace) -> Path:
    if arguments.pipeline is not None:
        return arguments.pipeline
    packaged = Path(__file__).parents[1] / COMPILED
    return COMPILED if COMPILED.exists() or not packaged.exists() else packaged


def _checked_pipeline(arguments: argparse.Namespace) -> Compiled:
    """The compiled pipeline, after every rule of Kubeflow's backend that it breaks was told in a line of its own.

    Raises:
        InputError: it breaks one, or is not a compiled pipeline.
    """
    from asdfd.kubeflow.compiled import read_compiled, read_documents
    from asdfd.kubeflow.rules import faults

    path = _pipeline_file(arguments)
    try:
        found = [f"{path}: {fault}" for fault in faults(read_documents(path))]
    except (KeyError, TypeError, AttributeError):  # what a pipeline has is not there, or is something else
        raise InputError(f"{path}: is not a compiled pipeline; write one with `asdfd compile`") from None
    for fault in found[:-1]:
        print(f"asdfd: {fault}", file=sys.stderr, flush=True)
    if found:
        raise InputError(found[-1])
    return read_compiled(path)


def submit(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Run the pipeline in a cluster."""
    from asdfd.base.form import filled_in, read_form
    from asdfd.cli.waiting import wait
    from asdfd.kubeflow.client import connect
    from asdfd.kubeflow.endings import RunEndedError
    from asdfd.kubeflow.runs import submit_run
    from asdfd.monitoring.observation import push_run_ending
    from asdfd.steps.planning import check_places

    run = read_parameters(arguments)
    check_places(run)
    compiled = _checked_pipeline(arguments)
    values = filled_in(run, arguments.preset) | _cluster_values(arguments.cluster) | ({"fresh": True} if arguments.fresh else {})
    form = read_form(values, "submit")
    name = arguments.run_name or f"{compiled.name} {datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"
    kubeflow = connect(arguments.endpoint, arguments.namespace)
    submission = submit_run(kubeflow, compiled, form.model_dump(include=form.model_fields_set), arguments.experiment, name, arguments.service_account)
    ended: Ending | None = None
    if arguments.wait:
        ended = wait(arguments, stop, kubeflow, submission)
        if ended.outcome == "terminated":  # Argo may have ended the exit task with it, which would have pushed this
            push_run_ending(run, ended.outcome, submission.run_id)
        if ended.outcome != "succeeded":
            raise RunEndedError(submission.run_id, ended)
    if arguments.json:
        print(json.dumps(asdict(submission) | (asdict(ended) if ended else {})))
    else:
        rows = [("run", submission.run_id), ("name", submission.name), ("pipeline", f"{submission.pipeline}, version {submission.version}")]
        rows += [("shown at", submission.link), *([("registered", ended.line)] if ended else [])]
        print("\n".join(f"{what:<16}{value}" for what, value in rows))


def _cluster_values(settings: list[str]) -> dict[str, Any]:
    """The values of --cluster."""
    import yaml

    from asdfd.base.form import CLUSTER_FIELDS

    values: dict[str, Any] = {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator or not name:
            raise InputError(f"--cluster {setting}: write it as NAME=VALUE, for example --cluster accelerator_count=1")
        if name not in CLUSTER_FIELDS:
            raise InputError(f"--cluster {setting}: {name} does not say where tasks run; choose among {', '.join(CLUSTER_FIELDS)}")
        try:
            values[name] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--cluster {setting}: the value cannot be read; write a number, a word or JSON") from None
    return values


def upload(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Upload the compiled pipeline as a version, for schedules."""
    del stop
    from asdfd.kubeflow.client import connect
    from asdfd.kubeflow.runs import upload as upload_pipeline

    compiled = _checked_pipeline(arguments)
    version = upload_pipeline(connect(arguments.endpoint, arguments.namespace), compiled)
    if arguments.json:
        print(json.dumps({"pipeline": compiled.name, "version": version.name, "pipeline_id": version.pipeline_id, "version_id": version.version_id}))
    else:
        print(f"{'pipeline':<16}{compiled.name}\n{'version':<16}{version.name}")


def schedule(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Compare the server's schedules with the declared ones, or make them so."""
    del stop
    from asdfd.kubeflow.client import connect
    from asdfd.kubeflow.recurring_runs import apply, find_differences, known_since
    from asdfd.kubeflow.schedules import longest_pauses, read_schedules
    from asdfd.monitoring.observation import push_schedule

    schedules = read_schedules(arguments.schedules)
    now = datetime.now().astimezone()
    kubeflow = connect(arguments.endpoint, arguments.namespace)
    if arguments.action == "apply" and not arguments.dry_run:
        done: list[Action] = []
        apply(kubeflow, schedules, now, done.append)
        since = known_since(kubeflow, schedules)
        for model, seconds in longest_pauses(schedules).items():
            push_schedule(model, seconds, since.get(model, now.timestamp()))
        _show_actions(arguments, done, [], "done", "nothing to do: the server has the declared schedules")
        return
    found = find_differences(kubeflow, schedules, now)
    _show_actions(arguments, found.actions, found.conflicts, "to do", "no difference: the server has the declared schedules")
    if arguments.action == "diff" and (found.actions or found.conflicts):
        sys.exit(DRIFT)


def _show_actions(arguments: argparse.Namespace, actions: Any, conflicts: Any, heading: str, nothing: str) -> None:
    """Print what is to be done, or was."""
    if arguments.json:
        listed = [{"action": action.kind, "schedule": action.schedule, "reason": action.reason, "recurring_run": action.identifier} for action in actions]
        print(json.dumps({"actions": listed, "conflicts": list(conflicts)}))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from asdfd.cli.presentation import rendered

    table = Table(heading, "schedule", "because", "recurring run", box=SIMPLE_HEAD)
    for action in actions:
        table.add_row(action.kind, action.schedule, action.reason, action.identifier)
    print(rendered(table) if actions else "" if conflicts else f"{nothing}\n", end="")
    for conflict in conflicts:
        print(f"asdfd: {conflict}", file=sys.stderr)


def doctor(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Look at everything that runs need: Kubeflow, its nodes, quotas and settings, image, registry, S3, Pushgateway, GPU.

    Exit code 2 where something that is configured fails.
    """
    del stop
    from asdfd.base.form import read_form
    from asdfd.cli.doctor import examine

    run = read_parameters(arguments)
    form = read_form({"teacher": run.teacher.reference, "registry": run.registry.location, **_cluster_values(arguments.cluster)}, "--cluster")
    found = []
    for finding in examine(run, _pipeline_file(arguments), arguments.endpoint, arguments.namespace, form):
        found.append(finding)
        if not arguments.json:
            print(f"{finding.part:<20}{finding.state:<16}{finding.detail}", flush=True)
    if arguments.json:
        print(json.dumps({"ok": all(finding.state != "failing" for finding in found), "findings": [asdict(finding) for finding in found]}))
    if any(finding.state == "failing" for finding in found):
        sys.exit(InputError.exit_code)


def status(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Show the last runs, and the versions of the registry with their stages and verdicts.

    What can be read is shown, and the exit code is 2 where something cannot.
    """
    del stop
    from asdfd.cli.status import print_status, version_rows
    from asdfd.kubeflow.client import ENDPOINT, connect
    from asdfd.kubeflow.runs import last_runs

    run = read_parameters(arguments)
    if arguments.last < 1:
        raise InputError(f"--last {arguments.last}: at least one is needed")
    runs, rows, problems = None, [], []
    if arguments.endpoint or os.environ.get(ENDPOINT):
        try:
            runs = last_runs(connect(arguments.endpoint, arguments.namespace), arguments.last)
        except InputError as error:
            problems.append(str(error))
    try:
        rows = version_rows(run.registry.location, arguments.last)
    except InputError as error:
        problems.append(str(error))
    if arguments.json:
        listed = {"runs": None if runs is None else [asdict(row) for row in runs], "versions": [row.document() for row in rows]}
        print(json.dumps({"registry": run.registry.location, **listed, "problems": problems}))
    else:
        print_status(run.registry.location, runs, rows)
    for problem in [*problems, *(row.problem for row in rows if row.problem)]:
        print(f"asdfd: {problem}", file=sys.stderr)
    if problems:
        sys.exit(InputError.exit_code)
