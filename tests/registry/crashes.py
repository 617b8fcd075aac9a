"""Pushes and promotions that are killed with SIGKILL at random lines of their code. Run as a program: `python -m tests.registry.crashes ...`.

A child runs under a trace function that counts the lines of our own modules and kills the process at the n-th, so a point is a place in the code and not a
moment. After every kill everything visible is verified, the same work is done again, and its result is verified. One JSON object is printed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from asdfd.base import artifacts
from asdfd.registry import publication
from asdfd.registry.aliases import history, read_alias
from asdfd.registry.collection import find, remove
from asdfd.registry.evidence import find_evidence, store_evaluation
from asdfd.registry.listing import problems
from asdfd.registry.publication import Reason, move_stage, push
from asdfd.registry.versions import announced, read_version, resolve, verify, versions
from asdfd.storage import folder, objects
from asdfd.storage.objects import ObjectStore, open_objects
from tests.registry.makers import make_evaluation, make_judged, run_of

TRACED = str(Path(objects.__file__).parent)
assert Path(publication.__file__).parent == Path(folder.__file__).parent == Path(TRACED)
OTHER_DATA = "e" * 64


def in_child(work: Callable[[], object], kill_at: int) -> int:
    """Do the work in a forked process that is killed at a line; the lines that it ran, or -1 where it was killed. 0 kills nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        lines = 0

        def count(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal lines
            if not frame.f_code.co_filename.startswith(TRACED):
                return None
            if event == "line":
                lines += 1
                if lines == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return count

        status = 1
        try:
            sys.settrace(count)
            work()
            sys.settrace(None)
            os.write(writing, str(lines).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(status)
    os.close(writing)
    told = os.read(reading, 100)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return -1
    assert os.waitstatus_to_exitcode(status) == 0, "the work failed"
    return int(told)


def point(draw: random.Random, most: int, number: int) -> int:
    """A random line of the whole work, and every other time one of its last part, where the stage is moved."""
    return draw.randint(1, most) if number % 2 else draw.randint(most * 9 // 10, most)


def moves_of(store: ObjectStore, stage: str) -> int:
    """How often a stage was moved, as its alias says; what holds it is whole."""
    held = read_alias(store, "tiny", stage)
    if held is None:
        return 0
    verify(store, resolve(store, f"tiny@{stage}", signed=False))
    if held.alias.number % 10 == 0:
        assert history(store, "tiny", stage)[-1] == held.alias
    return held.alias.number


def pushes(location: str, scratch: Path, points: int, draw: random.Random) -> dict[str, int]:
    """Kill pushes."""
    store, run = open_objects(location), run_of(location)
    folders = make_judged(run, scratch / "first", "first")
    push(run, folders, {})
    folders = make_judged(run, scratch / "second", "second")
    most = in_child(lambda: push(run, folders, {}), 0)
    kills = survived = leftovers = 0
    for number in range(points):
        folders = make_judged(run, scratch / str(number), f"student {number}")
        before = moves_of(store, "staging")
        if in_child(lambda folders=folders: push(run, folders, {}), point(draw, most, number)) == -1:
            kills += 1
        seen = versions(store, "tiny")
        for version in seen[-3:]:
            verify(store, read_version(store, "tiny", version, signed=False))
        survived += moves_of(store, "staging") - before
        leftovers += len([one for one in find(store, keep=10**6, older_than=0.0) if one.kind != "version"]) > 0
        in_child(lambda folders=folders: push(run, folders, {}), 0)
        assert moves_of(store, "staging") == before + 1, "a second try has to succeed, once"
        assert set(seen) <= set(versions(store, "tiny")), "a version was lost"
    assert [move.number for move in history(store, "tiny", "staging")] == list(range(1, points + 3))
    return {"kills": kills, "moved_before_the_kill": survived, "left_something": leftovers, **cleaned(store, points + 2)}


def promotions(location: str, scratch: Path, points: int, draw: random.Random) -> dict[str, int]:
    """Kill promotions, from the new evaluation on."""
    store, run = open_objects(location), run_of(location)
    for number in range(2):
        push(run, make_judged(run, scratch / str(number), f"student {number}"), {})
    known = versions(store, "tiny")

    def promote(number: int, evaluation: Path) -> None:
        version = read_version(store, "tiny", known[number % 2], signed=False)
        evidence = find_evidence(store, version, version.data)
        assert evidence is not None
        with announced(store, "tiny", version.version):
            store_evaluation(store, version, evaluation)
            move_stage(store, version, "production", evidence, run, Reason("promote", "me", str(number), "a test"))

    def evaluation_of(number: int) -> Path:
        version = read_version(store, "tiny", known[number % 2], signed=False)
        source = next(folder for folder in (scratch / "0", scratch / "1") if artifacts.read(folder / "student", "student").digest == version.digests["student"])
        teacher, student = artifacts.read(source / "teacher", "teacher"), artifacts.read(source / "student", "student")
        return make_evaluation(scratch / f"evaluation-{number}", teacher, student, range(number % 3), OTHER_DATA, {"run": number}).path

    promote(-1, evaluation_of(-1))
    most = in_child(lambda: promote(0, evaluation_of(0)), 0)
    kills = survived = leftovers = 0
    for number in range(1, points + 1):
        evaluation = evaluation_of(number)
        before = moves_of(store, "production")
        if in_child(lambda number=number, evaluation=evaluation: promote(number, evaluation), point(draw, most, number)) == -1:
            kills += 1
        survived += moves_of(store, "production") - before
        leftovers += len([one for one in find(store, keep=10**6, older_than=0.0) if one.kind != "version"]) > 0
        in_child(lambda number=number, evaluation=evaluation: promote(number, evaluation), 0)
        assert moves_of(store, "production") == before + 1, "a second try has to succeed, once"
    moves = history(store, "tiny", "production")
    assert [move.run for move in moves] == [str(number) for number in range(-1, points + 1)]
    return {"kills": kills, "moved_before_the_kill": survived, "left_something": leftovers, **cleaned(store, 2)}


def cleaned(store: ObjectStore, count: int) -> dict[str, int]:
    """Remove what the kills left behind: nothing else goes, and nothing is found after."""
    everything = {"keep": 10**6, "older_than": 0.0}
    found = find(store, **everything)
    assert all(one.kind != "version" for one in found)
    removed, kept = remove(store, found, **everything)
    assert (removed, kept) == (found, [])
    assert find(store, **everything) == []
    assert store.list("intents/") == store.list("removals/") == store.unfinished() == []
    assert problems(store, signed=False) == (count, [])
    return {"leftovers": len(found)}


def main() -> None:
    """Kill as often as was asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["pushes", "promotions"])
    parser.add_argument("location")
    parser.add_argument("scratch", type=Path)
    parser.add_argument("points", type=int)
    parser.add_argument("seed", type=int)
    options = parser.parse_args()
    work = {"pushes": pushes, "promotions": promotions}[options.work]
    print(json.dumps(work(options.location, options.scratch, options.points, random.Random(options.seed))))


if __name__ == "__main__":
    main()
