"""Put the bank together."""

from typing import List  # noqa: UP035  # the form that Kubeflow reads

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def merge(shards: Input[List[Dataset]], bank: Output[Dataset]):  # noqa: UP006
    """Put the bank together from its shards; it is the same bank however many there were.

    Args:
        shards: All shards of one bank, in any order.
        bank: The pseudo samples that the student learns from.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.steps.task import deliver, place, task

    with task("merge"):
        deliver(steps.merge([Path(shard.path) for shard in shards], place(bank, "bank")), bank)
