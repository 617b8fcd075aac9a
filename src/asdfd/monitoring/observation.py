"""What the steps say about themselves: how a task went, how far it is, how a run ended, which version an alias was moved to.

A task writes its metrics to `<out>.metrics.prom` beside its artifact, since they hold times, and pushes them. The endpoint of a running step is a view of
the files in its partial folder, so neither the loops of the method nor their speed know about it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asdfd import __version__
from asdfd.base.artifacts import Workspace
from asdfd.base.config import Run
from asdfd.base.errors import StoppedError
from asdfd.base.telemetry import read_records
from asdfd.monitoring import metrics, prometheus
from asdfd.monitoring.metrics import Sample


@contextmanager
def observe(run: Run, task: str, workspace: Workspace | None = None) -> Iterator[list[Sample]]:
    """Time a task, answer scrapes meanwhile, and export how it went, with the samples that the block puts into the list.

    Without a workspace there is nothing to look at meanwhile, and no place for the text. A task that is stopped to go on later is neither a success nor a
    failure: nothing is exported. Of several processes that share a task (torchrun) the first one speaks.
    """
    if os.environ.get("RANK", "0") != "0":
        yield []
        return
    group = prometheus.group_of(run.registry.name, task)
    began, began_at = time.monotonic(), time.time()
    samples: list[Sample] = []
    try:
        if workspace is None:
            yield samples
        else:
            folder = workspace.path
            with prometheus.serving(group, lambda: live_samples(run, folder, began_at)):
                yield samples
    except StoppedError:
        raise
    except Exception:
        prometheus.push(group, metrics.task_samples(time.monotonic() - began, time.time(), succeeded=False))
        raise
    samples += metrics.task_samples(time.monotonic() - began, time.time(), succeeded=True)
    if workspace is not None:
        prometheus.write_text(text_path(workspace.out), group, samples)
    prometheus.push(group, samples)


def text_path(out: Path) -> Path:
    """Where the metrics of the task that made `out` lie, as text."""
    return out.with_name(f"{out.name}.metrics.prom")


def live_samples(run: Run, partial: Path, began_at: float) -> Iterator[Sample]:
    """How far the step is that works in the folder `partial` since `began_at`, in Unix seconds."""
    yield Sample(metrics.RUNNING, time.time() - began_at)
    try:
        parts = list((partial / "artifact").glob("part-*.safetensors"))
        records = read_records(partial / "metrics.jsonl")
        written = [path.stat().st_mtime for path in (*parts, *([partial / "metrics.jsonl"] if records else []))]
    except FileNotFoundError:  # the step finished this very moment
        return
    yield Sample(metrics.LAST_PROGRESS, max([began_at, *written]))
    if records:
        yield Sample(metrics.TRAINING_STEPS, run.distillation.steps)
        yield from metrics.training_samples(records[-1])
    elif parts:
        yield Sample(metrics.SYNTHESIS_PARTS, len(parts))


def push_run_ending(run: Run, outcome: str, run_id: str) -> bool:
    """Push how a run ended, from its exit task, so that runs whose steps were cached or failed are seen too; whether it arrived.

    `outcome` is succeeded, rejected, failed or terminated. Whoever terminates a run knows it, so that counts neither as a success nor as a failure.
    """
    now = time.time()
    samples = [Sample(metrics.RUN_COMPLETION, now), Sample(metrics.RUN_INFO, 1.0, {"run_id": run_id, "outcome": outcome, "version": __version__})]
    if outcome != "terminated":
        samples.append(Sample(metrics.RUN_SUCCESS, float(outcome == "succeeded")))
    if outcome == "succeeded":
        samples.append(Sample(metrics.RUN_LAST_SUCCESS, now))
    return prometheus.push(prometheus.group_of(run.registry.name, metrics.RUN_TASK), samples)


def push_promotion(model: str, alias: str, version: str, evaluation: Mapping[str, Any]) -> bool:
    """Push that an alias of a model was moved to a version, with the metrics.json of its evaluation; whether it arrived.

    Each alias has a group of its own, whoever moves it, so that the pipeline, a promotion and a rollback replace each other's word and no other alias's.
    """
    return prometheus.push(prometheus.group_of(model, f"alias-{alias}"), metrics.promotion_samples(alias, version, evaluation, time.time()))


def push_schedule(model: str, interval_seconds: float, since: float) -> bool:
    """Push the longest pause that a model's schedule leaves between two runs, and since when (Unix seconds) the server has it; whether it arrived.

    The alert on missing runs waits twice as long as the pause, from the last success, or where there was none since the schedule is there.
    """
    samples = [Sample(metrics.SCHEDULE_INTERVAL, interval_seconds), Sample(metrics.SCHEDULE_SINCE, since)]
    return prometheus.push(prometheus.group_of(model, metrics.SCHEDULE_TASK), samples)
