"""Put the bank together."""

from typing import List  # noqa: UP035  # the form that Kubeflow reads

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def merge(parameters: str, shards: Input[List[Dataset]], bank: Output[Dataset]):  # noqa: UP006
    """Put the bank together from its shards; it is the same bank however many there were.

    Args:
        parameters: The parameters of the shards, as JSON; of them only the registry counts here, beside which the task tells how it ended.
        shards: All shards of one bank, in any order.
        bank: The pseudo samples that the student learns from.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.base.config import Run
    from asdfd.steps.task import deliver, place, task

    with task("merge", Run.model_validate_json(parameters).registry.location):
        deliver(steps.merge([Path(shard.path) for shard in shards], place(bank, "bank")), bank)
