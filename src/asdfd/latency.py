"""How large and how fast teacher and student are, measured side by side in one run so that both meet the same machine in the same state."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from asdfd.evaluation import encode, pad

if TYPE_CHECKING:
    import torch

    from asdfd.models import Classifier

WARM_UP = 3
"""Untimed passes of each model; the first ones allocate memory and choose kernels."""
BATCHES = 5
"""Timed batches of each model for the throughput; their median counts."""


@dataclass(frozen=True)
class Size:
    """How large a model is."""

    parameters: int
    bytes: int
    """Bytes of its *.safetensors on disk."""


@dataclass(frozen=True)
class Latency:
    """How fast a model is: forward passes from token ids to logits, without tokenizing."""

    p50_seconds: float
    """Median time of one text."""
    p95_seconds: float
    throughput_per_second: float
    """Texts per second in batches."""


@dataclass(frozen=True)
class LatencyComparison:
    """Both models on one machine, and what they were measured on."""

    teacher: Latency
    student: Latency
    device: str
    threads: int
    """CPU threads that PyTorch may use."""
    runs: int
    batch_size: int

    @property
    def speedup(self) -> float:
        """The teacher's median single-text time over the student's."""
        return self.teacher.p50_seconds / self.student.p50_seconds


def measure(
    teacher: Classifier, student: Classifier, texts: Sequence[str] | Sequence[Sequence[int]], *, runs: int, batch_size: int, maximum_length: int
) -> LatencyComparison:
    """Time both models in turn, teacher, student, teacher, student, on the same texts.

    Args:
        texts: at least one text, or token ids with special tokens where there are no texts; they are taken in order, again from the first when they run out.
        runs: timed single-text passes of each model.
        batch_size: texts of one batch for the throughput.
        maximum_length: tokens after which a text is cut.
    """
    import torch

    models = (teacher, student)
    sequences = [_sequences(model, texts, maximum_length) for model in models]
    singles: tuple[list[float], list[float]] = ([], [])
    batches: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        for run in range(WARM_UP + runs):
            for which, model in enumerate(models):
                single = pad(model, [sequences[which][run % len(texts)]])
                singles[which].append(_seconds(model, single))
        for _ in range(1 + BATCHES):
            for which, model in enumerate(models):
                batch = pad(model, [sequences[which][row % len(texts)] for row in range(batch_size)])
                batches[which].append(_seconds(model, batch))
    results = [
        Latency(float(np.percentile(single[WARM_UP:], 50)), float(np.percentile(single[WARM_UP:], 95)), batch_size / statistics.median(batch[1:]))
        for single, batch in zip(singles, batches, strict=True)
    ]
    return LatencyComparison(results[0], results[1], device_name(teacher.model.device), torch.get_num_threads(), runs, batch_size)


def size(classifier: Classifier, folder: Path) -> Size:
    """Parameters of the model (shared ones count once) and bytes of the weights in its folder."""
    parameters = sum(parameter.numel() for parameter in classifier.model.parameters())
    return Size(parameters, sum(path.stat().st_size for path in folder.glob("*.safetensors")))


def device_name(device: torch.device) -> str:
    """The name of the GPU or the processor behind a device."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8", errors="replace").splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _sequences(classifier: Classifier, texts: Sequence[str] | Sequence[Sequence[int]], maximum_length: int) -> list[list[int]]:
    """Token ids of each text; ids stay as they are."""
    if isinstance(texts[0], str):
        return encode(classifier, cast(Sequence[str], texts), maximum_length)
    return [list(ids) for ids in cast(Sequence[Sequence[int]], texts)]


def _seconds(classifier: Classifier, batch: dict[str, torch.Tensor]) -> float:
    """Wall-clock seconds of one forward pass, until the logits are there."""
    import torch

    on_gpu = classifier.model.device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(classifier.model.device)
    start = time.perf_counter()
    classifier.model(**batch)
    if on_gpu:
        torch.cuda.synchronize(classifier.model.device)
    return time.perf_counter() - start
