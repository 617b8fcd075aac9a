"""Say how teacher and student of a run did, where the report and the registered model are, and whether the student kept enough; exits with 1 where it did not.

python examples/support-desk/verdict.py demo/run --kept 0.95
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def main() -> int:
    """Read the metrics of a run with labelled text and compare the retention with the share that is asked for."""
    parser = argparse.ArgumentParser(description="Compare a student with its teacher.")
    parser.add_argument("run", type=Path, help="folder that `asdfd run` wrote")
    parser.add_argument("--kept", type=float, required=True, help="share of the teacher's accuracy that the student must keep")
    arguments = parser.parse_args()
    metrics = json.loads((arguments.run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    retention: float = metrics["retention"] or 0.0
    print(f"teacher accuracy {metrics['teacher_accuracy']:.4f}, student accuracy {metrics['student_accuracy']:.4f}, retention {retention:.1%}")
    if retention < arguments.kept:
        print(f"the student keeps less than {arguments.kept:.0%} of its teacher's accuracy", file=sys.stderr)
        return 1
    registered = json.loads((arguments.run / "pipeline" / "registered.json").read_text(encoding="utf-8"))
    print(f"report: {arguments.run / 'evaluation' / 'report.html'}")
    print(f"registered model: {registered['name']} {registered['version']}, {registered['stage']}, in {registered['location']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
