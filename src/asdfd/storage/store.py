"""The one view that the registry has of a place: a local folder or a bucket of an S3 server.

Two kinds of objects lie there. Large ones (weights) are written once under a name that is theirs alone and never change. Small ones (manifests, aliases,
history) decide who wins: `create` and `replace` are atomic, and of many that try at once exactly one succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from asdfd.base.errors import AsdfdError, InputError

LARGEST_SMALL_OBJECT = 16 * 2**20
"""Bytes that `read` and `create` take at most; anything larger goes through `download` and `upload`."""


class Conflict(AsdfdError):  # noqa: N818  # what happened is nobody's error
    """Somebody else was first: the object exists already, or is no longer the one that was read."""


class MissingObject(InputError):  # noqa: N818
    """There is no such object."""


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a listing."""

    key: str
    """Name below the location, its parts divided by `/`."""
    bytes: int
    etag: str
    """Changes whenever the content does; empty where the listing does not tell it."""
    modified: float
    """When it was written, in seconds since 1970."""


class ObjectStore(Protocol):
    """Objects by their key. All methods raise an InputError of one line where the place cannot be reached or says no (it names the place, never a secret)."""

    @property
    def location(self) -> str:
        """Where the objects lie, as a person would write it: a path or s3://bucket/prefix, without `/` at its end."""
        ...

    def read(self, key: str) -> tuple[bytes, str]:
        """Content and etag of a small object, both of the same moment.

        Raises:
            MissingObject: there is none.
        """
        ...

    def create(self, key: str, content: bytes) -> str:
        """Write a small object that must not exist yet, and return its etag. It is whole and durable, or not there.

        Raises:
            Conflict: it exists. After a lost answer that may be our own write: compare the content before believing that somebody else won.
        """
        ...

    def replace(self, key: str, content: bytes, etag: str) -> str:
        """Write a small object in place of the one that has `etag` (compare and set), and return the new etag.

        Raises:
            Conflict: it is another one by now, or gone.
        """
        ...

    def upload(self, key: str, path: Path, sha256: str) -> None:
        """Store a file of any size. Nothing can be read under `key` before all of it is there. Doing it again with the same content is harmless.

        Raises:
            InputError: the file's content has another SHA-256 than `sha256`; nothing is stored.
        """
        ...

    def download(self, key: str, path: Path, sha256: str) -> None:
        """Fetch a file of any size to `path`, which appears whole or not at all; its folder must exist.

        Raises:
            MissingObject: there is none.
            InputError: its content has another SHA-256 than `sha256`.
        """
        ...

    def list(self, prefix: str) -> list[ObjectInfo]:
        """All objects whose key starts with `prefix`, ordered by key."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; that it is gone already is fine."""
        ...

    def unfinished(self) -> list[ObjectInfo]:
        """What was begun and never finished (temporary files, uploads of several parts); `key` is only a name for `discard`."""
        ...

    def discard(self, unfinished: ObjectInfo) -> None:
        """Remove something that `unfinished` named; that it is gone already is fine."""
        ...


def changed_meanwhile(path: Path) -> str:
    """The line for a file that is not the one whose hash was taken before."""
    return f"{path}: was changed since it was read; run the same command again when nobody writes to it"


def checked_key(key: str) -> str:
    """`key` itself, if it stays inside of the location.

    Raises:
        InputError: an absolute name, `..`, an empty part, a hidden part or a control character.
    """
    parts = key.split("/")
    if not key or any(part in ("", ".", "..") or part.startswith(".") for part in parts) or "\\" in key or not key.isprintable():
        raise InputError(f"{key!r}: is not a name of an object; a name is relative, without '..', hidden or empty parts")
    return str(PurePosixPath(key))
