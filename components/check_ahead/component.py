"""Find the mistakes now that would end the last tasks of a run after hours of the first ones."""

from kfp import dsl
from kfp.dsl import Input, Model

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def check_ahead(parameters: str, state: str, teacher: Input[Model]):  # noqa: ARG001  # the cache reads it
    """Check the layers of the student and the labelled texts against the teacher before any hour is spent.

    Args:
        parameters: The sections `student` and `evaluation` of the run, as JSON.
        state: State of the labelled texts, as `plan` saw it; it tells Kubeflow's cache when to check again.
        teacher: The model that is compressed.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.base.config import Run
    from asdfd.steps.task import task

    run = Run.model_validate_json(parameters)
    with task("check_ahead", run.registry.location):
        steps.check_ahead(run, Path(teacher.path))
