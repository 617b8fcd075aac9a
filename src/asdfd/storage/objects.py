"""The place that a location names. What places have in common is in `store`, and is named here too: whoever uses objects imports this module alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from asdfd.base.errors import InputError
from asdfd.storage.store import LARGEST_SMALL_OBJECT, Conflict, MissingObject, ObjectInfo, ObjectStore, checked_key

if TYPE_CHECKING:
    from asdfd.storage.s3_objects import S3Objects

__all__ = ["LARGEST_SMALL_OBJECT", "Conflict", "MissingObject", "ObjectInfo", "ObjectStore", "checked_key", "open_objects"]


def open_objects(location: str) -> ObjectStore:
    """The objects at a location: a folder (made when the first object is written) or s3://bucket/prefix (the bucket must exist).

    Raises:
        InputError: no such kind of location.
    """
    if location.startswith("s3://"):
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        if not bucket:
            raise InputError(f"{location}: names no bucket; write s3://bucket/prefix")
        prefix = prefix.strip("/")
        return open_bucket(bucket, checked_key(prefix) if prefix else "")
    from asdfd.storage.folder import FolderObjects

    path = location.removeprefix("file://")
    if not path or "://" in path:
        raise InputError(f"{location!r}: is not a place for a registry; write a folder or s3://bucket/prefix")
    return FolderObjects(Path(path))


def open_bucket(bucket: str, prefix: str) -> S3Objects:
    """The objects of a bucket whose names start with `prefix`/ (all, if it is empty). No request is made but one for credentials where they are exchanged.

    Raises:
        InputError: the extra is missing, a setting is wrong, or there are no credentials.
    """
    try:
        import minio  # noqa: F401  # its absence is reported before anything else goes wrong for it
    except ImportError:
        raise InputError(f"s3://{bucket}: needs the extra `s3`: pip install 'asdfd[s3]'") from None
    from asdfd.storage.s3_connection import connect, read_settings
    from asdfd.storage.s3_objects import S3Objects

    return S3Objects(connect(read_settings()), bucket, prefix)
