"""What both places for objects promise, shown on a folder and on a real S3 server by the same tests."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asdfd.base.errors import InputError
from asdfd.storage.objects import Conflict, MissingObject, ObjectStore, open_objects
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow


def test_the_location_is_what_was_named(store: ObjectStore, location: str) -> None:
    assert store.location == location
    assert store.list("") == []
    assert store.unfinished() == []


def test_an_object_is_created_once_and_read_back(store: ObjectStore) -> None:
    etag = store.create("a/b.json", b"one")
    assert store.read("a/b.json") == (b"one", etag)
    with pytest.raises(Conflict):
        store.create("a/b.json", b"two")
    with pytest.raises(Conflict):
        store.create("a/b.json", b"one")
    assert store.read("a/b.json") == (b"one", etag)


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    etag = store.create("empty", b"")
    assert store.read("empty") == (b"", etag)


def test_a_replacement_needs_the_current_etag(store: ObjectStore) -> None:
    first = store.create("alias", b"one")
    second = store.replace("alias", b"two", first)
    assert second != first
    assert store.read("alias") == (b"two", second)
    with pytest.raises(Conflict):
        store.replace("alias", b"three", first)
    assert store.read("alias")[0] == b"two"


def test_what_is_gone_is_not_replaced(store: ObjectStore) -> None:
    etag = store.create("alias", b"one")
    store.delete("alias")
    with pytest.raises(Conflict):
        store.replace("alias", b"two", etag)
    with pytest.raises(MissingObject):
        store.read("alias")
    store.delete("alias")


def test_files_go_up_and_down_and_are_verified(store: ObjectStore, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "up").write_bytes(content)
    for _ in range(2):
        store.upload("files/weights", tmp_path / "up", hashlib.sha256(content).hexdigest())
    store.download("files/weights", tmp_path / "down", hashlib.sha256(content).hexdigest())
    assert (tmp_path / "down").read_bytes() == content
    with pytest.raises(InputError, match="files/weights: is not the file that its manifest describes"):
        store.download("files/weights", tmp_path / "other", hashlib.sha256(b"").hexdigest())
    with pytest.raises(MissingObject):
        store.download("files/nothing", tmp_path / "other", hashlib.sha256(b"").hexdigest())
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["down", "up"]


@pytest.mark.parametrize("content", [b"", b"of the same size", b"more than it was"], ids=["emptied", "changed", "lengthened"])
def test_a_file_that_was_changed_since_its_hash_was_taken_is_not_stored(store: ObjectStore, tmp_path: Path, content: bytes) -> None:
    """Its size may be what it was: only the hash of what is stored tells."""
    (tmp_path / "up").write_bytes(content)
    with pytest.raises(InputError, match="up: was changed since it was read; run the same command again"):
        store.upload("files/weights", tmp_path / "up", hashlib.sha256(b"what it was then").hexdigest())
    assert store.list("") == []
    assert store.unfinished() == []


def test_an_empty_file_is_a_file(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "up").touch()
    store.upload("files/empty", tmp_path / "up", hashlib.sha256(b"").hexdigest())
    store.download("files/empty", tmp_path / "down", hashlib.sha256(b"").hexdigest())
    assert (tmp_path / "down").read_bytes() == b""


def test_a_listing_is_complete_ordered_and_begins_with_the_prefix(store: ObjectStore) -> None:
    names = ["models/one/a.json", "models/one/b c+ü.json", "models/one.json", "models/two/a.json"]
    for number, name in enumerate(names):
        store.create(name, b"x" * number)
    assert [(info.key, info.bytes) for info in store.list("")] == [(name, number) for name, number in sorted(zip(names, range(4), strict=True))]
    assert [info.key for info in store.list("models/one/")] == names[:2]
    assert [info.key for info in store.list("models/one")] == sorted(names[:3])
    assert store.list("nothing/") == []
    assert all(abs(info.modified - store.list("")[0].modified) < 600 for info in store.list(""))


@pytest.mark.parametrize("key", ["../up", "/absolute", "a/../../b", "a//b", "", "a/.hidden", "a\\b", "a\nb"])
def test_a_name_that_leads_elsewhere_is_refused(store: ObjectStore, tmp_path: Path, key: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    calls: list[Callable[[], Any]] = [
        lambda: store.read(key),
        lambda: store.create(key, b""),
        lambda: store.replace(key, b"", "x"),
        lambda: store.upload(key, tmp_path / "file", ""),
        lambda: store.download(key, tmp_path / "file", ""),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(InputError, match="is not a name of an object"):
            call()


def create_in_process(location: str, number: int, start: Any, results: Any) -> None:
    """Wait for the others, then try to create one object and to replace another."""
    objects = open_objects(location)
    etag = objects.read("alias")[1]
    start.wait()
    won = []
    for name, attempt in (("new", lambda: objects.create("new", b"%d" % number)), ("alias", lambda: objects.replace("alias", b"%d" % number, etag))):
        try:
            attempt()
            won.append(name)
        except Conflict:
            continue
    results.put((number, won))


def test_of_many_processes_one_creates_and_one_replaces(store: ObjectStore, location: str) -> None:
    store.create("alias", b"none")
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(8), context.Queue()
    processes = [context.Process(target=create_in_process, args=(location, number, start, results)) for number in range(8)]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=PATIENCE) for _ in processes)
    for process in processes:
        process.join()
    for name in ("new", "alias"):
        winners = [number for number, won in found.items() if name in won]
        assert len(winners) == 1
        assert store.read(name)[0] == b"%d" % winners[0]
