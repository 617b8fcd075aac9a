"""Large files to and from a bucket: in parts, some at once, with progress, and with no more memory for a larger file."""

from __future__ import annotations

import hashlib
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from minio import Minio
from minio.error import S3Error
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import ProtocolError, ReadTimeoutError, SSLError

from asdfd.base.errors import InputError
from asdfd.base.telemetry import Progress
from asdfd.storage.s3_connection import BACKOFF, JITTER, LONGEST_WAIT, TRIES_AGAIN
from asdfd.storage.store import changed_meanwhile

PART = 16 * 2**20
"""Bytes of one part of a large file."""
AT_ONCE = 3
"""Parts that are under way; they and one or two more lie in memory."""
MOST_PARTS = 10_000
SHOWN_FROM = 64 * 2**20
"""Bytes from which on a transfer shows its progress."""
TOO_SLOW = "RequestTimeout"
"""Code of an answer (400) that says that the request did not come in whole: the network's fault, not ours."""
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Range:
    """A part of an object."""

    content: bytes
    etag: str
    size: int
    """Bytes of the whole object."""


def send(client: Minio, bucket: str, name: str, path: Path, sha256: str) -> None:
    """Store a file, in parts where it is large; nothing is there before all of it is.

    Raises:
        InputError: what was read of it has another SHA-256 than `sha256`; nothing is stored.
    """
    size = path.stat().st_size
    part = max(PART, -(-size // (MOST_PARTS * 2**20)) * 2**20)
    with path.open("rb") as stream:
        progress = _UploadProgress(f"upload {path.name}", size) if size >= SHOWN_FROM else None
        checked = cast("BinaryIO", _Checked(stream, path, size, sha256))
        client.put_object(bucket, name, checked, size, part_size=part, num_parallel_uploads=AT_ONCE, progress=progress)


def receive(client: Minio, bucket: str, name: str, stream: BinaryIO) -> str:
    """Write an object to `stream`, in ranges of which some are under way while another is hashed; its SHA-256.

    Raises:
        InputError: the object was replaced meanwhile.
    """
    first = _range(client, bucket, name, 0)
    digest, done = hashlib.sha256(), 0
    progress = Progress(f"download {name.rpartition('/')[2]}, MB", first.size // 10**6) if first.size >= SHOWN_FROM else None
    offsets = iter(range(len(first.content), first.size, PART))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = deque(pool.submit(_range, client, bucket, name, offset) for offset in islice(offsets, AT_ONCE))
        part = first
        while True:
            if part.etag != first.etag:
                raise InputError(f"s3://{bucket}/{name}: was replaced while it was read; run the same command again")
            stream.write(part.content)
            digest.update(part.content)
            done += len(part.content)
            if progress is not None:
                progress.show(done // 10**6)
            if not waiting:
                return digest.hexdigest()
            part = waiting.popleft().result()
            waiting.extend(pool.submit(_range, client, bucket, name, offset) for offset in islice(offsets, 1))


def patiently(action: Callable[[], Answer]) -> Answer:
    """Do something again when the connection breaks in the middle of an answer, or the server says that it did in the middle of the request; what breaks
    before it is the connection pool's to try again."""
    for attempt in range(TRIES_AGAIN):
        try:
            return action()
        except (ProtocolError, ReadTimeoutError, SSLError):
            pause(attempt)
        except S3Error as error:
            if error.code != TOO_SLOW:
                raise
            pause(attempt)
    return action()


def pause(attempt: int) -> None:
    """Wait before the next try, longer after each; `attempt` counts from 0."""
    time.sleep(min(LONGEST_WAIT, BACKOFF * 2**attempt) + random.uniform(0, JITTER))


def etag_of(response: BaseHTTPResponse) -> str:
    """The etag of the object that was read or written, without its quotes."""
    return response.headers.get("ETag", "").strip('"')


def close(response: BaseHTTPResponse) -> None:
    """Give a connection back; one with an answer that was not read to its end is of no more use."""
    if response.length_remaining != 0:
        response.close()
    response.release_conn()


def _range(client: Minio, bucket: str, name: str, offset: int) -> Range:
    """PART bytes of an object from `offset` on, or what there is."""

    def take() -> Range:
        try:
            response = client.get_object(bucket, name, offset=offset, length=PART)
        except S3Error as error:
            if error.code == "InvalidRange" and offset == 0:
                return Range(b"", "", 0)  # an empty object has no first byte
            raise
        try:
            return Range(response.read(), etag_of(response), int(response.headers["Content-Range"].rpartition("/")[2]))
        finally:
            close(response)

    return patiently(take)


class _Checked:
    """A file that is read once, from its beginning to its end, and raises an error instead of giving the last bytes of another content."""

    def __init__(self, stream: BinaryIO, path: Path, size: int, sha256: str) -> None:
        self._stream, self._path, self._left, self._sha256 = stream, path, size, sha256
        self._digest = hashlib.sha256()
        if not size:
            self._check()

    def read(self, size: int) -> bytes:
        """The next bytes: the client has all of a part in memory before it sends it, so the last part of a file that was changed is never sent."""
        content = self._stream.read(size)
        self._digest.update(content)
        self._left -= len(content)
        if self._left <= 0 or not content:
            self._check()
        return content

    def _check(self) -> None:
        if self._left or self._digest.hexdigest() != self._sha256:
            raise InputError(changed_meanwhile(self._path))


class _UploadProgress:
    """Progress of an upload, in the form in which the client reports it."""

    def __init__(self, title: str, total: int) -> None:
        self._progress, self._done = Progress(f"{title}, MB", total // 10**6), 0

    def set_meta(self, object_name: str, total_length: int) -> None:
        """The client tells what we know."""

    def update(self, length: int) -> None:
        """So many bytes more were taken from the file."""
        self._done += length
        self._progress.show(self._done // 10**6)
