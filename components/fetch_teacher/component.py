"""Fetch the teacher."""

from kfp import dsl
from kfp.dsl import Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fetch_teacher(parameters: str, teacher: Output[Model], teacher_int8: Output[Model]):
    """Bring the teacher here, verify that it is safe, whole and supported, and give it 8-bit weights, which a student has to beat.

    Args:
        parameters: What of the run concerns the teacher.
        teacher: The verified model folder.
        teacher_int8: The teacher's own int8, made without data.
    """
    from asdfd import steps
    from asdfd.steps.planning import read_part
    from asdfd.steps.task import deliver, place, task

    run = read_part(parameters)
    with task("fetch_teacher", run.registry.location):
        fetched = steps.fetch(run, place(teacher, "teacher"))
        deliver(fetched, teacher)
        deliver(steps.export_teacher(run, fetched, place(teacher_int8, "teacher-int8")), teacher_int8)
