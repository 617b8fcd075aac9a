"""The door to a bucket: light to import, and clear about a missing extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asdfd.errors import InputError

if TYPE_CHECKING:
    from asdfd.registry.s3_objects import S3Objects


def open_bucket(bucket: str, prefix: str) -> S3Objects:
    """The objects of a bucket whose names start with `prefix`/ (all, if it is empty). No request is made but one for credentials where they are exchanged.

    Raises:
        InputError: the extra is missing, a setting is wrong, or there are no credentials.
    """
    try:
        import minio  # noqa: F401  # its absence is told before anything else goes wrong for it
    except ImportError:
        raise InputError(f"s3://{bucket}: needs the extra `s3`: pip install 'asdfd[s3]'") from None
    from asdfd.registry.s3_connection import connect, read_settings
    from asdfd.registry.s3_objects import S3Objects

    return S3Objects(connect(read_settings()), bucket, prefix)
