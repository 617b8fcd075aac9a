"""Part (d) of speed.py: what time and memory depend on, each point measured in a process of its own (`speed_point.py`), forked from one that has only imported.

Memory is the peak of the process's anonymous memory (RssAnon): what it has taken for itself. Pages of a memory-mapped bank are the kernel's to take back and do
not count, unlike in ru_maxrss; the peak of all resident pages is given beside it.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import speed_point
from measuring import circumstances
from random_models import Sizes, random_bank

VOCABULARY = 30_000
TOKEN_BANKS = (20_000, 200_000, 2_000_000)
EMBEDDING_BANKS = (1_000, 10_000, 100_000)
EMBEDDING_WIDTH = 384
LENGTHS = (8, 16, 32, 64, 126)
TEACHERS = ((3, 384), (6, 384), (12, 384), (6, 768), (12, 768))
SHARDS = (1, 2, 4)


def cost_curves() -> dict[str, Any]:
    """All curves."""
    found = {"banks": banks(), "lengths": lengths(), "teachers": teachers(), "shards": shards()}
    return {**found, **circumstances()}


def banks() -> list[dict[str, Any]]:
    """Drawing 200 batches from banks of ten times more entries each, of token ids and of embeddings."""
    found = []
    for kind, sizes, width in (("tokens", TOKEN_BANKS, 0), ("embeddings", EMBEDDING_BANKS, EMBEDDING_WIDTH)):
        for entries in sizes:
            with tempfile.TemporaryDirectory() as folder:
                random_bank(Path(folder), entries, 4, 20, VOCABULARY, width)
                size = sum(path.stat().st_size for path in Path(folder).iterdir())
                found.append({"kind": kind, "entries": entries, "mebibytes": round(size / 2**20, 1), **point(speed_point.bank, Path(folder))})
    return found


def lengths() -> list[dict[str, Any]]:
    """One group of synthesis and one step of a MiniLM-sized teacher against the tokens between the special ones."""
    return [{"tokens": length, **point(speed_point.step, Sizes(6, 384), length)} for length in LENGTHS]


def teachers() -> list[dict[str, Any]]:
    """The same against the teacher's layers and width, at 12 tokens."""
    return [{"layers": layers, "width": width, **point(speed_point.step, Sizes(layers, width), 12)} for layers, width in TEACHERS]


def shards() -> list[dict[str, Any]]:
    """A bank of 4,096 entries made in 1, 2 and 4 shards, each shard in a process of its own, with a small teacher (2 layers of 128)."""
    found = []
    for count in SHARDS:
        points = [point(speed_point.shard, number, count) for number in range(count)]
        seconds, peaks = ([each[name] for each in points] for name in ("seconds", "peak_mebibytes"))
        found.append({"shards": count, "longest_seconds": max(seconds), "total_seconds": round(sum(seconds), 3), "peak_mebibytes": max(peaks)})
    return found


def point(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """One measurement in a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.apply(measure, arguments)
    print(measure.__name__, *arguments, found, flush=True)
    return found
