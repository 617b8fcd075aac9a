"""Decide whether the student may be registered."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Markdown, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gate(parameters: str, evaluation: Input[Artifact], verdict: Output[Artifact], reasons: Output[Markdown]) -> bool:
    """Decide whether the student may be registered: one answer, and the reasons for it.

    Args:
        parameters: The whole run, as JSON.
        evaluation: What the student showed.
        verdict: The checks with their limits, for `push`.
        reasons: The same as a table to look at.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.base.config import Run
    from asdfd.steps.task import deliver, deliver_verdict, place, task

    run = Run.model_validate_json(parameters)
    with task("gate", run.registry.location):
        made = steps.judge(run, Path(evaluation.path), place(verdict, "verdict"))
        deliver(made, verdict)
        return deliver_verdict(made.path, verdict, reasons, run.registry.location)
