"""How large and how fast teacher and student are, measured side by side in one run so that both meet the same machine in the same state."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from asdfd.models.encoding import Input, encode, pad, rows_at_once
from asdfd.models.vocabulary import translation

if TYPE_CHECKING:
    import torch

    from asdfd.models.classifiers import Classifier
    from asdfd.models.onnx import Exported

WARM_UP = 3
"""Untimed passes of each model; the first ones allocate memory and choose kernels."""
BATCH = 32
"""Texts of a batch that is timed."""
BATCHES = 5
"""Timed batches of each model for the throughput; their median counts."""


@dataclass(frozen=True)
class Latency:
    """How fast a model is: forward passes from token ids to logits, without tokenizing."""

    p50_seconds: float
    """Median time of one text."""
    p95_seconds: float
    throughput_per_second: float
    """Texts per second in batches."""
    one_thread: Latency | None = None
    """The same on one thread of the processor; None on a GPU."""

    def document(self, role: str) -> dict[str, float]:
        """Its figures under flat names that begin with the model's role."""
        found = {
            f"{role}_latency_p50_seconds": self.p50_seconds,
            f"{role}_latency_p95_seconds": self.p95_seconds,
            f"{role}_throughput_per_second": self.throughput_per_second,
        }
        if self.one_thread is not None:
            found[f"{role}_one_thread_latency_p50_seconds"] = self.one_thread.p50_seconds
            found[f"{role}_one_thread_throughput_per_second"] = self.one_thread.throughput_per_second
        return found


@dataclass(frozen=True)
class Entrant:
    """A model that takes its turn, and the token ids that it is timed on."""

    sequences: Sequence[Sequence[int]]
    ready: Callable[[Sequence[Sequence[int]]], Callable[[], object]]
    """Pads some of them into a batch, and gives back the forward pass on it that is timed, until the logits are there."""


@dataclass(frozen=True)
class LatencyComparison:
    """The models on one machine, and what they were measured on."""

    teacher: Latency
    student: Latency
    device: str
    threads: int
    """CPU threads that PyTorch may use."""
    runs: int
    batch_size: int
    exports: Mapping[str, Latency] = field(default_factory=dict)
    """Those of the ONNX models that were measured with them, by their roles."""

    @property
    def speedup(self) -> float:
        """The teacher's median single-text time over the student's."""
        return self.teacher.p50_seconds / self.student.p50_seconds


def measure(
    teacher: Classifier,
    student: Classifier,
    texts: Sequence[Input] | Sequence[Sequence[int]],
    *,
    runs: int,
    batch_size: int,
    maximum_length: int,
    exports: Mapping[str, Exported] | None = None,
) -> LatencyComparison:
    """Time the models in turn, teacher, student, teacher, student, on the same texts; on a processor with all threads of PyTorch, and again with one.

    Args:
        texts: at least one text or pair of texts, or the teacher's token ids with special tokens where there are no texts; they are taken in order, again from
            the first when they run out.
        runs: timed single-text passes of each model.
        batch_size: texts of one batch for the throughput; fewer where they are long.
        maximum_length: tokens after which a text is cut.
        exports: ONNX models that take their turns by their roles, the teacher's own on its token ids, the student's on the student's.
    """
    import torch

    models, others, threads = (teacher, student), exports or {}, torch.get_num_threads()
    readers = [*models, *(other.reader(teacher if role == "teacher_int8" else student) for role, other in others.items())]
    sequences = [_sequences(teacher, reader, texts, maximum_length) for reader in readers]
    batch_size = rows_at_once(batch_size, max(len(ids) for each in sequences for ids in each))

    def timed(adapted: Callable[[Exported], Exported]) -> list[Latency]:
        entrants = [classifier_entrant(model, ids) for model, ids in zip(models, sequences, strict=False)]
        entrants += [export_entrant(adapted(model), ids) for model, ids in zip(others.values(), sequences[2:], strict=True)]
        return take_turns(entrants, runs=runs, batch_size=batch_size)

    speeds = timed(lambda model: model)
    if teacher.model.device.type == "cpu":
        with one_thread():
            speeds = [replace(many, one_thread=one) for many, one in zip(speeds, timed(lambda model: model.with_threads(1)), strict=True)]
    of_exports = dict(zip(others, speeds[2:], strict=True))
    return LatencyComparison(speeds[0], speeds[1], device_name(teacher.model.device), threads, runs, batch_size, of_exports)


@contextmanager
def one_thread() -> Iterator[None]:
    """Have PyTorch use one thread in this block."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def take_turns(entrants: Sequence[Entrant], *, runs: int, batch_size: int) -> list[Latency]:
    """Time models in turn, so that all of them meet the same machine in the same state: `runs` passes on one text each, then some on a batch."""
    import torch

    singles: list[list[float]] = [[] for _ in entrants]
    batches: list[list[float]] = [[] for _ in entrants]
    with torch.inference_mode():
        for run in range(WARM_UP + runs):
            for times, entrant in zip(singles, entrants, strict=True):
                times.append(_seconds(entrant, [run]))
        for _ in range(1 + BATCHES):
            for times, entrant in zip(batches, entrants, strict=True):
                times.append(_seconds(entrant, range(batch_size)))
    return [
        Latency(float(np.percentile(single[WARM_UP:], 50)), float(np.percentile(single[WARM_UP:], 95)), batch_size / statistics.median(batch[1:]))
        for single, batch in zip(singles, batches, strict=True)
    ]


def classifier_entrant(classifier: Classifier, sequences: Sequence[Sequence[int]]) -> Entrant:
    """A model in PyTorch, on its device."""
    import torch

    device = classifier.model.device

    def settled() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def ready(rows: Sequence[Sequence[int]]) -> Callable[[], None]:
        batch = pad(classifier, rows)
        settled()

        def forward() -> None:
            classifier.model(**batch)
            settled()

        return forward

    return Entrant(sequences, ready)


def export_entrant(export: Exported, sequences: Sequence[Sequence[int]]) -> Entrant:
    """An exported model in onnxruntime, on the processor."""
    return Entrant(sequences, export.ready)


def device_name(device: torch.device) -> str:
    """The name of the GPU or the processor behind a device."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8", errors="replace").splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _sequences(teacher: Classifier, reader: Classifier, texts: Sequence[Input] | Sequence[Sequence[int]], maximum_length: int) -> Sequence[Sequence[int]]:
    """Token ids of each text, or pair of texts, as `reader` makes them; `texts` that are token ids are the teacher's."""
    if isinstance(texts[0], str) or isinstance(texts[0][0], str):
        return encode(reader, cast(Sequence[Input], texts), maximum_length)
    return [*map(translation(teacher.tokenizer, reader.tokenizer), cast(Sequence[Sequence[int]], texts))]


def _seconds(entrant: Entrant, rows: Sequence[int]) -> float:
    """Wall-clock seconds of one forward pass on these texts, counted on from the first when they run out."""
    forward = entrant.ready([entrant.sequences[row % len(entrant.sequences)] for row in rows])
    start = time.perf_counter()
    forward()
    return time.perf_counter() - start
