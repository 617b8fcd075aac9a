"""What `asdfd run` makes of what its tasks print: events are shown and kept, the rest is logged, signals are passed on."""

from __future__ import annotations

import builtins
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from asdfd.base.errors import AsdfdError, InputError, RefusedError, StoppedError, traceback_of
from asdfd.base.interruption import StopRequest
from asdfd.base.telemetry import EVENT, RUN_FOLDER, Lines, Progress
from asdfd.kubeflow.compiled import LOADER
from asdfd.kubeflow.local import TASKS, failed, printed_to
from asdfd.kubeflow.relay import Relay
from asdfd.steps.ending import Ending, ending_of, read_notes
from asdfd.steps.task import place, task
from tests.patience import PATIENCE


def event(kind: str, pid: int = 1, **content: object) -> str:
    """A line with an event, indented as Kubeflow's runner prints it."""
    return f"    {EVENT}{json.dumps({'event': kind, 'pid': pid, **content})}\n"


def relay_of(stop: StopRequest | None = None) -> tuple[Relay, io.StringIO]:
    """A relay and its log."""
    log = io.StringIO()
    return Relay(log, stop or StopRequest(), Lines().hear), log


def test_events_are_shown_and_everything_else_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    relay, log = relay_of()
    relay.write(event("started", task="distill"))
    assert relay.running == ["distill"]
    relay.write("noise of a lib")
    relay.write("rary" + event("progress", title="distill, steps", total=4, first=0, done=4, elapsed=2.0, note="loss 1.000"))
    relay.write(event("told", line="a.csv: 3 rows") * 2)
    relay.write(event("finished"))
    relay.write("Task fetch-teacher cache hit (key=abc); skipping execution.\n")
    shown = capsys.readouterr().err.splitlines()
    assert shown[0].startswith("distill, steps 4/4 (100 %)")
    assert shown[0].endswith("loss 1.000")
    assert shown[1:] == ["asdfd: a.csv: 3 rows", "distill         0:00", "fetch_teacher   finished before"]
    assert log.getvalue() == "noise of a library    \nTask fetch-teacher cache hit (key=abc); skipping execution.\n"
    assert relay.running == []


def test_the_tasks_are_named_in_the_order_of_the_pipeline() -> None:
    """As each one needs what another made."""
    specification = next(yaml.load_all((Path(__file__).resolve().parents[2] / "pipelines" / "compress.yaml").read_text(encoding="utf-8"), LOADER))
    dags = [specification["root"]["dag"], *(component["dag"] for component in specification["components"].values() if "dag" in component)]
    needs = {name.replace("-", "_"): set(task.get("dependentTasks", ())) for dag in dags for name, task in dag["tasks"].items()}
    assert set(TASKS) == {name for name in needs if f"exec_{name}" in {each.replace("-", "_") for each in specification["deploymentSpec"]["executors"]}}
    for number, name in enumerate(TASKS[:-1]):
        assert needs[name] & {later.replace("_", "-") for later in TASKS[number:]} == set(), name


def test_a_task_whose_process_is_to_begin_is_told_of() -> None:
    events: list[dict[str, object]] = []
    relay = Relay(io.StringIO(), StopRequest(), lambda event: events.append(dict(event)))
    relay.write("01:59:35.292 - INFO - Executing task \x1b[96m'fetch-teacher'\x1b[0m\nTask distill cache hit (key=abc)\n")
    assert events == [{"event": "starting", "task": "fetch_teacher"}, {"event": "skipped", "task": "distill"}]


def test_lines_of_two_threads_are_not_mixed(capsys: pytest.CaptureFixture[str]) -> None:
    relay, _ = relay_of()
    relay.write(event("started", pid=1, task="a"))
    half, whole = event("finished", pid=1)[:20], event("finished", pid=1)[20:]
    relay.write(half)
    other = threading.Thread(target=lambda: relay.write(event("started", pid=2, task="b") + event("finished", pid=2)))
    other.start()
    other.join()
    relay.write(whole)
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["b", "a"]


def test_a_stop_is_passed_on_to_running_tasks_and_to_those_that_begin_later_but_not_to_the_report() -> None:
    """With processes that only wait."""
    stop = StopRequest()
    stop.patient = True
    relay, _ = relay_of(stop)
    stop.listeners.append(relay.pass_on)
    names = ("distill", "report_status", "synthesize")
    processes = {name: subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for name in names}
    try:
        for name in names[:2]:
            relay.write(event("started", processes[name].pid, task=name))
        stop.on_signal(signal.SIGTERM, None)
        assert processes["distill"].wait(PATIENCE) == -signal.SIGTERM
        relay.write(event("started", processes["synthesize"].pid, task="synthesize"))
        assert processes["synthesize"].wait(PATIENCE) == -signal.SIGTERM
        assert processes["report_status"].poll() is None
        relay.pass_on()  # the first one has gone, which is no error
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def test_the_first_failure_is_the_error_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error_of(stopping: bool, *lines: str) -> Exception:
        stop = StopRequest()
        stop.signal = signal.SIGTERM if stopping else None
        relay, _ = relay_of(stop)
        relay.write("".join(lines))
        return failed(relay, stop, tmp_path)

    def failure(exit_code: int, *, stopped: bool = False, defect: str = "") -> str:
        return event("failed", task="fetch", message=f"message {exit_code}", exit_code=exit_code, stopped=stopped, defect=defect)

    for code, kind in ((2, InputError), (3, RefusedError)):
        error = error_of(False, failure(code), failure(143, stopped=True))
        assert (type(error), str(error)) == (kind, f"message {code}")
    assert isinstance(error_of(True, failure(143, stopped=True)), StoppedError)
    assert isinstance(error_of(True), StoppedError)
    assert type(error_of(True, failure(2))) is InputError
    capsys.readouterr()
    defect = error_of(False, failure(1, defect="Traceback of the task"))
    assert (type(defect), str(defect)) == (RuntimeError, "fetch: message 1")
    assert traceback_of(defect) == "Traceback of the task"
    assert capsys.readouterr().err == "", "it is shown by whoever ends, once"
    killed = error_of(False, event("started", pid=os.getpid(), task="distill"))
    assert type(killed) is AsdfdError
    assert str(killed).startswith("distill: was ended from outside (out of memory, perhaps); see ")


def test_printing_is_as_before_afterwards() -> None:
    before = builtins.print
    relay, log = relay_of()
    with printed_to(relay):
        builtins.print = repr
        sys.stdout.write("x\n")
    assert builtins.print is before
    assert log.getvalue() == "x\n"


TASK = """
import sys
from asdfd.base.errors import InputError
from asdfd.steps.task import task
with task("fetch_teacher", patient=True) as stop:
    {body}
"""


@pytest.mark.parametrize(
    ("body", "exit_code", "last_line"),
    [
        ("raise InputError('no such folder')", 2, "asdfd: no such folder"),
        ("open('/not/there')", 2, "asdfd: /not/there: No such file or directory; check it and run the same command again"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGTERM)",
            143,
            "asdfd: stopped in the middle of fetch_teacher; ",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM); sys.exit(0 if stop() else 9)", 0, ""),
    ],
)
def test_a_task_in_a_pod_ends_with_one_line_and_an_exit_code(body: str, exit_code: int, last_line: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != RUN_FOLDER}
    done = subprocess.run([sys.executable, "-c", TASK.format(body=body)], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert EVENT not in done.stderr
    assert done.stderr.count("Traceback") == (exit_code == 1)
    assert (done.stderr.splitlines() or [""])[-1].startswith(last_line)


def test_below_asdfd_run_a_task_tells_events_and_leaves_its_failure_for_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing_step() -> None:
        with task("distill", "no registry"):
            Progress("distill, steps", 2).show(2, "note")
            raise InputError("wrong")

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setenv(RUN_FOLDER, str(tmp_path))
    try:
        with pytest.raises(SystemExit) as leaving:
            failing_step()
    finally:
        signal.signal(signal.SIGINT, before)
    assert leaving.value.code == 2
    events = [json.loads(line.partition(EVENT)[2]) for line in capsys.readouterr().err.split("\n") if EVENT in line]
    assert [each["event"] for each in events] == ["started", "progress", "failed"]
    assert {each["pid"] for each in events} == {os.getpid()}
    assert ending_of(read_notes("no registry", "run-1"), "RUNNING") == Ending("failed", "distill", "wrong", 2)

    class Made:
        def __init__(self) -> None:
            self.uri = self.path = "/somewhere"
            self.metadata: dict[str, object] = {}

    artifact = Made()
    assert place(artifact, "student") == tmp_path / "student"
    assert artifact.uri == str(tmp_path / "student")
    monkeypatch.delenv(RUN_FOLDER)
    assert place(Made(), "student") == Path("/somewhere")
