"""Metric records and progress, as a crash, a pod's log and whoever listens meet them."""

from __future__ import annotations

import json
import os
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asdfd.base.telemetry import Event, Lines, Progress, append_record, emit, heard_by, keep_records_until, read_records, tell


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_records(path) == []
    records = [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 1e-300, "agreement": 1.0}]
    for record in records:
        append_record(path, record)
    assert read_records(path) == records


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_record(path, {"step": 1, "loss": float("nan"), "kl": float("inf"), "mse": float("-inf"), "agreement": 0.5})
    assert json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON")) == {
        "step": 1,
        "loss": None,
        "kl": None,
        "mse": None,
        "agreement": 0.5,
    }
    assert read_records(path) == [{"step": 1, "loss": None, "kl": None, "mse": None, "agreement": 0.5}]


@settings(deadline=None)
@given(st.integers(0, 80))
def test_a_last_line_that_a_crash_cut_short_is_left_out(tmp_path_factory: pytest.TempPathFactory, kept: int) -> None:
    path = tmp_path_factory.mktemp("records") / "metrics.jsonl"
    records = [{"step": step, "loss": step / 8} for step in range(1, 5)]
    for record in records:
        append_record(path, record)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    assert read_records(path) == records[: whole[:kept].count(b"\n")]


def test_a_resumed_run_drops_what_it_writes_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in (20, 40, 60):
        append_record(path, {"step": step, "loss": 1.0})
    with path.open("a") as stream:
        stream.write('{"step": 80, "lo')
    keep_records_until(path, 40)
    append_record(path, {"step": 60, "loss": 2.0})
    assert read_records(path) == [{"step": 20, "loss": 1.0}, {"step": 40, "loss": 1.0}, {"step": 60, "loss": 2.0}]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]
    keep_records_until(path, 0)
    assert read_records(path) == []


def test_plain_progress_is_a_line_now_and_then_and_one_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    log, clock = StringIO(), Clock()
    monkeypatch.setattr("sys.stderr", log)
    progress = Progress("distill, steps", 400, clock=clock)
    for step in range(1, 401):
        clock.now += 0.125
        progress.show(step, f"loss {step}")
    assert log.getvalue().splitlines() == [
        "distill, steps 120/400 (30 %), 0:15 elapsed, 0:35 left, loss 120",
        "distill, steps 240/400 (60 %), 0:30 elapsed, 0:20 left, loss 240",
        "distill, steps 360/400 (90 %), 0:45 elapsed, 0:05 left, loss 360",
        "distill, steps 400/400 (100 %), 0:50 elapsed, 0:00 left, loss 400",
    ]


def test_the_time_left_of_a_resumed_run_counts_its_own_steps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    log, clock = StringIO(), Clock()
    monkeypatch.setattr("sys.stderr", log)
    progress = Progress("distill, steps", 10000, 9000, clock)
    clock.now += 60
    progress.show(9010)
    assert log.getvalue() == "distill, steps 9010/10000 (90 %), 1:00 elapsed, 1:39:00 left\n"


def test_who_listens_is_told_at_most_ten_times_a_second_and_no_line_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    log, clock, events = StringIO(), Clock(), list[Event]()
    monkeypatch.setattr("sys.stderr", log)
    with heard_by(events.append):
        progress = Progress("synthesize, parts", 400, clock=clock)
        for part in range(1, 401):
            clock.now += 0.0625
            progress.show(part, "note")
        tell("a.csv: 3 rows")
    assert log.getvalue() == ""
    assert [event["done"] for event in events[:-1]] == list(range(2, 401, 2))
    assert events[-2] == {"event": "progress", "pid": os.getpid()} | {
        **{"title": "synthesize, parts", "total": 400, "first": 0, "done": 400, "elapsed": 25.0, "note": "note"}
    }
    assert events[-1] == {"event": "told", "pid": os.getpid(), "line": "a.csv: 3 rows"}
    emit("told", line="nobody listens any more")
    assert (len(events), log.getvalue()) == (201, "")


def test_lines_show_the_progress_of_several_tasks_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = Lines(clock)
    for done in range(1, 5):
        for shard in (0, 1):
            event = {"event": "progress", "pid": shard, "title": f"synthesize shard {shard}, parts", "total": 4, "first": 0, "done": done, "note": ""}
            lines.hear({**event, "elapsed": 10.0 * done})
        clock.now += 10
    lines.hear({"event": "finished", "pid": 0, "task": "synthesize", "seconds": 61.0})
    lines.hear({"event": "skipped", "task": "distill"})
    lines.hear({"event": "started", "pid": 3, "task": "evaluate"})
    lines.hear({"event": "told", "pid": 3, "line": "a.csv: 3 rows"})
    shards = [
        f"synthesize shard {shard}, parts {rest}"
        for rest in ("3/4 (75 %), 0:30 elapsed, 0:10 left", "4/4 (100 %), 0:40 elapsed, 0:00 left")
        for shard in (0, 1)
    ]
    assert capsys.readouterr().err.splitlines() == [*shards, "synthesize      1:01", "distill         finished before", "asdfd: a.csv: 3 rows"]
