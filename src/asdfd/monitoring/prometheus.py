"""How metrics leave a step: as text, by a push to the Pushgateway, and through an endpoint that Prometheus reads while the step runs.

None of it can fail a run: what goes wrong is one line in the log. Without PUSHGATEWAY_URL nothing is pushed, without ASDFD_METRICS_PORT nothing listens.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.error import HTTPError

from asdfd.base.artifacts import write_atomically
from asdfd.monitoring.metrics import GROUPING, JOB, Sample

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LOG = logging.getLogger(__name__)
URL_SETTING = "PUSHGATEWAY_URL"
PORT_SETTING = "ASDFD_METRICS_PORT"
PIPELINE_SETTING = "ASDFD_PIPELINE"
TIMEOUT_SECONDS = 5.0
"""Time that one attempt to push may take in all, looking up the name included."""
RETRIES = 2
PAUSE_SECONDS = 0.5
"""Pause before a retry."""
MOST_SECONDS = (1 + RETRIES) * TIMEOUT_SECONDS + RETRIES * PAUSE_SECONDS
"""What a push can cost a step at the most."""


@dataclass(frozen=True)
class Group:
    """Whom metrics are about; with the job it is the grouping key of a push."""

    pipeline: str
    model: str
    task: str


def group_of(model: str, task: str) -> Group:
    """The group of a task, for the pipeline that the environment names."""
    return Group(os.environ.get(PIPELINE_SETTING) or "compress", model, task)


def available() -> bool:
    """Whether prometheus-client is installed; if metrics are asked for and it is not, one line says so."""
    if find_spec("prometheus_client"):
        return True
    if os.environ.get(URL_SETTING) or os.environ.get(PORT_SETTING):
        LOG.warning("metrics need the extra `prometheus`: pip install 'asdfd[prometheus]'; none are exported")
    return False


def text(group: Group, samples: Iterable[Sample]) -> str:
    """Samples in Prometheus' text format."""
    from prometheus_client import generate_latest

    collected = list(samples)
    return generate_latest(_registry(group, lambda: collected)).decode()


def write_text(path: Path, group: Group, samples: Iterable[Sample]) -> None:
    """Write samples as text to a file, which a node exporter can read as well."""
    if not available():
        return
    try:
        write_atomically(path, text(group, samples))
    except OSError as error:
        LOG.warning("%s: the metrics were not written (%s); the run goes on without them", path, error.strerror)


def push(group: Group, samples: Iterable[Sample]) -> bool:
    """Push samples to the Pushgateway and say whether they arrived; takes `MOST_SECONDS` at the most and raises nothing.

    It is a POST: it replaces the metrics that it names, and leaves the group's others. So a failure keeps the time of the last success.
    """
    url = os.environ.get(URL_SETTING, "")
    if not url or not available():
        return False
    collected = list(samples)
    registry = _registry(group, lambda: collected)
    outcome = _attempt(url, group, registry)
    for _ in range(RETRIES):
        if not outcome.problem or not outcome.may_pass:
            break
        time.sleep(PAUSE_SECONDS)
        outcome = _attempt(url, group, registry)
    if not outcome.problem:
        return True
    LOG.warning("metrics of %s were not pushed to %s: %s; the run goes on without them", group.task, _shown(url), outcome.problem)
    return False


@contextmanager
def serving(group: Group, read: Callable[[], Iterable[Sample]]) -> Iterator[None]:
    """Answer Prometheus on `ASDFD_METRICS_PORT` while the block runs; `read` is called for every scrape."""
    port = os.environ.get(PORT_SETTING, "")
    if not port or not available():
        yield
        return
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(int(port), registry=_registry(group, read))
    except (OSError, OverflowError, ValueError) as error:
        LOG.warning("%s=%s: no metrics can be served there (%s); the run goes on without them", PORT_SETTING, port, error)
        yield
        return
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Outcome(NamedTuple):
    """How an attempt to push ended."""

    problem: str = ""
    may_pass: bool = True
    """Whether trying again can help."""


def _attempt(url: str, group: Group, registry: CollectorRegistry) -> _Outcome:
    """Push once. In a thread, since the time of a socket counts for each read and not for all of them, and not for looking up the name."""
    outcomes: list[_Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(_post(url, group, registry)), name="push", daemon=True)
    thread.start()
    thread.join(TIMEOUT_SECONDS)
    return outcomes[0] if outcomes else _Outcome(f"no answer in {TIMEOUT_SECONDS:g} s")


def _post(url: str, group: Group, registry: CollectorRegistry) -> _Outcome:
    from prometheus_client import pushadd_to_gateway

    try:
        pushadd_to_gateway(url, JOB, registry, grouping_key=asdict(group), timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        error.close()
        return _Outcome(f"HTTP {error.code} {error.reason}", may_pass=error.code >= 500)
    except Exception as error:  # whatever it is, the run is worth more than its metrics, and the line tells of it
        told = "" if "@" in url else f": {error}"  # it may quote a part of the password
        return _Outcome(f"{type(error).__name__}{told}".replace(url, _shown(url)))
    return _Outcome()


def _shown(url: str) -> str:
    """Host and port of a URL; a user's name and password in it are nobody's business."""
    return url.rpartition("@")[2].rpartition("//")[2].partition("/")[0] or URL_SETTING


def _registry(group: Group, read: Callable[[], Iterable[Sample]]) -> CollectorRegistry:
    """A registry of its own, so that nothing of the process's default one (memory, garbage collection) is exported."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector

    class View(Collector):
        def collect(self) -> Iterator[GaugeMetricFamily]:
            families: dict[str, GaugeMetricFamily] = {}
            for sample in read():
                metric = sample.metric
                labels = {**asdict(group), **sample.labels}
                family = families.setdefault(metric.name, GaugeMetricFamily(metric.name, metric.help, labels=[*GROUPING, *metric.labels]))
                family.add_metric([labels[name] for name in (*GROUPING, *metric.labels)], sample.value)
            yield from families.values()

    registry = CollectorRegistry()
    registry.register(View())
    return registry
