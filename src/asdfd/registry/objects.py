"""The place that a location names. What places have in common is in `store`, and is named here too: whoever uses objects imports this module alone."""

from __future__ import annotations

from pathlib import Path

from asdfd.errors import InputError
from asdfd.registry.store import LARGEST_SMALL_OBJECT, Conflict, MissingObject, ObjectInfo, ObjectStore, checked_key

__all__ = ["LARGEST_SMALL_OBJECT", "Conflict", "MissingObject", "ObjectInfo", "ObjectStore", "checked_key", "open_objects"]


def open_objects(location: str) -> ObjectStore:
    """The objects at a location: a folder (made when the first object is written) or s3://bucket/prefix (the bucket must exist).

    Raises:
        InputError: no such kind of location.
    """
    if location.startswith("s3://"):
        from asdfd.registry.s3 import open_bucket

        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        if not bucket:
            raise InputError(f"{location}: names no bucket; write s3://bucket/prefix")
        prefix = prefix.strip("/")
        return open_bucket(bucket, checked_key(prefix) if prefix else "")
    from asdfd.registry.folder import FolderObjects

    path = location.removeprefix("file://")
    if not path or "://" in path:
        raise InputError(f"{location!r}: is no place for a registry; write a folder or s3://bucket/prefix")
    return FolderObjects(Path(path))
