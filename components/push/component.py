"""Register the student."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def push(
    parameters: str,
    pipeline_run: str,
    teacher: Input[Model],
    student: Input[Model],
    evaluation: Input[Artifact],
    verdict: Input[Artifact],
    registered: Output[Artifact],
) -> str:
    """Store the student as a version that never changes and move the stage's alias to it; returns the version.

    Args:
        parameters: The whole run, as JSON.
        pipeline_run: Identifier of this run, for the version's provenance.
        teacher: The model that was compressed.
        student: The smaller model.
        evaluation: What it showed.
        verdict: What the gate said of it.
        registered: Name, version, stage and place in the registry.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.base.config import Run
    from asdfd.steps.task import deliver_registered, task

    run = Run.model_validate_json(parameters)
    with task("push", run.registry.location):
        provenance = {"pipeline_run": pipeline_run}
        pushed = steps.push(run, Path(teacher.path), Path(student.path), Path(evaluation.path), Path(verdict.path), provenance)
        return deliver_registered(pushed, registered)
