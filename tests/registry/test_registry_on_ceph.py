"""The registry on a real S3 server behind a network that breaks at random: nothing is lost, nothing is torn, and nobody notices but by its slowness."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from asdfd.base.config import Run
from asdfd.base.errors import InputError
from asdfd.registry.aliases import history, read_alias
from asdfd.registry.collection import find, remove
from asdfd.registry.evidence import find_evidence
from asdfd.registry.publication import Reason, move_stage, push, rollback
from asdfd.registry.versions import announced, pull, read_version, resolve, verify, versions
from asdfd.storage import s3_connection, s3_transfers
from asdfd.storage.objects import ObjectStore, open_objects
from tests.registry.makers import DATA, make_judged, run_of
from tests.servers.ceph import Ceph
from tests.servers.proxy import FAULTS, Decide, Fault, Proxy, nothing, once, running_proxy

pytestmark = pytest.mark.slow

SHARE = 0.15
"""Requests that a bad network breaks. Six in a row, after which the client gives up, come once in 90 000 requests."""
WHY = Reason("promote", "somebody", "", "a test")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses between two tries."""
    for module in (s3_connection, s3_transfers):
        monkeypatch.setattr(module, "BACKOFF", 0.001)
        monkeypatch.setattr(module, "JITTER", 0.005)


@pytest.fixture
def proxy(ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with running_proxy(ceph.endpoint) as running:
        for name, value in ceph.environment(endpoint=running.endpoint).items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def location(ceph: Ceph, proxy: Proxy) -> str:
    """An empty place behind the proxy."""
    del proxy
    return f"s3://{ceph.bucket()}/registry"


def at_random(seed: int, faults: tuple[Fault, ...] = FAULTS) -> Decide:
    """Break a share of all requests, each fault as often as the others: a few dozen that are drawn one by one may well miss one."""
    drawn, lock, deck = random.Random(seed), threading.Lock(), list[Fault]()

    def decide(_method: str, _path: str) -> Fault | None:
        with lock:
            if drawn.random() >= SHARE:
                return None
            if not deck:
                deck.extend(drawn.sample(faults, len(faults)))
            return deck.pop()

    return decide


def promote(store: ObjectStore, location: str, version: str, stage: str = "production") -> None:
    """Move a stage as the command does, without evaluating again."""
    found = read_version(store, "tiny", version, signed=False)
    evidence = find_evidence(store, found, DATA)
    assert evidence is not None
    with announced(store, "tiny", version):
        move_stage(store, found, stage, evidence, run_of(location), WHY)


def pushed_or_expired(run: Run, folders: Mapping[str, Path]) -> bool:
    """Whether a push came to its end; else it said in one line that the credentials have expired."""
    try:
        push(run, folders, {})
    except InputError as error:
        assert str(error).endswith("the credentials have expired; renew them and run the same command again")  # noqa: PT017  # it need not be raised
        return False
    return True


def see_that_all_is_whole(store: ObjectStore, stages: tuple[str, ...] = ("staging", "production")) -> None:
    """Every version verifies, every stage names one, and the histories are complete."""
    for version in versions(store, "tiny"):
        verify(store, read_version(store, "tiny", version, signed=False))
    for stage in stages:
        moves = history(store, "tiny", stage)
        assert [move.number for move in moves] == list(range(1, len(moves) + 1))
        held = read_alias(store, "tiny", stage)
        assert (held is None) == (not moves)
        if held is not None:
            assert held.alias == moves[-1]
            verify(store, resolve(store, f"tiny@{stage}", signed=False))


@pytest.mark.parametrize("seed", range(2))
def test_push_promote_pull_and_rollback_survive_a_network_that_breaks(location: str, proxy: Proxy, tmp_path: Path, seed: int) -> None:
    run, store = run_of(location), open_objects(location)
    proxy.decide = at_random(seed)
    made = [push(run, make_judged(run, tmp_path / str(number), f"student {number}"), {}).version for number in range(3)]
    for version in made:
        promote(store, location, version)
    pull(store, resolve(store, "tiny@production", signed=False), tmp_path / "pulled")
    assert rollback(store, "tiny", "production", WHY, signed=False)[0].version == made[1]
    broken = sum(outcome in FAULTS for _, _, outcome in proxy.seen)
    assert broken > 20
    assert {outcome for _, _, outcome in proxy.seen} >= set(FAULTS)
    remove(store, find(store, keep=100, older_than=0.0), keep=100, older_than=0.0)  # an announcement whose deletion was believed lost
    proxy.decide = nothing
    see_that_all_is_whole(store)
    assert [move.version for move in history(store, "tiny", "staging")] == made
    assert [move.version for move in history(store, "tiny", "production")] == [*made, made[1]]
    assert (tmp_path / "pulled" / "student" / "model.safetensors").read_text() == "student 2"
    assert find(store, keep=100, older_than=0.0) == []


def test_wherever_credentials_expire_nothing_is_half_done_and_a_second_try_succeeds(location: str, proxy: Proxy, tmp_path: Path) -> None:
    run, store = run_of(location), open_objects(location)
    before = push(run, make_judged(run, tmp_path / "first", "first"), {})
    folders = make_judged(run, tmp_path / "second", "second")
    requests, done = 0, False
    while not done:
        requests += 2
        proxy.decide = once("expired", skip=requests, times=10**9)
        done = pushed_or_expired(run, folders)
        proxy.decide = nothing
        see_that_all_is_whole(store, stages=("staging",))
    assert requests > 10
    first, second = history(store, "tiny", "staging")
    assert first.version == before.version
    assert second.previous == before.version
    remove(store, find(store, keep=100, older_than=0.0), keep=100, older_than=0.0)
    assert find(store, keep=100, older_than=0.0) == []
    see_that_all_is_whole(store)
