"""Many promote at once: one wins each time, nobody's move is lost, and no reader sees anything torn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asdfd.registry.aliases import history, read_alias
from asdfd.registry.collection import find
from asdfd.registry.listing import problems
from asdfd.registry.publication import push
from asdfd.registry.versions import versions
from asdfd.storage.objects import ObjectStore
from tests.registry.makers import make_judged, run_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def raced(work: str, location: str, scratch: Path, processes: int, rounds: int) -> dict[str, Any]:
    """What the processes of tests/registry/racers.py tell."""
    scratch.mkdir()
    command = [sys.executable, "-m", "tests.registry.racers", work, location, str(scratch), str(processes), str(rounds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_of_64_that_promote_at_once_exactly_one_wins_each_of_20_rounds(location: str, store: ObjectStore, tmp_path: Path) -> None:
    run = run_of(location)
    for number in range(4):
        push(run, make_judged(run, tmp_path / str(number), f"student {number}"), {})
    result = raced("in_rounds", location, tmp_path / "race", processes=64, rounds=20)
    winners = {round_number: racer for racer, won in enumerate(result["racers"]) for round_number in won}
    assert sum(map(len, result["racers"])) == 20
    moves = history(store, "tiny", "production")
    assert [move.run for move in moves] == [str(number) for number in range(20)]
    assert [move.actor for move in moves] == [f"racer {winners[number]}" for number in range(20)]
    assert [move.previous for move in moves] == [None, *(move.version for move in moves[:-1])]
    held = read_alias(store, "tiny", "production")
    assert held is not None
    assert held.alias == moves[-1]
    assert all(reads > 0 for reads, _ in result["readers"])
    assert problems(store, signed=False) == (4, [])


def test_who_loses_a_race_is_judged_against_who_won_it(location: str, store: ObjectStore, tmp_path: Path) -> None:
    loose = run_of(location, gate={"champion_margin": 1.0})
    for number in range(12):  # accuracies from 1 down to 0.9725
        push(loose, make_judged(loose, tmp_path / str(number), f"student {number}", wrong=range(number)), {})
    assert len(versions(store, "tiny")) == 12
    result = raced("judging", location, tmp_path / "race", processes=12, rounds=1)
    moves = history(store, "tiny", "production")
    ends = [end for end, _ in result["racers"]]
    assert ends.count("moved") == len(moves)
    assert ends.count("moved") + ends.count("refused") == 12
    assert [move.verdict["champion"] for move in moves] == [move.previous for move in moves]
    refusals = [reason for end, reason in result["racers"] if end == "refused"]
    holders = {move.version for move in moves}
    assert all(any(f"from version {version}" in reason for version in holders) for reason in refusals)
    assert store.list("intents/") == []
    assert [one for one in find(store, keep=100, older_than=0.0) if one.kind != "version"] == []
