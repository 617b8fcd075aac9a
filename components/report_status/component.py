"""Tell how the run ended."""

from kfp import dsl
from kfp.dsl import Artifact, Output, PipelineTaskFinalStatus

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report_status(location: str, name: str, stage: str, pipeline_run: str, status: PipelineTaskFinalStatus, report: Output[Artifact]):
    """Tell how the run ended, whatever happened.

    Args:
        location: Registry of the run.
        name: Name of the model in the registry.
        stage: Stage that the run moves.
        pipeline_run: Identifier of this run.
        status: How the run ended, as Kubeflow says it.
        report: State, failed task and error, as JSON.
    """
    from asdfd import steps
    from asdfd.base.config import Registry, Run
    from asdfd.steps.task import final_status, place, task

    with task("report_status"):
        run = Run(registry=Registry(location=location, name=name, stage=stage))
        steps.report_status(run, final_status(status, pipeline_run), place(report, "pipeline/status.json"))
