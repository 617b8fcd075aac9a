"""One process at a time in a folder: a lock that ends with its process, however that ends.

It is a POSIX record lock (`fcntl.lockf`), not `flock`: it belongs to the process and not to an open file, so no forked child keeps it alive when its parent is
killed, and NFS knows it, so that it holds between machines that share a volume. Two calls in one process both get it: what it keeps apart is commands.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asdfd.base.errors import InputError

HELD = (errno.EACCES, errno.EAGAIN)
"""What the system says of a lock that another process has."""


def take_lock(path: Path) -> int | None:
    """Lock the file at `path`, made if it is not there, for this process; None where another process has it.

    The descriptor that is returned holds the lock until it is closed, so it is a plain number that no garbage collection closes. A file system that
    knows no locks keeps nobody out.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in HELD:
                os.close(descriptor)
                return None
        if _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)  # its last owner removed it between our two calls


@contextmanager
def sole_process(path: Path, refusal: str) -> Iterator[None]:
    """Be the only process in this block: it has the lock at `path`, whose folder is made and which goes with the block.

    Raises:
        InputError: another process is in such a block; its text is `refusal`.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = take_lock(path)
            break
        except FileNotFoundError:  # whoever left this very moment removed the folder
            continue
    if descriptor is None:
        raise InputError(refusal)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is ours: whoever opened it before sees that it is gone, and makes another
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        found, ours = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)
