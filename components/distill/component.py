"""Distil the student."""

from typing import List  # noqa: UP035  # the form that Kubeflow reads

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def distill(
    parameters: str,
    checkpoints: str,
    teacher: Input[Model],
    shards: Input[List[Dataset]],  # noqa: UP006
    bank: Output[Dataset],
    student: Output[Model],
    records: Output[Artifact],
    metrics: Output[Metrics],
):
    """Put the bank together from its shards, and distil the student on it. A task that is tried again goes on from its last checkpoint.

    Args:
        parameters: What of the run concerns the distillation.
        checkpoints: Location of checkpoints, which outlive the pod; empty where its folder does.
        teacher: The model that is compressed.
        shards: All shards of the bank, in any order.
        bank: The pseudo samples, the same however many shards there were.
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
        merged, out = steps.merge([Path(shard.path) for shard in shards], place(bank, "bank")), place(student, "student")
        deliver(merged, bank)
        deliver(steps.distill(run, Path(teacher.path), merged.path, out, stop, checkpoints), student, *shards)
        deliver_records(steps.metrics_path(out), records, metrics)
