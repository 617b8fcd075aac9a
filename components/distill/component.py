"""Distil the student."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def distill(
    parameters: str, workspace: str, teacher: Input[Model], bank: Input[Dataset], student: Output[Model], records: Output[Artifact], metrics: Output[Metrics]
):
    """Stage 2: distil the student on the bank. A task that is tried again goes on from its last checkpoint.

    Args:
        parameters: Seed, device and the sections `student` and `distillation` of the run, as JSON.
        workspace: Folder that outlives the pod, for checkpoints.
        teacher: The model that is compressed.
        bank: The pseudo samples.
        student: The smaller model, an ordinary Hugging Face folder.
        records: Loss and agreement over the steps, one JSON object a line.
        metrics: The last of the records.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.base.config import Run
    from asdfd.steps.task import deliver, deliver_records, place, task

    run = Run.model_validate_json(parameters)
    with task("distill", run.registry.location, patient=True) as stop:
        out = place(student, "student", workspace)
        deliver(steps.distill(run, Path(teacher.path), Path(bank.path), out, stop), student)
        deliver_records(steps.metrics_path(out), records, metrics)
