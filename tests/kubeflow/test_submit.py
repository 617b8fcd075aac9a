"""`asdfd submit` and `asdfd upload` against a real HTTP server: what arrives there, how a run's end is told, and every refusal in one line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from asdfd.kubeflow import client, runs
from asdfd.kubeflow.compiled import LOADER, read_compiled
from asdfd.kubeflow.local import TASKS
from tests.kubeflow.conftest import PLACES, TEACHER, Command, older_pipeline
from tests.patience import PATIENCE
from tests.servers.kfp_api import Server
from tests.terminal import Terminal


def one_line(err: str) -> str:
    """The one line that a command says on stderr when it fails."""
    lines = [line for line in err.splitlines() if line.startswith("asdfd: ")]
    assert lines
    assert lines[-1] == err.splitlines()[-1]
    return lines[-1]


def test_what_is_submitted_arrives(server: Server, compiled_pipeline: Path, json_of: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("distillation: {steps: 77}\n", encoding="utf-8")
    words = ["submit", "--endpoint", server.address, "--pipeline", compiled_pipeline, *PLACES, "--params", "params.yaml", "--set", "seed=5"]
    words += ["--preset", "quick", "--set", "synthesis.samples=6400", "--fresh", "--run-name", "first", "--experiment", "trials"]
    result = json_of(*words, "--cluster", "accelerator_count=1", "--cluster", "memory=8Gi", "--cluster", 'node_selector={"pool": "gpu"}')
    (run,) = server.state.runs.values()
    assert result["run_id"] == run["run_id"]
    assert result["link"] == f"{server.address}/#/runs/details/{run['run_id']}"
    assert run["runtime_config"]["parameters"] == {
        "teacher": TEACHER,
        "registry": "s3://models/asdfd",
        "data": "",
        "name": "student",
        "preset": "quick",
        "settings": {"distillation": {"steps": 77}},  # the preset has 6400 samples as well
        "seed": 5,
        "fresh": True,
        "accelerator_count": "1",
        "memory": "8Gi",
        "node_selector": {"pool": "gpu"},
    }
    assert run["display_name"] == "first"
    assert server.state.experiments[run["experiment_id"]]["display_name"] == "trials"
    version = server.state.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
    assert version["display_name"] == result["version"] == read_compiled(compiled_pipeline).version
    assert version["pipeline_spec"]["pipeline_spec"] == next(yaml.load_all(compiled_pipeline.read_text(encoding="utf-8"), LOADER))
    assert "namespace" not in run


def test_the_same_pipeline_is_uploaded_once_and_another_one_beside_it(
    server: Server, compiled_pipeline: Path, json_of: Callable[..., Any], tmp_path: Path
) -> None:
    first = json_of("upload", "--endpoint", server.address, "--pipeline", compiled_pipeline)
    assert json_of("upload", "--endpoint", server.address, "--pipeline", compiled_pipeline) == first
    other = tmp_path / "other.yaml"
    other.write_text(compiled_pipeline.read_text(encoding="utf-8").replace("Seed of everything", "The seed of everything", 1), encoding="utf-8")
    second = json_of("upload", "--endpoint", server.address, "--pipeline", other)
    assert second["pipeline_id"] == first["pipeline_id"]
    assert [entry["display_name"] for entry in server.state.versions.values()] == [first["version"], second["version"]]
    assert first["version"] != second["version"]


def test_the_order_of_a_compiled_file_and_the_compiler_s_version_make_no_other_version(compiled_pipeline: Path, tmp_path: Path) -> None:
    documents = list(yaml.load_all(compiled_pipeline.read_text(encoding="utf-8"), LOADER))
    documents[0]["sdkVersion"] = "kfp-9.9"
    same = tmp_path / "same.yaml"
    same.write_text(yaml.dump_all([dict(reversed(document.items())) for document in documents], Dumper=yaml.CSafeDumper, sort_keys=False), encoding="utf-8")
    assert read_compiled(same).version == read_compiled(compiled_pipeline).version


def test_hiccups_while_waiting_are_ridden_out(server: Server, compiled_pipeline: Path, json_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    created = type(server.state).stamp

    def stamp(state: Any) -> str:
        """From the moment that the run exists, five questions stay without an answer."""
        server.faults.dropped_reads = 5 if state.pipelines and state.experiments else 0
        return created(state)

    monkeypatch.setattr(type(server.state), "stamp", stamp)
    assert json_of("submit", "--endpoint", server.address, "--pipeline", compiled_pipeline, *PLACES, "--wait")["outcome"] == "succeeded"
    assert sum("GET /apis/v2beta1/runs/" in request for request in server.state.requests) == 5 + 3


def test_a_server_that_stays_away_ends_the_wait_but_not_the_run(
    server: Server, compiled_pipeline: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "PATIENCE", 3)
    server.faults.crash_at, server.faults.crash_when = 5, "before"
    server.state.run_states = ("RUNNING",)
    created = type(server.state).stamp

    def stamp(state: Any) -> str:
        server.faults.dropped_reads = 99 if state.experiments else 0
        return created(state)

    monkeypatch.setattr(type(server.state), "stamp", stamp)
    code, _, err = command("submit", "--endpoint", server.address, "--pipeline", compiled_pipeline, *PLACES, "--wait")
    assert code == 2
    assert "stopped waiting, the run goes on: " in one_line(err)
    assert "the connection broke" in one_line(err)


def test_the_longest_time_to_wait(server: Server, compiled_pipeline: Path, command: Command) -> None:
    server.state.run_states = ("RUNNING",)
    code, _, err = command("submit", "--endpoint", server.address, "--pipeline", compiled_pipeline, *PLACES, "--wait", "--timeout", 0)
    assert code == 1
    assert "still RUNNING after 0 s; it goes on in the cluster" in one_line(err)


def test_sigterm_ends_the_wait_and_says_that_the_run_goes_on(server: Server, compiled_pipeline: Path) -> None:
    server.state.run_states = ("RUNNING",)
    words = ["submit", "--endpoint", server.address, "--pipeline", str(compiled_pipeline), *PLACES, "--wait"]
    with subprocess.Popen([sys.executable, "-m", "asdfd.cli", *words], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(2)]
        os.kill(process.pid, signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(PATIENCE) == 143, [*lines, rest]
    (run_id,) = server.state.runs
    assert lines[1] == "asdfd: RUNNING\n"
    assert rest == f"asdfd: stopped waiting; run {run_id} goes on in the cluster, `asdfd status` shows it\n"


def test_a_terminal_shows_the_tasks_and_ctrl_c_ends_the_wait_alone(server: Server, compiled_pipeline: Path, tmp_path: Path) -> None:
    server.state.run_states = ("RUNNING",)
    words = [sys.executable, "-m", "asdfd.cli", "submit", "--endpoint", server.address, "--pipeline", str(compiled_pipeline), *PLACES, "--wait"]
    terminal = Terminal(120)
    terminal.start(words, tmp_path)
    terminal.read_until(lambda lines: any("RUNNING; Ctrl-C stops waiting, the run goes on" in line for line in lines))
    terminal.press(b"\x03")
    lines = terminal.read_to_the_end()
    (run_id,) = server.state.runs
    assert terminal.exit_code == 130, lines
    assert "".join(lines[:2]).startswith(f"asdfd: run {run_id} was submitted: http://")
    assert [line for line in lines if line.startswith("  · ")] == [f"  · {task}" for task in TASKS]
    assert lines[-1] == f"asdfd: stopped waiting; run {run_id} goes on in the cluster, `asdfd status` shows it"


def closed_address() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


VERBS = (["submit", *PLACES], ["upload"], ["schedule", "diff"], ["schedule", "apply"], ["status"], ["doctor"])


@pytest.mark.parametrize("words", VERBS, ids=lambda words: " ".join(words[:2]) if words[0] == "schedule" else words[0])
@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("unreachable", "cannot be reached (connection refused); is it running?"),
        ("slow", "no answer within 0.2 s; is it running?"),
        ("401", "the server refuses these credentials (401); name a token's file in KF_PIPELINES_TOKEN_PATH"),
        ("500", "the server failed (500: this server was asked to fail); see kubectl"),
        ("login page", "what answers there is not the API of Kubeflow Pipelines"),
    ],
)
def test_every_refusal_is_one_line(
    words: list[str], fault: str, line: str, server: Server, compiled_pipeline: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = server.address
    match fault:
        case "unreachable":
            address = closed_address()
        case "slow":
            monkeypatch.setattr(client, "ANSWER_SECONDS", 0.2)  # the server never answers, so no machine is too fast or too slow for this
            server.faults.stalled = True
        case "401":
            server.faults.token = "another"
        case "500":
            server.faults.status = 500
        case _:
            server.faults.page = "<html>sign in</html>"
    (tmp_path / "schedules.yaml").write_text("owner: tests\n", encoding="utf-8")
    extra = {"submit": ["--pipeline", compiled_pipeline], "upload": ["--pipeline", compiled_pipeline], "schedule": ["--schedules", "schedules.yaml"]}
    code, out, err = command(*words, "--endpoint", address, *extra.get(words[0], []))
    assert code == 2
    if words[0] == "doctor":
        (shown,) = [text for text in out.splitlines() if text.startswith("Kubeflow")]
        assert f"{'failing':<16}{address}: {line}" in shown
        assert err == ""
    else:
        assert err.startswith(f"asdfd: {address}: {line}")
        assert err.count("\n") == 1
    assert (server.state.runs, server.state.pipelines) == ({}, {})


def test_a_token_is_read_from_its_file_for_every_request(
    server: Server, compiled_pipeline: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    monkeypatch.setenv("KF_PIPELINES_TOKEN_PATH", str(file))
    words = ["upload", "--endpoint", server.address, "--pipeline", compiled_pipeline]
    server.faults.token = "secret-1"
    code, _, err = command(*words)
    assert (code, err) == (2, f"asdfd: {file}: the token for Kubeflow Pipelines cannot be read; name its file in KF_PIPELINES_TOKEN_PATH\n")
    file.write_text("secret-0\n", encoding="utf-8")
    code, out, err = command(*words)
    assert code == 2
    assert err == f"asdfd: {server.address}: the server refuses these credentials (401); the token in {file} is not accepted\n"
    file.write_text("secret-1\n", encoding="utf-8")
    assert command(*words)[0] == 0
    kubeflow = client.connect(server.address)
    server.faults.token = "secret-2"
    file.write_text("secret-2\n", encoding="utf-8")
    assert runs.find_pipeline(kubeflow, "compress") is not None
    assert "secret" not in out + err


def test_a_server_of_many_users_wants_a_namespace(
    server: Server, compiled_pipeline: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.state.multi_user = True
    monkeypatch.setattr(client, "NAMESPACE_FILE", tmp_path / "namespace")
    words = ["submit", "--endpoint", server.address, "--pipeline", compiled_pipeline, *PLACES]
    code, _, err = command(*words)
    assert (code, err) == (2, "asdfd: this Kubeflow Pipelines server has many users: name yours with --namespace\n")
    assert command(*words, "--namespace", "team-a")[0] == 0
    (tmp_path / "namespace").write_text("team-b", encoding="utf-8")
    assert command(*words)[0] == 0
    assert [entry["namespace"] for entry in server.state.experiments.values()] == ["team-a", "team-b"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "no Kubeflow Pipelines server is named: give --endpoint or set KF_PIPELINES_ENDPOINT, for example http://localhost:8888"),
        (["--endpoint", "localhost:8888"], "localhost:8888: is not an address of a Kubeflow Pipelines server; write it as http://HOST:PORT or https://HOST"),
        (["--endpoint", "http://me:word@host"], "KF_PIPELINES_ENDPOINT or --endpoint: an address must not hold a password"),
        (["--endpoint", "me:word@host"], "KF_PIPELINES_ENDPOINT or --endpoint: an address must not hold a password"),
        (["--pipeline", "missing.yaml"], "missing.yaml: the compiled pipeline cannot be read (No such file or directory); write it with `asdfd compile`"),
        (["--cluster", "accelerator_count"], "--cluster accelerator_count: write it as NAME=VALUE"),
        (["--cluster", "seed=1"], "--cluster seed=1: seed does not say where tasks run; choose among accelerator_type, accelerator_count, node_selector, "),
        (["--cluster", "memory=much"], "submit: memory: a size as Kubernetes writes it is needed, such as 2, 500m or 4Gi, got 'much'"),
        (["--cluster", "node_selector=gpu"], "submit: node_selector: input should be a valid dictionary, got 'gpu'"),
        (["--teacher", "/mnt/models/mine"], "teacher.reference: '/mnt/models/mine' is a folder or file of this machine"),
        (
            ["--set", "synthesis.prior_text=a.txt"],
            "synthesis.prior_text: 'a.txt' is a folder or file of this machine, which a pod does not have; it is read on one",
        ),
        (["--set", "seed=9007199254740993"], "seed: 9007199254740993 is above 2^53, and Kubeflow would round it; take a smaller one"),
        (["--set", "registry.location=registry"], "registry.location: 'registry' is a folder or file of this machine, which a pod does not have; name s3://"),
        (["--teacher", "models/mine"], "teacher.reference: 'models/mine' is a folder or file of this machine"),
        (["--teacher", ""], "teacher.reference: is empty"),
        (["--data", "test.csv"], "evaluation.data: 'test.csv' is a folder or file of this machine"),
        (["--set", "distillation.step=1"], "--set distillation.step=1: distillation.step is not a parameter; did you mean distillation.steps? "),
    ],
)
def test_wrong_input_is_one_line_before_anything_is_asked(words: list[str], line: str, compiled_pipeline: Path, command: Command) -> None:
    code, out, err = command("submit", "--pipeline", compiled_pipeline, *PLACES, *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"asdfd: {line}")
    assert err.count("\n") == 1


def test_a_parameter_that_the_compiled_pipeline_lacks_is_told_before_the_upload(
    server: Server, compiled_pipeline: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "older.yaml").write_text(older_pipeline(compiled_pipeline, "seed"), encoding="utf-8")
    code, _, err = command("submit", "--endpoint", server.address, "--pipeline", "older.yaml", *PLACES, "--set", "seed=3")
    assert code == 2
    assert err.startswith("asdfd: older.yaml: the pipeline has no parameter seed; ")
    (tmp_path / "none.yaml").write_text("a: 1\n", encoding="utf-8")
    code, _, err = command("upload", "--endpoint", server.address, "--pipeline", "none.yaml")
    assert (code, err) == (2, "asdfd: none.yaml: is not a compiled pipeline; write one with `asdfd compile`\n")
    assert server.state.pipelines == {}
