"""What `submit --wait` makes of the pods of a run: the tasks of the live view."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from asdfd.base.interruption import StopRequest
from asdfd.cli.live import View
from asdfd.cli.waiting import ClusterTasks
from asdfd.kubeflow.endings import Pod
from asdfd.kubeflow.local import TASKS


def pod(task: str, phase: str, began: float = 0.0, ended: float = 0.0, attempt: int = 0) -> Pod:
    """A pod that began and ended so many seconds ago."""
    moments = [(datetime.now(UTC) - timedelta(seconds=ago)).isoformat() if ago else "" for ago in (began, ended)]
    return Pod(f"run-{task}", f"run-{task}-{attempt}", task, phase, "", *moments)


def test_pods_become_tasks_of_the_view() -> None:
    stop = StopRequest()
    view = View(TASKS, stop, lambda: 1000.0)
    tasks = ClusterTasks(view.hear)
    tasks.tell("RUNNING")
    first = [pod("plan", "Succeeded", 300, 240), pod("synthesize", "Running", 120.2)]
    tasks.show(first)
    tasks.show(first)
    lines = view.frame(99, 29).plain.split("\n")
    assert lines[:5] == [
        "  ✓ plan               1:00",
        "  ✓ fetch_teacher   finished before",
        "  ● synthesize         2:00",
        "  · distill",
        "  · evaluate",
    ]
    assert lines[-1].endswith("RUNNING; Ctrl-C stops waiting, the run goes on")
    lost, second = pod("synthesize", "Error", 120.2, 60.2), pod("synthesize", "Running", 50.2, attempt=1)
    tasks.show([first[0], second, lost])  # a workflow names its pods in any order
    assert view.frame(99, 29).plain.split("\n")[2] == "  ● synthesize         2:00", "it is tried again"
    tasks.show([first[0], pod("synthesize", "Failed", 50.2, 0.1, attempt=1), lost])
    assert view.frame(99, 29).plain.split("\n")[2] == "  ✗ synthesize         2:00"
