"""Teachers and labelled texts that lie on S3: the same as those in a folder, wherever they lie, on a real server."""

from __future__ import annotations

import io
import json
import re
import tempfile
from pathlib import Path

import pytest

from asdfd.base.artifacts import MANIFEST
from asdfd.base.config import Evaluation
from asdfd.base.errors import InputError, RefusedError
from asdfd.evaluation.texts import read_texts
from asdfd.models.fetching import fetch, read_config
from tests.servers.ceph import Ceph
from tests.servers.proxy import once, running_proxy

pytestmark = pytest.mark.slow

ROWS = "text,label\nwhere is my refund,question\nit is wonderful,praise\nthe screen is broken,complaint\n"
NAMES = ("complaint", "praise", "question")


@pytest.fixture(autouse=True)
def scratch(ceph: Ceph, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's settings, and a folder for temporary files that must be empty in the end."""
    for name, value in ceph.environment().items():
        monkeypatch.setenv(name, value)
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def bucket(ceph: Ceph) -> str:
    return ceph.bucket()


def upload(ceph: Ceph, bucket: str, folder: Path, prefix: str) -> str:
    """Put a folder's files into the bucket; the reference."""
    for path in folder.rglob("*"):
        if path.is_file():
            ceph.client().fput_object(bucket, f"{prefix}/{path.relative_to(folder).as_posix()}", str(path))
    return f"s3://{bucket}/{prefix}"


def read(source: str) -> tuple[object, ...]:
    data = read_texts(Evaluation(data=source), NAMES)
    return data.texts, data.labels, data.digest, data.name


def test_a_teacher_on_s3_is_that_of_the_folder(ceph: Ceph, bucket: str, teacher_folder: Path, teacher_artifact: Path, tmp_path: Path, scratch: Path) -> None:
    reference = upload(ceph, bucket, teacher_folder, "plain/teacher")
    ceph.client().put_object(bucket, "plain/teacher/training/data.csv", io.BytesIO(b"x"), 1)
    first = fetch(reference, tmp_path / "teacher")
    expected = json.loads((teacher_artifact / MANIFEST).read_text())
    assert json.loads((first.path / MANIFEST).read_text()) == expected
    assert fetch(f"{reference}/", tmp_path / "teacher").digest == expected["digest"]
    assert fetch(str(teacher_folder), tmp_path / "teacher").digest == expected["digest"]
    assert list(scratch.iterdir()) == []


def test_a_prefix_of_checkpoints_is_told_as_a_folder_of_them_is(ceph: Ceph, bucket: str, teacher_folder: Path, tmp_path: Path) -> None:
    for step in (90, 500):
        upload(ceph, bucket, teacher_folder, f"trained/checkpoint-{step}")
    line = f"s3://{bucket}/trained: holds no model itself, but 2 checkpoints of a training; name one of them, the last is s3://{bucket}/trained/checkpoint-500"
    for ask in (lambda: fetch(f"s3://{bucket}/trained", tmp_path / "teacher"), lambda: read_config(f"s3://{bucket}/trained")):
        with pytest.raises(InputError, match=f"^{line}$"):
            ask()
    assert fetch(f"s3://{bucket}/trained/checkpoint-500", tmp_path / "teacher").files
    upload(ceph, bucket, teacher_folder, "trained")
    assert set(fetch(f"s3://{bucket}/trained", tmp_path / "whole").files) == {path.name for path in teacher_folder.iterdir()}


def test_a_pinned_teacher_that_is_there_is_not_downloaded_again(
    ceph: Ceph, bucket: str, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = upload(ceph, bucket, teacher_folder, "pinned")
    with running_proxy(ceph.endpoint) as proxy:
        monkeypatch.setenv("S3_ENDPOINT", proxy.endpoint)
        digest = fetch(reference, tmp_path / "teacher").digest
        asked = len(proxy.seen)
        assert fetch(reference, tmp_path / "teacher", expected_digest=digest).digest == digest
        assert len(proxy.seen) == asked
    monkeypatch.setenv("S3_ENDPOINT", ceph.endpoint)
    with pytest.raises(RefusedError, match=rf"{reference}: has digest {digest}, expected 0000"):
        fetch(reference, tmp_path / "other", expected_digest="0000")
    assert not (tmp_path / "other").exists()


def test_another_content_under_the_same_name_is_another_teacher(ceph: Ceph, bucket: str, teacher_folder: Path, tmp_path: Path) -> None:
    reference = upload(ceph, bucket, teacher_folder, "moving")
    fetch(reference, tmp_path / "teacher")
    config = json.loads((teacher_folder / "config.json").read_text()) | {"classifier_dropout": 0.25}
    content = json.dumps(config).encode()
    ceph.client().put_object(bucket, "moving/config.json", io.BytesIO(content), len(content))
    with pytest.raises(InputError, match="holds a teacher made from other inputs"):
        fetch(reference, tmp_path / "teacher")


def test_a_network_that_breaks_is_survived(ceph: Ceph, bucket: str, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = upload(ceph, bucket, teacher_folder, "network")
    with running_proxy(ceph.endpoint) as proxy:
        monkeypatch.setenv("S3_ENDPOINT", proxy.endpoint)
        proxy.decide = once("truncated", "GET", "model.safetensors", times=2)
        fetch(reference, tmp_path / "teacher")
        assert proxy.count("truncated") == 2


def test_an_artifact_on_s3_must_be_what_its_manifest_says(ceph: Ceph, bucket: str, teacher_artifact: Path, tmp_path: Path, scratch: Path) -> None:
    reference = upload(ceph, bucket, teacher_artifact, "artifact")
    assert fetch(reference, tmp_path / "teacher").digest == json.loads((teacher_artifact / MANIFEST).read_text())["digest"]
    config = (teacher_artifact / "config.json").read_bytes() + b"\n"
    ceph.client().put_object(bucket, "artifact/config.json", io.BytesIO(config), len(config))
    with pytest.raises(InputError, match=rf"{reference}/config.json: is not the file that manifest.json beside it describes"):
        fetch(reference, tmp_path / "other")
    ceph.client().put_object(bucket, f"artifact/{MANIFEST}", io.BytesIO(b"{}"), 2)
    with pytest.raises(InputError, match=r"artifact/manifest.json: is not a valid manifest"):
        fetch(reference, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("s3://{bucket}/nothing", "s3://{bucket}/nothing: holds no file of a model; name the prefix that the model's config.json lies in"),
        ("s3://no-such-bucket/teacher", "there is no such bucket; create it"),
        ("s3://{bucket}/half", "s3://{bucket}/half/model.safetensors: is missing"),
    ],
)
def test_what_is_no_teacher_is_told_by_its_reference(ceph: Ceph, bucket: str, tmp_path: Path, reference: str, words: str) -> None:
    config = b'{"model_type": "bert"}'
    ceph.client().put_object(bucket, "half/config.json", io.BytesIO(config), len(config))
    with pytest.raises(InputError, match=re.escape(words.format(bucket=bucket))):
        fetch(reference.format(bucket=bucket), tmp_path / "teacher")


def test_labelled_texts_on_s3_are_those_of_the_file(ceph: Ceph, bucket: str, tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "test.csv").write_text(ROWS, encoding="utf-8")
    ceph.client().fput_object(bucket, "data/test.csv", str(tmp_path / "test.csv"))
    assert read(f"s3://{bucket}/data/test.csv") == read(str(tmp_path / "test.csv"))
    assert read(f"s3://{bucket}/data/test.csv")[3] == "test.csv"
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("none.csv", "s3://{bucket}/none.csv: no such file in the bucket; check the name"),
        ("none.txt", "s3://{bucket}/none.txt: the extension .txt is not known"),
        ("wrong.csv", "s3://{bucket}/wrong.csv: has no column 'text'; it has 'a', 'b'"),
        ("../up.csv", "is not a name of an object"),
    ],
)
def test_what_is_no_data_is_told_by_its_reference(ceph: Ceph, bucket: str, key: str, words: str) -> None:
    ceph.client().put_object(bucket, "wrong.csv", io.BytesIO(b"a,b\n1,2\n"), 8)
    with pytest.raises(InputError, match=re.escape(words.format(bucket=bucket))):
        read(f"s3://{bucket}/{key}")
