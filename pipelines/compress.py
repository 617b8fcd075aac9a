"""The pipeline: fetch, check, synthesize in shards, merge, distill, evaluate, decide, register, and report how it ended.

asdfd compile                                  writes pipelines/compress.yaml
kfp dsl compile --py pipelines/compress.py     does, too
"""

# pyright: reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
# Kubeflow's decorators make components of functions, which their types do not say.

import inspect
from dataclasses import dataclass
from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Model
from kfp.dsl.graph_component import GraphComponent

from asdfd.base.run_form import fields
from asdfd.components import IMAGE
from asdfd.components.check_ahead.component import check_ahead
from asdfd.components.distill.component import distill
from asdfd.components.evaluate.component import evaluate
from asdfd.components.fetch_teacher.component import fetch_teacher
from asdfd.components.gate.component import gate
from asdfd.components.merge.component import merge
from asdfd.components.plan.component import plan
from asdfd.components.push.component import push
from asdfd.components.report_status.component import report_status
from asdfd.components.synthesize.component import synthesize
from asdfd.pipelines.kubernetes import basics, with_accelerator, with_retries, with_scratch

DESCRIPTION = "Compress a fine-tuned text classifier without its training data, and register the student where it passes the gate."
PARALLELISM = 4
"""Most shards that are made at the same time; Kubeflow wants the number when the pipeline is compiled."""
WORKSPACE = "20Gi"
"""Room for the checkpoints of a run, on a volume that outlives its pods."""


@dataclass(frozen=True)
class ClusterField:
    """A parameter of the pipeline that says where tasks run and changes nothing of the result."""

    name: str
    type: type
    default: Any
    description: str


CLUSTER = (
    ClusterField("accelerator_type", str, "nvidia.com/gpu", "Kubernetes resource of the accelerator that synthesis, distillation and evaluation run on."),
    ClusterField("accelerator_count", int, 1, "Accelerators of each of these tasks; 0 runs them on a processor."),
    ClusterField("node_selector", dict, {}, 'Labels of the nodes that these tasks may run on, for example {"pool": "gpu"}.'),
    ClusterField("tolerations", list, [], 'Taints that these tasks tolerate, for example [{"key": "nvidia.com/gpu", "operator": "Exists"}].'),
)


def form() -> inspect.Signature:
    """The parameters of the pipeline with their types and defaults."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(field.name, kind, default=field.default, annotation=field.type) for field in (*fields(), *CLUSTER)])


def form_description() -> str:
    """What the run form says of the pipeline and of each parameter."""
    return "\n".join([DESCRIPTION, "", "Args:", *(f"    {field.name}: {field.description}" for field in (*fields(), *CLUSTER))])


def compress_pipeline(image: str = IMAGE) -> GraphComponent:
    """The pipeline with all of its tasks in `image`."""

    bank = bank_pipeline(image)

    def compress(*values: Any) -> None:
        build(dict(zip(form().parameters, values, strict=True)), bank, image)

    compress.__signature__ = form()  # pyright: ignore[reportFunctionMemberAccess]
    compress.__doc__ = form_description()
    workspace = dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size=WORKSPACE))
    return dsl.pipeline(name="compress", description=DESCRIPTION, pipeline_config=workspace)(compress)  # pyright: ignore[reportReturnType]


def build(values: dict[str, Any], bank_of: GraphComponent, image: str) -> None:
    """Put the tasks together."""
    run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    registry = {"location": values["registry_location"], "name": values["registry_name"], "stage": values["registry_stage"]}
    report = report_status(**registry, pipeline_run=run_id)
    uncached(basics(report, image, hours=1))
    with dsl.ExitHandler(exit_task=report, name="compress a teacher"):
        planned = uncached(basics(plan(pipeline_run=run_id, **{field.name: values[field.name] for field in fields()}), image, hours=1))
        made = compression(planned.outputs, {field.name: values[field.name] for field in CLUSTER}, bank_of, image)
        decision = gate(parameters=planned.outputs["run"], evaluation=made["evaluation"])
        uncached(basics(decision, image, hours=1))
        with dsl.If(decision.outputs["Output"] == True, name="passed"):  # noqa: E712  # not Python's comparison, but one that Kubeflow makes
            pushed = push(parameters=planned.outputs["run"], pipeline_run=run_id, verdict=decision.outputs["verdict"], **made)
            uncached(with_retries(basics(pushed, image, hours=1)))


def compression(planned: dict[str, Any], cluster: dict[str, Any], bank_of: GraphComponent, image: str) -> dict[str, Any]:
    """The tasks from the reference of a teacher to an evaluated student: their artifacts by role."""
    fetched = fetch_teacher(parameters=planned["fetching"], state=planned["teacher_state"])
    with_retries(with_scratch(basics(fetched, image, hours=2)))
    teacher = fetched.outputs["teacher"]
    checked = check_ahead(parameters=planned["checks"], state=planned["data_state"], teacher=teacher)
    with_scratch(basics(checked, image, hours=1))
    bank = bank_of(parameters=planned["synthesis"], shards=planned["shards"], state=planned["words_state"], teacher=teacher, **cluster).after(checked)
    distilled = distill(parameters=planned["distillation"], workspace=dsl.WORKSPACE_PATH_PLACEHOLDER, teacher=teacher, bank=bank.output)
    with_retries(with_accelerator(basics(distilled, image, hours=48, cpu="4", memory="16Gi"), **cluster))
    student = distilled.outputs["student"]
    inputs = {"state": planned["data_state"], "teacher": teacher, "student": student, "records": distilled.outputs["records"]}
    judged = evaluate(parameters=planned["evaluation"], **inputs)
    with_scratch(with_accelerator(basics(judged, image, hours=6, memory="8Gi"), **cluster))
    return {"teacher": teacher, "student": student, "evaluation": judged.outputs["evaluation"]}


def bank_pipeline(image: str) -> GraphComponent:
    """Make the shards of a bank side by side and put them together. A pipeline of its own: only a pipeline's input can be looped over everywhere."""

    @dsl.pipeline(name="bank")
    def bank(
        parameters: str,
        shards: list,
        state: str,
        teacher: dsl.Input[Model],
        accelerator_type: str,
        accelerator_count: int,
        node_selector: dict,
        tolerations: list,
    ) -> Dataset:
        with dsl.ParallelFor(items=shards, parallelism=PARALLELISM, name="shards") as shard:
            made = synthesize(parameters=parameters, shard=shard, state=state, teacher=teacher)
            basics(made, image, hours=24, cpu="4", memory="16Gi")
            with_retries(with_accelerator(made, accelerator_type, accelerator_count, node_selector, tolerations))
        merged = merge(shards=dsl.Collected(made.outputs["bank_shard"]), parameters=parameters)
        basics(merged, image, hours=2)
        return merged.outputs["bank"]  # pyright: ignore[reportReturnType]

    return bank  # pyright: ignore[reportReturnType]


def uncached(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Do a task in every run: it reads or changes something beside its inputs."""
    return task.set_caching_options(False)


compress = compress_pipeline()
