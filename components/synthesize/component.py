"""Make one shard of the bank."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def synthesize(
    parameters: str,
    shard: int,
    state: str,  # noqa: ARG001  # the cache reads it
    teacher: Input[Model],
    bank_shard: Output[Dataset],
):
    """Stage 1: make one shard of the bank of pseudo samples, from the teacher alone.

    Args:
        parameters: Seed, device and the section `synthesis` of the run, as JSON.
        shard: Number of the shard, from 0.
        state: State of the declared source of word order, as `plan` saw it; it tells Kubeflow's cache when to make the shard again.
        teacher: The model that is compressed.
        bank_shard: The pseudo samples of this shard.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.base.config import Run
    from asdfd.steps.task import deliver, place, task

    run = Run.model_validate_json(parameters)
    with task("synthesize", run.registry.location, part=str(shard), patient=True) as stop:
        out = place(bank_shard, f"pipeline/shards/{shard}")
        deliver(steps.synthesize(run, Path(teacher.path), out, shard, stop), bank_shard)
