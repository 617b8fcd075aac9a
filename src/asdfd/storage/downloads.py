"""Files and folders on S3 that are not a registry: a teacher, labelled texts. They are read as they are and told apart by their content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from asdfd.base.artifacts import MANIFEST
from asdfd.base.errors import InputError
from asdfd.storage.objects import open_bucket
from asdfd.storage.store import MissingObject, checked_key

SCHEME = "s3://"


def download_folder(reference: str, patterns: Sequence[str], folder: Path) -> None:
    """Fetch the files below s3://bucket/prefix whose names match a pattern, level by level; where a manifest of ours lies there, they must be what it says.

    Raises:
        InputError: nothing of these names is there, a file is not the one of the manifest, or the server cannot be reached.
    """
    bucket, prefix = split(reference)
    store = open_bucket(bucket, prefix)
    names = [info.key for info in store.list("")]
    wanted = [name for name in names if any(name.count("/") == pattern.count("/") and fnmatch(name, pattern) for pattern in patterns)]
    if not wanted:
        raise InputError(f"{reference}: holds no file of a model; name the prefix that the model's config.json lies in")
    hashes = _hashes(store.read(MANIFEST)[0], reference) if MANIFEST in names else {}
    for name in wanted:
        path = folder / checked_key(name)
        path.parent.mkdir(exist_ok=True, parents=True)
        found = store.fetch(name, path)
        if hashes.get(name, found) != found:
            raise InputError(f"{reference}/{name}: is not the file that {MANIFEST} beside it describes (changed or damaged); upload the model again")


def download_file(reference: str, folder: Path) -> Path:
    """Fetch the one file s3://bucket/key into `folder`, under its own name.

    Raises:
        InputError: it is not there, or the server cannot be reached.
    """
    bucket, key = split(reference)
    prefix, _, name = key.rpartition("/")
    if not name:
        raise InputError(f"{reference}: names a bucket; write s3://bucket/key of the file")
    try:
        open_bucket(bucket, prefix).fetch(name, folder / name)
    except MissingObject:
        raise InputError(f"{reference}: no such file in the bucket; check the name") from None
    return folder / name


def split(reference: str) -> tuple[str, str]:
    """Bucket and key of s3://bucket/key; the key may be empty.

    Raises:
        InputError: no bucket, or a key that leads elsewhere.
    """
    bucket, _, key = reference.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise InputError(f"{reference}: names no bucket; write s3://bucket/prefix")
    key = key.rstrip("/")
    try:
        return bucket, checked_key(key) if key else ""
    except InputError as error:
        raise InputError(f"{reference}: {error}") from None


def _hashes(content: bytes, reference: str) -> Mapping[str, str]:
    """SHA-256 of every file that a manifest names."""
    try:
        return {str(name): str(entry["sha256"]) for name, entry in json.loads(content)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{reference}/{MANIFEST}: is not a valid manifest; remove it, or upload the model again") from None
