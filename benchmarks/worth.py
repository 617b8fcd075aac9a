"""What a whole run ends with: every model that can be served, and what the gate says of them.

Reads what `asdfd run` measured, so it takes a moment; the run itself takes minutes to an hour:

    asdfd run --teacher benchmarks/cache/tuned/trec --set teacher.base=ENCODER --data ../shared/data/trec/test.parquet --out runs/trec
    python benchmarks/worth.py trec=runs/trec

Accuracy, sizes and times of one text are those of the run's evaluation. Run it where the runs were made: it notes the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from asdfd.evaluation.report import write_drawings

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "worth.json"
PICTURES = HERE.parent / "docs" / "images"


def main() -> None:
    """Add the runs to the result, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="DATASET=RUN", help="name of the data set, and the folder that `asdfd run` wrote")
    arguments = parser.parse_args()
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name, _, folder in (run.partition("=") for run in arguments.runs):
        if not (Path(folder) / "verdict" / "verdict.json").exists():
            parser.error(f"{name}={folder}: no folder of a run that came to its verdict; name DATASET=RUN, where RUN is an --out of `asdfd run`")
        result[name] = ended(Path(folder))
    RESULT.write_text(json.dumps(dict(sorted(result.items())), indent=1) + "\n", encoding="utf-8")
    for name, run in result.items():
        draw(name, run)


def ended(run: Path) -> dict[str, Any]:
    """What one run ended with: its verdict's table and lines, and the figures that the pictures are drawn from."""
    metrics, verdict = (json.loads((run / name).read_text(encoding="utf-8")) for name in ("evaluation/metrics.json", "verdict/verdict.json"))
    figures = {name: value for name, value in metrics.items() if isinstance(value, int | float | str)}
    return {**{name: verdict[name] for name in ("passed", "judged", "reasons", "warnings", "choices")}, "metrics": figures, "machine": machine()}


def machine() -> dict[str, Any]:
    """Where the times were measured."""
    return {"cpus": os.cpu_count(), "python": platform.python_version(), **{name: version(name) for name in ("torch", "transformers", "onnxruntime")}}


def draw(name: str, run: dict[str, Any]) -> None:
    """Write its pictures beside those of the docs."""
    for _, file in write_drawings(PICTURES, run["metrics"]):
        (PICTURES / file).replace(PICTURES / f"{name}-{file}")


if __name__ == "__main__":
    main()
