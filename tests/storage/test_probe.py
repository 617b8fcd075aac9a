"""The probe of conditional writes: a folder and a real S3 server pass, and a server that ignores the conditions is found out by each of its three questions."""

from __future__ import annotations

from pathlib import Path

import pytest

from asdfd.base.errors import InputError
from asdfd.storage.folder import FolderObjects
from asdfd.storage.objects import Conflict, ObjectStore, open_objects
from asdfd.storage.probe import check_conditional_writes
from tests.servers.ceph import Ceph
from tests.servers.proxy import running_proxy


def test_a_place_that_keeps_its_word_passes_and_nothing_stays(store: ObjectStore) -> None:
    check_conditional_writes(store)
    assert store.list("") == []


@pytest.mark.parametrize(
    ("header", "line"), [("If-None-Match", "takes a write that must not replace anything"), ("If-Match", "takes a write in place of what is no longer there")]
)
def test_a_server_that_does_not_know_a_condition_is_found_out(header: str, line: str, ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real server that never sees the header, as one that does not read it."""
    bucket = ceph.bucket()
    with running_proxy(ceph.endpoint) as proxy:
        proxy.dropped_headers = (header,)
        for name, value in ceph.environment(endpoint=proxy.endpoint).items():
            monkeypatch.setenv(name, value)
        store = open_objects(f"s3://{bucket}/registry")
        with pytest.raises(InputError, match=line):
            check_conditional_writes(store)
        assert store.list("") == []


class Racy(FolderObjects):
    """A server that asks first and writes then, so that all who ask at once win; one after the other they do not. Simulated: no server here has this fault."""

    def create(self, key: str, content: bytes) -> str:
        try:
            return super().create(key, content)
        except Conflict:
            if content in (b"first", b"second"):
                raise
            return "etag"


def test_a_server_that_lets_all_win_who_come_at_once_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of 8 that wrote one object at once 8 were told that they were first"):
        check_conditional_writes(Racy(tmp_path))
    assert open_objects(str(tmp_path)).list("") == []
