"""The state of what a run reads from elsewhere: a text that changes whenever the content may have, without reading the content. A cache knows a task by it.

Of a folder or a file it is names, sizes and times, of a bucket its listing (names, sizes, etags), of a branch or a tag of the hub the commit that it stands at.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal

from asdfd.base.artifacts import canonical_json
from asdfd.base.errors import InputError

COMMIT = re.compile(r"hf://[^@]+@[0-9a-f]{40}")
"""A reference whose content cannot change: a branch or a tag can move, a commit cannot."""
Kind = Literal["model", "dataset"]


def source_state(reference: str, kind: Kind) -> str:
    """The state of the model or the data set that `reference` names; empty for nothing, and for a commit of the hub, which cannot change.

    What is not there has a state as well: whoever reads it says what is wrong.

    Raises:
        InputError: the bucket or the hub cannot be reached.
    """
    if not reference or COMMIT.fullmatch(reference):
        return ""
    if reference.startswith("s3://"):
        return _of_bucket(reference)
    path = Path(reference)
    if not reference.startswith("hf://") and (path.exists() or kind == "model"):
        return _of_files(path)
    return _of_hub(reference, kind)


def _of_files(path: Path) -> str:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path] if path.exists() else []
    return _hashed([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def _of_bucket(reference: str) -> str:
    """Of a prefix everything below it, of a file that file."""
    from asdfd.storage.downloads import split
    from asdfd.storage.objects import open_bucket

    bucket, key = split(reference)
    below, _, name = key.rpartition("/")
    found = open_bucket(bucket, below).list(name)
    return _hashed([(info.key, info.bytes, info.etag) for info in found if not name or info.key == name or info.key.startswith(f"{name}/")])


def _of_hub(reference: str, kind: Kind) -> str:
    """The commit; where the hub is switched off that of the local cache, which is what will be read."""
    from asdfd.evaluation.data_sets import hub_names

    name, _, revision = reference.removeprefix("hf://").partition("@")
    names = [meant.name for meant in hub_names(reference)] if kind == "dataset" else []
    for number, repository in enumerate(names or [name], start=1):
        try:
            return _commit(reference, repository, revision, kind)
        except InputError:
            if number >= len(names):
                raise
    raise AssertionError("one name at least was tried")


def _commit(reference: str, name: str, revision: str, kind: Kind) -> str:
    from huggingface_hub import HfApi, constants, snapshot_download

    from asdfd.models.hub import explained, patiently

    wanted = revision or None
    with explained(reference, revision):
        if constants.is_offline_mode():
            return Path(snapshot_download(name, repo_type=kind, revision=wanted, local_files_only=True, allow_patterns=[])).name
        return str(patiently(lambda: HfApi().repo_info(name, repo_type=kind, revision=wanted)).sha)


def _hashed(listed: object) -> str:
    return hashlib.sha256(canonical_json(listed)).hexdigest()
