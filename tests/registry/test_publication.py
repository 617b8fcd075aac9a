"""From artifacts to a version that holds a stage, and back again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from asdfd.base import artifacts
from asdfd.base.errors import InputError, RefusedError
from asdfd.registry.aliases import history, read_alias
from asdfd.registry.evidence import find_evidence, store_evaluation
from asdfd.registry.publication import Pushed, Reason, judge_evaluation, push, rollback
from asdfd.registry.records import version_key
from asdfd.registry.versions import names, pull, read_version, resolve, verify, versions
from asdfd.steps.promotion import roll_back
from asdfd.storage.folder import FolderObjects
from asdfd.storage.objects import MissingObject, ObjectStore
from tests.base.test_locking import LOCK_HOLDER
from tests.registry.makers import DATA, make_evaluation, make_folders, make_judged, run_of

WHY = Reason("rollback", "somebody", "", "it answers nonsense")


@contextmanager
def at_work(lock: Path) -> Iterator[None]:
    """Another process that has the lock."""
    with subprocess.Popen([sys.executable, "-c", LOCK_HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        yield
        process.kill()


def pushed(location: str, folder: Path, content: str, **more) -> Pushed:
    run = run_of(location)
    return push(run, make_judged(run, folder, content, **more), {"git_commit": "abc", "pipeline_run": "run-7"})


def test_a_push_stores_a_whole_version_and_moves_the_stage(location: str, store: ObjectStore, tmp_path: Path) -> None:
    run = run_of(location)
    folders = make_judged(run, tmp_path / "run", "one")
    first = push(run, folders, {"git_commit": "abc", "pipeline_run": "run-7"})
    assert (first.name, first.stage, first.location, first.previous) == ("tiny", "staging", location, None)
    assert names(store) == ["tiny"]
    assert versions(store, "tiny") == [first.version]
    version = resolve(store, "tiny@staging", signed=False)
    assert version.version == first.version
    assert version.digests["student"] == artifacts.read(folders["student"], "student").digest
    assert version.digests["teacher"] == artifacts.read(folders["teacher"], "teacher").digest
    assert version.digests["bank"] == "b" * 64
    assert version.provenance == {"git_commit": "abc", "pipeline_run": "run-7"}
    assert version.parameters == run.model_dump(mode="json")
    assert version.metrics["student_accuracy"] == 1.0
    verify(store, version)
    pull(store, version, tmp_path / "pulled")
    assert (tmp_path / "pulled" / "student" / "model.safetensors").read_text() == "one"
    assert json.loads((tmp_path / "pulled" / "verdict" / "verdict.json").read_text())["passed"] is True
    assert artifacts.read(tmp_path / "pulled" / "evaluation", "evaluation").digest == version.digests["evaluation"]
    assert store.list("intents/") == []
    (entry,) = history(store, "tiny", "staging")
    assert (entry.action, entry.run, entry.previous, entry.version) == ("push", "run-7", None, first.version)


def test_pushing_again_changes_nothing(location: str, store: ObjectStore, tmp_path: Path) -> None:
    run = run_of(location)
    folders = make_judged(run, tmp_path / "run", "one")
    first = push(run, folders, {})
    before = [info.key for info in store.list("")]
    assert push(run, folders, {}) == first
    assert [info.key for info in store.list("")] == before


def test_the_same_student_is_the_same_version_however_it_was_evaluated(location: str, store: ObjectStore, tmp_path: Path) -> None:
    first, again = pushed(location, tmp_path / "a", "one"), pushed(location, tmp_path / "b", "one", wrong=range(2))
    assert first == again
    assert read_version(store, "tiny", first.version, signed=False).metrics["student_accuracy"] == 1.0
    assert len(history(store, "tiny", "staging")) == 1


def test_a_rejected_student_is_not_stored(location: str, store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"largest_drop: the student loses 0\.2500 of the teacher's accuracy 1\.0000, the limit is 0\.05"):
        pushed(location, tmp_path, "bad", wrong=range(100))
    assert store.list("") == []


def test_a_verdict_of_yesterday_is_given_anew_against_the_version_that_won_since(location: str, store: ObjectStore, tmp_path: Path) -> None:
    run = run_of(location)
    early = make_judged(run, tmp_path / "early", "early", wrong=range(16))  # accuracy 0.96, judged while the stage is free
    winner = pushed(location, tmp_path / "winner", "winner")
    with pytest.raises(RefusedError, match=rf"is not moved to staging: champion_margin: accuracy differs by -0\.0400 from version {winner.version}"):
        push(run, early, {})
    held = read_alias(store, "tiny", "staging")
    assert held is not None
    assert held.alias.version == winner.version
    assert len(versions(store, "tiny")) == 2


def test_artifacts_of_two_runs_do_not_make_a_version(location: str, store: ObjectStore, tmp_path: Path) -> None:
    run = run_of(location)
    one, two = make_judged(run, tmp_path / "one", "one"), make_judged(run, tmp_path / "two", "two")
    with pytest.raises(InputError, match="was made from another student than"):
        push(run, {**one, "student": two["student"]}, {})
    with pytest.raises(InputError, match="was made from another student than"):
        push(run, {**one, "verdict": two["verdict"]}, {})
    worse = make_folders(tmp_path / "worse", "one", wrong=range(3))
    with pytest.raises(InputError, match="was made from another evaluation than"):
        push(run, {**one, "evaluation": worse.evaluation}, {})
    assert store.list("") == []


def test_a_rollback_goes_back_one_standing_version_at_a_time(location: str, store: ObjectStore, tmp_path: Path) -> None:
    one, two, three = (pushed(location, tmp_path / content, content) for content in ("one", "two", "three"))
    assert (two.previous, three.previous) == (one.version, two.version)
    assert rollback(store, "tiny", "staging", WHY, signed=False)[0].version == two.version
    assert rollback(store, "tiny", "staging", WHY, signed=False)[0].version == one.version
    with pytest.raises(RefusedError, match="nothing to roll back to"):
        rollback(store, "tiny", "staging", WHY, signed=False)
    assert pushed(location, tmp_path / "three-again", "three").previous == one.version
    assert rollback(store, "tiny", "staging", WHY, signed=False)[0].version == one.version
    moves = history(store, "tiny", "staging")
    assert [move.version for move in moves] == [pushed.version for pushed in (one, two, three, two, one, three, one)]
    assert [move.action for move in moves] == ["push", "push", "push", "rollback", "rollback", "push", "rollback"]
    assert [move.number for move in moves] == list(range(1, 8))
    assert moves[3].reason == "it answers nonsense"
    assert moves[3].actor == "somebody"


def test_a_stage_that_nobody_holds_cannot_be_rolled_back(store: ObjectStore) -> None:
    with pytest.raises(RefusedError, match="tiny@production: no version holds this stage"):
        rollback(store, "tiny", "production", WHY, signed=False)


def test_a_version_keeps_its_evaluations_on_other_data(location: str, store: ObjectStore, tmp_path: Path) -> None:
    run = run_of(location)
    folders = make_judged(run, tmp_path / "run", "one")
    version = read_version(store, "tiny", push(run, folders, {}).version, signed=False)
    other = "e" * 64
    assert find_evidence(store, version, other) is None
    teacher, student = (artifacts.read(folders[kind], kind) for kind in ("teacher", "student"))
    store_evaluation(store, version, make_evaluation(tmp_path / "again", teacher, student, range(7), other).path)
    found = find_evidence(store, version, other)
    assert found is not None
    assert sum(label != answer for label, answer in found.answers) == 7
    kept = find_evidence(store, version, DATA)
    assert kept is not None
    assert all(label == answer for label, answer in kept.answers)
    verify(store, version)


def test_an_interrupted_pull_goes_on(location: str, store: ObjectStore, tmp_path: Path) -> None:
    version = read_version(store, "tiny", pushed(location, tmp_path / "run", "one").version, signed=False)
    partial = tmp_path / "out.partial"
    (partial / "version" / "student").mkdir(parents=True)
    (partial / "version" / "student" / "model.safetensors").write_text("half")
    (partial / "version" / "student" / "model.safetensors.0.tmp").write_text("half")
    with at_work(partial / "lock"), pytest.raises(InputError, match="out: another process is fetching it; wait until that is done"):
        pull(store, version, tmp_path / "out")
    assert (partial / "version" / "student" / "model.safetensors").read_text() == "half"
    pull(store, version, tmp_path / "out")
    assert not partial.exists()
    assert (tmp_path / "out" / "student" / "model.safetensors").read_text() == "one"
    with pytest.raises(InputError, match="exists already"):
        pull(store, version, tmp_path / "out")


def test_what_is_not_there_is_said_in_one_line(location: str, store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no version; write NAME@VERSION or NAME@STAGE"):
        resolve(store, "tiny", signed=False)
    with pytest.raises(InputError, match=r"tiny@staging: no version holds this stage"):
        resolve(store, "tiny@staging", signed=False)
    with pytest.raises(MissingObject, match="tiny@0123456789abcdef: is not in"):
        resolve(store, "tiny@0123456789abcdef", signed=False)
    with pytest.raises(InputError, match=r"model '\.\./x': a name has"):
        resolve(store, "../x@staging", signed=False)
    folders = make_folders(tmp_path / "run", "one")
    with pytest.raises(InputError, match=r"no such folder; name the folder of a verdict"):
        push(run_of(location), folders.with_verdict(tmp_path / "no"), {})
    assert store.list(version_key("tiny", "0123456789abcdef")) == []


class BreaksAfterTheMove(FolderObjects):
    """A registry that can be neither read nor written from the moment on in which an alias was moved. No real one breaks at that very moment."""

    moved = False

    def replace(self, key: str, content: bytes, etag: str) -> str:
        try:
            return super().replace(key, content, etag)
        finally:
            self.moved = True

    def _path(self, key: str) -> Path:
        if self.moved:
            raise InputError(f"{key}: the server does not answer")
        return super()._path(key)


def test_a_stage_that_was_moved_is_told_to_be_moved_whatever_breaks_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = str(tmp_path / "registry")
    one = pushed(location, tmp_path / "one", "one")
    pushed(location, tmp_path / "two", "two")
    broken = BreaksAfterTheMove(Path(location))
    monkeypatch.setattr("asdfd.steps.promotion.open_objects", lambda _: broken)
    assert roll_back(run_of(location), "tiny", "staging", "it answers nonsense").version == one.version
    assert broken.moved
    store = FolderObjects(Path(location))
    held = read_alias(store, "tiny", "staging")
    assert held is not None
    assert held.alias.version == one.version
    assert [move.action for move in history(store, "tiny", "staging")] == ["push", "push", "rollback"], "the alias tells its last entry"
    three = pushed(location, tmp_path / "three", "three")
    assert [move.version for move in history(store, "tiny", "staging")][2:] == [one.version, three.version]


def test_a_file_that_changes_during_a_push_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are replaced by others of the same size after their hash was taken: at the moment in which the version is announced."""
    from asdfd.registry import publication

    run = run_of(str(tmp_path / "registry"))
    folders = make_judged(run, tmp_path / "run", "one")
    describe = publication.describe

    def describe_and_change(*arguments: Any) -> Any:
        version = describe(*arguments)
        (folders["student"] / "model.safetensors").write_text("two")
        return version

    monkeypatch.setattr(publication, "describe", describe_and_change)
    with pytest.raises(InputError, match=r"model\.safetensors: was changed since it was read"):
        push(run, folders, {})
    store = FolderObjects(tmp_path / "registry")
    assert versions(store, "tiny") == []
    assert store.list("aliases/") == []


def test_a_push_hashes_each_file_that_it_is_given_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(str(tmp_path / "registry"))
    folders = make_judged(run, tmp_path / "run", "one")
    hashed: list[Path] = []
    sha256_of = artifacts.sha256_of

    def noted(path: Path) -> str:
        hashed.append(path)
        return sha256_of(path)

    monkeypatch.setattr(artifacts, "sha256_of", noted)
    push(run, folders, {})
    given = [path for path in hashed if any(path.is_relative_to(folder) for folder in folders.values())]
    assert len(given) == len(set(given))
    assert {"model.safetensors", "metrics.json", "predictions.csv", "verdict.json"} <= {path.name for path in given}


def test_the_recipe_of_a_verdict_is_what_it_was_made_from_and_not_what_came_of_it(tmp_path: Path) -> None:
    run = run_of(str(tmp_path / "registry"))
    folders = make_folders(tmp_path / "one", "one")
    first = judge_evaluation(run, folders.evaluation, tmp_path / "free")
    assert set(first.recipe.config) == {"gate", "champion"}
    assert first.recipe.config["champion"] is None
    pushed(run.registry.location, tmp_path / "champion", "champion")
    second = judge_evaluation(run, folders.evaluation, tmp_path / "held")
    champion = artifacts.read(tmp_path / "champion" / "evaluation", "evaluation")
    assert second.recipe.inputs == {**first.recipe.inputs, "champion_evaluation": champion.digest}
    assert second.recipe.config["champion"]["student"] == champion.recipe.inputs["student"]
    assert "reasons" not in second.recipe.config
    with pytest.raises(InputError, match="holds a verdict made from other inputs"):
        judge_evaluation(run, folders.evaluation, tmp_path / "free")
