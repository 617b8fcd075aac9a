"""Judge the student, and register it where it passes."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Markdown, Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def push(
    parameters: str,
    pipeline_run: str,
    checkpoints: str,
    teacher: Input[Model],
    student: Input[Model],
    export: Input[Model],
    evaluation: Input[Artifact],
    verdict: Output[Artifact],
    reasons: Output[Markdown],
    registered: Output[Artifact],
) -> str:
    """Judge the student by the rules of the gate. Where it passes, store it as a version that never changes and move the stage's alias to it.

    Returns the version; nothing for a student that the gate rejects, which is a result as well.

    Args:
        parameters: The whole run.
        pipeline_run: Identifier of this run, for the version's provenance.
        checkpoints: Location of the student's checkpoints, which nobody needs any more.
        teacher: The model that was compressed.
        student: The smaller model.
        export: The same as an ONNX model.
        evaluation: What it showed.
        verdict: The checks of the gate with their limits.
        reasons: The same as a table to look at.
        registered: Name, version, stage and place in the registry.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.steps.planning import read_part
    from asdfd.steps.task import deliver, deliver_registered, deliver_verdict, place, task

    run = read_part(parameters)
    with task("push", run.registry.location):
        if checkpoints:
            steps.forget_checkpoints(checkpoints, Path(student.path))
        made = steps.judge(run, Path(evaluation.path), place(verdict, "verdict"))
        deliver(made, verdict)
        if not deliver_verdict(made.path, verdict, reasons, run.registry.location):
            return ""
        provenance = {"pipeline_run": pipeline_run}
        pushed = steps.push(run, Path(teacher.path), Path(student.path), Path(evaluation.path), made.path, provenance, Path(export.path))
        return deliver_registered(pushed, registered)
