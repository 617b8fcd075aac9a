"""How a run on a Kubeflow server ended, in the pod's own words, from Kubeflow's API alone: whoever submits a run may have no way to its object store.

Looked at in turn, as the server's sources have them (2.17):

- The run's state. Of a run that somebody terminated it is CANCELED, and that of a run that the gate rejected SUCCEEDED.
- The log of the exit task, which tells the ending in one line (`steps.ending`). The pods of a run stand in its workflow, which version 1 of the API gives away:
  that of version 2 tells no pod's name, and forgets its tasks when Argo packs the workflow's status. Logs come from the pod while it exists, and then from
  the place where Argo keeps them.
- The notes beside the registry, where this machine can read them.
- The log and the workflow's message of a pod that failed: the last line that begins with our name is the task's error.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from asdfd.base.errors import AsdfdError, InputError, RefusedError
from asdfd.kubeflow.client import Kubeflow
from asdfd.steps.ending import OUTSIDE, SILENT, Ending, ending_in, ending_of, read_notes

SUCCEEDED = "SUCCEEDED"
ENDED = (SUCCEEDED, "FAILED", "SKIPPED", "CANCELED")
EXIT_TASK = "report-status"
TRANSIENT = ("", "PodInitializing", "ContainerCreating")
"""What every pod that starts waits for."""
OUT_OF_MEMORY = "OOMKilled"
"""In Argo's message of a pod whose container went beyond its limit."""
OURS = "asdfd: "
"""Start of the line in which a task says what ended it."""


@dataclass(frozen=True)
class Pod:
    """A pod of a run, as its workflow has it."""

    name: str
    node: str
    """Identifier in the workflow."""
    task: str
    """Name of the pipeline's task that ran in it."""
    phase: str
    message: str
    """Why it failed, as Argo has it: OOMKilled, pod deleted."""
    began: str
    """ISO 8601 in UTC, as `ended`; empty where it is not so far."""
    ended: str


class RunEndedError(AsdfdError):
    """A run ended otherwise than with a registered student. The exit code is that of the rule or the input that was wrong, as of any command, else 1."""

    def __init__(self, run_id: str, ended: Ending) -> None:
        super().__init__(f"run {run_id}: {in_words(ended)}")
        self.exit_code = ended.exit_code if ended.exit_code in (InputError.exit_code, RefusedError.exit_code) else 1


def in_words(ended: Ending) -> str:
    """An ending as one line."""
    where = f" in {ended.task}" if ended.outcome == "failed" and ended.task else ""
    return f"{ended.outcome}{where}{f': {ended.line}' if ended.line else ''}"


def ending(kubeflow: Kubeflow, run: Any) -> Ending:
    """How a run ended that the API gave, and that is in one of the states of ENDED."""
    pods: list[Pod] = []
    with contextlib.suppress(AsdfdError, ValueError, KeyError, TypeError):
        pods = sorted(_pods(_workflow(kubeflow, run.run_id)), key=lambda pod: pod.ended)
    told = _told_by_exit_task(kubeflow, run.run_id, pods) or _told_by_notes(run)
    if run.state == "CANCELED":  # whatever its tasks made of that
        return told if told and told.outcome == "terminated" else Ending("terminated")
    if told is not None and told.outcome == "failed" and told.line in (OUTSIDE, SILENT):  # the exit task cannot know, and Argo may
        return _told_by_pods(kubeflow, run.run_id, pods) or told
    if told is not None:
        return told
    if run.state == SUCCEEDED:
        return Ending("succeeded", line="as Kubeflow says; what its exit task found out could not be read")
    return _told_by_pods(kubeflow, run.run_id, pods) or Ending("failed", line=_message(run), exit_code=1)


@dataclass(frozen=True)
class Standing:
    """Where a run stands that has not ended."""

    waiting: str = ""
    """What keeps its tasks from starting, as Kubernetes and Argo have it: no node with room, a quota, an image that is not there. Empty for nothing."""
    pods: tuple[Pod, ...] = ()
    """Those of its tasks, in the order in which they were made."""


def standing(kubeflow: Kubeflow, run_id: str) -> Standing:
    """Where a run stands, or nothing, where its workflow cannot be read.

    Argo asks a quota again and again and fails no run over it, so without what it waits for nobody who waits would know.
    """
    with contextlib.suppress(AsdfdError, ValueError, KeyError, TypeError):
        workflow = _workflow(kubeflow, run_id)
        pending = [node for node in workflow["nodes"].values() if node["type"] == "Pod" and node.get("phase") == "Pending"]
        held = {f"{_task(node)[0]}: {' '.join(node['message'].split())}" for node in pending if node.get("message", "") not in TRANSIENT}
        return Standing("; ".join(sorted(held)), tuple(_pods(workflow)))
    return Standing()


def _workflow(kubeflow: Kubeflow, run_id: str) -> dict[str, Any]:
    """Name and nodes of the run's workflow; the nodes of a large one are packed."""
    answer = json.loads(kubeflow.read(f"/apis/v1beta1/runs/{run_id}"))
    workflow = json.loads(answer["pipeline_runtime"]["workflow_manifest"])
    status = workflow.get("status") or {}
    nodes = status.get("nodes") or {}
    if not nodes and (packed := status.get("compressedNodes")):
        nodes = json.loads(gzip.decompress(base64.b64decode(packed)))
    return {"name": workflow["metadata"]["name"], "nodes": nodes}


def _pods(workflow: dict[str, Any]) -> Iterator[Pod]:
    """The pods that ran our tasks, without those of Kubeflow's drivers.

    A node's name is its path, `WORKFLOW(0).root(0).exit-handler-1(0).fetch-teacher(0).executor(0)`; its pod is called after workflow, template and identifier.
    """
    for node in workflow["nodes"].values():
        task, ours = _task(node)
        if node["type"] == "Pod" and ours:
            name = f"{workflow['name']}-{node['templateName']}-{node['id'].rpartition('-')[2]}"
            yield Pod(
                name, node["id"], task, node.get("phase", ""), node.get("message", ""), *(node.get(moment) or "" for moment in ("startedAt", "finishedAt"))
            )


def _task(node: dict[str, Any]) -> tuple[str, bool]:
    """The task that a node is for, and whether it is the pod that runs our part of it, and not one of Kubeflow's drivers."""
    *parents, last = (part.partition("(")[0] for part in str(node["name"]).split("."))
    return (parents[-1], True) if last == "executor" and parents else (last, False)


def _logs(kubeflow: Kubeflow, run_id: str, pod: Pod) -> Iterator[str]:
    """What a pod printed, from wherever it is kept. The first route answers 200 also where it has nothing but an error."""
    with contextlib.suppress(AsdfdError):
        yield kubeflow.read(f"/apis/v1alpha1/runs/{run_id}/nodes/{pod.name}/log").decode("utf-8", "replace")
    with contextlib.suppress(AsdfdError, ValueError, KeyError):
        answer = json.loads(kubeflow.read(f"/apis/v2beta1/runs/{run_id}/nodes/{pod.node}/artifacts/main-logs:read"))
        content = base64.b64decode(answer["data"])
        yield (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode("utf-8", "replace")


def _told_by_exit_task(kubeflow: Kubeflow, run_id: str, pods: list[Pod]) -> Ending | None:
    """What the last pod of the exit task that told anything said."""
    for pod in reversed(pods):
        if pod.task == EXIT_TASK and (found := next(filter(None, map(ending_in, _logs(kubeflow, run_id, pod))), None)):
            return found
    return None


def _told_by_notes(run: Any) -> Ending | None:
    """What the notes beside the registry say, where they can be read from here."""
    parameters = (run.runtime_config and run.runtime_config.parameters) or {}
    location = str(parameters.get("registry") or "")
    if "://" not in location:
        return None  # a folder of the cluster
    with contextlib.suppress(AsdfdError, ValueError, KeyError, TypeError):
        if notes := read_notes(location, run.run_id):
            return ending_of(notes, str(run.state))
    return None


def _told_by_pods(kubeflow: Kubeflow, run_id: str, pods: list[Pod]) -> Ending | None:
    """The error of the first pod that failed: its own line, else what Argo says of it."""
    for pod in pods:
        if pod.phase in ("Failed", "Error") and pod.task != EXIT_TASK:
            if OUT_OF_MEMORY in pod.message:
                return Ending("failed", pod.task, f"was killed for want of memory ({pod.message}); give tasks more with the field memory", 1)
            lines = [line for log in _logs(kubeflow, run_id, pod) for line in log.splitlines() if line.startswith(OURS)]
            return Ending("failed", pod.task, lines[-1].removeprefix(OURS) if lines else pod.message, 1)
    return None


def _message(run: Any) -> str:
    """What the API gives as a failed run's error."""
    return " ".join(((run.error and run.error.message) or "").split())[:300]
