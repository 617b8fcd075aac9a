"""What a user sees when something goes wrong around a command: one line, an exit code, and JSON where that was asked for."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from asdfd.base import artifacts
from asdfd.base.errors import InputError, RemoteTraceback, without_passwords
from asdfd.base.process import system_error
from asdfd.cli.main import fail, main
from tests.cli.conftest import Made, tiny_options

COMMAND = [sys.executable, "-m", "asdfd.cli"]


@pytest.mark.parametrize("words", [["params", "--set", "seed=x", "--json"], ["distill", "--json"], ["fetch", "--out", "x", "--json"]])
def test_errors_for_machines_are_one_json_object(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert document["exit_code"] == 2
    assert output.err == f"asdfd: {document['error']}\n"
    assert list(tmp_path.iterdir()) == []


def test_an_error_stays_one_line_whatever_the_user_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--set", "first\nsecond\r=1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_defect_of_ours_keeps_its_traceback_and_has_exit_code_1(tmp_path: Path) -> None:
    """The only way to a defect is to make one: the step is replaced by one that divides by zero."""
    code = "import sys; from asdfd import steps; from asdfd.cli.main import main; steps.merge = lambda shards, out: 1 / 0; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "merge", "--json", "--out", str(tmp_path), "a"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert (done.stderr.count("Traceback"), done.stderr.count("ZeroDivisionError")) == (1, 1)
    assert json.loads(done.stdout) == {"error": "a defect of asdfd: ZeroDivisionError: division by zero", "exit_code": 1}


def test_a_defect_in_another_process_is_shown_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As `asdfd run` and several processes that distil raise it; the step is replaced by one that does so."""
    from asdfd import steps

    def defect(*_: object) -> None:
        raise RuntimeError("distill: ZeroDivisionError: division by zero") from RemoteTraceback("Traceback of the task\nZeroDivisionError: division by zero\n")

    monkeypatch.setattr(steps, "merge", defect)
    assert main(["merge", "--out", "out", "a"]) == 1
    assert capsys.readouterr().err == "Traceback of the task\nZeroDivisionError: division by zero\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:9091/x: no answer", "http://***@host:9091/x: no answer"),
        ("http://me:sec/r@et@host: no answer", "http://***@host: no answer"),
        ("https://token@host/path and s3://key:secret@host", "https://***@host/path and s3://***@host"),
        ("hf://organisation/name@main: no such model", "hf://organisation/name@main: no such model"),
        ("asdfd:1@sha256:ab, tiny@staging, http://host/a@b", "asdfd:1@sha256:ab, tiny@staging, http://host/a@b"),
    ],
)
def test_no_error_shows_the_password_of_an_address(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert without_passwords(text) == shown
    assert str(InputError(text)) == shown
    assert fail(text, 2, as_json=True) == 2
    output = capsys.readouterr()
    assert output.err == f"asdfd: {shown}\n"
    assert json.loads(output.out)["error"] == shown


def test_a_full_stdout_is_one_line() -> None:
    for words in (["params"], ["params", "--json"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run([*COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "No space left on device" in done.stderr


@pytest.mark.parametrize("verb", ["fetch", "synthesize", "merge", "distill"])
def test_a_disk_that_gets_full_is_one_line_and_leaves_nothing_that_looks_finished(
    verb: str, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No file may grow beyond 6000 bytes: the system fails the write as a full disk does. Afterwards the same command does its work."""
    out = tmp_path / "out"
    commands = {
        "fetch": ["--teacher", str(made.source)],
        "synthesize": ["--teacher", str(made.teacher), *tiny_options(synthesis__samples=300)],
        "merge": [str(shard) for shard in made.shards],
        "distill": ["--teacher", str(made.teacher), "--bank", str(made.bank), *tiny_options()],
    }
    words = [verb, *commands[verb], "--out", str(out)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000 if verb == "merge" else 6000, before[1]))
    try:
        code = main(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    output = capsys.readouterr()
    assert code == 2
    assert output.out == ""
    assert [line for line in output.err.splitlines() if line.startswith("asdfd: ")] == [output.err.splitlines()[-1]]
    assert "File too large" in output.err
    assert not out.exists()
    assert main(words) == 0


def test_errors_of_the_system_say_where_and_what_to_do() -> None:
    """A full disk or GPU cannot be had in every test environment; these are the errors as Python and as Rust libraries raise them."""
    full = OSError(28, "No space left on device", "out/bank.partial/x")
    assert system_error(full) == ("out/bank.partial/x: No space left on device; free some space, then run the same command again: what is finished is kept")
    assert "Read-only file system; name another --out" in str(system_error(OSError(30, "?", "out")))
    assert str(system_error(RuntimeError("I/O error: No space left on device (os error 28)"))).startswith("the disk: No space left on device; free")
    assert "--set device=cpu" in str(system_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")))
    assert system_error(ValueError("a defect")) is None
    assert system_error(OSError("a library's own")) is None


def test_a_folder_that_may_not_be_written_is_one_line(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """As an ordinary user: root, who may write everywhere, becomes one for the time of the command."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        Path(folder).chmod(0o755)
        shards = [shutil.copytree(shard, Path(folder) / shard.name) for shard in made.shards]
        closed = Path(folder) / "closed"
        closed.mkdir(mode=0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            code = main(["merge", "--out", str(closed / "bank"), *map(str, shards)])
        finally:
            os.seteuid(user)
        assert code == 2
        assert capsys.readouterr().err == f"asdfd: {closed / 'bank'}: cannot be written (Permission denied); name another --out\n"
        assert list(closed.iterdir()) == []


@pytest.mark.slow
def test_noise_of_libraries_does_not_reach_the_user(made: Made, tmp_path: Path) -> None:
    """Warnings and log lines, as libraries print them, around a real step."""
    code = """
import logging, sys, warnings
from asdfd import steps
from asdfd.cli.main import main
fetch = steps.fetch
def noisy(run, out):
    import transformers, datasets, huggingface_hub
    warnings.warn("noise")
    for name in ("transformers", "datasets", "huggingface_hub", "urllib3", "matplotlib"):
        logging.getLogger(name + ".part").warning("noise of " + name)
    return fetch(run, out)
steps.fetch = noisy
sys.exit(main(sys.argv[1:]))
"""
    words = ["fetch", "--teacher", str(made.source), "--out", str(tmp_path / "deep" / "er" / "teacher")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n"), done.stderr.partition(":")[0]) == (0, 1, "asdfd"), "our own line alone"
    assert "noise" not in done.stderr
    assert (tmp_path / "deep" / "er" / "teacher" / "manifest.json").is_file(), "parents are made"
    assert str(tmp_path / "deep" / "er" / "teacher") in done.stdout


def test_an_odd_path_does_not_fail_the_print_of_a_result(made: Made, tmp_path: Path) -> None:
    out = os.fsencode(tmp_path) + b"/caf\xe9"
    done = subprocess.run([*COMMAND, "merge", "--out", out, *map(str, made.shards)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"caf\\udce9" in done.stdout
    assert artifacts.read(Path(os.fsdecode(out)), "bank").digest.encode() in done.stdout
