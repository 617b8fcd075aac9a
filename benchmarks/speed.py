"""How fast asdfd is, as ratios that were measured in one run on one machine. Every part writes its own section of results/speed.json.

python benchmarks/speed.py accuracy      # time to the same final accuracy, against the loop of straightforward.py (half an hour a data set)
python benchmarks/speed.py step          # the student's step against the sum of its matrix products
python benchmarks/speed.py textbrewer    # the student's step against TextBrewer's distiller (pip install textbrewer==0.2.1.post1)
python benchmarks/speed.py curves        # time and memory against bank size, sequence length, teacher size and number of shards
python benchmarks/speed.py gpu           # the step on a GPU: bf16, static shapes, CUDA graphs, against the measured rate of matrix products
python benchmarks/tables.py              # puts the results on docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import arms
import torch

RESULTS = Path(__file__).resolve().parent / "results" / "speed.json"
PARTS = ("accuracy", "step", "textbrewer", "curves", "gpu")


def write(part: str, found: Any, results: Path) -> None:
    """Replace one part of the results and leave the others as they are."""
    known = json.loads(results.read_text()) if results.exists() else {}
    known[part] = {"machine": arms.machine(), **found}
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps({name: known[name] for name in PARTS if name in known}, indent=1) + "\n")


def accuracy(arguments: argparse.Namespace) -> None:
    """Both data sets, one after the other; the result of each is written as soon as it is there, and what other data sets gave is kept."""
    from speed_accuracy import time_to_accuracy

    for dataset in arguments.datasets:
        found = time_to_accuracy(dataset, arguments.steps, arguments.budget)
        known = json.loads(arguments.results.read_text()).get("accuracy", {}).get("runs", []) if arguments.results.exists() else []
        write("accuracy", {"runs": sorted([*(run for run in known if run["dataset"] != dataset), found], key=lambda run: run["dataset"])}, arguments.results)


def step(arguments: argparse.Namespace) -> None:
    from speed_step import steps_against_products

    write("step", {"runs": steps_against_products(arguments.rounds)}, arguments.results)


def textbrewer(arguments: argparse.Namespace) -> None:
    from speed_textbrewer import against_textbrewer

    write("textbrewer", against_textbrewer(arguments.rounds), arguments.results)


def curves(arguments: argparse.Namespace) -> None:
    from speed_curves import cost_curves

    write("curves", cost_curves(), arguments.results)


def gpu(arguments: argparse.Namespace) -> None:
    from speed_gpu import step_on_gpu

    write("gpu", step_on_gpu(), arguments.results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of `step` and `textbrewer`; medians over them are given")
    parser.add_argument("--datasets", nargs="+", default=["trec", "ag_news"], help="data sets of `accuracy`")
    parser.add_argument("--steps", type=int, default=100, help="asdfd's student steps in `accuracy`")
    parser.add_argument("--budget", type=float, default=10.0, help="how many times asdfd's time the straightforward loop gets in `accuracy`")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    {"accuracy": accuracy, "step": step, "textbrewer": textbrewer, "curves": curves, "gpu": gpu}[arguments.part](arguments)


if __name__ == "__main__":
    main()
