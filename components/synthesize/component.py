"""Make one shard of the bank."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def synthesize(parameters: str, teacher: Input[Model], bank_shard: Output[Dataset]):
    """Make one shard of the bank of pseudo samples, from the teacher alone.

    Args:
        parameters: What of the run concerns the pseudo samples, and the number of the shard.
        teacher: The model that is compressed.
        bank_shard: The pseudo samples of this shard.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.steps.planning import read_shard
    from asdfd.steps.task import deliver, place, task

    run, shard = read_shard(parameters)
    with task("synthesize", run.registry.location, part=str(shard), patient=True) as stop:
        out = place(bank_shard, f"pipeline/shards/{shard}")
        deliver(steps.synthesize(run, Path(teacher.path), out, shard, stop), bank_shard)
