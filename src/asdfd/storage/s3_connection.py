"""How an S3 server is reached: its address, TLS and credentials, all from the environment, since none of it may stand in a parameter or a manifest.

Read are S3_ENDPOINT (AWS, if empty), S3_REGION, S3_CA_BUNDLE, S3_ADDRESSING (`path` or `virtual`), S3_TRIES and the credentials in AWS's own order: variables
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; a web identity (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN; exchanged at
AWS_ENDPOINT_URL_STS); the shared file (AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE).
"""

from __future__ import annotations

import configparser
import logging
import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from asdfd.base.errors import InputError

if TYPE_CHECKING:
    import urllib3
    from minio import Minio
    from minio.credentials.providers import Provider

AWS = "https://s3.amazonaws.com"
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 60.0
"""Seconds without a byte after which a server counts as gone; the completion of a large upload takes some."""
TRIES_AGAIN = 6
CONNECTIONS_AGAIN = 3
"""How often a request is tried again, and how often of these for want of a connection: whoever mistyped an address does not want to wait. S3_TRIES sets both:
the late tasks of a pipeline, whose run came to the server before, sit out its restart, since Kubeflow tries nothing again that has failed."""
BACKOFF = 0.2
"""Seconds before the second try again; each further one waits twice as long, and all of them up to JITTER longer."""
JITTER = 0.3
LONGEST_WAIT = 20
UNWELL = (429, 500, 502, 503, 504)
"""Answers of a server that may be well again soon, or that is asked too often. No other one below 500 is ever tried again here."""


@dataclass(frozen=True)
class Settings:
    """The address of a server and how it is spoken to."""

    endpoint: str
    """Scheme, host and port; what errors call the server."""
    region: str
    ca_bundle: str
    """PEM file of the authorities to trust; empty trusts the usual ones."""
    virtual: bool
    """Whether the bucket is a part of the host's name."""
    tries: int = 0
    """How often a request is tried again, also for want of a connection; 0 is the usual."""

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.endpoint.startswith("https://")


@dataclass(frozen=True, repr=False)
class Connection:
    """A client of the library and the pool of connections below it."""

    settings: Settings
    client: Minio
    http: urllib3.PoolManager
    provider: Provider


def read_settings() -> Settings:
    """The settings from the environment.

    Raises:
        InputError: one of them is wrong.
    """
    endpoint = os.environ.get("S3_ENDPOINT", "").rstrip("/") or AWS
    parts = urlsplit(endpoint)
    if "@" in endpoint:
        raise InputError("S3_ENDPOINT: holds credentials; write the address alone and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
        raise InputError(f"S3_ENDPOINT: {endpoint!r} is not an address of a server; write it as https://host:port")
    bundle = os.environ.get("S3_CA_BUNDLE", "")
    if bundle and not Path(bundle).is_file():
        raise InputError(f"S3_CA_BUNDLE: {bundle}: no such file; name the PEM file of the authority that signed the server's certificate")
    addressing = os.environ.get("S3_ADDRESSING", "") or "path"
    if addressing not in ("path", "virtual"):
        raise InputError(f"S3_ADDRESSING: {addressing!r} is unknown; set path or virtual")
    region = next((os.environ[name] for name in ("S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION") if os.environ.get(name)), "us-east-1")
    tries = os.environ.get("S3_TRIES", "")
    if tries and not tries.isdecimal():
        raise InputError(f"S3_TRIES: {tries!r} is not a number; set how often a request is tried again, or leave it out")
    return Settings(endpoint, region, bundle, addressing == "virtual", int(tries or 0))


def connect(settings: Settings) -> Connection:
    """A client for the server, with credentials that were found but not yet tried.

    Raises:
        InputError: there are no credentials, or the settings do not fit together.
    """
    from minio import Minio

    http = http_pool(settings)
    provider = find_credentials(settings, http)
    try:
        client = Minio(urlsplit(settings.endpoint).netloc, secure=settings.secure, region=settings.region, http_client=http, credentials=provider)
    except ValueError as error:
        raise InputError(f"{settings.endpoint}: cannot be used as an S3 server ({error}); check S3_ENDPOINT and S3_REGION") from None
    if settings.virtual:
        client.enable_virtual_style_endpoint()
    else:
        client.disable_virtual_style_endpoint()
    return Connection(settings, client, http, provider)


def http_pool(settings: Settings) -> urllib3.PoolManager:
    """Connections that are patient with a bad network: resets, lost answers, slow and sick servers are tried again, with growing pauses that differ."""
    import certifi
    import urllib3

    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its warnings show signed addresses, which are credentials for a while
    retries = urllib3.Retry(
        total=settings.tries or TRIES_AGAIN,
        connect=settings.tries or CONNECTIONS_AGAIN,
        other=2,
        redirect=False,
        status_forcelist=UNWELL,
        allowed_methods=None,  # of all methods: conditional writes are told apart afterwards, see S3Objects
        backoff_factor=BACKOFF,
        backoff_jitter=JITTER,
        backoff_max=LONGEST_WAIT,
        retry_after_max=LONGEST_WAIT,
        respect_retry_after_header=False,  # it would have 413 tried again, and wait as long as a server likes
        raise_on_status=False,
    )
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
        maxsize=10,
        retries=retries,
        cert_reqs="CERT_REQUIRED",
        ca_certs=settings.ca_bundle or os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )
    reference = weakref.ref(pool)

    def leave_to_the_parent() -> None:
        if (shared := reference()) is not None:
            shared.clear()

    os.register_at_fork(after_in_child=leave_to_the_parent)  # two processes that speak on one connection read each other's answers
    return pool


def find_credentials(settings: Settings, http: urllib3.PoolManager) -> Provider:
    """The first of the places that holds credentials; they are refreshed from there when they expire.

    Raises:
        InputError: no place does, or the web identity is refused.
    """
    from minio.credentials.providers import AWSConfigProvider, ChainedProvider, EnvAWSProvider, IamAwsProvider
    from urllib3.exceptions import HTTPError

    places: list[Provider] = [EnvAWSProvider()]
    exchange = bool(os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"))
    if exchange:
        places.append(IamAwsProvider(custom_endpoint=os.environ.get("AWS_ENDPOINT_URL_STS") or None, http_client=http, region=settings.region))
    provider = ChainedProvider([*places, AWSConfigProvider()])
    try:
        provider.retrieve()
    except (ValueError, HTTPError, configparser.Error, OSError, SyntaxError) as error:
        if exchange:
            where = os.environ.get("AWS_ENDPOINT_URL_STS") or "AWS"
            problem = f"the web identity was not exchanged at {where}; check AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN and AWS_ENDPOINT_URL_STS"
        elif isinstance(error, configparser.Error):
            problem = "the shared credentials file cannot be read; repair it (AWS_SHARED_CREDENTIALS_FILE, or ~/.aws/credentials)"
        else:
            problem = "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_SHARED_CREDENTIALS_FILE or AWS_WEB_IDENTITY_TOKEN_FILE"
        raise InputError(f"{settings.endpoint}: {problem}") from None
    return provider
