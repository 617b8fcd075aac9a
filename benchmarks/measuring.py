"""What the parts of speed.py share: seconds that other work on the machine does not lengthen, and ratios of things that were timed in turns."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass
class Stopwatch:
    """Seconds spent inside `running`, by the wall and by the process."""

    wall: float = 0.0
    processor: float = 0.0

    @contextmanager
    def running(self):
        """Count the time that the block takes."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.processor += time.process_time() - processor


def in_turns(
    actions: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Seconds of every action in every round; all of them are done in each round, so that whatever disturbs the machine disturbs all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(warmup + rounds):
        for name, action in actions.items():
            began = clock()
            action()
            if number >= warmup:
                seconds[name].append(clock() - began)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each action's seconds."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def ratio(seconds: Mapping[str, list[float]], slower: str, faster: str) -> float:
    """Median over the rounds of how many times as long `slower` took as `faster`."""
    return statistics.median(one / other for one, other in zip(seconds[slower], seconds[faster], strict=True))


def circumstances() -> dict[str, float | int]:
    """Threads of this process, and what the machine had to do beside it."""
    return {"threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 2)}
