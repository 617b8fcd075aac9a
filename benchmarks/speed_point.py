"""One point of a cost curve; `speed_curves.py` measures each in a process of its own, so that its memory is nobody else's."""

from __future__ import annotations

import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from random_models import Sizes, random_bank, random_teacher
from speed_step import advance, prepared, started

from asdfd.base.config import Synthesis
from asdfd.method import synthesis
from asdfd.method.bank import Bank, part_count
from asdfd.method.batches import Batches
from asdfd.method.prior import frame_of, vocabulary_prior

BATCHES = 200
BATCH_SIZE = 32
SHARDED_SAMPLES = 4096
EVERY = 0.002
"""Seconds between two looks at the memory."""


@dataclass
class Memory:
    """Mebibytes above those of the process before: its own, and all that are resident, mapped files among them."""

    anonymous: float = 0.0
    resident: float = 0.0


@contextmanager
def watched() -> Iterator[Memory]:
    """Follow the peak of memory while the block runs."""
    memory, done = Memory(), threading.Event()
    anonymous, resident = read_status()

    def look() -> None:
        now = read_status()
        memory.anonymous, memory.resident = max(memory.anonymous, now[0] - anonymous), max(memory.resident, now[1] - resident)

    def follow() -> None:
        while not done.wait(EVERY):
            look()

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield memory
    finally:
        look()
        done.set()
        thread.join()


def read_status() -> tuple[float, float]:
    """Anonymous and all resident memory of this process in mebibytes, as Linux tells them."""
    text = Path("/proc/self/status").read_text()
    kibibytes = {name: int(value) for name, value in re.findall(r"^(RssAnon|VmRSS):\s+(\d+) kB$", text, re.MULTILINE)}
    return kibibytes["RssAnon"] / 1024, kibibytes["VmRSS"] / 1024


def bank(folder: Path) -> dict[str, Any]:
    """Open a bank and draw batches as a distillation does."""
    with watched() as memory:
        began = time.process_time()
        opened = Bank(folder)
        batches = Batches(opened.lengths, BATCH_SIZE, seed=0)
        batches.rows(0)
        ready = time.process_time()
        for number in range(BATCHES):
            opened.content(batches.rows(number))
        drawn = time.process_time()
    return {"open_seconds": round(ready - began, 4), "batch_seconds": round((drawn - ready) / BATCHES, 6), **peaks(memory)}


def step(sizes: Sizes, tokens: int) -> dict[str, Any]:
    """Seconds of one sample's synthesis and of one student step on entries of one length, with a random teacher."""
    teacher = random_teacher(sizes)
    guesser = synthesis.Guesser(
        teacher, frame_of(teacher.tokenizer), vocabulary_prior(teacher.tokenizer, "zipf"), Synthesis(minimum_length=tokens, maximum_length=tokens), seed=0
    )
    with tempfile.TemporaryDirectory() as folder, watched() as memory:
        random_bank(Path(folder), 2 * BATCH_SIZE, tokens, tokens, teacher.embedding_table.shape[0])
        made = seconds_of(lambda: synthesis.synthesize_group(guesser, 0, synthesis.GROUP))
        setup = prepared(teacher, Path(folder), sizes.student_layers, BATCH_SIZE)
        stepped = seconds_of(advance(setup, started(setup), Path(folder), 1))
    return {"sample_seconds": round(made / synthesis.GROUP, 6), "step_seconds": round(stepped, 5), **peaks(memory)}


def shard(number: int, count: int) -> dict[str, Any]:
    """Make a shard's parts of a bank."""
    teacher = random_teacher(Sizes(2, 128))
    parts = list(range(part_count(SHARDED_SAMPLES)))[number::count]
    with tempfile.TemporaryDirectory() as folder, watched() as memory:
        began = time.process_time()
        synthesis.synthesize_parts(teacher, Synthesis(samples=SHARDED_SAMPLES), 0, Path(folder), parts)
        seconds = time.process_time() - began
    return {"seconds": round(seconds, 3), **peaks(memory)}


def seconds_of(action: Callable[[], object], rounds: int = 2) -> float:
    """Median processor seconds of an action, after one time that does not count."""
    action()
    found = []
    for _ in range(rounds):
        began = time.process_time()
        action()
        found.append(time.process_time() - began)
    return statistics.median(found)


def peaks(memory: Memory) -> dict[str, float]:
    return {"peak_mebibytes": round(memory.anonymous, 1), "peak_resident_mebibytes": round(memory.resident, 1)}
