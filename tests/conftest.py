"""What all tests share: no network, one thread where nothing else is said, and one tiny teacher."""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from asdfd.storage.objects import ObjectStore
    from tests.servers.ceph import Ceph

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # unless it was given; read when torch is imported, which a test of the light modules need not do

faulthandler.enable()  # pytest has it while tests run; enabled before, it stays, and a process that crashes while Python ends says where

SERVERS = {"ceph", "servers"}
"""Fixtures that start real servers, which takes longer than moments."""

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background has them ignore Ctrl-C, and what they start


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs a server as slow, and put files that take long behind the others, so that a mistake elsewhere is told sooner.

    Side by side they come first: beside the one that takes longest there is always another to do, and the suite does not end with it alone.
    """
    for item in items:
        if SERVERS & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.slow)
    marks = ("slow", "real", "container")
    rank: dict[Path, int] = {}
    for item in items:
        rank[item.path] = max(rank.get(item.path, 0), *(1 + place for place, mark in enumerate(marks) if item.get_closest_marker(mark)), 0)
    items.sort(key=lambda item: rank[item.path], reverse=bool(config.getoption("numprocesses", None)) or hasattr(config, "workerinput"))


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of a random BERT classifier: 4 layers, 3 classes. Read only: copy it before a change."""
    from tests.tiny_models import make_teacher

    return make_teacher(tmp_path_factory.mktemp("teacher") / "bert")


@pytest.fixture(scope="session")
def teacher_artifact(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`teacher_folder` fetched: the path of a teacher artifact. Read only: copy it before a change."""
    from asdfd.models.fetching import fetch

    return fetch(str(teacher_folder), tmp_path_factory.mktemp("artifacts") / "teacher").path


@pytest.fixture(scope="session")
def ceph() -> Iterator[Ceph]:
    """A real S3 server. Tests that write use a bucket of their own: `ceph.bucket()`."""
    from tests.servers.ceph import running_ceph

    with tempfile.TemporaryDirectory(prefix="ceph-") as folder, running_ceph(Path(folder) / "server") as server:
        yield server


@pytest.fixture(params=["folder", pytest.param("ceph", marks=pytest.mark.slow)])
def location(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place for a registry, once a folder and once a bucket of a real S3 server."""
    if request.param == "folder":
        return str(tmp_path / "registry")
    ceph: Ceph = request.getfixturevalue("ceph")
    for name, value in ceph.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{ceph.bucket()}/some/prefix"


@pytest.fixture
def store(location: str) -> ObjectStore:
    from asdfd.storage.objects import open_objects

    return open_objects(location)
