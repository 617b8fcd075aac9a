"""The live view: what of it fits which terminal, and what a real one shows while a verb is at work and when that ends."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asdfd.base.interruption import StopRequest
from asdfd.base.telemetry import Event
from asdfd.cli.live import CAN_STOP, STOPPING, View
from asdfd.kubeflow.local import TASKS
from tests.cli.conftest import Made, tiny_options
from tests.cli.processes import steps_done
from tests.terminal import Terminal

SCRIPT = str(Path(sys.executable).with_name("asdfd"))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def progress(pid: int, title: str, done: int, total: int, elapsed: float, note: str = "") -> Event:
    return {"event": "progress", "pid": pid, "title": title, "first": 0, "done": done, "total": total, "elapsed": elapsed, "note": note}


def view_at_work(stop: StopRequest | None = None, *, ascii_only: bool = False) -> tuple[View, Clock]:
    """A run in the middle of its third task."""
    clock = Clock()
    view = View(TASKS, stop or StopRequest(), clock, ascii_only=ascii_only)
    view.hear({"event": "started", "pid": 1, "task": "plan"})
    clock.now += 4
    view.hear({"event": "finished", "pid": 1})
    view.hear({"event": "skipped", "task": "fetch_teacher"})
    view.hear({"event": "started", "pid": 10, "task": "synthesize"})
    clock.now += 30
    view.hear(progress(10, "synthesize, parts", 12, 32, 30.0))
    return view, clock


def lines_of(view: View, width: int = 99, height: int = 29) -> list[str]:
    return view.frame(width, height).plain.split("\n")


def test_the_steps_are_shown_with_their_state() -> None:
    view, _ = view_at_work()
    assert lines_of(view) == [
        "  ✓ plan               0:04",
        "  ✓ fetch_teacher   finished before",
        "  ● synthesize         0:30",
        "      ━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  37 %  12/32 parts, 0:50 left",
        "  · distill",
        "  · evaluate",
        "  · push",
        "  · report_status",
    ]


def test_loss_and_agreement_are_shown_as_they_come_and_stay_when_the_step_is_done() -> None:
    view, clock = view_at_work()
    view.hear({"event": "finished", "pid": 10})
    view.hear({"event": "started", "pid": 20, "task": "distill"})
    view.hear(progress(20, "distill, steps", 1000, 2000, 50.0, "loss 0.124, agreement 0.91, 340 samples/s"))
    assert lines_of(view)[2:6] == [
        "  ✓ synthesize         0:30",
        "  ● distill            0:00",
        "      ━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌  50 %  1,000/2,000 steps, 0:50 left",
        "      loss 0.124, agreement 0.91, 340 samples/s",
    ]
    view.hear(progress(20, "upload checkpoint.safetensors, MB", 64, 128, 10.0))
    assert lines_of(view)[5] == "      upload checkpoint.safetensors ━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌  50 %  64/128 MB, 0:10 left"
    clock.now += 100
    view.hear({"event": "finished", "pid": 20})
    assert lines_of(view)[3] == "  ✓ distill            1:40   loss 0.124, agreement 0.91, 340 samples/s"
    view.hear(progress(99, "of a process that nobody knows", 1, 2, 1.0))
    assert len(lines_of(view)) == 7


@pytest.mark.parametrize("width", [20, 30, 40, 60, 71, 72, 99, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    view, _ = view_at_work()
    view.hear(progress(10, "synthesize, parts", 12, 32, 30.0, "x" * 300))
    view.hear(progress(10, f"upload {'y' * 300}, MB", 64, 128, 10.0))
    assert max(map(len, lines_of(view, width))) <= width
    assert any("12/32" in line for line in lines_of(view, width))


@pytest.mark.parametrize("height", [2, 3, 5, 8, 29])
def test_a_low_terminal_shows_what_is_at_work(height: int) -> None:
    stop = StopRequest()
    stop.patient = True
    view, _ = view_at_work(stop)
    shown = lines_of(view, height=height)
    assert len(shown) <= height
    assert shown[0 if height < 5 else shown.index("  ● synthesize         0:30")] == "  ● synthesize         0:30"
    view.closed = True
    assert len(lines_of(view, height=height)) == 8, "what stays on the screen is whole"


def test_a_step_whose_process_is_to_begin_is_at_work_too() -> None:
    view, clock = view_at_work()
    view.hear({"event": "finished", "pid": 10})
    view.hear({"event": "starting", "task": "distill"})
    clock.now += 5
    assert lines_of(view)[3] == "  ● distill            0:05"
    view.hear({"event": "started", "pid": 20, "task": "distill"})
    clock.now += 5
    assert lines_of(view)[3] == "  ● distill            0:10"
    view.hear({"event": "finished", "pid": 20})
    view.hear({"event": "starting", "task": "evaluate"})
    view.hear({"event": "skipped", "task": "evaluate"})
    view.hear({"event": "starting", "task": "push"})
    view.hear({"event": "starting", "task": "unheard_of"})
    view.end("stopped")
    assert [line[2] for line in lines_of(view)] == list("✓✓✓✓✓■·")


def test_what_ended_badly_is_told_from_what_was_stopped() -> None:
    stop = StopRequest()
    stop.patient = True
    view, _ = view_at_work(stop)
    assert lines_of(view)[-1] == f"  0:34  {CAN_STOP}"
    stop.on_signal(15, None)
    assert lines_of(view)[-1] == f"  0:34  {STOPPING}"
    view.hear({"event": "failed", "pid": 10, "stopped": True, "message": "m"})
    assert lines_of(view)[2] == "  ■ synthesize         0:30"
    view, _ = view_at_work()
    view.hear({"event": "failed", "pid": 10, "stopped": False, "message": "m"})
    assert lines_of(view)[2] == "  ✗ synthesize         0:30"
    view, _ = view_at_work()
    view.end("failed")
    assert lines_of(view)[2] == "  ✗ synthesize         0:30"


def test_a_terminal_of_plain_letters_is_given_no_others() -> None:
    view, _ = view_at_work(ascii_only=True)
    assert "\n".join(lines_of(view)).isascii()
    assert lines_of(view)[3] == "      =========---------------  37 %  12/32 parts, 0:50 left"


def distilling(made: Made, out: Path, steps: int, *options: str) -> list[str]:
    """A distillation that goes on until it is stopped, or until its steps are done."""
    parameters = tiny_options(distillation__steps=steps, distillation__adversary="none", distillation__selfsup_weight=0)
    return [SCRIPT, "distill", "--teacher", str(made.teacher), "--bank", str(made.bank), "--out", str(out), *parameters, *options]


def has(pattern: str) -> Callable[[list[str]], bool]:
    return lambda lines: any(re.search(pattern, line) for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "rows"), [(100, 30), (40, 12)])
def test_a_terminal_shows_one_view_and_then_the_result(made: Made, tmp_path: Path, columns: int, rows: int) -> None:
    terminal = Terminal(columns, rows)
    terminal.start(distilling(made, tmp_path / "student", 300), tmp_path)
    terminal.read_until(has(r"\d+/300 steps"))
    lines = terminal.read_to_the_end()
    assert terminal.exit_code == 0, lines
    assert lines[0].startswith("  ✓ distill"), "nothing is left above it"
    assert sum("distill " in line for line in lines) == 1, "it was drawn in one place"
    assert re.match(r" +\d+:\d\d   loss \d\.\d+", lines[0].removeprefix("  ✓ distill"))
    assert lines[1].startswith("student         ")
    assert "\x1b[?25h" in terminal.written.decode(), "the cursor is there again"
    assert terminal.written.decode().count("\x1b[?25l") == 1


@pytest.mark.slow
def test_several_processes_are_shown_as_one_step(made: Made, tmp_path: Path) -> None:
    terminal = Terminal()
    terminal.start(distilling(made, tmp_path / "student", 200, "--set", "distillation.processes=2", "--set", "device=cpu"), tmp_path)
    terminal.read_until(has(r"\d+/200 steps"))
    lines = terminal.read_to_the_end()
    assert terminal.exit_code == 0, lines
    assert re.match(r"  ✓ distill +\d+:\d\d   loss \d", lines[0])
    assert lines[1].startswith("student         ")


@pytest.mark.slow
def test_ctrl_c_ends_the_view_with_one_line(made: Made, tmp_path: Path) -> None:
    terminal = Terminal()
    terminal.start(distilling(made, tmp_path / "student", 1_000_000), tmp_path)
    terminal.read_until(has(r"/1,000,000 steps"))
    terminal.press(b"\x03")
    lines = terminal.read_to_the_end()
    assert terminal.exit_code == 130, lines
    assert lines[0].startswith("  ■ distill")
    assert re.fullmatch(r"asdfd: stopped after step \d+ of 1000000 with a checkpoint; run the same command again to go on", "".join(lines[1:]))
    assert terminal.written.count(b"press Ctrl-C again") == 0, "the view says so"
    assert steps_done(tmp_path / "student") > 0


@pytest.mark.slow
def test_what_fails_ends_the_view_with_its_one_line(made: Made, tmp_path: Path) -> None:
    terminal = Terminal(200)
    terminal.start([SCRIPT, "distill", "--teacher", str(made.teacher), "--bank", str(made.student), "--out", "student"], tmp_path)
    lines = terminal.read_to_the_end()
    assert terminal.exit_code == 2
    assert (lines[0].startswith("  ✗ distill"), len(lines)) == (True, 2)
    assert lines[1].startswith(f"asdfd: {made.student}: is a student, a bank is needed here")


@pytest.mark.slow
def test_without_colour_there_is_none(made: Made, tmp_path: Path) -> None:
    terminal = Terminal(environment={"NO_COLOR": "1"})
    terminal.start(distilling(made, tmp_path / "student", 3), tmp_path)
    assert terminal.read_to_the_end()[0].startswith("  ✓ distill")
    assert re.findall(rb"\x1b\[(?:\d+;)*(?:3\d|4\d|9\d)m", terminal.written) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dumb", "json", "pipe"])
def test_elsewhere_there_are_plain_lines(made: Made, tmp_path: Path, how: str) -> None:
    terminal = Terminal(200, environment={"TERM": "dumb"} if how == "dumb" else {})
    words = distilling(made, tmp_path / "student", 3, *(["--json"] if how == "json" else []))
    terminal.start(["bash", "-c", '"$@" | cat', "bash", *words] if how == "pipe" else words, tmp_path)
    lines = terminal.read_to_the_end()
    assert b"\x1b" not in terminal.written
    assert re.match(r"distill, steps 3/3 \(100 %\), \d:\d\d elapsed, 0:00 left, loss ", lines[0])
    if how == "json":
        assert json.loads("".join(lines[1:]))["kind"] == "student"
    else:
        assert lines[1].startswith("student         ")
