"""docs/images/cost-curves.svg from the curves of results/speed.json; `tables.py` draws it anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "cost-curves.svg"
BLUE, ORANGE = "#2f7de1", "#e07b39"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "asdfd",
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def digest(curves: dict[str, Any]) -> str:
    """What tells from which numbers a picture was drawn."""
    return hashlib.sha256(json.dumps(curves, sort_keys=True).encode()).hexdigest()


def draw(curves: dict[str, Any], path: Path) -> None:
    """Two rows of four charts, time above memory; the digest of the numbers is in the file's description."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        times, memories = figure.subplots(2, 4)
        banks_column(curves["banks"], times[0], memories[0])
        lengths, teachers, shards = curves["lengths"], curves["teachers"], curves["shards"]
        step_column(lengths, [each["tokens"] for each in lengths], "tokens of a sample", times[1], memories[1])
        names = [f"{each['layers']}×{each['width']}" for each in teachers]
        step_column(teachers, names, "teacher, layers × width", times[2], memories[2])
        shards_column(shards, times[3], memories[3])
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None, "Description": digest(curves)})


def banks_column(banks: Sequence[dict[str, Any]], time: Axes, memory: Axes) -> None:
    """A batch's time and the reader's own memory against the bank's size on disk."""
    for kind, colour in (("tokens", BLUE), ("embeddings", ORANGE)):
        found = [each for each in banks if each["kind"] == kind]
        sizes = [each["mebibytes"] for each in found]
        time.plot(sizes, [1000 * each["batch_seconds"] for each in found], "o-", color=colour, label=kind)
        memory.plot(sizes, [each["peak_mebibytes"] for each in found], "o-", color=colour, label=kind)
    finish(time, "bank, MiB on disk", "ms to draw a batch")
    finish(memory, "bank, MiB on disk", "own memory, MiB")
    for axes in (time, memory):
        axes.set_xscale("log")
        axes.legend()


def step_column(points: Sequence[dict[str, Any]], along: Sequence[Any], label: str, time: Axes, memory: Axes) -> None:
    """Time of a student step on 32 samples and of their synthesis, and memory."""
    time.plot(along, [each["step_seconds"] for each in points], "o-", color=BLUE, label="student step")
    time.plot(along, [32 * each["sample_seconds"] for each in points], "o-", color=ORANGE, label="synthesis of 32")
    memory.plot(along, [each["peak_mebibytes"] for each in points], "o-", color=BLUE)
    finish(time, label, "seconds")
    finish(memory, label, "own memory, MiB")
    time.legend()


def shards_column(shards: Sequence[dict[str, Any]], time: Axes, memory: Axes) -> None:
    """Time until the last shard is there when each has a processor of its own, and the time of all together."""
    counts = [str(each["shards"]) for each in shards]
    time.plot(counts, [each["longest_seconds"] for each in shards], "o-", color=BLUE, label="longest shard")
    time.plot(counts, [each["total_seconds"] for each in shards], "o-", color=ORANGE, label="all together")
    memory.plot(counts, [each["peak_mebibytes"] for each in shards], "o-", color=BLUE)
    finish(time, "shards of 4,096 samples", "seconds")
    finish(memory, "shards of 4,096 samples", "own memory of one, MiB")
    time.legend()


def finish(axes: Axes, x: str, y: str) -> None:
    """Name the axes; values begin at zero."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(bottom=0)
