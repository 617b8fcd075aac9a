"""Two commands on one --out: the second one is told so at once, and a lock never outlives its process."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asdfd.base.artifacts import Artifact, Recipe, Workspace, open_workspace, read
from asdfd.base.errors import InputError
from asdfd.base.locking import sole_process, take_lock
from tests.patience import PATIENCE

RECIPE = Recipe("bank", {"teacher": "ab" * 32}, {"samples": 3}, 7)
OTHER = Recipe("bank", {"teacher": "ab" * 32}, {"samples": 4}, 7)
HOLDER = """
import os, sys
from pathlib import Path
from asdfd.base.artifacts import Recipe, open_workspace
workspace = open_workspace(Path(sys.argv[1]), Recipe("bank", {"teacher": "ab" * 32}, {"samples": 3}, 7))
(workspace.path / "checkpoint").write_text("step 3")
child = os.fork() if "fork" in sys.argv else 1
if child == 0:
    sys.stdin.read()
    os._exit(0)
print("at work", flush=True)
if not sys.stdin.read(1):
    sys.exit(1)
(workspace.artifact / "part").write_text("of the other process")
workspace.finish({})
"""
"""Works on a bank until it reads a letter, and then finishes it."""
BUSY = r"bank: another process is making it; wait until that is done, or name another --out"


@contextmanager
def at_work(out: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that works on `out`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(out), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "at work\n"
            yield process
        finally:
            process.kill()


def test_the_second_process_is_told_and_touches_nothing(tmp_path: Path) -> None:
    out = tmp_path / "bank"
    with at_work(out) as process:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(InputError, match=BUSY):
            open_workspace(out, RECIPE)
        with pytest.raises(InputError, match="holds an interrupted bank of other inputs"):
            open_workspace(out, OTHER)
        assert sorted(tmp_path.rglob("*")) == before
        process.communicate("x")
        assert process.returncode == 0
    made = open_workspace(out, RECIPE)
    assert isinstance(made, Artifact)
    assert set(made.files) == {"part"}
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]


@pytest.mark.parametrize("words", [(), ("fork",)], ids=["alone", "with a child that lives on"])
def test_a_killed_process_leaves_its_work_and_no_lock(tmp_path: Path, words: tuple[str, ...]) -> None:
    out = tmp_path / "bank"
    with at_work(out, *words) as process:
        process.kill()
        process.wait()
        workspace = open_workspace(out, RECIPE)
        assert isinstance(workspace, Workspace)
        assert (workspace.path / "checkpoint").read_text() == "step 3"


def test_a_command_that_is_tried_again_in_the_same_process_goes_on(tmp_path: Path) -> None:
    first = open_workspace(tmp_path / "bank", RECIPE)
    assert isinstance(first, Workspace)
    (first.path / "checkpoint").write_text("step 3")
    again = open_workspace(tmp_path / "bank", RECIPE)
    assert isinstance(again, Workspace)
    assert (again.path / "checkpoint").read_text() == "step 3"
    again.finish({})
    assert read(tmp_path / "bank", "bank").recipe == RECIPE
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]


def race(out: Path, start: object, results: object) -> None:
    """One of several processes that all want to make `out` at once."""
    start.wait()  # type: ignore[attr-defined]
    try:
        workspace = open_workspace(out, RECIPE)
    except InputError as error:
        results.put(str(error))  # type: ignore[attr-defined]
        return
    if isinstance(workspace, Workspace):
        (workspace.artifact / "part").write_text("the same from everybody")
        workspace.finish({})
    results.put("made" if isinstance(workspace, Workspace) else "found")  # type: ignore[attr-defined]


@pytest.mark.slow
def test_of_many_at_once_one_makes_it_and_the_others_find_it_or_are_told(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for number in range(20):
        out, start, results = tmp_path / f"{number}-bank", context.Barrier(4), context.Queue()
        processes = [context.Process(target=race, args=(out, start, results)) for _ in range(4)]
        for process in processes:
            process.start()
        told = [results.get(timeout=PATIENCE) for _ in processes]
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
        assert told.count("made") == 1, told
        assert [each for each in told if each not in ("made", "found") and not each.endswith(BUSY.removeprefix("bank"))] == []
        assert read(out, "bank").files["part"].bytes == 23
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{number}-bank" for number in range(20))


def test_what_is_left_of_a_finished_step_goes(tmp_path: Path) -> None:
    """Killed between its last two removals, or by an older version."""
    workspace = open_workspace(tmp_path / "bank", RECIPE)
    assert isinstance(workspace, Workspace)
    workspace.finish({})
    for leftovers in ((), ("lock",), ("lock", "recipe.sha256", "checkpoint")):
        workspace.path.mkdir()
        for name in leftovers:
            (workspace.path / name).write_text(RECIPE.fingerprint)
        assert isinstance(open_workspace(tmp_path / "bank", RECIPE), Artifact)
        assert [path.name for path in tmp_path.iterdir()] == ["bank"]


def test_no_file_of_anybody_is_in_the_lock_s_way(tmp_path: Path) -> None:
    mine = tmp_path / "bank.partial" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(InputError, match="is in the way"):
        open_workspace(tmp_path / "bank", RECIPE)
    assert [path.name for path in mine.parent.iterdir()] == ["mine.txt"]


def test_a_file_that_was_removed_meanwhile_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last owner removes it between our opening and our locking; only a lock that replaces the system's call can do that at the right moment."""
    import fcntl

    calls = []

    def lock_too_late(descriptor: int, operation: int) -> None:
        calls.append(descriptor)
        real(descriptor, operation)
        if len(calls) == 1:
            (tmp_path / "lock").unlink()

    real = fcntl.lockf
    monkeypatch.setattr(fcntl, "lockf", lock_too_late)
    assert take_lock(tmp_path / "lock") is not None
    assert len(calls) == 2
    assert (tmp_path / "lock").is_file()


LOCK_HOLDER = """
import sys
from pathlib import Path
from asdfd.base.locking import sole_process
with sole_process(Path(sys.argv[1]), "busy"):
    print("at work", flush=True)
    sys.stdin.read()
"""


def test_a_block_is_for_one_process_and_a_killed_one_keeps_nobody_out(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "lock"
    with subprocess.Popen([sys.executable, "-c", LOCK_HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        with pytest.raises(InputError, match="busy"), sole_process(lock, "busy"):
            pass
        process.kill()
    assert lock.is_file(), "a killed process removes nothing"
    with sole_process(lock, "busy"):
        assert lock.is_file()
    assert not lock.exists()
