"""`asdfd run`: the whole pipeline through Kubeflow's own runner, a process for each task.

Starting Python for every task is what takes the time here, so there is one run for all tests, which is stopped once and goes on. A test that does more in its
folder gets it as the run left it and finds what is finished, which is what these tests show, too.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asdfd import steps
from asdfd.base import artifacts
from asdfd.base.interruption import stop_requests
from asdfd.base.loading import load_run
from asdfd.base.telemetry import read_records
from asdfd.cli.main import main
from asdfd.kubeflow.compilation import compiled_text
from asdfd.kubeflow.local import PROGRAM, TASKS, run_locally, with_interpreter
from asdfd.registry.versions import resolve
from asdfd.storage.objects import open_objects
from tests.cli.processes import steps_done
from tests.terminal import Terminal

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def words_of(out: Path, settings: list[str]) -> list[str]:
    """The command that runs the pipeline into `out`."""
    return [sys.executable, "-m", "asdfd.cli", "run", "--out", str(out), *(word for setting in settings for word in ("--set", setting))]


def command(out: Path, settings: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run the pipeline into `out`."""
    return subprocess.run([*words_of(out, settings), *options], capture_output=True, text=True, check=False)


def status_of(out: Path) -> dict[str, Any]:
    """What the exit task reported."""
    return json.loads((out / "pipeline" / "status.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stopped(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str], dict[str, Any]]:
    """A run that got SIGTERM in the middle of its distillation: its folder, how it ended, and the status that it reported. At its beginning the same command
    was given a second time, which must be refused and change nothing."""
    out = tmp_path_factory.mktemp("pipeline") / "run"
    process = subprocess.Popen([*words_of(out, settings), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (out / "pipeline" / "lock").exists() and process.poll() is None:
        time.sleep(0.005)
    second = command(out, settings)
    line = f"asdfd: {out}: another asdfd run is at work there; wait until it is done, or name another --out\n"
    assert (second.returncode, second.stdout, second.stderr) == (2, "", line)
    while steps_done(out / "student") < 5 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate()
    return out, subprocess.CompletedProcess(process.args, process.returncode, output, errors), status_of(out)


@pytest.fixture(scope="module")
def finished(stopped: tuple[Path, Any, Any], settings: list[str]) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The same command again: its folder, and how it ended."""
    return stopped[0], command(stopped[0], settings)


@pytest.fixture
def changed(finished: tuple[Path, Any], tmp_path: Path) -> Iterator[Path]:
    """The folder of the finished run, for a test that goes on in it; what it left is put back afterwards. It has to stay in its place, which it knows."""
    out = finished[0]
    shutil.copytree(out, tmp_path / "before", symlinks=True)
    yield out
    shutil.rmtree(out)
    (tmp_path / "before").rename(out)


def test_a_stopped_run_says_so_and_keeps_its_checkpoint(stopped: tuple[Path, subprocess.CompletedProcess[str], dict[str, Any]]) -> None:
    _, done, status = stopped
    assert done.returncode == 143, done.stderr
    document = json.loads(done.stdout)
    assert re.fullmatch(r"stopped after step \d+ of 400 with a checkpoint; run the same command again to go on", document["error"])
    assert document["exit_code"] == 143
    assert done.stderr.splitlines()[-1] == f"asdfd: {document['error']}"
    finished = [line.split()[0] for line in done.stderr.splitlines() if re.fullmatch(r"[a-z_]+ +\d+:\d\d", line)]
    assert finished == ["plan", "fetch_teacher", "synthesize", "report_status"]
    assert (status["outcome"], status["task"], status["line"]) == ("terminated", "distill", document["error"])


def test_the_same_command_goes_on_to_a_registered_student(finished: tuple[Path, subprocess.CompletedProcess[str]], settings: list[str], tmp_path: Path) -> None:
    out, done = finished
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("finished before")] == ["fetch_teacher", "synthesize"]
    assert [line.split()[0] for line in lines if re.fullmatch(r"[a-z_]+ +\d+:\d\d", line)] == ["plan", "distill", "evaluate", "push", "report_status"]
    assert [record["step"] for record in read_records(out / "student.metrics.jsonl")] == list(range(1, 401)), "every step once"
    run = load_run(settings=settings)
    student = artifacts.read(out / "student", "student")
    # bit for bit, since all run on this machine with as many threads
    assert steps.compress(run, tmp_path)["student"].digest == student.digest, "the pipeline makes what the steps make in one process"
    registered = json.loads((out / "pipeline" / "registered.json").read_text(encoding="utf-8"))
    assert done.stdout.splitlines()[-2] == f"registered      student {registered['version']}, staging, in {out / 'registry'}"
    assert (registered["stage"], registered["previous"]) == ("staging", None)
    assert "accuracy" in done.stdout
    assert re.search(r"gate +passes the (int8|onnx) export", done.stdout)
    stored = next((out / "registry").rglob("student/versions/*/**/model.safetensors"))
    assert stored.read_bytes() == (out / "student" / "model.safetensors").read_bytes()
    assert (status_of(out)["outcome"], status_of(out)["version"]) == ("succeeded", registered["version"])


def test_the_command_that_is_named_registers_the_teachers_own_int8(changed: Path, finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    lines = finished[1].stdout.splitlines()
    assert any(line.startswith("warning ") and "register that instead by the same run with --set student.layers=all" in line for line in lines)
    instead, asdfd, *words = shlex.split(lines[-1])
    assert (instead, asdfd) == ("instead", "asdfd")
    anyway = ["--set", "gate.champion_margin=1"]  # on five texts, a student of a random teacher may be right more often by chance
    done = subprocess.run([sys.executable, "-m", "asdfd.cli", *words, *anyway, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["instead"] is None, "there is nothing better than it"
    made = {role: artifacts.read(Path(described["path"]), role) for role, described in document["artifacts"].items()}
    assert {artifact.path.parent for artifact in made.values()} == {Path(f"{changed}-teacher")}
    assert made["bank"].recipe.config["samples"] == 32, "nothing is learned from it"
    assert made["student"].recipe.config["distillation"]["steps"] == 0
    metrics = document["metrics"]
    assert (metrics["agreement"], metrics["export_is_teacher_int8"]) == (1, True)
    assert (metrics["student_accuracy"], metrics["export_accuracy"]) == (metrics["teacher_accuracy"], metrics["teacher_int8_accuracy"])
    held = resolve(open_objects(str(changed / "registry")), "student@staging", signed=False)
    assert (held.version, held.digests["export"]) == (document["registered"]["version"], made["export"].digest)
    assert document["registered"]["previous"] is not None, "it took the stage from the student"


def test_kubeflow_is_given_figures_matrix_report_and_table(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """As its runner wrote them down; the user interface shows the same."""
    out, _ = finished
    newest = max((out / "pipeline" / "tasks").iterdir())

    def made_by(task: str) -> dict[str, dict[str, Any]]:
        (found,) = newest.parent.glob(f"{newest.name}*/**/{task}/executor_output.json")
        return {name: each["artifacts"][0] for name, each in json.loads(found.read_text(encoding="utf-8"))["artifacts"].items()}

    evaluated = made_by("evaluate")
    metrics = json.loads((out / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert evaluated["metrics"]["metadata"]["student_accuracy"] == metrics["student_accuracy"]
    assert json.loads(Path(evaluated["metrics"]["uri"]).read_text(encoding="utf-8"))["student_accuracy"] == metrics["student_accuracy"]
    assert [row["row"] for row in evaluated["confusion"]["metadata"]["confusionMatrix"]["rows"]] == metrics["confusion_matrix"]
    assert Path(evaluated["report"]["uri"]).read_bytes() == (out / "evaluation" / "report.html").read_bytes()
    assert evaluated["evaluation"]["metadata"]["digest"] == artifacts.read(out / "evaluation", "evaluation").digest
    distilled = made_by("distill")
    assert distilled["metrics"]["metadata"]["step"] == 400
    assert Path(distilled["records"]["uri"]) == out / "student.metrics.jsonl"
    assert Path(made_by("push")["reasons"]["uri"]).read_bytes() == (out / "verdict" / "verdict.md").read_bytes()


def test_the_second_time_nothing_is_done(
    finished: tuple[Path, subprocess.CompletedProcess[str]], changed: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    roles = ("teacher", "bank", "student", "export", "evaluation")

    def found() -> dict[Path, tuple[int, bytes]]:
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for role in roles for path in (changed / role).rglob("*")}

    before, first = found(), finished[1].stdout
    assert main([*words_of(changed, settings)[3:], "--json"]) == 0
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert found() == before
    told = [line.split()[0] for line in output.err.splitlines() if line.endswith("finished before")]
    assert told == ["fetch_teacher", "synthesize", "distill", "evaluate"]
    assert set(document["artifacts"]) == {*roles, "verdict"}
    assert document["registered"]["location"] == str(changed / "registry")
    for role, artifact in document["artifacts"].items():
        assert artifact["kind"] == role
        assert artifact["path"] == str(changed / role)
        assert artifact["digest"] == artifacts.read(changed / role, role).digest
        assert artifact["digest"] in first or role == "verdict", "a verdict names the version that held the stage, which is the first run's by now"
    assert document["artifacts"]["student"] == {name: document[name] for name in ("path", "kind", "digest")}
    metrics = document["metrics"]
    accuracies = [f"{metrics[f'{role}_accuracy']:.4f}" for role in ("teacher", "teacher_int8", "student", "export")]
    for line in (f"Accuracy {' '.join(accuracies)}", "data data.csv evidence Judged on 5 labelled texts."):
        assert line in " ".join(first.split())


def test_a_gate_that_rejects_ends_with_3_and_registers_nothing(changed: Path, settings: list[str]) -> None:
    out = changed
    before = {path: path.read_bytes() for path in (out / "registry").rglob("*") if path.is_file()}
    done = command(out, [*settings, "gate.largest_bytes=1"])
    assert done.returncode == 3, done.stderr
    assert re.search(r"gate +rejects the (int8|onnx) export", done.stdout)
    assert re.match(r"asdfd: the gate rejects the (int8|onnx) export: largest_bytes: ", done.stderr.splitlines()[-1])
    assert [line.split()[0] for line in done.stderr.splitlines() if re.search(r"\d:\d\d$", line)] == ["plan", "push", "report_status"], "nothing else was done"
    assert {path: path.read_bytes() for path in (out / "registry").rglob("*") if path.is_file()} == before
    assert not (out / "pipeline" / "registered.json").exists()
    assert (status_of(out)["outcome"], status_of(out)["task"]) == ("rejected", "push")
    assert status_of(out)["line"].startswith("largest_bytes: ")


def test_the_interpreter_may_lie_anywhere_and_values_stay_as_they_are() -> None:
    words = [
        "sh",
        "-ec",
        f"_KFP_RUNTIME=true {PROGRAM} --component_module_path x",
        "import python3_helper",
        "--executor_input",
        '{"teacher": "/python3/t"}',
    ]
    assert compiled_text().count(PROGRAM) == len(TASKS), "so begins the program of every task"
    found = with_interpreter(words, "/srv/some one/.venv/bin/python3.11")
    assert found[2] == "_KFP_RUNTIME=true '/srv/some one/.venv/bin/python3.11' -m kfp.dsl.executor_main --component_module_path x"
    assert [*found[:2], *found[3:]] == [*words[:2], *words[3:]]


def test_a_task_that_fails_ends_the_run_with_its_own_line(changed: Path, settings: list[str]) -> None:
    """Another seed makes another bank; the folder of the earlier one is in the way."""
    out = changed
    done = command(out, [*settings, "seed=1"], "--json")
    assert done.returncode == 2, done.stderr
    document = json.loads(done.stdout)
    assert document["error"].startswith(f"{out / 'bank'}: holds a bank made from other inputs or parameters")
    assert (status_of(out)["outcome"], status_of(out)["task"], status_of(out)["line"]) == ("failed", "synthesize", document["error"])
    assert "Traceback" not in done.stderr
    assert artifacts.read(out / "bank", "bank").recipe.seed == 0, "what was finished before is as it was"


def test_the_committed_pipeline_runs_to_the_same_student(changed: Path, settings: list[str]) -> None:
    """It is what the command compiles, so it finds all that the command made; it judges and registers that again."""
    before = {role: artifacts.read(changed / role, role).digest for role in ("teacher", "bank", "student", "export", "evaluation")}
    registered = json.loads((changed / "pipeline" / "registered.json").read_text(encoding="utf-8"))
    with stop_requests() as stop:
        result = run_locally(load_run(settings=settings), changed, stop, ROOT / "pipelines" / "compress.yaml")
    assert result.passed
    assert {role: result.made[role].digest for role in before} == before
    assert result.registered is not None
    assert {name: result.registered[name] for name in ("version", "stage", "location")} == {name: registered[name] for name in ("version", "stage", "location")}
    assert status_of(changed)["outcome"] == "succeeded"


def steps_shown(lines: list[str]) -> dict[str, str]:
    """The mark of each step of the live view."""
    found = (re.match(r"  (\S) ([a-z_]+)( |$)", line) for line in lines)
    return {match[2]: match[1] for match in found if match}


def test_on_a_terminal_the_steps_are_shown_and_ctrl_c_stops_the_run(settings: list[str], tmp_path: Path) -> None:
    """Ctrl-C goes to every process of the terminal, as the terminal itself does it; the run ends with one line."""
    terminal = Terminal()
    terminal.start(words_of(tmp_path / "run", settings), ROOT)
    terminal.read_until(lambda lines: steps_shown(lines).get("fetch_teacher", "·") != "·")
    terminal.press(b"\x03")
    lines = terminal.read_to_the_end()
    assert terminal.exit_code == 130, lines
    marks = steps_shown(lines)
    assert list(marks) == list(TASKS)
    assert (marks["plan"], marks["evaluate"], marks["push"]) == ("✓", "·", "·")
    assert marks["fetch_teacher"] in "✓■"
    assert "Traceback" not in "\n".join(lines)
    assert sum(line.startswith("asdfd: stopped ") for line in lines) == 1
    assert not steps_shown(lines[[line.startswith("asdfd: stopped ") for line in lines].index(True) :]), "the line follows the view"
    assert status_of(tmp_path / "run")["outcome"] in ("terminated", "failed")


def test_a_low_and_narrow_terminal_shows_one_view_and_then_the_result(changed: Path, settings: list[str]) -> None:
    terminal = Terminal(48, 10)
    terminal.start(words_of(changed, settings), ROOT)
    lines = terminal.read_to_the_end()
    assert terminal.exit_code == 0, lines
    assert steps_shown(lines) == dict.fromkeys(TASKS, "✓")
    assert sum("report_status" in line for line in lines) == 1, "it was drawn in one place"
    assert sum(line.endswith("finished before") for line in lines) == 4
    after = lines[[line.startswith("  ✓ report_status") for line in lines].index(True) + 1]
    assert after.startswith("teacher         ")
