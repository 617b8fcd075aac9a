"""What a server measures of itself, for Prometheus; the metrics are those of `monitoring.served`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from asdfd.monitoring import served
from asdfd.monitoring.served import SERIES, SERVED, Series
from asdfd.serving.answering import Model


class Instruments:
    """The metrics of one server, in a registry of their own. All methods may be called from any thread."""

    def __init__(self, name: str, stage: str, *, unsure_below: float) -> None:
        """`unsure_below` is the probability of a label below which it counts as one of low confidence."""
        self._unsure_below, self._about = unsure_below, {"model": name, "stage": stage}
        disable_created_metrics()  # when each of them began, as one more series, which nobody reads
        self._registry = CollectorRegistry()
        self._made = {series: self._make(series) for series in SERIES}

    def text(self, waiting: int) -> bytes:
        """All of it in Prometheus' text format; `waiting` texts wait at this moment."""
        self._of(served.WAITING).set(waiting)
        return generate_latest(self._registry)

    def answered(self, endpoint: str, code: int, seconds: float) -> None:
        """A request was answered."""
        self._of(served.REQUESTS, endpoint=endpoint, code=str(code)).inc()
        self._of(served.LATENCY, endpoint=endpoint).observe(seconds)

    def batch(self, texts: int) -> None:
        """So many texts share a batch."""
        self._of(served.BATCH).observe(texts)

    def labels(self, model: Model, probabilities: np.ndarray) -> None:
        """What a model answered: probabilities [N, C]."""
        self._of(served.TEXTS, version=model.version).inc(len(probabilities))
        counts = model.given(probabilities).sum(axis=0)
        for label in np.flatnonzero(counts):
            self._of(served.ANSWERS, version=model.version, label=model.labels[label]).inc(int(counts[label]))
        unsure = int((model.confidences(probabilities) < self._unsure_below).sum())
        if unsure:
            self._of(served.UNSURE, version=model.version).inc(unsure)

    def looked(self) -> None:
        """The alias was read."""
        self._of(served.LOOKED).set(time.time())

    def switched(self, model: Model) -> None:
        """This model answers from now on."""
        info = self._made[served.VERSION_INFO]
        info.clear()
        self._of(served.VERSION_INFO, version=model.version, format=model.form).set(1)
        for series in (served.TEXTS, served.UNSURE):
            self._of(series, version=model.version)  # 0 from the beginning, so that a rate is known from the first one on
        self._of(served.SWITCHED).set(time.time())

    def followed(self) -> None:
        """The version that answers is the one that holds the stage."""
        self._of(served.LOAD_FAILED).set(0)

    def failed(self) -> None:
        """What holds the stage does not load."""
        self._of(served.LOAD_FAILED).set(1)

    def _of(self, series: Series, **labels: str) -> Any:
        return self._made[series].labels(**self._about, **labels)

    def _make(self, series: Series) -> Any:
        names = (*SERVED, *series.labels)
        if series.kind == "histogram":
            return Histogram(series.name, series.help, names, registry=self._registry, buckets=series.buckets)
        return (Counter if series.kind == "counter" else Gauge)(series.name, series.help, names, registry=self._registry)
