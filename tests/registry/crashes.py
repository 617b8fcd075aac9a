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
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from asdfd import registry, storage
from asdfd.base import artifacts
from asdfd.registry.aliases import history, move, read_alias
from asdfd.registry.collection import find, remove
from asdfd.registry.evidence import find_evidence, store_evaluation
from asdfd.registry.listing import problems
from asdfd.registry.publication import Reason, move_stage, push
from asdfd.registry.versions import announced, read_version, resolve, verify, versions
from asdfd.storage.objects import ObjectStore, open_objects
from tests.registry.makers import make_evaluation, make_judged, run_of

TRACED = tuple(str(Path(package.__path__[0])) for package in (registry, storage))
OTHER_DATA = "e" * 64


@dataclass(frozen=True)
class Ran:
    """Lines of our own code that a child ran."""

    lines: int
    before_the_move: int
    """Those before it began to move the stage."""


def in_child(work: Callable[[], object], kill_at: int = 0) -> Ran | None:
    """Do the work in a forked process that is killed at a line, if it gets that far; what it ran, or None where it was killed. 0 kills nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        lines = before_the_move = 0

        def count(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal lines, before_the_move
            if not frame.f_code.co_filename.startswith(TRACED):
                return None
            if event == "call" and frame.f_code is move.__code__:
                before_the_move = lines
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
            os.write(writing, json.dumps([lines, before_the_move]).encode())
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
        return None
    assert os.waitstatus_to_exitcode(status) == 0, "the work failed"
    return Ran(*json.loads(told))


def whole(work: Callable[[], object]) -> Ran:
    """Do the work in a forked process that is left alone."""
    ran = in_child(work)
    assert ran is not None
    return ran


def point(draw: random.Random, ran: Ran, number: int) -> int:
    """A random line of the whole work, and every other time one of its last part, where the stage is moved."""
    return draw.randint(1, ran.lines) if number % 2 else draw.randint(ran.before_the_move + 1, ran.lines)


@dataclass
class Told:
    """What is told of the kills."""

    kills: int = 0
    after_the_move: int = 0
    left_something: int = 0
    """Kills after which `gc` found more than before."""
    leftovers: int = 0

    def add(self, moved: int, left: int) -> None:
        """One more kill."""
        self.kills += 1
        self.after_the_move += moved
        self.left_something += left > self.leftovers


def moves_of(store: ObjectStore, stage: str) -> int:
    """How often a stage was moved, as its alias says; what holds it is whole."""
    held = read_alias(store, "tiny", stage)
    if held is None:
        return 0
    verify(store, resolve(store, f"tiny@{stage}", signed=False))
    if held.alias.number % 10 == 0:
        assert history(store, "tiny", stage)[-1] == held.alias
    return held.alias.number


def leftovers_in(store: ObjectStore) -> int:
    """How much `gc` would remove, versions aside."""
    return len([one for one in find(store, keep=10**6, older_than=0.0) if one.kind != "version"])


def pushes(location: str, scratch: Path, points: int, draw: random.Random) -> Told:
    """Kill pushes, until so many were killed; one whose point lay behind its end counts for nothing."""
    store, run, told = open_objects(location), run_of(location), Told()
    push(run, make_judged(run, scratch / "first", "first"), {})
    folders = make_judged(run, scratch / "second", "second")
    usual, number = whole(lambda: push(run, folders, {})), 0
    while told.kills < points:
        number += 1
        folders = make_judged(run, scratch / str(number), f"student {number}")
        before = moves_of(store, "staging")
        ran = in_child(lambda folders=folders: push(run, folders, {}), point(draw, usual, number))
        if ran is None:
            told.add(moves_of(store, "staging") - before, leftovers_in(store))
        usual = ran or usual
        seen = versions(store, "tiny")
        for version in seen[-3:]:
            verify(store, read_version(store, "tiny", version, signed=False))
        whole(lambda folders=folders: push(run, folders, {}))
        told.leftovers = leftovers_in(store)
        assert moves_of(store, "staging") == before + 1, "a second try has to succeed, once"
        assert set(seen) <= set(versions(store, "tiny")), "a version was lost"
        assert number < 2 * points, "points lie behind the end"
    assert [one.number for one in history(store, "tiny", "staging")] == list(range(1, number + 3))
    see_that_it_is_cleaned(store, number + 2)
    return told


def promotions(location: str, scratch: Path, points: int, draw: random.Random) -> Told:
    """Kill promotions, from the new evaluation on, until so many were killed; one whose point lay behind its end counts for nothing."""
    store, run, told = open_objects(location), run_of(location), Told()
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
    usual, number = whole(lambda: promote(0, evaluation_of(0))), 0
    while told.kills < points:
        number += 1
        evaluation = evaluation_of(number)
        before = moves_of(store, "production")
        ran = in_child(lambda number=number, evaluation=evaluation: promote(number, evaluation), point(draw, usual, number))
        if ran is None:
            told.add(moves_of(store, "production") - before, leftovers_in(store))
        usual = ran or usual
        whole(lambda number=number, evaluation=evaluation: promote(number, evaluation))
        told.leftovers = leftovers_in(store)
        assert moves_of(store, "production") == before + 1, "a second try has to succeed, once"
        assert number < 2 * points, "points lie behind the end"
    moves = history(store, "tiny", "production")
    assert [one.run for one in moves] == [str(number) for number in range(-1, number + 1)]
    see_that_it_is_cleaned(store, 2)
    return told


def see_that_it_is_cleaned(store: ObjectStore, count: int) -> None:
    """Remove what the kills left behind: nothing else goes, and nothing is found after."""
    everything = {"keep": 10**6, "older_than": 0.0}
    found = find(store, **everything)
    assert all(one.kind != "version" for one in found)
    removed, kept = remove(store, found, **everything)
    assert (removed, kept) == (found, [])
    assert find(store, **everything) == []
    assert store.list("intents/") == store.list("removals/") == store.unfinished() == []
    assert problems(store, signed=False) == (count, [])


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
    print(json.dumps(asdict(work(options.location, options.scratch, options.points, random.Random(options.seed)))))


if __name__ == "__main__":
    main()
