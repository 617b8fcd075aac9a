"""What the pipeline costs beside its steps on one machine: `asdfd run` against the time that its tasks spend in their steps.

python benchmarks/pipeline_overhead.py examples/support-desk/test.csv demo/teacher-source

A task is a process of its own, so Python and PyTorch are imported for each. That does not grow with the work and is told apart: the pipeline runs a second time
with Python's own clock of imports (PYTHONPROFILEIMPORTTIME), whose figures from all processes are summed. Steps and pipeline take turns, medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

IMPORTS = "import asdfd.models.classifiers, asdfd.method.distillation, asdfd.evaluation.report, asdfd.evaluation.texts"
"""What the steps import."""
IMPORT_TIME = re.compile(r"import time: +(\d+) \|")
"""What Python writes for each module: microseconds of its own, without those of the modules that it imports."""


def timed(words: list[str], errors: Path | None = None) -> float:
    """Seconds that a command takes; with `errors`, it clocks its imports, and what it writes to stderr goes to that file."""
    environment = os.environ if errors is None else {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    with Path(os.devnull if errors is None else errors).open("w", encoding="utf-8") as written:
        began = time.perf_counter()
        subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=written)
        return time.perf_counter() - began


def import_seconds(*logs: Path) -> float:
    """Seconds of all imports that the logs tell of."""
    return sum(int(found) for log in logs for found in IMPORT_TIME.findall(log.read_text(encoding="utf-8"))) / 1e6


def measure(data: Path, teacher: Path, preset: str, rounds: int) -> dict[str, Any]:
    """Run the steps in one process and the pipeline, each in a new folder."""
    settings = [
        f"teacher.reference={teacher}",
        f"evaluation.data={data}",
        "student.count=1",
        "gate.largest_drop=1",
        "gate.minimum_agreement=0",
    ]
    options = [word for setting in settings for word in ("--set", setting)]
    one_process = (
        "import sys, time; from pathlib import Path; from asdfd import steps; from asdfd.base.loading import load_run\n"
        f"{IMPORTS}\nrun = load_run({preset!r}, settings={settings!r}); out = Path(sys.argv[1]); began = time.perf_counter()\n"
        "made = steps.compress(run, out); verdict = steps.judge(run, made['evaluation'].path, out / 'verdict')\n"
        "run = run.changed(registry=run.registry.changed(location=str(out / 'registry')))\n"
        "steps.push(run, *(made[role].path for role in ('teacher', 'student', 'evaluation')), verdict.path, {}); print(time.perf_counter() - began)"
    )
    words = [sys.executable, "-m", "asdfd.cli", "run", "--preset", preset, *options, "--out"]
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            steps_only = subprocess.run(
                [sys.executable, "-c", one_process, f"{folder}/steps"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            pipeline = timed([*words, f"{folder}/run"])
            again = timed([*words, f"{folder}/run"])
            clocked = timed([*words, f"{folder}/clocked"], Path(folder, "errors"))
            imports = import_seconds(Path(folder, "errors"), Path(folder, "clocked", "pipeline", "log.txt"))
        seconds = {"steps": float(steps_only.stdout), "pipeline": pipeline, "again": again, "clocked_pipeline": clocked, "clocked_imports": imports}
        for name, value in seconds.items():
            found.setdefault(name, []).append(round(value, 2))
    steps = median(found["steps"])
    aside = median(clocked - imports for clocked, imports in zip(found["clocked_pipeline"], found["clocked_imports"], strict=True))
    return {"seconds": found, "overhead": round(aside / steps - 1, 3), "overhead_with_imports": round(median(found["pipeline"]) / steps - 1, 3)}


def main() -> None:
    """Print the figures as JSON, with the machine they are from."""
    parser = argparse.ArgumentParser(description="What the pipeline costs beside its steps.")
    parser.add_argument("data", type=Path, help="labelled texts")
    parser.add_argument("teacher", type=Path, help="model folder")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    machine = {"machine": platform.machine(), "processors": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
    print(json.dumps({**machine, **measure(arguments.data.resolve(), arguments.teacher.resolve(), arguments.preset, arguments.rounds)}, indent=1))


if __name__ == "__main__":
    main()
