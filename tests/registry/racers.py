"""Many processes that move one stage at once. Run as a program, so that what is forked is light and has no threads: `python -m tests.registry.racers ...`.

It prints one JSON object: who won each round, or how every process ended. What a reader sees that is torn ends it with a traceback.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asdfd.base.errors import RefusedError
from asdfd.registry.aliases import history, move, read_alias
from asdfd.registry.evidence import find_evidence
from asdfd.registry.publication import Reason, move_stage, successor
from asdfd.registry.versions import announced, read_version, resolve, verify, versions
from asdfd.storage.objects import Conflict, open_objects
from tests.registry.makers import DATA, run_of

CONTEXT = multiprocessing.get_context("fork")
NAME, STAGE = "tiny", "production"
READERS = 2


def in_rounds(location: str, number: int, rounds: int, barrier: Any, _: Any) -> list[int]:
    """Move the stage in every round, from the alias that all of them have read; the rounds that were won."""
    store = open_objects(location)
    known = versions(store, NAME)
    version = read_version(store, NAME, known[number % len(known)], signed=False)
    won = []
    for round_number in range(rounds):
        held = read_alias(store, NAME, STAGE)
        barrier.wait()
        alias = successor(held, version, STAGE, Reason("promote", f"racer {number}", str(round_number), "a race"), {})
        try:
            move(store, held, alias)
            won.append(round_number)
        except Conflict:
            pass
        barrier.wait()
    return won


def judging(location: str, number: int, _: int, barrier: Any, __: Any) -> list[str]:
    """Move the stage as a promotion does, judged anew after every race that is lost; how it ended, and against whom."""
    store = open_objects(location)
    version = read_version(store, NAME, versions(store, NAME)[number], signed=False)
    evidence = find_evidence(store, version, DATA)
    assert evidence is not None
    barrier.wait()
    try:
        with announced(store, NAME, version.version):
            move_stage(store, version, STAGE, evidence, run_of(location), Reason("promote", f"racer {number}", "", "a race"))
    except RefusedError as error:
        return ["refused", str(error)]
    return ["moved", ""]


def reading(location: str, _: int, __: int, ___: Any, ended: Any) -> list[int]:
    """Read what there is, over and over: it is whole, and never goes back. How often it was read, and how often it was another version."""
    store = open_objects(location)
    reads, last, seen = 0, 0, set()
    while not ended.is_set():
        if read_alias(store, NAME, STAGE) is not None:
            moves = history(store, NAME, STAGE)
            held = resolve(store, f"{NAME}@{STAGE}", signed=False)
            verify(store, held)
            assert len(moves) >= last, "the history has lost an entry"
            last = len(moves)
            seen.add(held.version)
        reads += 1
    return [reads, len(seen)]


def child(work: Callable[..., list], location: str, number: int, rounds: int, barrier: Any, ended: Any, out: str) -> None:
    """Do the work of one process, and write down what came of it."""
    try:
        Path(out).write_text(json.dumps(work(location, number, rounds, barrier, ended)))
    except BaseException:
        traceback.print_exc()
        barrier.abort()
        ended.set()
        sys.stderr.flush()
        os._exit(1)


def main() -> None:
    """Start everybody, wait, and print what they wrote."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["in_rounds", "judging"])
    parser.add_argument("location")
    parser.add_argument("scratch", type=Path)
    parser.add_argument("processes", type=int)
    parser.add_argument("rounds", type=int)
    options = parser.parse_args()
    if options.location.startswith("s3://"):
        open_objects(options.location)  # its library is imported once, before the processes are forked
    barrier, ended = CONTEXT.Barrier(options.processes), CONTEXT.Event()
    works = [({"in_rounds": in_rounds, "judging": judging}[options.work], number) for number in range(options.processes)]
    works += [(reading, options.processes + number) for number in range(READERS)]
    outs = [options.scratch / f"{number}.json" for number in range(len(works))]
    processes = [
        CONTEXT.Process(target=child, args=(work, options.location, number, options.rounds, barrier, ended, str(out)))
        for (work, number), out in zip(works, outs, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes[: options.processes]:
        process.join()
    ended.set()
    for process in processes[options.processes :]:
        process.join()
    if any(process.exitcode for process in processes):
        sys.exit("a process failed")
    results = [json.loads(out.read_text()) for out in outs]
    print(json.dumps({"racers": results[: options.processes], "readers": results[options.processes :]}))


if __name__ == "__main__":
    main()
