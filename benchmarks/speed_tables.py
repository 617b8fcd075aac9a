"""The section on speed of docs/benchmarks.md, from results/speed.json; `tables.py` puts it there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OPEN = "Not measured yet: no GPU was at hand. One command measures it: `python benchmarks/speed.py gpu`.\n"


def speed_section(results: dict[str, Any]) -> str:
    """All parts that have results, and which have none."""
    writers = {"accuracy": accuracy, "step": step, "textbrewer": textbrewer, "gpu": gpu, "curves": curves}
    titles = {
        "accuracy": "Time to the same final accuracy",
        "step": "The student's step against its matrix products",
        "textbrewer": "The student's step against TextBrewer",
        "gpu": "The student's step on a GPU",
        "curves": "What time and memory depend on",
    }
    parts = []
    for name, write in writers.items():
        missing = OPEN if name == "gpu" else f"Not measured yet: `python benchmarks/speed.py {name}`.\n"
        parts.append(f"### {titles[name]}\n\n{write(results[name]) if name in results else missing}")
    return "\n".join(parts)


def accuracy(found: dict[str, Any]) -> str:
    rows = []
    for run in found["runs"]:
        ours, other = run["asdfd"], run["straightforward"]
        reached = f"after {run['times_as_long']:.1f} times as long" if run["times_as_long"] else f"not within {run['budget']:.0f} times as long"
        looks = ", ".join(f"{100 * look['accuracy']:.1f}" for look in other)
        rows.append(
            [run["dataset"], ours["steps"], f"{100 * ours['final_accuracy']:.1f}", f"{ours['processor_seconds']:.0f}", reached, other[-1]["rounds"], looks]
        )
    heads = ["data set", "asdfd's steps", "final accuracy", "seconds", "the loop reaches it", "its rounds", "its accuracy along the way"]
    return f"{where(found)}\n{table(heads, rows)}"


def step(found: dict[str, Any]) -> str:
    heads = [
        "model",
        "batch",
        "step, ms",
        "products, ms",
        "products' share, %",
        "10^9 operations a second, step / products",
        "optimiser, fused / not, ms",
        "load",
    ]
    rows = []
    for run in found["runs"]:
        update = run["update_seconds"]
        rates = [run["operations"] / run[f"{name}_seconds"] / 1e9 for name in ("step", "products")]
        row = [run["shape"], f"{run['batch_size']} x {run['tokens']}", milliseconds(run["step_seconds"]), milliseconds(run["products_seconds"])]
        row += [f"{100 * run['share']:.0f}", f"{rates[0]:.0f} / {rates[1]:.0f}"]
        row += [f"{milliseconds(update['fused'])} / {milliseconds(update['one weight after the other'])}", f"{run['load']:.1f}"]
        rows.append(row)
    return f"{where(found)}\n{table(heads, rows)}"


def textbrewer(found: dict[str, Any]) -> str:
    heads = ["setting", "asdfd, ms a step", "TextBrewer, ms a step", "times as long"]
    rows = []
    for name, each in found["settings"].items():
        rows.append([name, milliseconds(each["asdfd_seconds"]), milliseconds(each["textbrewer_seconds"]), f"{each['ratio']:.2f}"])
    return f"{where(found)}\n{table(heads, rows)}"


def gpu(found: dict[str, Any]) -> str:
    row = [found["device"], f"{found['batch_size']} x {found['tokens']}", f"{1000 * found['eager_seconds']:.1f}", f"{1000 * found['compiled_seconds']:.1f}"]
    row += [f"{found['step_teraflops']:.0f} / {found['products_teraflops']:.0f}", f"{100 * found['share']:.0f}"]
    heads = ["device", "batch", "eager step, ms", "compiled step, ms", "10^12 operations a second, step / products", "products' share, %"]
    return f"{where(found)}\n{table(heads, [row])}"


def curves(found: dict[str, Any]) -> str:
    heads = ["bank of", "entries", "MiB on disk", "peak of own memory, MiB", "with mapped pages, MiB", "a batch, ms"]
    rows = []
    for each in found["banks"]:
        row = [each["kind"], f"{each['entries']:,}", f"{each['mebibytes']:.1f}", f"{each['peak_mebibytes']:.1f}", f"{each['peak_resident_mebibytes']:.0f}"]
        rows.append([*row, f"{1000 * each['batch_seconds']:.2f}"])
    return f"{where(found)}\n![Time and memory against bank size, sequence length, teacher size and shards](images/cost-curves.svg)\n\n{table(heads, rows)}"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f}"


def where(found: dict[str, Any]) -> str:
    """The machine that a part was measured on, and how busy it was otherwise."""
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    runs = [found, *found.get("runs", [])]
    loads = [run["load"] for run in runs if "load" in run]
    busy = f", load average {min(loads):.1f} to {max(loads):.1f}" if len(loads) > 1 else f", load average {loads[0]:.1f}" if loads else ""
    return f"{machine}{busy}.\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)
