"""How teacher and student are compared, on labelled texts or, without any, on held-out pseudo samples.

Pseudo samples are not texts: agreement on them says that the student follows its teacher there, not how often either is right. The two results are
different types and their metrics have different names, so that none can be taken for the other.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asdfd.base.artifacts import write_atomically
from asdfd.base.errors import InputError, RefusedError
from asdfd.base.figures import FIGURES, SEVERAL_LABELS, SHARE
from asdfd.evaluation.scores import Score, answers_of, mean_kl, same_answers, score, softmax
from asdfd.evaluation.tables import shown
from asdfd.models.encoding import Input, encode, input_limit, pad, rows_at_once, texts_cut

if TYPE_CHECKING:
    from asdfd.evaluation.labelled_text import LabelledText
    from asdfd.evaluation.latency import LatencyComparison
    from asdfd.models.classifiers import Classifier
    from asdfd.models.sizes import Size

CROSSED = 0.3
"""Accuracy that another order of the classes must gain before the user is asked whether labels mean what they were taken for."""


@dataclass(frozen=True)
class Prediction:
    """What both models say about one text; the text itself is not kept."""

    index: int
    """Row of the data, from 0."""
    label: str
    """A class; where there can be several labels, their names as a list in JSON."""
    teacher: str
    student: str
    student_confidence: float
    """The student's probability of its answer."""


@dataclass(frozen=True)
class TextEvaluation:
    """Teacher and student on the same labelled texts."""

    data_name: str
    data_digest: str
    label_names: tuple[str, ...]
    support: tuple[int, ...]
    """Texts of each class."""
    teacher: Score
    student: Score
    agreement: float
    """Share of texts where both give the same class, or exactly the same labels."""
    mean_kl: float
    """Mean KL(teacher || student) in nats."""
    predictions: tuple[Prediction, ...]
    remarks: tuple[str, ...] = ()
    """What the user is told about the texts."""
    texts_cut: int = 0
    """Texts that were longer than the models read them."""
    maximum_length: int = 0
    """Tokens after which a text was cut."""
    several: bool = False
    """Whether a text can have several labels."""

    @property
    def retention(self) -> float | None:
        """The student's accuracy as a share of the teacher's; None when the teacher is never right."""
        return self.student.accuracy / self.teacher.accuracy if self.teacher.accuracy > 0 else None


@dataclass(frozen=True)
class PseudoEvaluation:
    """Teacher and student on held-out pseudo samples, which have no true class."""

    samples: int
    agreement_on_pseudo_samples: float
    mean_kl_on_pseudo_samples: float
    teacher_class_counts: tuple[int, ...]
    """Pseudo samples that the teacher puts in each class, or gives each label."""
    several: bool = False
    """Whether a sample can have several labels."""


def predict(classifier: Classifier, texts: Sequence[Input], *, batch_size: int, maximum_length: int) -> np.ndarray:
    """Logits [N, C] float32 of each text or pair of texts, in the order of `texts`.

    Texts of like length share a batch; longer ones are cut at `maximum_length` tokens or at what the model can take.

    Raises:
        RefusedError: the model gives logits that are not finite.
    """
    import torch

    sequences = encode(classifier, texts, maximum_length)
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))  # the longest first: a batch too large fails at once
    logits = np.zeros((len(sequences), len(classifier.label_names)), dtype=np.float32)
    with torch.inference_mode():
        start = 0
        while start < len(order):
            rows = order[start : start + rows_at_once(batch_size, len(sequences[order[start]]))]
            start += len(rows)
            batch = pad(classifier, [sequences[row] for row in rows])
            logits[rows] = classifier.model(**batch).logits.float().cpu().numpy()
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        name = type(classifier.model).__name__
        raise RefusedError(
            f"{name} gives logits that are not finite on row {row + 1} of the data; "
            "its weights are damaged, make it again with `asdfd fetch` or `asdfd distill`"
        )
    return logits


def evaluate_text(teacher: Classifier, student: Classifier, data: LabelledText, *, batch_size: int, maximum_length: int) -> TextEvaluation:
    """Both models on the same texts.

    Raises:
        InputError: the two models do not have the same classes in the same order.
        RefusedError: a model gives logits that are not finite.
    """
    logits = text_logits(teacher, student, data, batch_size=batch_size, maximum_length=maximum_length)
    return with_cuts(compare_on_text(*logits, data, teacher.label_names), teacher, data, maximum_length)


def text_logits(teacher: Classifier, student: Classifier, data: LabelledText, *, batch_size: int, maximum_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits [N, C] of both models on the same texts; raises as `evaluate_text` does."""
    if teacher.label_names != student.label_names:
        raise InputError("teacher and student have different label names; evaluate a student together with the teacher that it was distilled from")
    teacher_logits = predict(teacher, data.inputs, batch_size=batch_size, maximum_length=maximum_length)
    student_logits = predict(student, data.inputs, batch_size=batch_size, maximum_length=maximum_length)
    return teacher_logits, student_logits


def with_cuts(compared: TextEvaluation, teacher: Classifier, data: LabelledText, maximum_length: int) -> TextEvaluation:
    """An evaluation with how many of its texts were cut, and where."""
    cut, limit = texts_cut(teacher, data.inputs, maximum_length), input_limit(teacher, maximum_length)
    what = "pairs" if data.texts and isinstance(data.inputs[0], tuple) else "texts"
    remarks = (f"{cut} of {len(data.texts)} {what} have more than {limit} tokens and were cut there",) if cut else ()
    return replace(compared, texts_cut=cut, maximum_length=limit, remarks=(*compared.remarks, *remarks))


def compare_on_text(teacher_logits: np.ndarray, student_logits: np.ndarray, data: LabelledText, label_names: Sequence[str]) -> TextEvaluation:
    """The evaluation of logits [N, C] of both models on N >= 1 labelled texts."""
    labels = data.truth(len(label_names))
    teacher, student = (answers_of(logits, several=data.several) for logits in (teacher_logits, student_logits))
    confidence = _confidences(student_logits, several=data.several)
    predictions = tuple(
        Prediction(index, *(answer_text(which[index], label_names) for which in (labels, teacher, student)), student_confidence=float(confidence[index]))
        for index in range(len(labels))
    )
    teacher_score = score(teacher_logits, labels)
    return TextEvaluation(
        data_name=data.name,
        data_digest=data.digest,
        label_names=tuple(label_names),
        support=tuple((labels.sum(axis=0) if data.several else np.bincount(labels, minlength=len(label_names))).tolist()),
        teacher=teacher_score,
        student=score(student_logits, labels),
        agreement=float(same_answers(teacher, student).mean()),
        mean_kl=mean_kl(teacher_logits, student_logits, several=data.several),
        predictions=predictions,
        remarks=(*data.remarks, *([] if data.several else _crossed(teacher_score, label_names))),
        several=data.several,
    )


def answer_text(answer: Any, label_names: Sequence[str]) -> str:
    """A class index, or a set of labels bool [C], by name; a set as a list in JSON."""
    if np.ndim(answer) == 0:
        return label_names[int(answer)]
    return json.dumps([label_names[index] for index in np.flatnonzero(answer).tolist()], ensure_ascii=False)


def _confidences(logits: np.ndarray, *, several: bool) -> np.ndarray:
    """A model's probability of its own answer, [N]; the labels of a set are independent."""
    if not several:
        return softmax(logits).max(axis=1)
    return np.exp(-np.logaddexp(0, -np.abs(logits.astype(np.float64))).sum(axis=1))


def _crossed(teacher: Score, label_names: Sequence[str]) -> list[str]:
    """A remark where the teacher is far more often right with its classes in another order: the data's labels may mean something else then."""
    matrix = np.asarray(teacher.confusion_matrix)
    meant = matrix.argmax(axis=1)
    better = float(matrix[np.arange(len(matrix)), meant].sum() / matrix.sum())
    if len(set(meant.tolist())) < len(meant) or better < teacher.accuracy + CROSSED:
        return []
    pairs = shown(f"{label_names[i]} as {label_names[j]}" for i, j in enumerate(meant.tolist()) if i != j)
    shares = f"the teacher is right on {SHARE.read(teacher.accuracy)} of the texts, and on {SHARE.read(better)} when labels are read otherwise ({pairs})"
    return [f"{shares}: its classes may be counted in another order than the data's, say what a label means with evaluation.labels"]


def evaluate_pseudo(teacher_logits: np.ndarray, student_logits: np.ndarray, *, several: bool = False) -> PseudoEvaluation:
    """The evaluation of logits [N, C] of both models on N >= 1 pseudo samples that the student was not trained on."""
    teacher, student = (answers_of(logits, several=several) for logits in (teacher_logits, student_logits))
    counts = teacher.sum(axis=0) if several else np.bincount(teacher, minlength=teacher_logits.shape[1])
    return PseudoEvaluation(
        samples=len(teacher),
        agreement_on_pseudo_samples=float(same_answers(teacher, student).mean()),
        mean_kl_on_pseudo_samples=mean_kl(teacher_logits, student_logits, several=several),
        teacher_class_counts=tuple(counts.tolist()),
        several=several,
    )


def metrics_document(evaluation: TextEvaluation | PseudoEvaluation, *, teacher_size: Size, student_size: Size, latency: LatencyComparison) -> dict[str, Any]:
    """The content of metrics.json: plain numbers under flat names, plus `data` and the tables.

    Raises:
        ValueError: a number is not finite; none is ever written.
    """
    document = _text_metrics(evaluation) if isinstance(evaluation, TextEvaluation) else _pseudo_metrics(evaluation)
    if evaluation.several:
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


def write_predictions(path: Path, evaluation: TextEvaluation | PseudoEvaluation, export: Sequence[str] = ()) -> None:
    """Write the predictions on labelled texts as CSV, a row a text; pseudo samples have none, so nothing is written for them.

    `export` are the answers that an export of the student gives, where there is one: a column more.
    """
    if isinstance(evaluation, PseudoEvaluation):
        return
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerow([*(field.name for field in fields(Prediction)), *(["export"] if export else [])])
    rows = [astuple(prediction) for prediction in evaluation.predictions]
    table.writerows([(*row, answer) for row, answer in zip(rows, export, strict=True)] if export else rows)
    write_atomically(path, lines.getvalue())


def _text_metrics(evaluation: TextEvaluation) -> dict[str, Any]:
    teacher, student = evaluation.teacher, evaluation.student
    document: dict[str, Any] = {
        "data": {
            "kind": "labelled_text",
            "name": evaluation.data_name,
            "digest": evaluation.data_digest,
            "rows": len(evaluation.predictions),
            "remarks": list(evaluation.remarks),
            "texts_cut": evaluation.texts_cut,
            "maximum_length": evaluation.maximum_length,
        },
        **_figures_on_text(evaluation),
        "per_class": [
            {
                "name": name,
                "support": evaluation.support[index],
                **{
                    f"{role}_{what}": getattr(one, what)[index]
                    for role, one in (("teacher", teacher), ("student", student))
                    for what in ("precision", "recall", "f1")
                },
            }
            for index, name in enumerate(evaluation.label_names)
        ],
    }
    if not evaluation.several:
        document["confusion_matrix"] = [list(row) for row in student.confusion_matrix]
        document["teacher_confusion_matrix"] = [list(row) for row in teacher.confusion_matrix]
    if evaluation.retention is None:
        document["retention_missing"] = "the teacher's accuracy is 0"
    return document


def _figures_on_text(evaluation: TextEvaluation) -> dict[str, float | None]:
    """The figures that are measured on texts, each computed as the field of its name: of the evaluation, or of the score of each model."""
    found: dict[str, float | None] = {}
    for figure in FIGURES:
        if figure.on != "texts" or (figure.several_only and not evaluation.several):
            continue
        if figure.of == "the pair":
            found[figure.name] = getattr(evaluation, figure.name)
        else:
            found |= {figure.of_role(role): getattr(one, figure.name) for role, one in (("teacher", evaluation.teacher), ("student", evaluation.student))}
    return found


def _pseudo_metrics(evaluation: PseudoEvaluation) -> dict[str, Any]:
    values = asdict(evaluation)
    del values["several"]
    return {"data": {"kind": "pseudo_samples", "rows": values.pop("samples")}, **values, "teacher_class_counts": list(evaluation.teacher_class_counts)}
