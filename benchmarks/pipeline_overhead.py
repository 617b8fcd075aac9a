"""What the pipeline costs beside its steps on one machine: `asdfd run` against the time that its tasks spend in their steps.

python benchmarks/pipeline_overhead.py examples/support-desk/test.csv demo/teacher-source

A task is a process of its own, so Python and PyTorch are imported for each; that is measured apart, since it does not grow with the work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

IMPORTS = "import asdfd.models, asdfd.method.distillation, asdfd.report, asdfd.labelled_text, kfp.dsl.executor_main"
"""What the heaviest tasks import."""


def timed(words: list[str]) -> float:
    """Seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def measure(data: Path, teacher: Path, preset: str) -> dict[str, Any]:
    """Run the steps in one process and the pipeline, each in a new folder."""
    settings = [
        f"teacher.reference={teacher}",
        f"evaluation.data={data}",
        "student.count=1",
        "synthesis.shards=1",
        "gate.largest_drop=1",
        "gate.minimum_agreement=0",
    ]
    options = [word for setting in settings for word in ("--set", setting)]
    one_process = (
        "import sys, time; from pathlib import Path; from asdfd import steps; from asdfd.config import load_run\n"
        f"{IMPORTS}\nrun = load_run({preset!r}, settings={settings!r}); out = Path(sys.argv[1]); began = time.perf_counter()\n"
        "made = steps.compress(run, out); verdict = steps.judge(run, made['evaluation'].path, out / 'verdict')\n"
        "run = run.model_copy(update={'registry': run.registry.model_copy(update={'location': str(out / 'registry')})})\n"
        "steps.push(run, *(made[role].path for role in ('teacher', 'student', 'evaluation')), verdict.path, {}); print(time.perf_counter() - began)"
    )
    with tempfile.TemporaryDirectory() as folder:
        steps_only = subprocess.run(
            [sys.executable, "-c", one_process, f"{folder}/steps"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        pipeline = timed([sys.executable, "-m", "asdfd.cli", "run", "--preset", preset, "--out", f"{folder}/run", *options])
        again = timed([sys.executable, "-m", "asdfd.cli", "run", "--preset", preset, "--out", f"{folder}/run", *options])
    heavy = timed([sys.executable, "-c", IMPORTS])
    light = timed([sys.executable, "-c", "import asdfd.steps, kfp.dsl.executor_main"])
    steps = float(steps_only.stdout)
    imports = 5 * heavy + 5 * light  # fetch, check, synthesize, distill, evaluate; plan, merge, gate, push, report
    return {
        "steps_seconds": steps,
        "pipeline_seconds": pipeline,
        "again_seconds": again,
        "import_seconds": imports,
        "overhead": (pipeline - imports) / steps - 1,
        "overhead_with_imports": pipeline / steps - 1,
    }


def main() -> None:
    """Print the figures as JSON, with the machine they are from."""
    parser = argparse.ArgumentParser(description="What the pipeline costs beside its steps.")
    parser.add_argument("data", type=Path, help="labelled texts")
    parser.add_argument("teacher", type=Path, help="model folder")
    parser.add_argument("--preset", default="quick")
    arguments = parser.parse_args()
    machine = {"machine": platform.machine(), "processors": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
    print(json.dumps({**machine, **measure(arguments.data.resolve(), arguments.teacher.resolve(), arguments.preset)}, indent=1))


if __name__ == "__main__":
    main()
