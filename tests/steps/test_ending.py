"""How a run ended, told from the notes that real tasks leave beside a registry: each task here is a process of its own, as in a pod."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asdfd import steps
from asdfd.base.config import Registry, Run
from asdfd.base.telemetry import RUN_FOLDER
from asdfd.steps import ending
from asdfd.steps.ending import OUTSIDE, PIPELINE_RUN, Ending, ending_in, ending_of, read_notes
from asdfd.storage.objects import open_objects
from tests.patience import PATIENCE

KUBEFLOW_SAYS = {"well": "COMPLETE", "badly": "RUNNING"}
"""What Kubeflow hands the exit task of a run that went well, or badly."""
TASK = """
import sys, time, os, signal
from pathlib import Path
from asdfd.base.errors import InputError, RefusedError
from asdfd.steps.task import task
with task({name!r}, sys.argv[1]) as stop:
    {body}
"""


def task_in_a_pod(location: str, body: str, *, name: str = "distill", stderr: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """A task of the run run-1 that does `body`."""
    environment = {key: value for key, value in os.environ.items() if key != RUN_FOLDER} | {PIPELINE_RUN: "run-1"}
    words = [sys.executable, "-c", TASK.format(name=name, body=body), location]
    return subprocess.Popen(words, env=environment, stderr=stderr, text=True)


def ended(location: str, body: str, *, name: str = "distill") -> int:
    """The exit code of such a task."""
    return task_in_a_pod(location, body, name=name).wait(PATIENCE)


def told(location: str, how: str = "badly") -> Ending:
    """What the exit task finds out."""
    return ending_of(read_notes(location, "run-1"), KUBEFLOW_SAYS[how])


def test_the_first_task_that_failed_with_its_line(location: str) -> None:
    assert ended(location, "pass", name="plan") == 0
    assert ended(location, "raise InputError('s3://a: holds no file of a model')", name="fetch_teacher") == 2
    assert ended(location, "1 / 0", name="synthesize") == 1
    assert told(location) == Ending("failed", "fetch-teacher", "s3://a: holds no file of a model", 2)
    assert sorted(read_notes(location, "run-1")) == ["failed-fetch_teacher", "failed-synthesize"]
    assert read_notes(location, "run-2") == {}, "another run has nothing to do with it"


def test_a_defect_is_told_by_its_last_line(location: str) -> None:
    assert ended(location, "1 / 0") == 1
    assert told(location) == Ending("failed", "distill", "ZeroDivisionError: division by zero", 1)


def test_a_task_that_was_tried_again_and_went_well_did_not_fail(location: str) -> None:
    assert ended(location, "os.kill(os.getpid(), signal.SIGTERM)") == 143
    assert told(location).outcome == "terminated"
    assert ended(location, "pass") == 0
    assert read_notes(location, "run-1") == {}


def test_a_task_that_got_sigterm_makes_the_run_terminated(location: str) -> None:
    process = task_in_a_pod(location, "time.sleep(600)")
    wait_for_note(location, "running-distill")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 143
    assert told(location) == Ending("terminated", "distill", "stopped in the middle of distill; run the same command again to go on", 143)


def test_a_task_that_is_killed_a_moment_after_sigterm_was_terminated_and_did_not_fail(location: str) -> None:
    """It is patient, and its next step never ends; the word is left before that."""
    process = task_in_a_pod(location, "stop.patient = True; time.sleep(600)")
    wait_for_note(location, "running-distill")
    process.send_signal(signal.SIGTERM)
    wait_for_note(location, "failed-distill")
    process.kill()
    process.wait()
    assert told(location) == Ending("terminated", "distill", "stopped in the middle of distill", 143)


def test_a_task_that_finished_after_all_did_not_fail(location: str) -> None:
    assert ended(location, "stop.patient = True; os.kill(os.getpid(), signal.SIGTERM)") == 0
    assert read_notes(location, "run-1") == {}


def test_a_task_that_was_killed_is_named(location: str) -> None:
    process = task_in_a_pod(location, "time.sleep(600)", name="synthesize")
    wait_for_note(location, "running-synthesize")
    process.kill()
    process.wait()
    assert told(location) == Ending("failed", "synthesize", OUTSIDE, 1)


def wait_for_note(location: str, name: str) -> None:
    """Wait until the task says that it runs."""
    deadline = time.monotonic() + PATIENCE
    while name not in read_notes(location, "run-1"):
        assert time.monotonic() < deadline, f"no note {name}"
        time.sleep(0.02)


def test_a_rejection_is_neither_a_success_nor_a_failure(location: str) -> None:
    body = "from asdfd.steps.ending import leave; leave(sys.argv[1], 'rejected', {'line': 'largest_drop: 0.3 is above 0.02'})"
    assert ended(location, body, name="gate") == 0
    assert told(location, "well") == Ending("rejected", "push", "largest_drop: 0.3 is above 0.02", 3)


def test_a_push_that_the_gate_refuses_is_a_rejection_and_an_unsafe_teacher_a_failure(location: str) -> None:
    assert ended(location, "raise RefusedError('is not moved to staging: worse than the champion')", name="push") == 3
    assert told(location) == Ending("rejected", "push", "is not moved to staging: worse than the champion", 3)
    assert ended(location, "raise RefusedError('is a pickle')", name="fetch_teacher") == 3
    assert ended(location, "pass", name="push") == 0
    assert told(location) == Ending("failed", "fetch-teacher", "is a pickle", 3)


def test_without_notes_kubeflow_s_word_has_to_do() -> None:
    assert [ending_of({}, state).outcome for state in ("COMPLETE", "SUCCEEDED", "RUNNING", "FAILED", "CANCELED", "")] == [
        "succeeded",
        "succeeded",
        "failed",
        "failed",
        "terminated",
        "failed",
    ]


@pytest.mark.parametrize(("name", "tries"), [("plan", ""), ("fetch_teacher", ""), ("distill", "14"), ("push", "14")])
def test_the_late_tasks_of_a_run_are_patient_with_the_object_store(name: str, tries: str, tmp_path: Path) -> None:
    assert ended(str(tmp_path / "registry"), f"assert os.environ.get('S3_TRIES', '') == {tries!r}", name=name) == 0


def test_a_place_that_cannot_be_written_changes_nothing_of_how_a_task_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    process = task_in_a_pod(str(tmp_path / "file" / "registry"), "raise InputError('the real one')", stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (2, "asdfd: the real one\n")


def test_a_note_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The place hangs for ever; nothing but the patience is made shorter."""
    os.mkfifo(tmp_path / "registry")
    monkeypatch.setattr(ending, "PATIENCE", 0.1)
    ending.within(ending.PATIENCE, lambda: (tmp_path / "registry").read_bytes())


def test_the_exit_task_writes_pushes_and_says_it(location: str, tmp_path: Path) -> None:
    ended(location, "raise InputError('wrong')", name="fetch_teacher")
    run = Run(registry=Registry(location=location, name="desk"))
    found = steps.report_status(run, "run-1", "RUNNING", tmp_path / "status.json")
    document = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
    assert (document["outcome"], document["task"], document["line"], document["pipeline_run"]) == ("failed", "fetch-teacher", "wrong", "run-1")
    assert document["registry"]["name"] == "desk"
    assert found.markdown() == "**Failed** in `fetch-teacher`\n\nwrong\n"
    marked = Ending("rejected", "push", "a_b is *0.5*, <b>`the`</b>\n limit is [1](x)")
    assert marked.markdown() == "**Rejected**\n\na\\_b is \\*0.5\\*, \\<b\\>\\`the\\`\\</b\\> limit is \\[1\\](x)\n"
    assert ending_in(f"noise\n{found.log_line()}\nmore noise\n") == found
    assert ending_in("noise\nasdfd-ending {\n") is None


def test_a_registry_that_cannot_be_read_is_told_beside_kubeflow_s_word(tmp_path: Path) -> None:
    run = Run(registry=Registry(location="s3://"))
    found = steps.report_status(run, "run-1", "RUNNING", tmp_path / "status.json")
    assert found.outcome == "failed"
    assert found.line.endswith("what its tasks left cannot be read: s3://: names no bucket; write s3://bucket/prefix")


def test_what_push_registered_is_the_ending_whatever_was_left_before(location: str) -> None:
    store = open_objects(location)
    note = {"name": "desk", "version": "0" * 16, "stage": "staging", "location": location, "previous": None}
    store.create("runs/run-1/registered.json", json.dumps(note).encode())
    store.create("runs/run-1/running-merge.json", b'{"task": "merge"}')
    assert told(location, "well") == Ending("succeeded", "push", f"desk {'0' * 16} holds staging in {location}", 0, "0" * 16)
