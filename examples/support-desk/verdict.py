"""Say how teacher and student of a run did, where the report and the registered model are, and whether what was registered kept enough; exits with 1 where not.

python examples/support-desk/verdict.py demo/run --kept 0.95
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def main() -> int:
    """Read the metrics of a run with labelled text and compare the retention of what the gate judged, the export where there is one, with what is asked for."""
    parser = argparse.ArgumentParser(description="Compare a student with its teacher.")
    parser.add_argument("run", type=Path, help="folder that `asdfd run` wrote")
    parser.add_argument("--kept", type=float, required=True, help="share of the teacher's accuracy that must be kept")
    arguments = parser.parse_args()
    metrics = json.loads((arguments.run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    export = "export_accuracy" in metrics
    judged = f"student {metrics['export_format']}" if export else "student"
    accuracy, retention = (metrics["export_accuracy"], metrics.get("export_retention")) if export else (metrics["student_accuracy"], metrics["retention"])
    print(f"teacher accuracy {metrics['teacher_accuracy']:.4f}, {judged} accuracy {accuracy:.4f}, retention {retention or 0:.1%}")
    if (retention or 0) < arguments.kept:
        print(f"the {judged} keeps less than {arguments.kept:.0%} of its teacher's accuracy", file=sys.stderr)
        return 1
    registered = json.loads((arguments.run / "pipeline" / "registered.json").read_text(encoding="utf-8"))
    print(f"report: {arguments.run / 'evaluation' / 'report.html'}")
    print(f"registered model: {registered['name']} {registered['version']}, {registered['stage']}, in {registered['location']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
