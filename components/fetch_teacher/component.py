"""Fetch the teacher."""

from kfp import dsl
from kfp.dsl import Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fetch_teacher(parameters: str, state: str, teacher: Output[Model]):  # noqa: ARG001  # the cache reads it
    """Bring the teacher here, and verify that it is safe, whole and supported.

    Args:
        parameters: The section `teacher` of the run, as JSON.
        state: State of a teacher that is not pinned, as `plan` saw it; it tells Kubeflow's cache when to fetch again. Empty for a pinned one.
        teacher: The verified model folder.
    """
    from asdfd import steps
    from asdfd.base.config import Run
    from asdfd.steps.task import deliver, place, task

    run = Run.model_validate_json(parameters)
    with task("fetch_teacher", run.registry.location):
        deliver(steps.fetch(run, place(teacher, "teacher")), teacher)
