"""What gc removes, what it never removes, and what it says first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from asdfd.base import artifacts
from asdfd.base.errors import RefusedError
from asdfd.registry import collection
from asdfd.registry.collection import find, remove
from asdfd.registry.evidence import find_evidence, store_evaluation
from asdfd.registry.listing import problems
from asdfd.registry.publication import Pushed, Reason, move_stage, push, rollback
from asdfd.registry.versions import announced, read_version, removal_key, resolve, versions
from asdfd.storage.objects import MissingObject, ObjectStore
from tests.registry.makers import DATA, make_evaluation, make_judged, run_of

NOW = 0.0
HOUR = 3600.0


@pytest.fixture
def pushed(location: str, tmp_path: Path) -> list[Pushed]:
    run = run_of(location)
    return [push(run, make_judged(run, tmp_path / str(number), f"student {number}"), {}) for number in range(4)]


def collect(store: ObjectStore, keep: int, older_than: float = NOW) -> int:
    """Find and remove; how much was removed."""
    return len(remove(store, find(store, keep=keep, older_than=older_than), keep=keep, older_than=older_than)[0])


def test_only_what_no_stage_and_no_recent_move_names_is_removed(store: ObjectStore, pushed: list[Pushed]) -> None:
    before = store.list("")
    found = find(store, keep=2, older_than=NOW)
    assert sorted(one.version for one in found) == sorted(one.version for one in pushed[:2])
    assert {one.kind for one in found} == {"version"}
    assert all(one.bytes > 0 and one.keys for one in found)
    assert store.list("") == before, "looking removes nothing"
    assert find(store, keep=2, older_than=HOUR) == []
    assert find(store, keep=4, older_than=NOW) == []
    assert collect(store, keep=2) == 2
    assert sorted(versions(store, "tiny")) == sorted(one.version for one in pushed[2:])
    assert problems(store, signed=False) == (2, [])
    gone = {info.key for info in before} - {info.key for info in store.list("")}
    assert gone == {key for one in found for key in one.keys}
    assert store.list("removals/") == []
    assert find(store, keep=2, older_than=NOW) == []


def test_what_holds_any_stage_stays_however_old_its_move_is(location: str, store: ObjectStore, pushed: list[Pushed]) -> None:
    version = read_version(store, "tiny", pushed[0].version, signed=False)
    evidence = find_evidence(store, version, DATA)
    assert evidence is not None
    move_stage(store, version, "production", evidence, run_of(location), Reason("promote", "me", "", "good"))
    assert collect(store, keep=1) == 2
    assert resolve(store, "tiny@production", signed=False).version == pushed[0].version
    assert resolve(store, "tiny@staging", signed=False).version == pushed[3].version
    assert problems(store, signed=False) == (2, [])


def test_after_a_rollback_what_it_left_stays_for_as_many_moves_as_are_kept(store: ObjectStore, pushed: list[Pushed]) -> None:
    rollback(store, "tiny", "staging", Reason("rollback", "me", "", "bad"), signed=False)
    assert collect(store, keep=2) == 2
    assert sorted(versions(store, "tiny")) == sorted((pushed[2].version, pushed[3].version))


def test_who_is_at_work_on_a_version_keeps_it(store: ObjectStore, pushed: list[Pushed]) -> None:
    with announced(store, "tiny", pushed[0].version):
        kept = [one for one in find(store, keep=1, older_than=HOUR) if one.version == pushed[0].version]
        assert kept == []
        victim = next(one for one in find(store, keep=1, older_than=NOW) if one.version == pushed[0].version)
        assert remove(store, [victim], keep=1, older_than=HOUR) == ([], [victim])
        assert read_version(store, "tiny", pushed[0].version, signed=False)
    assert remove(store, [victim], keep=1, older_than=HOUR) == ([victim], [])
    with pytest.raises(MissingObject):
        read_version(store, "tiny", pushed[0].version, signed=False)


def test_a_promotion_in_the_middle_of_a_removal_wins_or_is_refused(
    location: str, store: ObjectStore, pushed: list[Pushed], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = read_version(store, "tiny", pushed[0].version, signed=False)
    evidence = find_evidence(store, version, DATA)
    assert evidence is not None

    def promote() -> None:
        with announced(store, "tiny", version.version):
            move_stage(store, version, "production", evidence, run_of(location), Reason("promote", "me", "", "good"))

    def once_before(name: str, action: Callable[[], None]) -> None:
        original = getattr(collection, name)
        waiting = [action]

        def step(*words: object, **more: object) -> object:
            if waiting:
                waiting.pop()()
            return original(*words, **more)

        monkeypatch.setattr(collection, name, step)

    (victim,) = [one for one in find(store, keep=1, older_than=NOW) if one.version == version.version]

    def refused() -> None:
        with pytest.raises(RefusedError, match="is being removed by `asdfd registry gc`"):
            promote()

    once_before("_worked_on", refused)  # the removal was announced first
    once_before("_announce", promote)  # and here the promotion was first, from its start to its end
    assert remove(store, [victim], keep=1, older_than=HOUR) == ([], [victim])
    assert resolve(store, "tiny@production", signed=False).version == version.version
    assert store.list("removals/") == []


def test_a_removal_that_was_killed_is_ended_by_the_next(location: str, store: ObjectStore, pushed: list[Pushed], tmp_path: Path) -> None:
    (victim,) = find(store, keep=3, older_than=NOW)
    store.create(removal_key("tiny", victim.version), b"{}")
    for key in victim.keys[1:]:
        store.delete(key)
    assert remove(store, [victim], keep=3, older_than=HOUR) == ([], [victim]), "the other one may still be at it"
    run = run_of(location)
    folders = make_judged(run, tmp_path / "again", "student 0")
    with pytest.raises(RefusedError, match="is being removed"):
        push(run, folders, {})
    assert len(pushed) == 4
    assert collect(store, keep=3) == 1
    assert store.list("removals/") == []
    assert push(run, folders, {}).version == victim.version
    store.create(removal_key("tiny", "0123456789abcdef"), b"{}")  # killed after its last deletion
    assert collect(store, keep=9) == 1
    assert store.list("removals/") == []


def test_what_killed_writers_left_is_found(location: str, store: ObjectStore, pushed: list[Pushed], tmp_path: Path) -> None:
    version = read_version(store, "tiny", pushed[3].version, signed=False)
    folder = f"models/tiny/versions/{version.version}"
    store.create("models/tiny/versions/0123456789abcdef/student/model.safetensors", b"half of a push")
    store.create(f"{folder}/evaluation-0000000000000000/metrics.json", b"{}")
    store.create(f"evaluations/tiny/{version.version}/{DATA}/{'1' * 64}/metrics.json", b"{}")
    store.create(f"intents/tiny/{version.version}/x.json", b"{}")
    if not location.startswith("s3://"):
        (Path(location) / ".unfinished" / "x").write_text("half of a file")
    found = find(store, keep=9, older_than=NOW)
    kinds = sorted(one.kind for one in found)
    assert kinds == ["incomplete version", "stray file", "stray file", *["unfinished write"] * (1 if location.startswith("s3://") else 2)]
    assert find(store, keep=9, older_than=HOUR) == []
    before = {info.key for info in store.list("")}
    removed, kept = remove(store, found, keep=9, older_than=NOW)
    assert (removed, kept) == (found, [])
    assert find(store, keep=9, older_than=NOW) == []
    assert before - {info.key for info in store.list("")} == {key for one in found for key in one.keys if not key.startswith(".")}
    assert problems(store, signed=False) == (4, [])
    assert tmp_path.exists()


def test_a_version_goes_with_its_later_evaluations(store: ObjectStore, pushed: list[Pushed], tmp_path: Path) -> None:
    version = read_version(store, "tiny", pushed[0].version, signed=False)
    teacher, student = (artifacts.read(tmp_path / "0" / kind, kind) for kind in ("teacher", "student"))
    store_evaluation(store, version, make_evaluation(tmp_path / "later", teacher, student, (), "e" * 64).path)
    assert store.list("evaluations/") != []
    assert collect(store, keep=1) == 3
    assert store.list("evaluations/") == []


def test_a_garbage_knows_no_other_time_than_the_stores(store: ObjectStore, pushed: list[Pushed]) -> None:
    newest = max(info.modified for info in store.list("models/"))
    assert abs(newest - time.time()) < HOUR
    (victim, *_) = find(store, keep=1, older_than=NOW)
    assert replace(victim, version=pushed[0].version).version == pushed[0].version


def test_what_runs_left_beside_the_registry_goes_after_its_days(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("runs/one/failed-distill.json", "checkpoints/recipe/000000007-ab.json", "checkpoints/recipe/000000007-ab.safetensors"):
        store.create(key, b"{}")
    assert find(store, keep=1, older_than=NOW) == [], "whatever age was asked for, a run may still go on with it"
    monkeypatch.setattr(collection, "RUN_DAYS", 0)
    assert find(store, keep=1, older_than=HOUR) == []
    found = find(store, keep=1, older_than=NOW)
    assert sorted(one.kind for one in found) == ["checkpoint", "run note"]
    assert [one.keys[0] for one in found if one.kind == "checkpoint"] == ["checkpoints/recipe/000000007-ab.json"], "what declares it complete goes first"
    assert collect(store, keep=1) == 2
    assert store.list("") == []
