"""DVC on the same S3 server, and a promoted version tracked in another repository by its address, as docs/storage.md shows it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from asdfd.registry.publication import push
from asdfd.registry.records import file_key
from asdfd.registry.versions import resolve
from asdfd.storage.objects import open_objects
from tests.registry.makers import make_judged, run_of
from tests.servers.ceph import OWNER, Ceph

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs" / "storage.md"
Dvc = Callable[..., None]
PROGRAM = "import json, sys; from dvc.cli import main; sys.exit(next(filter(None, map(main, json.loads(sys.argv[1]))), 0))"
"""Runs several commands of DVC in one process, which takes seconds to start, until one fails."""


@pytest.fixture
def dvc(ceph: Ceph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dvc:
    """Run DVC in a folder, with the settings of the documentation."""
    for name, value in ceph.environment().items():
        monkeypatch.setenv(name, value)
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(tmp_path / "site"), "HOME": str(tmp_path)}

    def call(folder: Path, *commands: str) -> None:
        command = [sys.executable, "-c", PROGRAM, json.dumps([command.split() for command in commands])]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{commands}: {done.stdout}{done.stderr}"
        assert OWNER.secret not in done.stdout + done.stderr

    return call


def set_up(endpoint: str, bucket: str) -> list[str]:
    """The commands that make a repository with the remotes of the documentation, for the test's own server and bucket."""
    lines = re.findall(r"^dvc (remote .*)$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 6
    told = [line.replace("$S3_ENDPOINT", endpoint).replace("my-bucket", bucket).replace("$S3_REGION", "us-east-1") for line in lines]
    return ["init --no-scm -q", *told]


def test_what_is_pushed_from_one_checkout_is_pulled_in_another(dvc: Dvc, ceph: Ceph, tmp_path: Path) -> None:
    bucket = ceph.bucket()
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    (first / "data.csv").write_text("text,label\nfine,praise\n", encoding="utf-8")
    dvc(first, *set_up(ceph.endpoint, bucket), "add -q data.csv", "push -q")
    assert [info.key.startswith("dvc/files/md5/") for info in open_objects(f"s3://{bucket}").list("")] == [True]
    (second / "data.csv.dvc").write_text((first / "data.csv.dvc").read_text(encoding="utf-8"), encoding="utf-8")
    dvc(second, *set_up(ceph.endpoint, bucket), "pull -q")
    assert (second / "data.csv").read_text(encoding="utf-8") == "text,label\nfine,praise\n"
    assert OWNER.secret not in "".join(path.read_text(encoding="utf-8", errors="replace") for path in second.rglob("*") if path.is_file())


def test_a_promoted_version_is_tracked_by_its_address(dvc: Dvc, ceph: Ceph, tmp_path: Path) -> None:
    bucket = ceph.bucket()
    run = run_of(f"s3://{bucket}/registry")
    push(run, make_judged(run, tmp_path / "run", "the student"), {})
    store = open_objects(run.registry.location)
    version = resolve(store, "tiny@staging", signed=False)
    key = file_key(version, "student/model.safetensors").rpartition("/")[0]
    assert key == f"models/tiny/versions/{version.version}/student"
    consumer = tmp_path / "consumer"
    consumer.mkdir()
    (line,) = re.findall(r"^dvc (import-url .*)$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    dvc(consumer, *set_up(ceph.endpoint, bucket), line.replace("NAME", "tiny").replace("VERSION", version.version), "push -q")
    assert (consumer / "student" / "model.safetensors").read_text(encoding="utf-8") == "the student"
    tracked = yaml.safe_load((consumer / "student.dvc").read_text(encoding="utf-8"))
    assert tracked["deps"][0]["path"] == f"remote://registry/{key}"
    (consumer / "student" / "model.safetensors").unlink()
    dvc(consumer, "pull -q", "update -q student.dvc")
    assert (consumer / "student" / "model.safetensors").read_text(encoding="utf-8") == "the student"
    assert yaml.safe_load((consumer / "student.dvc").read_text(encoding="utf-8")) == tracked
