"""The connection to the API of Kubeflow Pipelines, and every refusal of it as one line.

The calls go through the generated API that kfp.Client is made of, and not through kfp.Client itself: that one waits without a limit for a server that does not
answer, asks five times where credentials are refused and logs a traceback each time, prints links on stdout, keeps a context file in the home folder, and has
no way to a recurring run that always takes the latest version. Nothing is tried twice here: what may be repeated is for the caller to know.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from asdfd.base.errors import InputError

ENDPOINT = "KF_PIPELINES_ENDPOINT"
TOKEN_PATHS = ("KF_PIPELINES_TOKEN_PATH", "KF_PIPELINES_SA_TOKEN_PATH")
"""Variables that name the file of a bearer token: ours, and the one that kfp reads too."""
TOKEN_FILE = Path("/var/run/secrets/kubeflow/pipelines/token")
"""Where Kubeflow mounts the token of a pod's service account."""
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
VERSION = re.compile(r"(\d+)\.(\d+)")
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""How long an answer may take to begin."""
START_IT = "is it running? From outside of the cluster: kubectl -n kubeflow port-forward svc/ml-pipeline 8888, and --endpoint http://localhost:8888"


class UnansweredError(InputError):
    """The server could not be reached or failed: the same question may have an answer later."""


class MissingError(InputError):
    """The server knows no such object."""


class TakenError(InputError):
    """The name is taken."""


class ForbiddenError(InputError):
    """The credentials are none, or not enough for this."""


@dataclass(frozen=True)
class Kubeflow:
    """A Kubeflow Pipelines server that answered."""

    endpoint: str
    namespace: str
    """Namespace of the user; empty where the server has one user only."""
    version: str
    """Its release, such as 2.17.0; empty where it does not tell, as one that somebody built."""
    experiments: Any
    """The services as kfp_server_api has them, whose code tells no types: its models' docstrings do."""
    pipelines: Any
    uploads: Any
    runs: Any
    recurring_runs: Any

    def ask(self, call: Callable[..., Any], *arguments: object, **options: object) -> Any:
        """Call a method of one of the services, within limits of time.

        Raises:
            UnansweredError: no answer, or a failure of the server.
            MissingError: there is no such object.
            TakenError: the name is taken.
            InputError: refused for another reason.
        """
        return ask(self.endpoint, call, *arguments, **options)

    def read(self, path: str) -> bytes:
        """The answer of a route that the generated API does not have, as it is.

        Raises:
            InputError: as `ask`.
        """
        client = self.runs.api_client
        return self.ask(client.call_api, path, "GET", auth_settings=["Bearer"], _preload_content=False).data


def connect(endpoint: str | None = None, namespace: str | None = None) -> Kubeflow:
    """Connect to the server at `endpoint` (else KF_PIPELINES_ENDPOINT), with the token file's token where there is one, and see that it answers.

    `namespace` is of use on a server of many users only; in a pod of such a server it is the pod's own by default.

    Raises:
        InputError: no endpoint, a server that cannot be reached, does not answer or refuses the credentials, or an extra that is not installed.
    """
    try:
        import kfp_server_api
    except ModuleNotFoundError:
        raise InputError("this needs the extra `kubeflow`: pip install 'asdfd[kubeflow]'") from None
    host = checked_endpoint(endpoint or os.environ.get(ENDPOINT, ""))
    configuration: Any = kfp_server_api.Configuration(host=host)
    configuration.retries = False
    if bundle := os.environ.get("SSL_CERT_FILE"):
        configuration.ssl_ca_cert = bundle
    if (file := token_file()) is not None:

        def read_token(configuration: Any) -> None:
            """Read the token for each request: the kubelet replaces it from time to time."""
            configuration.api_key["authorization"] = _token(file)

        configuration.api_key["authorization"] = ""  # without one, the hook is not called
        configuration.api_key_prefix["authorization"] = "Bearer"
        configuration.refresh_api_key_hook = read_token
    client = kfp_server_api.ApiClient(configuration)
    many_users, version = read_health(host, kfp_server_api.HealthzServiceApi(client).healthz_service_get_healthz)
    return Kubeflow(
        host,
        _namespace(namespace, many_users),
        version,
        kfp_server_api.ExperimentServiceApi(client),
        kfp_server_api.PipelineServiceApi(client),
        kfp_server_api.PipelineUploadServiceApi(client),
        kfp_server_api.RunServiceApi(client),
        kfp_server_api.RecurringRunServiceApi(client),
    )


def checked_endpoint(endpoint: str) -> str:
    """The address of a server, without a slash at its end.

    Raises:
        InputError: it is not an http:// or https:// address, or holds a password.
    """
    if not endpoint:
        raise InputError(f"no Kubeflow Pipelines server is named: give --endpoint or set {ENDPOINT}, for example http://localhost:8888")
    parts = urlsplit(endpoint)
    if "@" in endpoint:
        raise InputError(f"{ENDPOINT} or --endpoint: an address must not hold a password; put a token into a file and name it in {TOKEN_PATHS[0]}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{endpoint}: is not an address of a Kubeflow Pipelines server; write it as http://HOST:PORT or https://HOST")
    return endpoint.rstrip("/")


def token_file() -> Path | None:
    """The file of the bearer token, if one is named or mounted."""
    for name in TOKEN_PATHS:
        if value := os.environ.get(name):
            return Path(value)
    return TOKEN_FILE if TOKEN_FILE.is_file() else None


def _token(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{file}: the token for Kubeflow Pipelines cannot be read; name its file in {TOKEN_PATHS[0]}") from None


def read_health(endpoint: str, healthz: Callable[..., Any]) -> tuple[bool, str]:
    """Whether the server has many users, and its release; also finds out that what answers is not an API, as a login page before it."""
    response = ask(endpoint, healthz, _preload_content=False)
    try:
        answer = json.loads(response.data)
        version = str(answer.get("tag_name") or "").removeprefix("v")
        return bool(answer.get("multi_user", False)), version if VERSION.match(version) else ""
    except (ValueError, AttributeError):
        remedy = f"a login page may be in front of it: name a token's file in {TOKEN_PATHS[0]}"
        raise InputError(f"{endpoint}: what answers there is not the API of Kubeflow Pipelines; {remedy}") from None


def _namespace(namespace: str | None, many_users: bool) -> str:
    if not many_users:
        return ""  # a server of one user refuses one
    if namespace:
        return namespace
    if NAMESPACE_FILE.is_file():
        return NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    raise InputError("this Kubeflow Pipelines server has many users: name yours with --namespace")


def ask(endpoint: str, call: Callable[..., Any], *arguments: object, **options: object) -> Any:
    """Make a call of the generated API within limits of time; see `Kubeflow.ask`."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return call(*arguments, _request_timeout=(CONNECT_SECONDS, ANSWER_SECONDS), **options)
    except ApiException as error:
        raise refusal(endpoint, error) from None
    except HTTPError as error:
        raise UnansweredError(f"{endpoint}: {_reason(error)}; {START_IT}") from None


def _reason(error: Exception) -> str:
    """What kept an answer away, in a few words."""
    from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ReadTimeoutError, SSLError

    match error:
        case ReadTimeoutError():
            return f"no answer within {ANSWER_SECONDS:g} s"
        case NameResolutionError():
            return "there is no such host"
        case NewConnectionError():
            return "cannot be reached (connection refused)" if "refused" in str(error) else "cannot be reached"
        case ConnectTimeoutError():  # the base of the two before it
            return f"no connection within {CONNECT_SECONDS:g} s"
        case SSLError():
            return "its TLS certificate is not trusted (name your CA's file in SSL_CERT_FILE)"
        case _:
            return "the connection broke"


def refusal(endpoint: str, error: Exception) -> InputError:
    """The line for an answer that is not a success; `error` is an ApiException."""
    status, message = getattr(error, "status", 0) or 0, _message(error)
    match status:
        case 0:
            return UnansweredError(f"{endpoint}: its TLS certificate is not trusted; name your CA's file in SSL_CERT_FILE")
        case 401 | 403:
            named = token_file()
            remedy = f"the token in {named} is not accepted" if named else f"name a token's file in {TOKEN_PATHS[0]}"
            return ForbiddenError(f"{endpoint}: the server refuses these credentials ({status}); {remedy}")
        case 404:
            return MissingError(f"{endpoint}: {message or 'not found'} (404); is it the address of Kubeflow Pipelines?")
        case 409:
            return TakenError(f"{endpoint}: {message} (409)")
        case 429 | 500 | 502 | 503 | 504:
            return UnansweredError(f"{endpoint}: the server failed ({status}: {message}); see kubectl -n kubeflow logs deployment/ml-pipeline")
        case _ if 300 <= status < 400:
            return InputError(f"{endpoint}: the server redirects ({status}), to a login page perhaps; name a token's file in {TOKEN_PATHS[0]}")
        case _:
            return InputError(f"{endpoint}: the server refuses this ({status}): {message}")


def _message(error: Exception) -> str:
    """What the server said, in one short line."""
    body = getattr(error, "body", None) or ""
    try:
        document = json.loads(body)
        text = document.get("error") or document.get("message") or ""
    except (ValueError, AttributeError):
        text = getattr(error, "reason", "") or ""
    line = " ".join(str(text).split())
    return line if len(line) <= 300 else f"{line[:300]}..."
