"""The state of a source changes when its content may have, and only then: over a real bucket, real files, and the hub's protocol over HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from asdfd.base.errors import InputError
from asdfd.models import hub as asking
from asdfd.steps.sources import source_state
from asdfd.storage.objects import open_objects
from tests.servers.ceph import Ceph
from tests.servers.hub import Hub, running_hub


@pytest.fixture
def hub(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub(teacher_folder, tmp_path / "cache", monkeypatch) as running:
        yield running


@pytest.fixture
def bucket(ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in ceph.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{ceph.bucket()}"


def test_nothing_and_a_commit_cannot_change() -> None:
    assert source_state("", "model") == source_state(f"hf://a/b@{'0' * 40}", "model") == ""


def test_a_bucket_is_its_listing(bucket: str) -> None:
    store = open_objects(bucket)
    store.create("teachers/one/config.json", b"{}")
    store.create("teachers/one-more/config.json", b"{}")
    etag = store.create("teachers/one/model.safetensors", b"weights")
    before = source_state(f"{bucket}/teachers/one", "model")
    assert before == source_state(f"{bucket}/teachers/one/", "model")
    store.create("teachers/one-more/model.safetensors", b"of another model")
    assert source_state(f"{bucket}/teachers/one", "model") == before, "its neighbour does not concern it"
    store.replace("teachers/one/model.safetensors", b"WEIGHTS", etag)
    replaced = source_state(f"{bucket}/teachers/one", "model")
    assert replaced != before, "as long as it was, but another etag"
    store.create("teachers/one/vocab.txt", b"")
    assert source_state(f"{bucket}/teachers/one", "model") not in (before, replaced)


def test_a_file_of_a_bucket_is_told_from_others_that_begin_like_it(bucket: str) -> None:
    store = open_objects(bucket)
    etag = store.create("data/test.csv", b"text,label")
    before = source_state(f"{bucket}/data/test.csv", "dataset")
    store.create("data/test.csv.bak", b"text,label")
    assert source_state(f"{bucket}/data/test.csv", "dataset") == before
    store.replace("data/test.csv", b"text;label", etag)
    assert source_state(f"{bucket}/data/test.csv", "dataset") != before


def test_a_bucket_that_is_not_there_is_told(bucket: str) -> None:
    with pytest.raises(InputError, match="there is no such bucket"):
        source_state(f"{bucket}-not/teacher", "model")


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_branch_of_the_hub_is_its_commit(hub: Hub, kind: str) -> None:
    assert source_state("hf://organisation/name@v1", kind) == hub.commit  # pyright: ignore[reportArgumentType]
    hub.commit = "f" * 40
    assert source_state("hf://organisation/name@v1", kind) == "f" * 40  # pyright: ignore[reportArgumentType]
    assert hub.requested == [], "nothing is downloaded for it"


def test_a_data_set_needs_no_revision_and_no_scheme(hub: Hub) -> None:
    assert source_state("hf://organisation/name", "dataset") == source_state("organisation/name", "dataset") == hub.commit


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        ("hf://organisation/missing@v1", "hf://organisation/missing@v1: nothing of this name is on the hub, or it is private; check the name, or set HF_TOKEN"),
        ("hf://organisation/name@v2", "hf://organisation/name@v2: has no revision v2; take a commit or a tag from its page"),
        ("hf://organisation/gated@v1", "hf://organisation/gated@v1: is gated, and this account has no access"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_the_hub_does_not_give_is_told(reference: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        source_state(reference, "model")
    assert str(caught.value).startswith(line)


def test_a_hub_that_cannot_be_reached_is_asked_again_and_then_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES", (0.0, 0.0))
    hub.faults = {"/revision/v1": ["503", "dropped"]}
    assert source_state("hf://organisation/name@v1", "model") == hub.commit
    hub.faults = {"/revision/v1": ["503"] * 3}
    with pytest.raises(InputError, match=r"hf://organisation/name@v1: the hub could not be read"):
        source_state("hf://organisation/name@v1", "model")


def test_without_a_hub_the_commit_of_the_cache_counts(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub.snapshot_download("organisation/name", revision="v1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.commit = "f" * 40
    assert source_state("hf://organisation/name@v1", "model") != hub.commit
    with pytest.raises(InputError, match="the hub cannot be reached and the local cache does not hold all of it; check the network and HF_HUB_OFFLINE"):
        source_state("hf://organisation/other@v1", "model")


def test_files_are_their_names_sizes_and_times(tmp_path: Path) -> None:
    file = tmp_path / "model" / "weights"
    assert source_state(str(file.parent), "model") == source_state(str(tmp_path / "nowhere"), "model"), "what is not there is told by whoever reads it"
    file.parent.mkdir()
    file.write_text("a", encoding="utf-8")
    before = source_state(str(file.parent), "model")
    assert before == source_state(str(file.parent), "model")
    os.utime(file, ns=(0, 0))
    assert source_state(str(file.parent), "model") != before
