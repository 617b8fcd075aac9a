"""What a run needs from outside of it, looked at one by one: each is fine, failing (with the remedy), or not configured, which is not a fault."""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from asdfd.base.config import Run
from asdfd.base.errors import AsdfdError, InputError, without_passwords
from asdfd.base.form import Form

State = Literal["ok", "not configured", "failing"]
PUSHGATEWAY = "PUSHGATEWAY_URL"
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Finding:
    """What was found out about one part."""

    part: str
    state: State
    detail: str
    """What is there, or what is wrong and what to do about it; no address in it holds a password."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", without_passwords(self.detail))


def examine(run: Run, pipeline: Path, endpoint: str | None, namespace: str | None, form: Form) -> Iterator[Finding]:
    """Look at every part; `form` says what tasks ask of their nodes. What fails is a finding, never an error, and nothing stays of what is written to try a
    registry out.
    """
    yield _kubeflow(endpoint, namespace)
    yield from _cluster(endpoint, namespace, form)
    yield _image(pipeline)
    yield _registry(run)
    yield _s3(run)
    yield _pushgateway()
    yield _gpu(run)


def _kubeflow(endpoint: str | None, namespace: str | None) -> Finding:
    """Kubeflow Pipelines: it answers, is new enough, and lets these credentials list runs and start them."""
    from asdfd.kubeflow.client import ENDPOINT, connect
    from asdfd.kubeflow.suitability import check_rights, check_version

    part = "Kubeflow Pipelines"
    if not (endpoint or os.environ.get(ENDPOINT)):
        return Finding(part, "not configured", f"to submit runs, set {ENDPOINT}, for example http://localhost:8888")
    try:
        kubeflow = connect(endpoint, namespace)
        if not kubeflow.version:
            kubeflow = replace(kubeflow, version=_installed_version())
        check_version(kubeflow)
        options = {"namespace": kubeflow.namespace} if kubeflow.namespace else {}
        kubeflow.ask(kubeflow.runs.run_service_list_runs, page_size=1, **options)
        check_rights(kubeflow)
    except AsdfdError as error:
        return Finding(part, "failing", str(error))
    version = kubeflow.version or "a release that it does not name"
    return Finding(part, "ok", f"{kubeflow.endpoint}, {version}" + (f", namespace {kubeflow.namespace}" if kubeflow.namespace else ""))


def _installed_version() -> str:
    """The release of a server that does not tell it, where Kubernetes does."""
    from asdfd.kubeflow import cluster

    try:
        return cluster.installed_version(cluster.connect())
    except cluster.NoSightError:
        return ""


def _cluster(endpoint: str | None, namespace: str | None, form: Form) -> Iterator[Finding]:
    """Nodes, quotas and the tasks' settings, as far as a kubeconfig shows them."""
    from asdfd.kubeflow import cluster
    from asdfd.kubeflow.client import ENDPOINT

    if not (endpoint or os.environ.get(ENDPOINT)):
        return
    place = namespace or cluster.OWN_NAMESPACE
    checks: dict[str, Callable[[Any], str]] = {
        "nodes": lambda core: cluster.check_nodes(core, form),
        "quotas": lambda core: cluster.check_quota(core, place, form),
        "settings of tasks": lambda core: cluster.check_settings(core, place),
    }
    for part, check in checks.items():
        try:
            yield Finding(part, "ok", check(cluster.connect()))
        except cluster.NoSightError as error:
            yield Finding(part, "not configured", f"not looked at: {error}")
        except AsdfdError as error:
            yield Finding(part, "failing", str(error))


def _image(pipeline: Path) -> Finding:
    """The images of the compiled pipeline: Kubeflow's cache knows them by their names only, so these must not move."""
    from asdfd.kubeflow.compiled import read_compiled

    part = "image"
    if not pipeline.exists():
        return Finding(part, "not configured", f"there is no {pipeline}; write it with `asdfd compile`")
    try:
        compiled = read_compiled(pipeline)
    except InputError as error:
        return Finding(part, "failing", str(error))
    if compiled.moving_images:
        remedy = "compile with a version or a digest: asdfd compile --image NAME@sha256:..."
        return Finding(part, "failing", f"{compiled.moving_images[0]}: its content can change under this name, and cached results would stay; {remedy}")
    return Finding(part, "ok", ", ".join(compiled.images))


def _registry(run: Run) -> Finding:
    """The registry's place can be read and written, and of many writers lets one win."""
    from asdfd.storage.objects import open_objects
    from asdfd.storage.probe import check_conditional_writes

    location = run.registry.location
    if not location.startswith("s3://") and not Path(location.removeprefix("file://")).exists():
        return Finding("registry", "not configured", f"{location}: the folder is made by the first push")
    try:
        store = open_objects(location)
        models = sorted({info.key.split("/")[1] for info in store.list("aliases/")})
        check_conditional_writes(store)
    except AsdfdError as error:
        return Finding("registry", "failing", str(error))
    except ModuleNotFoundError:
        return Finding("registry", "failing", "s3:// needs the extra `s3`: pip install 'asdfd[s3]'")
    return Finding("registry", "ok", f"{location}: {', '.join(models) or 'no stage yet'}")


def _s3(run: Run) -> Finding:
    """The S3 server answers and takes the credentials: the registry's bucket is asked for where it is there, else nothing but a list of buckets."""
    location = run.registry.location
    if not os.environ.get("S3_ENDPOINT") and not location.startswith("s3://"):
        return Finding("S3", "not configured", "for a registry or teachers there, set S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    try:
        from asdfd.storage.s3_connection import connect, read_settings
        from asdfd.storage.s3_errors import explained

        settings = read_settings()
        connection = connect(settings)
        bucket = location.removeprefix("s3://").partition("/")[0] if location.startswith("s3://") else ""
        with explained(settings, "read", bucket):
            if bucket and not connection.client.bucket_exists(bucket):
                return Finding("S3", "failing", f"{settings.endpoint}: has no bucket {bucket}; make it, or name another in registry.location")
            if not bucket:
                connection.client.list_buckets()
    except AsdfdError as error:
        return Finding("S3", "failing", str(error))
    except ModuleNotFoundError:
        return Finding("S3", "failing", "this needs the extra `s3`: pip install 'asdfd[s3]'")
    return Finding("S3", "ok", settings.endpoint + (f", bucket {bucket}" if bucket else ""))


def _pushgateway() -> Finding:
    """The Pushgateway is ready."""
    part, url = "Pushgateway", os.environ.get(PUSHGATEWAY, "")
    if not url:
        return Finding(part, "not configured", f"to have metrics of runs pushed, set {PUSHGATEWAY}, for example http://pushgateway:9091")
    if "@" in url:  # wherever: a password with a slash in it is not a part of what a parser takes for the host
        return Finding(part, "failing", f"{PUSHGATEWAY} holds a password, which would stand in every process list; let a proxy add it")
    address = url if "://" in url else f"http://{url}"
    shown = urlsplit(address).netloc
    if urlsplit(address).scheme not in ("http", "https") or not shown:
        return Finding(part, "failing", f"{PUSHGATEWAY} is not an address of a server; write it as http://HOST:9091")
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/-/ready", timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError as error:
        return Finding(part, "failing", f"{shown}: answers {error.code}; is {PUSHGATEWAY} the address of a Pushgateway?")
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", error)
        why = (
            f"no answer within {ANSWER_SECONDS:g} s"
            if isinstance(reason, TimeoutError)
            else f"cannot be reached ({getattr(reason, 'strerror', None) or reason})"
        )
        return Finding(part, "failing", f"{shown}: {why}; start it, or unset {PUSHGATEWAY}: runs go on without it")
    return Finding(part, "ok", shown)


def _gpu(run: Run) -> Finding:
    """A GPU that PyTorch can use here."""
    import torch

    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return Finding("GPU", "ok", f"{torch.cuda.get_device_name(0)}{f' and {count - 1} more' if count > 1 else ''}, PyTorch {torch.__version__}")
    if run.device == "cuda":
        return Finding("GPU", "failing", f"PyTorch {torch.__version__} sees none here, and the parameter device is cuda; use --set device=auto")
    return Finding(
        "GPU", "not configured", f"PyTorch {torch.__version__} sees none here; steps run on the processor (in a cluster, the nodes of the tasks count)"
    )
