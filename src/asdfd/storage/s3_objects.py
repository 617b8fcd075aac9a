"""Objects in a bucket of any S3 server: MinIO, SeaweedFS, Ceph, AWS.

Small objects that decide who wins are written by one PUT with a condition in its header, sent to a presigned address since the client has no public
method for it. A bucket that keeps versions is refused for them: Ceph lets every writer win there. When the answer to such a write was lost, the next try
finds our own object and would take it for somebody else's; it is told apart by reading it back.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import SplitResult, quote, urlencode, urlsplit
from uuid import uuid4

import minio.time
from minio.datatypes import ListMultipartUploadsResult
from minio.error import S3Error
from minio.signer import presign_v4
from urllib3 import BaseHTTPResponse

from asdfd.base.errors import InputError
from asdfd.storage.s3_connection import TRIES_AGAIN, Connection
from asdfd.storage.s3_errors import NOT_ALLOWED, explained, http_error
from asdfd.storage.s3_transfers import TOO_SLOW, close, etag_of, patiently, pause, receive, send
from asdfd.storage.store import LARGEST_SMALL_OBJECT, Conflict, MissingObject, ObjectInfo, checked_key

SIGNED_FOR = timedelta(minutes=15)
"""How long a presigned address is valid: longer than all tries again take."""


class S3Objects:
    """The objects of a bucket below a prefix; an ObjectStore."""

    def __init__(self, connection: Connection, bucket: str, prefix: str) -> None:
        self._connection, self._bucket, self._prefix = connection, bucket, prefix
        self._client, self._http, self._settings = connection.client, connection.http, connection.settings
        self._unversioned = False

    @property
    def location(self) -> str:
        """s3://bucket/prefix."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def read(self, key: str) -> tuple[bytes, str]:
        """Content and etag of a small object."""
        name = self._name(key)

        def take() -> tuple[bytes, str]:
            response = self._client.get_object(self._bucket, name)
            try:
                return response.read(LARGEST_SMALL_OBJECT + 1), etag_of(response)
            finally:
                close(response)

        with explained(self._settings, "read", self._bucket, name):
            content, etag = patiently(take)
        if len(content) > LARGEST_SMALL_OBJECT:
            raise InputError(f"{self.location}/{key}: is larger than {LARGEST_SMALL_OBJECT} bytes; it cannot be one of ours")
        return content, etag

    def create(self, key: str, content: bytes) -> str:
        """Write a small object that must not exist yet."""
        return self._write(key, content, {"If-None-Match": "*"})

    def replace(self, key: str, content: bytes, etag: str) -> str:
        """Write a small object in place of the one that has `etag`, which stands in the header as it is: Ceph does not know it in quotes."""
        return self._write(key, content, {"If-Match": etag})

    def upload(self, key: str, path: Path, sha256: str) -> None:
        """Store a file of any size, in parts where it is large, if it is the one of that hash."""
        name = self._name(key)
        with explained(self._settings, "write", self._bucket, name):
            try:
                patiently(lambda: send(self._client, self._bucket, name, path, sha256))
            except S3Error as error:
                if error.code != "NoSuchUpload":
                    raise
                send(self._client, self._bucket, name, path, sha256)  # it was completed, the answer was lost, and completing it again failed

    def download(self, key: str, path: Path, sha256: str) -> None:
        """Fetch a file of any size and verify it."""
        self._fetch(key, path, sha256)

    def fetch(self, key: str, path: Path) -> str:
        """Fetch a file whose content nobody has told us; its SHA-256."""
        return self._fetch(key, path, "")

    def list(self, prefix: str) -> list[ObjectInfo]:
        """All objects whose key starts with `prefix`, ordered by key."""
        below = f"{self._prefix}/" if self._prefix else ""
        found: list[ObjectInfo] = []
        with explained(self._settings, "read", self._bucket):
            for entry in patiently(lambda: list(self._client.list_objects(self._bucket, prefix=below + prefix, recursive=True))):
                if entry.object_name and not entry.is_dir:
                    modified = entry.last_modified.timestamp() if entry.last_modified else 0.0
                    found.append(ObjectInfo(entry.object_name.removeprefix(below), entry.size or 0, (entry.etag or "").strip('"'), modified))
        return sorted(found, key=lambda info: info.key)

    def delete(self, key: str) -> None:
        """Remove an object."""
        name = self._name(key)
        with explained(self._settings, "write", self._bucket, name):
            patiently(lambda: self._client.remove_object(self._bucket, name))

    def unfinished(self) -> list[ObjectInfo]:
        """Uploads in parts that are under way or were killed."""
        found: list[ObjectInfo] = []
        marker: str | None = ""
        while marker is not None:
            query = {"uploads": "", "prefix": f"{self._prefix}/" if self._prefix else "", "key-marker": marker}
            with explained(self._settings, "read", self._bucket):
                response = self._http.request("GET", self._signed_bucket_address("GET", query), redirect=False)
                if response.status != 200:
                    raise http_error(response)
                page = ListMultipartUploadsResult(response)
            for upload in page.uploads:
                begun = upload.initiated_time.timestamp() if upload.initiated_time else 0.0
                found.append(ObjectInfo(f"{upload.object_name}#{upload.upload_id}", 0, "", begun))
            marker = page.next_key_marker if page.is_truncated else None
        return found

    def discard(self, unfinished: ObjectInfo) -> None:
        """Remove the parts of an upload."""
        name, _, upload = unfinished.key.rpartition("#")
        with explained(self._settings, "write", self._bucket, name):
            address = self._client.get_presigned_url("DELETE", self._bucket, name, SIGNED_FOR, extra_query_params={"uploadId": upload})
            response = self._http.request("DELETE", address, redirect=False)
            if response.status not in (200, 204, 404):
                raise http_error(response)

    def _name(self, key: str) -> str:
        return f"{self._prefix}/{checked_key(key)}" if self._prefix else checked_key(key)

    def _write(self, key: str, content: bytes, condition: Mapping[str, str]) -> str:
        """One PUT under a condition; the new etag."""
        name = self._name(key)
        with explained(self._settings, "write", self._bucket, name):
            self._check_unversioned()
            address = self._client.get_presigned_url("PUT", self._bucket, name, SIGNED_FOR)
            checksum = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
            headers = {**condition, "Content-Type": "application/octet-stream", "Content-MD5": checksum}
            tried_before, attempt = False, 0
            while True:
                response = self._http.request("PUT", address, body=content, headers=headers, redirect=False)
                tried_before = tried_before or (response.retries is not None and bool(response.retries.history))
                if response.status == 200:
                    return etag_of(response)
                if not _is_put_off(response) or attempt == TRIES_AGAIN:
                    break
                pause(attempt)
                attempt += 1
            missing = response.status == 404 and "If-Match" in condition and http_error(response)
            if response.status != 412 and not (isinstance(missing, S3Error) and missing.code == "NoSuchKey"):
                raise http_error(response)
        return self._own_write(key, content, tried_before)

    def _own_write(self, key: str, content: bytes, tried_before: bool) -> str:
        """The etag of our write whose answer was lost. Without an earlier try, or with other content there, somebody else was first."""
        if tried_before:
            try:
                found, etag = self.read(key)
            except MissingObject:
                found, etag = b"", ""
            if etag and found == content:
                return etag
        raise Conflict(f"{self.location}/{key}: somebody else wrote it first")

    def _check_unversioned(self) -> None:
        """Refuse a bucket that keeps versions. A server that does not know the question keeps none."""
        if self._unversioned:
            return
        where = f"s3://{self._bucket} at {self._settings.endpoint}"
        try:
            status = self._client.get_bucket_versioning(self._bucket).status
        except S3Error as error:
            if error.code in NOT_ALLOWED:
                needed = "whether the bucket keeps versions, which decides whether aliases are safe in it; have the owner grant s3:GetBucketVersioning"
                raise InputError(f"{where}: this user may not ask {needed}") from None
            if error.response.status not in (405, 501):
                raise
            status = "Off"
        if status in ("Enabled", "Suspended"):
            raise InputError(f"{where}: the bucket keeps versions, and aliases are not safe in it; name a bucket on which versioning was never switched on")
        self._unversioned = True

    def _fetch(self, key: str, path: Path, sha256: str) -> str:
        """Fetch to a temporary file beside `path`, verify, rename; the SHA-256."""
        name = self._name(key)
        temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
        try:
            with explained(self._settings, "read", self._bucket, name), temporary.open("xb") as stream:
                found = receive(self._client, self._bucket, name, stream)
            if sha256 and found != sha256:
                raise InputError(
                    f"{self.location}/{key}: is not the file that its manifest describes (changed or damaged); "
                    "do not use it, push the version again with `asdfd push`"
                )
            temporary.replace(path)
            return found
        finally:
            temporary.unlink(missing_ok=True)

    def _signed_bucket_address(self, method: str, query: Mapping[str, str]) -> str:
        """A presigned address of the bucket itself, which the client makes for objects only."""
        address = urlsplit(self._client.get_presigned_url("GET", self._bucket, "x"))
        credentials = self._connection.provider.retrieve()
        token = {"X-Amz-Security-Token": credentials.session_token} if credentials.session_token else {}
        bare = SplitResult(address.scheme, address.netloc, address.path.removesuffix("x"), urlencode({**query, **token}, quote_via=quote, safe=""), "")
        signed = presign_v4(
            method=method, url=bare, region=self._settings.region, credentials=credentials, date=minio.time.utcnow(), expires=int(SIGNED_FOR.total_seconds())
        )
        return signed.geturl()


def _is_put_off(response: BaseHTTPResponse) -> bool:
    """Whether a write was neither done nor refused: another one to the same object was under way (AWS), or the request itself came in too slowly."""
    if response.status == 409:
        return True
    error = http_error(response) if response.status == 400 else None
    return isinstance(error, S3Error) and error.code == TOO_SLOW
