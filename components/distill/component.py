"""Distil the student."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def distill(
    parameters: str,
    checkpoints: str,
    teacher: Input[Model],
    bank: Input[Dataset],
    student: Output[Model],
    records: Output[Artifact],
    metrics: Output[Metrics],
):
    """Distil the student on the bank. A task that is tried again goes on from its last checkpoint.

    Args:
        parameters: What of the run concerns the distillation.
        checkpoints: Location of checkpoints, which outlive the pod; empty where its folder does.
        teacher: The model that is compressed.
        bank: The pseudo samples.
        student: The smaller model, an ordinary Hugging Face folder.
        records: Loss and agreement over the steps, one JSON object a line.
        metrics: The last of the records.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.steps.planning import read_part
    from asdfd.steps.task import deliver, deliver_records, place, task

    run = read_part(parameters)
    with task("distill", run.registry.location, patient=True) as stop:
        out = place(student, "student")
        deliver(steps.distill(run, Path(teacher.path), Path(bank.path), out, stop, checkpoints), student, bank)
        deliver_records(steps.metrics_path(out), records, metrics)
