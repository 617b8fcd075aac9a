"""Evaluate the student beside its teacher."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Input, Metrics, Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    parameters: str,
    teacher: Input[Model],
    student: Input[Model],
    records: Input[Artifact],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    report: Output[HTML],
):
    """Evaluate the student beside its teacher, on labelled texts or, without any, by agreement on held-out pseudo samples.

    Args:
        parameters: What of the run concerns the evaluation, and the state of the labelled texts, as `plan` saw it.
        teacher: The model that is compressed.
        student: The smaller model.
        records: Loss and agreement over the steps, for the report's curves.
        evaluation: Metrics, predictions and report.
        metrics: The figures.
        confusion: Labels against the student's predictions.
        report: The report to look at.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.steps.planning import read_part
    from asdfd.steps.task import deliver, deliver_figures, place, task

    run = read_part(parameters)
    with task("evaluate", run.registry.location):
        made = steps.evaluate(run, Path(teacher.path), Path(student.path), place(evaluation, "evaluation"), Path(records.path))
        deliver(made, evaluation)
        deliver_figures(made.path, metrics, confusion, report)
