"""Export the student, and evaluate both beside the teacher."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Input, Metrics, Model, Output

from asdfd.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    parameters: str,
    teacher: Input[Model],
    teacher_int8: Input[Model],
    student: Input[Model],
    records: Input[Artifact],
    export: Output[Model],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    report: Output[HTML],
):
    """Export the student, and evaluate both beside the teacher, on texts with labels or without, or, where there are none, on held-out pseudo samples.

    Args:
        parameters: What of the run concerns export and evaluation, and the state of the texts, as `plan` saw it.
        teacher: The model that is compressed.
        teacher_int8: The teacher's own int8.
        student: The smaller model.
        records: Loss and agreement over the steps, for the report's curves.
        export: The student as an ONNX model, which the gate judges.
        evaluation: Metrics, predictions and report.
        metrics: The figures.
        confusion: Labels, where there are some, against the student's predictions.
        report: The report to look at.
    """
    from pathlib import Path

    from asdfd import steps
    from asdfd.steps.planning import read_part
    from asdfd.steps.task import deliver, deliver_figures, place, seconds_of, task

    run = read_part(parameters)
    with task("evaluate", run.registry.location):
        exported = steps.export(run, Path(student.path), place(export, "export"))
        deliver(exported, export, student)
        beside = steps.Beside(exported, Path(teacher_int8.path), seconds_of(teacher_int8=teacher_int8, student=student, export=export))
        made = steps.evaluate(run, Path(teacher.path), Path(student.path), place(evaluation, "evaluation"), Path(records.path), beside)
        deliver(made, evaluation)
        deliver_figures(made.path, metrics, confusion, report)
