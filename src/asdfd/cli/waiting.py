"""What `submit --wait` shows of a run in a cluster: its states as lines, or its tasks in the live view."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from asdfd.base.errors import StoppedError
from asdfd.base.interruption import Interrupted, StopRequest
from asdfd.cli.live import watching_tasks
from asdfd.kubeflow.local import TASKS
from asdfd.kubeflow.runs import wait_for

if TYPE_CHECKING:
    from asdfd.base.telemetry import Hear
    from asdfd.kubeflow.client import Kubeflow
    from asdfd.kubeflow.endings import Pod
    from asdfd.kubeflow.runs import Submission
    from asdfd.steps.ending import Ending


def wait(arguments: argparse.Namespace, stop: StopRequest, kubeflow: Kubeflow, submission: Submission) -> Ending:
    """Wait for the end of a run, and show what it does meanwhile.

    Raises:
        StoppedError: stopped waiting by a signal; the run goes on.
        AsdfdError: as `wait_for`.
    """
    print(f"asdfd: run {submission.run_id} was submitted: {submission.link}", file=sys.stderr, flush=True)
    try:
        with watching_tasks(arguments, stop, TASKS) as hear:
            if hear is None:
                return wait_for(kubeflow, submission.run_id, arguments.timeout, lambda state: print(f"asdfd: {state}", file=sys.stderr, flush=True))
            tasks = ClusterTasks(hear)
            return wait_for(kubeflow, submission.run_id, arguments.timeout, tasks.tell, tasks.show)
    except Interrupted:
        raise StoppedError(f"stopped waiting; run {submission.run_id} goes on in the cluster, `asdfd status` shows it") from None


class ClusterTasks:
    """Makes events of what a server says of the pods of a run."""

    def __init__(self, hear: Hear) -> None:
        self._hear = hear
        self._phases: dict[str, str] = {}

    def tell(self, state: str) -> None:
        """A new state of the run."""
        self._hear({"event": "state", "line": f"{state}; Ctrl-C stops waiting, the run goes on"})

    def show(self, pods: Sequence[Pod]) -> None:
        """The pods as they are now. A task that has none before one that has began was taken from Kubeflow's cache."""
        for pod in sorted(pods, key=lambda pod: pod.began):  # one that was lost before the one after it
            before, self._phases[pod.node] = self._phases.get(pod.node, ""), pod.phase
            task = pod.task.replace("-", "_")
            if pod.phase == before or pod.phase in ("", "Pending"):
                continue
            if before in ("", "Pending"):
                self._hear({"event": "started", "pid": pod.node, "task": task, "ago": _since(pod.began)})
            if pod.phase in ("Succeeded", "Failed", "Error"):
                kind = "finished" if pod.phase == "Succeeded" else "failed"
                self._hear({"event": kind, "pid": pod.node, "stopped": False, "ago": _since(pod.ended)})
        seen = {pod.task.replace("-", "_") for pod in pods if self._phases[pod.node] not in ("", "Pending")}
        last = max((number for number, task in enumerate(TASKS) if task in seen), default=0)
        for task in TASKS[:last]:
            if task not in seen:
                self._hear({"event": "skipped", "task": task})


def _since(moment: str) -> float:
    """Seconds since a moment in UTC, as a workflow has it; none where it has none."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()) if moment else 0.0
