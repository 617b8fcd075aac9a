"""What was changed behind the registry's back is refused, with one line that names it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asdfd.base.errors import AsdfdError, InputError, RefusedError
from asdfd.registry.aliases import history
from asdfd.registry.listing import problems
from asdfd.registry.publication import Pushed, Reason, push, rollback
from asdfd.registry.records import parse_version
from asdfd.registry.versions import pull, read_version, resolve, verify
from asdfd.storage.objects import ObjectStore, open_objects
from tests.registry.makers import make_judged, run_of

pytestmark = pytest.mark.slow  # dozens of small ones that together take long


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def store(root: Path) -> ObjectStore:
    return open_objects(str(root))


@pytest.fixture
def pushed(root: Path, tmp_path: Path) -> list[Pushed]:
    run = run_of(str(root))
    return [push(run, make_judged(run, tmp_path / name, name), {}) for name in ("one", "two")]


def refused(action: Callable[[], object], *parts: str) -> None:
    """The action ends with one line that has all these parts."""
    with pytest.raises(AsdfdError) as caught:
        action()
    line = str(caught.value)
    assert "\n" not in line
    assert all(part in line for part in parts), line
    assert caught.value.exit_code in (2, 3)


def folder_of(root: Path, one: Pushed) -> Path:
    return root / "models" / "tiny" / "versions" / one.version


def change(path: Path, **changes: Any) -> None:
    """Write other values into a JSON document."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_flipped_byte(root: Path, store: ObjectStore, pushed: list[Pushed], tmp_path: Path) -> None:
    weights = folder_of(root, pushed[1]) / "student" / "model.safetensors"
    weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])
    version = resolve(store, "tiny@staging", signed=False)
    refused(lambda: verify(store, version), "model.safetensors", "changed or damaged")
    refused(lambda: pull(store, version, tmp_path / "out"), "model.safetensors", "changed or damaged")
    assert not (tmp_path / "out").exists()
    count, found = problems(store, signed=False)
    assert count == 2
    assert len(found) == 1


def test_a_truncated_and_a_missing_file(root: Path, store: ObjectStore, pushed: list[Pushed]) -> None:
    weights = folder_of(root, pushed[1]) / "student" / "model.safetensors"
    version = resolve(store, "tiny@staging", signed=False)
    weights.write_bytes(weights.read_bytes()[:-1])
    refused(lambda: verify(store, version), "model.safetensors", "has 2 bytes, its manifest says 3")
    weights.unlink()
    refused(lambda: verify(store, version), "model.safetensors", "is missing")


def test_a_file_that_was_added(root: Path, store: ObjectStore, pushed: list[Pushed]) -> None:
    (folder_of(root, pushed[1]) / "student" / "pytorch_model.bin").write_text("x")
    refused(lambda: verify(store, resolve(store, "tiny@staging", signed=False)), "pytorch_model.bin", "is not named in the manifest")


def test_files_swapped_between_versions(root: Path, store: ObjectStore, pushed: list[Pushed]) -> None:
    one, two = (folder_of(root, which) / "student" / "model.safetensors" for which in pushed)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    for which in pushed:
        refused(
            lambda which=which: verify(store, read_version(store, "tiny", which.version, signed=False)),
            which.version,
            "model.safetensors",
            "changed or damaged",
        )


def test_a_whole_version_under_another_name(root: Path, store: ObjectStore, pushed: list[Pushed]) -> None:
    shutil.rmtree(folder_of(root, pushed[1]))
    shutil.copytree(folder_of(root, pushed[0]), folder_of(root, pushed[1]))
    refused(lambda: resolve(store, "tiny@staging", signed=False), f"is the manifest of tiny@{pushed[0].version}", "does not belong here")


@pytest.mark.parametrize("name", ["../../../../secret", "student/../../../escape", "/etc/passwd", "student//x", "student/.hidden", "student\\..\\x", ""])
def test_a_manifest_that_names_a_file_outside(root: Path, store: ObjectStore, pushed: list[Pushed], name: str, tmp_path: Path) -> None:
    path = folder_of(root, pushed[1]) / "manifest.json"
    files = json.loads(path.read_text())["files"]
    change(path, files={**files, name: files["student/config.json"]})
    refused(lambda: resolve(store, "tiny@staging", signed=False), str(path), "names a file outside of the version", "do not use this version")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["one", "registry", "two"]


def test_a_manifest_whose_hashes_were_made_to_fit(root: Path, store: ObjectStore, pushed: list[Pushed]) -> None:
    path = folder_of(root, pushed[1]) / "manifest.json"
    weights = folder_of(root, pushed[1]) / "student" / "model.safetensors"
    weights.write_text("bad")
    files = json.loads(path.read_text())["files"]
    files["student/model.safetensors"]["sha256"] = hashlib.sha256(b"bad").hexdigest()
    change(path, files=files)
    refused(lambda: resolve(store, "tiny@staging", signed=False), str(path), "lists other files than version")


def test_a_manifest_that_was_changed_where_no_hash_looks(root: Path, store: ObjectStore, pushed: list[Pushed]) -> None:
    change(folder_of(root, pushed[1]) / "manifest.json", metrics={"student_accuracy": 1.0, "agreement": 1.0})
    assert read_version(store, "tiny", pushed[1].version, signed=False).metrics["agreement"] == 1.0
    refused(lambda: resolve(store, "tiny@staging", signed=False), pushed[1].version, "its manifest is not the one that was moved to staging")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"x"', b'{"schema": 1, "kind": "version"}', b'{"schema": 1, "kind": "version", "files": 3}', b"\xff"]
)
def test_a_manifest_that_is_none(root: Path, store: ObjectStore, pushed: list[Pushed], content: bytes) -> None:
    (folder_of(root, pushed[1]) / "manifest.json").write_bytes(content)
    refused(lambda: resolve(store, "tiny@staging", signed=False), "manifest.json", "is not a valid")


def test_documents_of_tomorrow(root: Path, store: ObjectStore, pushed: list[Pushed]) -> None:
    alias = root / "aliases" / "tiny" / "staging.json"
    kept = alias.read_bytes()
    change(alias, schema=2, more="x")
    refused(lambda: resolve(store, "tiny@staging", signed=False), str(alias), "has schema 2, this version reads schema 1; use the asdfd that wrote it")
    alias.write_bytes(kept)
    change(folder_of(root, pushed[1]) / "manifest.json", schema=2, more="x")
    refused(lambda: resolve(store, "tiny@staging", signed=False), "manifest.json", "has schema 2")


def test_an_alias_to_nothing(root: Path, store: ObjectStore, pushed: list[Pushed]) -> None:
    shutil.rmtree(folder_of(root, pushed[1]))
    refused(
        lambda: resolve(store, "tiny@staging", signed=False),
        f"names version {pushed[1].version}, which is not there",
        "with `asdfd promote` or `asdfd rollback`",
    )
    assert rollback(store, "tiny", "staging", Reason("rollback", "me", "", "it is gone"), signed=False)[0].version == pushed[0].version
    assert resolve(store, "tiny@staging", signed=False).version == pushed[0].version


@pytest.mark.parametrize(
    "changes", [{"number": "2"}, {"version": "../x"}, {"manifest": 3}, {"kind": "version"}, {"stage": "production"}, {"name": "other"}, {"more": 1}]
)
def test_an_alias_that_is_none(root: Path, store: ObjectStore, pushed: list[Pushed], changes: dict[str, Any]) -> None:
    assert len(pushed) == 2
    change(root / "aliases" / "tiny" / "staging.json", **changes)
    refused(lambda: resolve(store, "tiny@staging", signed=False), "aliases/tiny/staging.json")


def test_a_rollback_to_a_damaged_version(root: Path, store: ObjectStore, pushed: list[Pushed]) -> None:
    (folder_of(root, pushed[0]) / "student" / "model.safetensors").write_text("bad")
    refused(lambda: rollback(store, "tiny", "staging", Reason("rollback", "me", "", "why"), signed=False), "model.safetensors", "changed or damaged")
    assert resolve(store, "tiny@staging", signed=False).version == pushed[1].version
    assert store.list("intents/") == []


@pytest.mark.parametrize("what", ["file", "folder", "registry"])
def test_symbolic_links(root: Path, store: ObjectStore, pushed: list[Pushed], tmp_path: Path, what: str) -> None:
    student = folder_of(root, pushed[1]) / "student"
    path = {"file": student / "model.safetensors", "folder": student, "registry": root / "models"}[what]
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    def use() -> None:
        version = resolve(store, "tiny@staging", signed=False)
        pull(store, version, tmp_path / "out")

    refused(use, str(path), "is a symbolic link")
    assert not (tmp_path / "out").exists()


def test_a_history_that_was_changed(root: Path, store: ObjectStore, pushed: list[Pushed], tmp_path: Path) -> None:
    run = run_of(str(root))
    push(run, make_judged(run, tmp_path / "three", "three"), {})
    entries = sorted((root / "history" / "tiny" / "staging").iterdir())
    contents = [entry.read_bytes() for entry in entries]
    change(entries[0], reason="another reason")
    refused(lambda: history(store, "tiny", "staging"), "00000002.json", "does not follow the entry before it; the history was changed")
    entries[0].write_bytes(contents[0])
    entries[1].unlink()
    refused(lambda: history(store, "tiny", "staging"), "history")
    entries[1].write_bytes(contents[1])
    assert [move.version for move in history(store, "tiny", "staging")][:2] == [one.version for one in pushed]
    entries[2].unlink()  # as a mover that was killed leaves it
    assert len(history(store, "tiny", "staging")) == 3
    push(run, make_judged(run, tmp_path / "four", "four"), {})
    assert entries[2].read_bytes() == contents[2]


def test_a_name_that_leads_elsewhere(root: Path, store: ObjectStore, tmp_path: Path) -> None:
    for name in ("../x", "", ".hidden", "a/b", "a b", "x" * 101, "-x"):
        run = run_of(str(root), name=name)
        with pytest.raises(InputError, match="a name has 1 to 100 letters"):
            push(run, {}, {})
    with pytest.raises(InputError, match="looks like a version"):
        push(run_of(str(root), stage="0123456789abcdef"), {}, {})
    for key in ("../x", "/x", "a//b", "a/./b", ".x", "a\nb", ""):
        with pytest.raises(InputError, match="is not a name of an object"):
            store.create(key, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_without_one_of_its_artifacts(root: Path, pushed: list[Pushed]) -> None:
    path = folder_of(root, pushed[1]) / "manifest.json"
    document = json.loads(path.read_text())
    document["files"] = {name: entry for name, entry in document["files"].items() if not name.startswith("verdict/")}
    with pytest.raises(InputError, match="lists other files than version"):
        parse_version(json.dumps(document).encode(), "here", "tiny", pushed[1].version)


def test_locations_that_are_none() -> None:
    for location, line in {"": "is not a place for a registry", "http://x/y": "is not a place for a registry", "s3://": "names no bucket"}.items():
        with pytest.raises(InputError, match=line):
            open_objects(location)


def test_a_refusal_keeps_its_kind() -> None:
    assert (InputError.exit_code, RefusedError.exit_code) == (2, 3)
