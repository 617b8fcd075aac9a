"""How a run's end is told to whoever waits or asks for the status: in the pod's own words, over real HTTP, whatever there is to read them from."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asdfd.kubeflow import runs
from asdfd.steps.ending import OUTSIDE, SILENT, Ending
from asdfd.storage.objects import open_objects
from tests.kubeflow.conftest import PLACES, TEACHER, Command
from tests.patience import PATIENCE
from tests.servers.ceph import Ceph
from tests.servers.kfp_api import Pod, Server

LINE = "s3://models/teacher: holds no file of a model; name the prefix that the model's config.json lies in"
ENDINGS = {
    "succeeded": (Ending("succeeded", "push", "student 0123 holds staging in s3://models/asdfd", 0, "0123"), "SUCCEEDED", 0),
    "rejected": (Ending("rejected", "push", "largest_drop: 0.31 is above 0.02", 3), "SUCCEEDED", 3),
    "wrong input": (Ending("failed", "fetch-teacher", LINE, 2), "FAILED", 2),
    "unsafe teacher": (Ending("failed", "fetch-teacher", "model.bin: is a pickle", 3), "FAILED", 3),
    "defect": (Ending("failed", "distill", "ZeroDivisionError: division by zero", 1), "FAILED", 1),
    "terminated": (Ending("terminated", "distill", "stopped after step 7 of 9 with a checkpoint", 143), "CANCELED", 1),
}
WORDS = {
    "rejected": "rejected: largest_drop: 0.31 is above 0.02",
    "wrong input": f"failed in fetch-teacher: {LINE}",
    "unsafe teacher": "failed in fetch-teacher: model.bin: is a pickle",
    "defect": "failed in distill: ZeroDivisionError: division by zero",
    "terminated": "terminated: stopped after step 7 of 9 with a checkpoint",
}
Submit = Callable[..., tuple[int, str, str]]


@pytest.fixture
def submit(server: Server, compiled_pipeline: Path, command: Command) -> Submit:
    """Submit a run and wait for its end."""

    def run(*words: str) -> tuple[int, str, str]:
        return command("submit", "--endpoint", server.address, "--pipeline", compiled_pipeline, *PLACES, *words, "--wait")

    return run


def last_line(err: str) -> str:
    """What a command says at its end."""
    return err.splitlines()[-1]


@pytest.mark.parametrize("packed", [False, True], ids=["small", "packed"])
@pytest.mark.parametrize("kind", ENDINGS)
def test_submit_and_status_say_what_the_exit_task_found_out(kind: str, packed: bool, server: Server, submit: Submit, json_of: Callable[..., Any]) -> None:
    told, state, code = ENDINGS[kind]
    server.state.run_states, server.state.packed = ("PENDING", "RUNNING", state), packed
    server.state.pods = (Pod("plan"), Pod("fetch-teacher", log="asdfd: not asked for"), Pod("report-status", log=f"noise\n{told.log_line()}\nnoise\n"))
    found, out, err = submit()
    (run_id,) = server.state.runs
    assert found == code, err
    if code:
        assert (out, last_line(err)) == ("", f"asdfd: run {run_id}: {WORDS[kind]}")
    else:
        assert out.splitlines()[-1] == "registered      student 0123 holds staging in s3://models/asdfd"
    (row,) = json_of("status", "--endpoint", server.address)["runs"]
    assert (row["state"], row["ending"]) == (state, told.document())


def test_status_shows_the_line_to_people(server: Server, submit: Submit, command: Command) -> None:
    server.state.run_states = ("FAILED",)
    server.state.pods = (Pod("report-status", log=ENDINGS["wrong input"][0].log_line()),)
    submit()
    server.state.run_states = ("RUNNING",)
    code, out, _ = command("status", "--endpoint", server.address)
    assert code == 0
    assert f"failed in fetch-teacher: {LINE}" in " ".join(out.split())


def test_a_log_that_outlived_its_pod_is_read_from_the_archive(server: Server, submit: Submit) -> None:
    server.state.run_states = ("FAILED",)
    server.state.pods = (Pod("report-status", log=ENDINGS["wrong input"][0].log_line(), kept="archive"),)
    code, _, err = submit()
    assert (code, last_line(err).partition(": ")[2].partition(": ")[2]) == (2, WORDS["wrong input"])


def test_without_an_exit_task_the_notes_beside_the_registry_tell(
    server: Server, compiled_pipeline: Path, command: Command, ceph: Ceph, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ceph.environment().items():
        monkeypatch.setenv(name, value)
    location = f"s3://{ceph.bucket()}/asdfd"
    server.state.run_states = ("FAILED",)
    words = ["--endpoint", server.address, "--pipeline", compiled_pipeline, "--teacher", TEACHER, "--set", f"registry.location={location}"]
    assert command("submit", *words)[0] == 0
    (run_id,) = server.state.runs
    note = {"task": "fetch-teacher", "line": LINE, "exit_code": 2, "stopped": False, "time": 1.0}
    open_objects(location).create(f"runs/{run_id}/failed-fetch_teacher.json", json.dumps(note).encode())
    command("submit", *words, "--wait")  # asks for its own run alone
    _, out, _ = command("status", "--endpoint", server.address, "--json")
    server.state.runs[run_id]["state"] = "FAILED"
    _, out, _ = command("status", "--endpoint", server.address, "--json")
    assert {row["run_id"]: row["ending"] for row in json.loads(out)["runs"]}[run_id] == ENDINGS["wrong input"][0].document()


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        (Pod("fetch-teacher", "Failed", "Error (exit code 2)", log=f"loading\nasdfd: {LINE}\n"), f"failed in fetch-teacher: {LINE}"),
        (Pod("fetch-teacher", "Failed", "Error (exit code 2)", log=f"asdfd: {LINE}\n", kept="archive"), f"failed in fetch-teacher: {LINE}"),
        (
            Pod("distill", "Failed", "OOMKilled (exit code 137)", log="step 7\n"),
            "failed in distill: was killed for want of memory (OOMKilled (exit code 137)); give tasks more with the field memory",
        ),
        (Pod("distill", "Error", "pod deleted", kept="nowhere"), "failed in distill: pod deleted"),
    ],
)
def test_without_any_word_of_ours_the_pod_that_failed_is_asked(failed: Pod, words: str, server: Server, submit: Submit) -> None:
    """As where no task can reach the object store, or the exit task could not start."""
    server.state.run_states = ("RUNNING", "FAILED")
    server.state.pods = (Pod("plan"), failed, Pod("report-status", "Failed", "ImagePullBackOff", kept="nowhere"))
    code, _, err = submit()
    (run_id,) = server.state.runs
    assert (code, last_line(err)) == (1, f"asdfd: run {run_id}: {words}")


@pytest.mark.parametrize(("state", "code", "word"), [("FAILED", 1, "failed"), ("CANCELED", 1, "terminated"), ("SKIPPED", 1, "failed"), ("SUCCEEDED", 0, "")])
def test_where_nothing_else_is_known_kubeflow_s_word_has_to_do(state: str, code: int, word: str, server: Server, submit: Submit) -> None:
    server.state.run_states = ("RUNNING", state)
    found, _, err = submit()
    assert found == code
    if code:
        (run_id,) = server.state.runs
        assert last_line(err) == f"asdfd: run {run_id}: {word}"


def test_a_run_that_was_terminated_is_so_whatever_its_tasks_made_of_it(server: Server, submit: Submit) -> None:
    server.state.run_states = ("CANCELING", "CANCELED")
    server.state.pods = (Pod("report-status", log=Ending("failed", "distill", "was ended from outside", 1).log_line()),)
    code, _, err = submit()
    assert (code, last_line(err).rpartition(": ")[2]) == (1, "terminated")


def test_whoever_waits_for_a_run_pushes_that_it_was_terminated(server: Server, submit: Submit, pushgateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit task may have been ended with it."""
    monkeypatch.setenv("PUSHGATEWAY_URL", pushgateway)
    server.state.run_states = ("RUNNING", "CANCELED")
    server.state.pods = (Pod("distill", "Failed", "Error (exit code 143)"), Pod("report-status", "Failed", "Step exceeded its deadline", kept="nowhere"))
    assert submit("--set", "registry.name=desk")[0] == 1
    (run_id,) = server.state.runs
    with urllib.request.urlopen(f"{pushgateway}/metrics", timeout=PATIENCE) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith(("asdfd_run_info{", "asdfd_run_success{"))]
    (line,) = lines
    for label in ('model="desk"', 'outcome="terminated"', f'run_id="{run_id}"', 'task="run"'):
        assert label in line


def test_what_a_run_waits_for_is_told_while_it_waits(server: Server, compiled_pipeline: Path, submit: Submit, command: Command) -> None:
    """A pod that no node has room for, or that a quota forbids, stays Pending: Kubeflow fails no run over it."""
    quota = 'pods "compress-x" is forbidden: exceeded quota: asdfd, requested: requests.nvidia.com/gpu=1, used: 0, limited: 0'
    server.state.run_states = (*["RUNNING"] * 2 * runs.LOOK_EVERY, "FAILED")
    server.state.pods = (Pod("plan"), Pod("synthesize", "Pending", quota), Pod("distill", "Pending", "PodInitializing"))
    _, _, err = submit()
    assert err.count("asdfd: RUNNING, waiting in") == 1, "told once, not at each look"
    assert f"asdfd: RUNNING, waiting in synthesize: {quota}\n" in err
    server.state.run_states = ("RUNNING",)
    command("submit", "--endpoint", server.address, "--pipeline", compiled_pipeline, *PLACES)
    _, out, _ = command("status", "--endpoint", server.address)
    assert f"waiting in synthesize: {quota}" in " ".join(out.split())
    server.state.pods = (Pod("plan"),)
    _, out, _ = command("status", "--endpoint", server.address)
    assert "waiting" not in out


@pytest.mark.parametrize("line", [OUTSIDE, SILENT])
def test_what_the_exit_task_cannot_know_is_asked_of_the_pods(line: str, server: Server, submit: Submit) -> None:
    """A process that the kernel kills leaves no word, and Kubeflow's exit task sees no pod."""
    told = Ending("failed", "synthesize", line, 1)
    server.state.run_states = ("FAILED",)
    exit_task = Pod("report-status", log=told.log_line())
    server.state.pods = (Pod("plan"), Pod("synthesize", "Error", "OOMKilled (exit code 137)", log="asdfd: part 1 of 4"), exit_task)
    code, _, err = submit()
    assert code == 1
    assert "failed in synthesize: was killed for want of memory (OOMKilled (exit code 137)); give tasks more with the field memory" in last_line(err)
    server.state.pods = (Pod("plan"), exit_task)
    assert line in last_line(submit()[2])
