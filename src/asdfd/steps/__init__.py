"""One function per step: artifacts in, artifacts out; and what a task of the pipeline and a process of several need around it. The command line, DVC and the
pipeline call these and nothing else. It may import `base`, `storage`, `monitoring`, `models`, `method`, `evaluation` and `registry`.

Each step is idempotent: the finished artifact of the same recipe is returned as it is, and an interrupted one goes on from its parts or its checkpoint.
"""

from __future__ import annotations

from pathlib import Path

from asdfd.base.artifacts import Artifact, library_versions
from asdfd.base.config import Run
from asdfd.base.interruption import ShouldStop, never
from asdfd.steps.banks import Shard, fetch, merge, synthesize
from asdfd.steps.checks import check_ahead
from asdfd.steps.evaluations import Beside, evaluate, export, export_teacher
from asdfd.steps.releases import judge, push, report_status
from asdfd.steps.students import DISTILLATION, distill, forget_checkpoints, metrics_path

__all__ = [
    "DISTILLATION",
    "Beside",
    "Shard",
    "ShouldStop",
    "check_ahead",
    "compress",
    "distill",
    "evaluate",
    "export",
    "export_teacher",
    "fetch",
    "forget_checkpoints",
    "judge",
    "library_versions",
    "merge",
    "metrics_path",
    "never",
    "push",
    "report_status",
    "synthesize",
]


def compress(run: Run, out: Path, should_stop: ShouldStop = never) -> dict[str, Artifact]:
    """All steps in turn, each into its own folder of `out`: teacher, its int8, bank, student, export, evaluation. What is finished is not done again."""
    check_ahead(run)
    teacher = fetch(run, out / "teacher")
    bank = synthesize(run.changed(synthesis=run.bank), teacher, out / "bank", should_stop=should_stop)
    student = distill(run, teacher, bank, out / "student", should_stop)
    exported = export(run, student, out / "export")
    evaluation = evaluate(run, teacher, student, out / "evaluation", beside=Beside(exported, export_teacher(run, teacher, out / "teacher-int8")))
    return {"teacher": teacher, "bank": bank, "student": student, "export": exported, "evaluation": evaluation}
