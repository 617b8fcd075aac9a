"""Tell how the run ended."""

from kfp import dsl
from kfp.dsl import Artifact, Markdown, Output, PipelineTaskFinalStatus

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report_status(registry: str, name: str, pipeline_run: str, status: PipelineTaskFinalStatus, ending: Output[Artifact], summary: Output[Markdown]):
    """Tell how the run ended, whatever happened.

    Args:
        registry: Registry of the run.
        name: Name of the model in the registry.
        pipeline_run: Identifier of this run.
        status: How the run ended, as Kubeflow says it; what the tasks left says more.
        ending: Outcome (succeeded, rejected, failed or terminated), the task that decided it and its line, as JSON.
        summary: The same to look at.
    """
    from asdfd import steps
    from asdfd.base.parts import part_of_run
    from asdfd.steps.task import deliver_ending, place, task

    with task("report_status"):
        run = part_of_run({"registry": {"location": registry, "name": name}})
        ended = steps.report_status(run, pipeline_run, str(status.state), place(ending, "pipeline/status.json"))
        deliver_ending(ended, ending, summary)
