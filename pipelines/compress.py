"""The pipeline: read the run form, fetch, synthesize, distill, export and evaluate, judge and register, and report how it ended.

asdfd compile                                  writes pipelines/compress.yaml
kfp dsl compile --py pipelines/compress.py     does, too
"""

# pyright: reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
# Kubeflow's decorators make components of functions, which their types do not say.

from typing import Any

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from asdfd.base.form import CLUSTER_FIELDS, Form
from asdfd.components import IMAGE
from asdfd.components.distill.component import distill
from asdfd.components.evaluate.component import evaluate
from asdfd.components.fetch_teacher.component import fetch_teacher
from asdfd.components.plan.component import plan
from asdfd.components.push.component import push
from asdfd.components.report_status.component import report_status
from asdfd.components.synthesize.component import synthesize
from asdfd.pipelines.kubernetes import Nodes, basics, late, on_nodes, signing, small, with_retries, with_scratch

DESCRIPTION = "Compress a fine-tuned text classifier without its training data, and register the student where it passes the gate."
FORM = Form.model_construct(teacher="", registry="")
"""The run form with its defaults."""


def form_description() -> str:
    """What the run form says of the pipeline and of each field."""
    return "\n".join([DESCRIPTION, "", "Args:", *(f"    {name}: {field.description}" for name, field in Form.model_fields.items())])


def compress_pipeline(image: str = IMAGE) -> GraphComponent:
    """The pipeline with all of its tasks in `image`."""

    def compress(
        teacher: str,
        registry: str,
        data: str = FORM.data,
        name: str = FORM.name,
        preset: str = FORM.preset,
        settings: dict = FORM.settings,
        seed: int = FORM.seed,
        fresh: bool = FORM.fresh,
        accelerator_type: str = FORM.accelerator_type,
        accelerator_count: str = FORM.accelerator_count,
        node_selector: dict = FORM.node_selector,
        tolerations: list = FORM.tolerations,
        cpu: str = FORM.cpu,
        memory: str = FORM.memory,
    ) -> None:
        build({name: value for name, value in locals().items() if name in Form.model_fields}, image)

    compress.__doc__ = form_description()
    return dsl.pipeline(name="compress", description=DESCRIPTION)(compress)  # pyright: ignore[reportReturnType]


def build(form: dict[str, Any], image: str) -> None:
    """Put the tasks together."""
    run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    report = report_status(registry=form["registry"], name=form["name"], pipeline_run=run_id)
    uncached(small(basics(report, image, hours=1)))
    with dsl.ExitHandler(exit_task=report, name="compression"):
        planned = plan(pipeline_run=run_id, **form)
        uncached(with_scratch(small(basics(planned, image, hours=1))))
        made = compression(planned.outputs, Nodes(**{name: form[name] for name in CLUSTER_FIELDS}), image)
        pushed = push(parameters=planned.outputs["run"], pipeline_run=run_id, checkpoints=planned.outputs["checkpoints"], **made)
        uncached(with_retries(late(small(signing(basics(pushed, image, hours=1))))))


def compression(planned: dict[str, Any], nodes: Nodes, image: str) -> dict[str, Any]:
    """The tasks from the reference of a teacher to an evaluated student: their artifacts by role."""
    fetched = fetch_teacher(parameters=planned["fetching"])
    with_retries(with_scratch(small(basics(fetched, image, hours=2), memory="16Gi")))
    teacher = fetched.outputs["teacher"]
    synthesized = synthesize(parameters=planned["synthesis"], checkpoints=planned["checkpoints"], teacher=teacher)
    with_retries(on_nodes(basics(synthesized, image, hours=48), nodes))
    bank = synthesized.outputs["bank"]
    distilled = distill(parameters=planned["distillation"], checkpoints=planned["checkpoints"], teacher=teacher, bank=bank)
    with_retries(with_scratch(late(on_nodes(basics(distilled, image, hours=48), nodes))))
    student = distilled.outputs["student"]
    # it exports, too: a task of its own would cost two pods and load the student once more
    inputs = {"teacher": teacher, "teacher_int8": fetched.outputs["teacher_int8"], "student": student, "records": distilled.outputs["records"]}
    evaluated = evaluate(parameters=planned["evaluation"], **inputs)
    with_scratch(late(on_nodes(basics(evaluated, image, hours=6), nodes)))
    return {"teacher": teacher, "student": student, **{name: evaluated.outputs[name] for name in ("export", "evaluation")}}


def uncached(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Do a task in every run: it reads or changes something beside its inputs."""
    return task.set_caching_options(False)


compress = compress_pipeline()
