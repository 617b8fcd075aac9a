"""What an evaluation writes for machines: metrics.json, and a row for each text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdfd.base.artifacts import write_atomically
from asdfd.base.evidence import PSEUDO
from asdfd.base.figures import FIGURES, SEVERAL_LABELS
from asdfd.evaluation.comparison import Evaluated, LabelledEvaluation, PseudoEvaluation, UnlabelledEvaluation
from asdfd.evaluation.fidelity import named

if TYPE_CHECKING:
    from asdfd.evaluation.latency import LatencyComparison
    from asdfd.models.sizes import Size


def metrics_document(evaluation: Evaluated, *, teacher_size: Size, student_size: Size, latency: LatencyComparison) -> dict[str, Any]:
    """The content of metrics.json: plain numbers under flat names, plus `data` and the tables.

    Raises:
        ValueError: a number is not finite; none is ever written.
    """
    match evaluation:
        case LabelledEvaluation():
            document, several = _labelled_metrics(evaluation), evaluation.several
        case UnlabelledEvaluation():
            document, several = _unlabelled_metrics(evaluation), evaluation.several
        case PseudoEvaluation():
            document, several = _pseudo_metrics(evaluation), evaluation.basis.several
    if several:
        document[SEVERAL_LABELS] = True
    for role, size, speed in (("teacher", teacher_size, latency.teacher), ("student", student_size, latency.student)):
        document |= {
            f"{role}_parameters": size.parameters,
            f"{role}_bytes": size.bytes,
            f"{role}_dtype": size.dtype,
            **speed.document(role),
        }
    document |= {
        "compression": teacher_size.bytes_in(student_size.dtype) / student_size.bytes,
        "computed_in": "float32",
        "speedup": latency.speedup,
        "latency_device": latency.device,
        "latency_threads": latency.threads,
        "latency_runs": latency.runs,
        "latency_batch_size": latency.batch_size,
    }
    json.dumps(document, allow_nan=False)
    return document


def write_predictions(path: Path, evaluation: Evaluated, export: Sequence[str] = ()) -> None:
    """Write the predictions on texts as CSV, a row a text, with the label where it is known; pseudo samples have none, so nothing is written for them.

    `export` are the answers that an export of the student gives, where there is one: a column more.
    """
    if isinstance(evaluation, PseudoEvaluation):
        return
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    labelled = ["label"] if isinstance(evaluation, LabelledEvaluation) else []
    columns = ["index", *labelled, "teacher", "student", "student_confidence"]
    table.writerow([*columns, *(["export"] if export else [])])
    rows = [[getattr(prediction, column) for column in columns] for prediction in evaluation.predictions]
    table.writerows([[*row, answer] for row, answer in zip(rows, export, strict=True)] if export else rows)
    write_atomically(path, lines.getvalue())


def _unlabelled_metrics(evaluation: LabelledEvaluation | UnlabelledEvaluation) -> dict[str, Any]:
    """What is known of texts whether they have labels or not."""
    source = asdict(evaluation.source)
    fidelity = evaluation.fidelity
    return {
        "data": source | {"remarks": list(source["remarks"])},
        **fidelity.figures("student"),
        "most_shifted_class": evaluation.label_names[fidelity.shifted_class],
    }


def _labelled_metrics(evaluation: LabelledEvaluation) -> dict[str, Any]:
    teacher, student = evaluation.teacher, evaluation.student
    document = _unlabelled_metrics(evaluation)
    roles = (("teacher", teacher), ("student", student))
    for figure in FIGURES:
        if figure.on != "labelled texts" or (figure.several_only and not evaluation.several):
            continue
        if figure.of == "the pair":
            document[figure.name] = getattr(evaluation, figure.name)
        else:
            document |= {figure.of_role(role): getattr(one, figure.name) for role, one in roles}
    document["per_class"] = [
        {
            "name": name,
            "support": evaluation.support[index],
            **{f"{role}_{what}": getattr(one, what)[index] for role, one in roles for what in ("precision", "recall", "f1")},
        }
        for index, name in enumerate(evaluation.label_names)
    ]
    if not evaluation.several:
        document["confusion_matrix"] = [list(row) for row in student.confusion_matrix]
        document["teacher_confusion_matrix"] = [list(row) for row in teacher.confusion_matrix]
    if evaluation.retention is None:
        document["retention_missing"] = "the teacher's accuracy is 0"
    return document


def _pseudo_metrics(evaluation: PseudoEvaluation) -> dict[str, Any]:
    predicted, basis = evaluation.predicted_agreement, evaluation.basis
    return {
        "data": {"kind": PSEUDO, "rows": evaluation.samples, "teacher_confidence": evaluation.teacher_confidence},
        **({"predicted_agreement_missing": basis.problem} if predicted is None else named("predicted_agreement", predicted)),
        "agreement_on_pseudo_samples": evaluation.agreement_on_pseudo_samples,
        "mean_kl_on_pseudo_samples": evaluation.mean_kl_on_pseudo_samples,
        "teacher_class_counts": list(evaluation.teacher_class_counts),
    }
