"""The metrics of a server, each defined once: `serving.instruments` measures them, rules and dashboard are built from them, docs/operations.md lists them.

A server lives on, so that counters and histograms mean something here; those of the runs are in `metrics`. None holds a text or anything of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SERVED = ("model", "stage")
"""Labels that every metric of a server has: the model's name, and the stage or the version that it serves."""


@dataclass(frozen=True)
class Series:
    """One metric of a server: in text it is its name, so that an expression can be written with it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    unit: str
    labels: tuple[str, ...] = ()
    """Labels beside `SERVED`."""
    buckets: tuple[float, ...] = ()
    """Upper ends of a histogram's buckets."""

    def __str__(self) -> str:
        return self.name

    @property
    def exported(self) -> tuple[str, ...]:
        """The names under which Prometheus gets it."""
        return tuple(f"{self.name}{ending}" for ending in ("_bucket", "_sum", "_count")) if self.kind == "histogram" else (self.name,)


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
REQUESTS = Series("asdfd_serving_requests_total", "counter", "Requests that were answered, by endpoint and HTTP status.", "requests", ("endpoint", "code"))
LATENCY = Series("asdfd_serving_request_seconds", "histogram", "Time from a request's arrival to its answer.", "seconds", ("endpoint",), SECONDS)
BATCH = Series("asdfd_serving_batch_texts", "histogram", "Texts that shared a batch.", "texts", (), (1, 2, 4, 8, 16, 32))
WAITING = Series("asdfd_serving_waiting_texts", "gauge", "Texts that no thread has taken yet.", "texts")
TEXTS = Series("asdfd_serving_texts_total", "counter", "Texts, or pairs of them, that this version answered.", "texts", ("version",))
ANSWERS = Series("asdfd_serving_answers_total", "counter", "Texts that got this label from this version, alone or with others.", "texts", ("version", "label"))
UNSURE = Series("asdfd_serving_low_confidence_total", "counter", "Texts whose label, or set of labels, this version was not sure of.", "texts", ("version",))
VERSION_INFO = Series("asdfd_serving_version_info", "gauge", "The version that answers, and what of it does; always 1.", "1", ("version", "format"))
SWITCHED = Series("asdfd_serving_switch_timestamp_seconds", "gauge", "When the version that answers began to.", "Unix seconds")
LOOKED = Series("asdfd_serving_last_look_timestamp_seconds", "gauge", "When the alias of the stage was last read.", "Unix seconds")
LOAD_FAILED = Series("asdfd_serving_load_failed", "gauge", "Whether the version that holds the stage did not load, so that an older one answers.", "0 or 1")

SERIES = tuple(value for value in list(vars().values()) if isinstance(value, Series))
"""All of them, in the order of this file."""
