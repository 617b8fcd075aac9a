"""What went wrong on the way to an S3 server, as one line for the user that says where, what, and what to do. No line holds a secret or a signed address."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from xml.etree.ElementTree import ParseError

import urllib3
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3 import exceptions

from asdfd.base.errors import InputError
from asdfd.storage.s3_connection import AWS, Settings
from asdfd.storage.store import MissingObject

CODES = {
    "InvalidAccessKeyId": "the server does not know the access key; check AWS_ACCESS_KEY_ID and S3_ENDPOINT",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY (and S3_REGION)",
    "ExpiredToken": "the credentials have expired; renew them and run the same command again",
    "TokenRefreshRequired": "the credentials have expired; renew them and run the same command again",
    "InvalidToken": "the session token is not valid; renew AWS_SESSION_TOKEN together with its keys",
    "RequestTimeTooSkewed": "this machine's clock differs too much from the server's; set it (NTP) and run the same command again",
    "RequestExpired": "this machine's clock differs too much from the server's; set it (NTP) and run the same command again",
    "InvalidBucketName": "this is not a valid name of a bucket; it needs 3 to 63 lower-case letters, digits, dots or hyphens",
    "AuthorizationHeaderMalformed": "the request was signed for another region; set S3_REGION to the bucket's",
    "PermanentRedirect": "the bucket is in another region or at another address; set S3_REGION or S3_ENDPOINT to it",
    "QuotaExceeded": "the server's quota is used up; free space with `asdfd registry gc` or raise it",
    "XMinioStorageFull": "the server's disks are full; free space with `asdfd registry gc`",
}
NOT_ALLOWED = ("AccessDenied", "Forbidden", "AllAccessDisabled")
"""Codes of a server that knows the user, and says no."""
OLD_SERVICE = "://minio-service."
MOVED = "since 2.16 Kubeflow's own object store is http://seaweedfs.kubeflow:9000"
Doing = Literal["read", "write"]
SICK = "the server failed again and again (HTTP {status}); look at its log, and run the same command again when it has recovered"


@contextmanager
def explained(settings: Settings, doing: Doing, bucket: str, name: str = "") -> Iterator[None]:
    """Turn whatever the client raises inside into an InputError that names the object, or the bucket if `name` is empty."""
    try:
        yield
    except (MinioException, exceptions.HTTPError, ValueError, ParseError) as error:
        place = f"s3://{bucket}" + (f"/{name}" if name else "")
        raise explanation(error, settings, doing, bucket, place) from None


def explanation(error: Exception, settings: Settings, doing: Doing, bucket: str, place: str) -> InputError:
    """The InputError that says what an error of the client means."""
    at = f"{place} at {settings.endpoint}"
    if isinstance(error, S3Error):
        return _refusal(error, settings, doing, bucket, place)
    if isinstance(error, ServerError | InvalidResponseError):
        found = re.search(r"\b[1-5]\d\d\b", str(error))  # the library keeps the number to itself
        return InputError(f"{at}: {_by_status(int(found.group()) if found else 0)}")
    if isinstance(error, exceptions.HTTPError):
        return InputError(f"{at}: {_unreachable(error, settings)}")
    if isinstance(error, ParseError):
        return InputError(f"{at}: the answer is not one of an S3 server; check S3_ENDPOINT")
    if "bucket" in str(error).lower():
        return InputError(f"{at}: {CODES['InvalidBucketName']}")
    return InputError(f"{at}: the request cannot be made; check the name and the credentials")


def _refusal(error: S3Error, settings: Settings, doing: Doing, bucket: str, place: str) -> InputError:
    """What an answer of the server means."""
    code, status = error.code or "", error.response.status
    if code == "NoSuchBucket":
        return InputError(f"s3://{bucket} at {settings.endpoint}: there is no such bucket; create it, or check its name and S3_ENDPOINT")
    if code in ("NoSuchKey", "NoSuchUpload"):
        return MissingObject(f"{place}: is not there")
    if code in CODES:
        return InputError(f"{place} at {settings.endpoint}: {CODES[code]}")
    if code in NOT_ALLOWED:
        return InputError(f"{place} at {settings.endpoint}: this user may not {doing} here; use other credentials, or have the bucket's owner grant it")
    if status >= 500:
        return InputError(f"{place} at {settings.endpoint}: {_by_status(status)}")
    return InputError(f"{place} at {settings.endpoint}: the server refused ({status} {re.sub(r'[^A-Za-z]', '', code)[:40]}); look it up in the server's log")


def _by_status(status: int) -> str:
    if status >= 500 or not status:
        return SICK.format(status=status or "without a number")
    if status in (401, 403):
        return "the server refused the request; check the credentials and S3_ENDPOINT"
    return f"the answer (HTTP {status}) is not one of an S3 server; check S3_ENDPOINT"


def _unreachable(error: exceptions.HTTPError, settings: Settings) -> str:
    """Why no answer came."""
    reason: object = error.reason if isinstance(error, exceptions.MaxRetryError) else error
    unset = ", which S3_ENDPOINT does not name, so it is AWS" if settings.endpoint == AWS else ""
    if isinstance(reason, exceptions.SSLError) or isinstance(getattr(reason, "__cause__", None), ssl.SSLError):
        text = str(reason)
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return "its certificate is not trusted or not for this host; set S3_CA_BUNDLE to its authority's PEM file"
        if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
            return "it does not speak TLS; write http:// in S3_ENDPOINT if that is intended"
        return "TLS failed; check S3_ENDPOINT and S3_CA_BUNDLE"
    if isinstance(reason, exceptions.NameResolutionError):
        moved = f"; {MOVED}" if OLD_SERVICE in settings.endpoint else ""
        return f"the host's name is unknown{unset}; check S3_ENDPOINT and the network{moved}"
    if isinstance(reason, exceptions.ConnectTimeoutError | exceptions.NewConnectionError):
        return f"the server cannot be reached{unset}; check S3_ENDPOINT, the network and whether it runs"
    if isinstance(reason, exceptions.ReadTimeoutError):
        return "the server did not answer in time, however often it was asked; try again, or look at its log"
    if isinstance(reason, exceptions.ResponseError):
        found = re.search(r"\d{3}", str(reason))
        return SICK.format(status=found.group() if found else "without a number")
    return "the connection broke again and again; check the network and run the same command again"


def http_error(response: urllib3.BaseHTTPResponse) -> Exception:
    """The error that an answer stands for, in the library's own terms."""
    try:
        return S3Error.fromxml(response)
    except ParseError:
        return ServerError(f"HTTP {response.status}", response.status)
