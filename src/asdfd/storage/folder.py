"""Objects in a local folder, safe between processes that share it.

A write goes to a temporary file in `.unfinished/` and appears by one rename or link, so a reader sees the old content, the new content or nothing. `link` fails
where the name exists: of many creators one wins. Compare and set happens under a lock of the whole folder, which the kernel releases when its holder dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

from asdfd.base.artifacts import sha256_of, sync
from asdfd.base.errors import InputError
from asdfd.storage.store import LARGEST_SMALL_OBJECT, Conflict, MissingObject, ObjectInfo, changed_meanwhile, checked_key

UNFINISHED = ".unfinished"
LOCK = ".lock"


class FolderObjects:
    """The objects below a folder; an ObjectStore."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def location(self) -> str:
        """The folder's path."""
        return str(self._root)

    def read(self, key: str) -> tuple[bytes, str]:
        """Content and etag of a small object."""
        path = self._path(key)
        try:
            with path.open("rb") as stream:
                content = stream.read(LARGEST_SMALL_OBJECT + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise MissingObject(f"{path}: is not there") from None
        if len(content) > LARGEST_SMALL_OBJECT:
            raise InputError(f"{path}: is larger than {LARGEST_SMALL_OBJECT} bytes; it cannot be one of ours")
        return content, _etag(content)

    def create(self, key: str, content: bytes) -> str:
        """Write a small object that must not exist yet."""
        path = self._path(key)
        with self._temporary() as temporary:
            _write(temporary, content)
            try:
                _place(path, lambda: os.link(temporary, path))
            except FileExistsError:
                raise Conflict(f"{path}: exists already") from None
        return _etag(content)

    def replace(self, key: str, content: bytes, etag: str) -> str:
        """Write a small object in place of the one that has `etag`."""
        path = self._path(key)
        with self._locked():
            try:
                found = self.read(key)[1]
            except MissingObject:
                raise Conflict(f"{path}: is gone") from None
            if found != etag:
                raise Conflict(f"{path}: was changed by somebody else")
            with self._temporary() as temporary:
                _write(temporary, content)
                temporary.replace(path)
        sync(path.parent)
        return _etag(content)

    def upload(self, key: str, path: Path, sha256: str) -> None:
        """Store a file of any size, if it is the one of that hash."""
        target = self._path(key)
        with self._temporary() as temporary:
            shutil.copyfile(path, temporary)
            if sha256_of(temporary) != sha256:
                raise InputError(changed_meanwhile(path))
            sync(temporary)
            _place(target, lambda: temporary.replace(target))

    def download(self, key: str, path: Path, sha256: str) -> None:
        """Fetch a file of any size and verify it."""
        source = self._path(key)
        temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
        try:
            try:
                shutil.copyfile(source, temporary)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise MissingObject(f"{source}: is not there") from None
            if sha256_of(temporary) != sha256:
                raise InputError(
                    f"{source}: is not the file that its manifest describes (changed or damaged); do not use it, push the version again with `asdfd push`"
                )
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def list(self, prefix: str) -> list[ObjectInfo]:
        """All objects whose key starts with `prefix`, ordered by key."""
        start = self._root / prefix.rpartition("/")[0]
        found: list[ObjectInfo] = []
        for folder, folders, files in os.walk(start):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                path = Path(folder, name)
                key = path.relative_to(self._root).as_posix()
                if not name.startswith(".") and key.startswith(prefix):
                    with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                        found.append(_info(key, path))
        return sorted(found, key=lambda info: info.key)

    def delete(self, key: str) -> None:
        """Remove an object, and the folders that it leaves empty."""
        path = self._path(key)
        with self._locked():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or already gone
            for folder in path.parents:
                if folder == self._root:
                    break
                folder.rmdir()

    def unfinished(self) -> list[ObjectInfo]:
        """Temporary files of writes that are under way or were killed."""
        found: list[ObjectInfo] = []
        for path in sorted((self._root / UNFINISHED).glob("*")):
            with contextlib.suppress(FileNotFoundError):
                found.append(_info(f"{UNFINISHED}/{path.name}", path))
        return found

    def discard(self, unfinished: ObjectInfo) -> None:
        """Remove a temporary file."""
        (self._root / UNFINISHED / Path(unfinished.key).name).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        """The file of a key. Links are refused: they would lead out of the folder."""
        path = self._root
        for part in checked_key(key).split("/"):
            path = path / part
            if path.is_symlink():
                raise InputError(f"{path}: is a symbolic link; a registry holds plain files only, remove it")
        return path

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        folder = self._root / UNFINISHED
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / uuid4().hex
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._root / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _place(path: Path, action: Callable[[], object]) -> None:
    """Put a file to its place by `action`, which needs its folder, and make every new entry durable."""
    changed: list[Path] = []
    for tries_left in reversed(range(100)):
        changed = [path.parent]
        while not changed[-1].exists():
            changed.append(changed[-1].parent)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            action()
            break
        except FileNotFoundError:  # a `delete` beside us left the folder empty and removed it
            if not tries_left:
                raise
    for folder in changed:
        with contextlib.suppress(FileNotFoundError):
            sync(folder)


def _info(key: str, path: Path) -> ObjectInfo:
    status = path.lstat()
    return ObjectInfo(key, status.st_size, "", status.st_mtime)
