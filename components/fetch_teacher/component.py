"""Fetch the teacher."""

from kfp import dsl
from kfp.dsl import Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fetch_teacher(parameters: str, teacher: Output[Model]):
    """Bring the teacher here, and verify that it is safe, whole and supported.

    Args:
        parameters: What of the run concerns the teacher.
        teacher: The verified model folder.
    """
    from asdfd import steps
    from asdfd.steps.planning import read_part
    from asdfd.steps.task import deliver, place, task

    run = read_part(parameters)
    with task("fetch_teacher", run.registry.location):
        deliver(steps.fetch(run, place(teacher, "teacher")), teacher)
