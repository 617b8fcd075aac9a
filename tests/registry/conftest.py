"""What the tests of the registry share: the two places that it can lie in."""

from __future__ import annotations

from pathlib import Path

import pytest

from asdfd.registry.objects import ObjectStore, open_objects
from tests.servers.ceph import Ceph


@pytest.fixture(params=["folder", "ceph"])
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
    return open_objects(location)
