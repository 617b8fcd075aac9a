"""Read the run form."""

from kfp import dsl
from kfp.dsl import OutputPath

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def plan(
    pipeline_run: str,
    teacher: str,
    registry: str,
    data: str,
    name: str,
    preset: str,
    settings: dict,
    seed: int,
    fresh: bool,
    accelerator_type: str,
    accelerator_count: str,
    node_selector: dict,
    tolerations: list,
    cpu: str,
    memory: str,
    run: OutputPath(str),  # pyright: ignore[reportInvalidTypeForm]
    fetching: OutputPath(str),  # pyright: ignore[reportInvalidTypeForm]
    synthesis: OutputPath(str),  # pyright: ignore[reportInvalidTypeForm]
    distillation: OutputPath(str),  # pyright: ignore[reportInvalidTypeForm]
    evaluation: OutputPath(str),  # pyright: ignore[reportInvalidTypeForm]
    checkpoints: OutputPath(str),  # pyright: ignore[reportInvalidTypeForm]
):
    """Check the run form and what the last tasks would find after hours, and give each task the parameters that concern it.

    The inputs after `pipeline_run` are the fields of the run form, as they were filled in.

    Args:
        pipeline_run: Identifier of this run.
        run: The whole run, for tasks that are never cached.
        fetching: What concerns the teacher.
        synthesis: What concerns the pseudo samples.
        distillation: What concerns the distillation.
        evaluation: What concerns the evaluation.
        checkpoints: Location of checkpoints.
    """
    form = {
        "teacher": teacher,
        "registry": registry,
        "data": data,
        "name": name,
        "preset": preset,
        "settings": settings,
        "seed": seed,
        "fresh": fresh,
        "accelerator_type": accelerator_type,
        "accelerator_count": accelerator_count,
        "node_selector": node_selector,
        "tolerations": tolerations,
        "cpu": cpu,
        "memory": memory,
    }
    from pathlib import Path

    from asdfd.steps.planning import plan
    from asdfd.steps.task import is_in_pod, task

    with task("plan", registry):
        planned = plan(pipeline_run, form, in_pod=is_in_pod())
        for path, text in zip((run, fetching, synthesis, distillation, evaluation, checkpoints), planned, strict=True):
            Path(path).write_text(text, encoding="utf-8")
