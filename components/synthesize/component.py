"""Make the bank."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def synthesize(parameters: str, checkpoints: str, teacher: Input[Model], bank: Output[Dataset]):
    """Make the bank of pseudo samples, from the teacher alone. A task that is tried again goes on with the parts that it had finished.

    Args:
        parameters: What of the run concerns the pseudo samples.
        checkpoints: Location of finished parts, which outlive the pod; empty where its folder does.
        teacher: The model that is compressed.
        bank: The pseudo samples.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.steps.planning import read_part
    from asdfd.steps.task import deliver, place, task

    run = read_part(parameters)
    with task("synthesize", run.registry.location, patient=True) as stop:
        out = place(bank, "bank")
        deliver(steps.synthesize(run, Path(teacher.path), out, should_stop=stop, checkpoints=checkpoints), bank)
