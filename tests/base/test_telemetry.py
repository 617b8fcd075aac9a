"""Metric records and progress, as a crash, a pod's log and a terminal meet them."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asdfd.base.telemetry import Progress, append_record, keep_records_until, read_records


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> Iterator[int]:
    """Stderr is a terminal of that width; the descriptor of its other end."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        yield reader
    os.close(reader)


def shown(reader: int) -> str:
    """What a terminal got so far."""
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 65536).decode()
    except BlockingIOError:
        return ""


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


def test_a_terminal_has_one_moving_line_as_wide_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch, columns=40) as reader:
        clock = Clock()
        progress = Progress("synthesize, parts", 4, clock=clock)
        clock.now += 2
        progress.show(1)
        first = shown(reader)
        assert first == "\r" + "synthesize, parts 1/4 (25 %), 0:02 elapsed, 0:06 left"[:39]
        clock.now += 0.05
        progress.show(2)
        assert shown(reader) == "", "at most ten times a second"
        clock.now += 5.95
        progress.show(4)
        last = shown(reader)
        assert last.startswith("\rsynthesize, parts 4/4 (100 %), 0:08 elapsed"[:39])
        assert last.endswith("\n")
        assert len(last.strip("\r\n")) == 39, "what stood there before is covered"


def test_a_terminal_that_was_told_no_size_is_taken_for_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch, columns=0) as reader:
        clock = Clock()
        progress = Progress("distill, steps", 10, clock=clock)
        clock.now += 3661
        progress.show(1, "loss 0.5")
        assert shown(reader) == "\r" + "distill, steps 1/10 (10 %), 1:01:01 elapsed, 9:09:09 left, loss 0.5".ljust(79)
