"""How teacher and student are compared: on labelled texts, on texts without labels, or, without any, on held-out pseudo samples.

Texts without labels tell how far the student follows its teacher, and not how often either is right. Pseudo samples are not even texts: what they tell of texts
is predicted. The three results are different types and their metrics have different names, so that none can be taken for another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from asdfd.base.evidence import LABELLED, UNLABELLED
from asdfd.base.figures import SHARE
from asdfd.evaluation.fidelity import Estimate, Fidelity, fidelity
from asdfd.evaluation.logits import check_classes, predict
from asdfd.evaluation.prediction import Basis
from asdfd.evaluation.scores import Score, answers_of, mean_kl, same_answers, score, softmax
from asdfd.evaluation.table import shown
from asdfd.models.encoding import input_limit, texts_cut

if TYPE_CHECKING:
    from asdfd.evaluation.texts import Texts
    from asdfd.models.classifiers import Classifier

CROSSED = 0.3
"""Accuracy that another order of the classes must gain before the user is asked whether labels mean what they were taken for."""


@dataclass(frozen=True)
class Source:
    """The texts of an evaluation."""

    kind: str
    """`labelled_text` or `unlabelled_text`."""
    name: str
    digest: str
    rows: int
    remarks: tuple[str, ...] = ()
    """What the user is told about the texts."""
    texts_cut: int = 0
    """Texts that were longer than the models read them."""
    maximum_length: int = 0
    """Tokens after which a text was cut."""


@dataclass(frozen=True)
class Prediction:
    """What both models say about one text; the text itself is not kept."""

    index: int
    """Row of the data, from 0."""
    teacher: str
    """A class; where there can be several labels, their names as a list in JSON."""
    student: str
    student_confidence: float
    """The student's probability of its answer."""
    label: str | None = None
    """What is right, where that is known."""


@dataclass(frozen=True)
class LabelledEvaluation:
    """Teacher and student on the same labelled texts."""

    source: Source
    label_names: tuple[str, ...]
    support: tuple[int, ...]
    """Texts of each class."""
    teacher: Score
    student: Score
    fidelity: Fidelity
    predictions: tuple[Prediction, ...]
    several: bool = False
    """Whether a text can have several labels."""

    @property
    def retention(self) -> float | None:
        """The student's accuracy as a share of the teacher's; None when the teacher is never right."""
        return self.student.accuracy / self.teacher.accuracy if self.teacher.accuracy > 0 else None


@dataclass(frozen=True)
class UnlabelledEvaluation:
    """Teacher and student on the same texts, of which nobody says what is right."""

    source: Source
    label_names: tuple[str, ...]
    fidelity: Fidelity
    predictions: tuple[Prediction, ...]
    several: bool = False


@dataclass(frozen=True)
class PseudoEvaluation:
    """Teacher and student on held-out pseudo samples, which have no true class."""

    samples: int
    agreement_on_pseudo_samples: float
    mean_kl_on_pseudo_samples: float
    teacher_confidence: float
    """The teacher's mean probability of its own answer."""
    teacher_class_counts: tuple[int, ...]
    """Pseudo samples that the teacher puts in each class, or gives each label."""
    basis: Basis
    predicted_agreement: Estimate | None = None
    """On real texts; None where it cannot be told."""


Evaluated = LabelledEvaluation | UnlabelledEvaluation | PseudoEvaluation


def evaluate_text(teacher: Classifier, student: Classifier, data: Texts, *, batch_size: int, maximum_length: int) -> LabelledEvaluation | UnlabelledEvaluation:
    """Both models on the same texts.

    Raises:
        InputError: the two models do not have the same classes in the same order.
        RefusedError: a model gives logits that are not finite.
    """
    check_classes(teacher, student)
    of_teacher, of_student = (predict(model, data.inputs, batch_size=batch_size, maximum_length=maximum_length) for model in (teacher, student))
    return with_cuts(compare_on_text(of_teacher, of_student, data, teacher.label_names), teacher, data, maximum_length)


def with_cuts(
    compared: LabelledEvaluation | UnlabelledEvaluation, teacher: Classifier, data: Texts, maximum_length: int
) -> LabelledEvaluation | UnlabelledEvaluation:
    """An evaluation with how many of its texts were cut, and where."""
    cut, limit = texts_cut(teacher, data.inputs, maximum_length), input_limit(teacher, maximum_length)
    what = "pairs" if data.seconds else "texts"
    remarks = (f"{cut} of {len(data.texts)} {what} have more than {limit} tokens and were cut there",) if cut else ()
    source = replace(compared.source, texts_cut=cut, maximum_length=limit, remarks=(*compared.source.remarks, *remarks))
    return replace(compared, source=source)


def compare_on_text(
    teacher_logits: np.ndarray, student_logits: np.ndarray, data: Texts, label_names: Sequence[str]
) -> LabelledEvaluation | UnlabelledEvaluation:
    """The evaluation of logits [N, C] of both models on N >= 1 texts."""
    several, names = data.several, tuple(label_names)
    found = fidelity(teacher_logits, student_logits, several=several)
    labels = data.truth(len(names)) if data.labelled else None
    teacher, student = (answers_of(logits, several=several) for logits in (teacher_logits, student_logits))
    confidence = confidences(student_logits, several=several)
    predictions = tuple(
        Prediction(
            index,
            *(answer_text(which[index], names) for which in (teacher, student)),
            student_confidence=float(confidence[index]),
            label=None if labels is None else answer_text(labels[index], names),
        )
        for index in range(len(teacher))
    )
    source = Source(LABELLED if data.labelled else UNLABELLED, data.name, data.digest, len(predictions), data.remarks)
    if labels is None:
        return UnlabelledEvaluation(source, names, found, predictions, several)
    teacher_score = score(teacher_logits, labels)
    return LabelledEvaluation(
        source=replace(source, remarks=(*data.remarks, *([] if several else _crossed(teacher_score, names)))),
        label_names=names,
        support=tuple((labels.sum(axis=0) if several else np.bincount(labels, minlength=len(names))).tolist()),
        teacher=teacher_score,
        student=score(student_logits, labels),
        fidelity=found,
        predictions=predictions,
        several=several,
    )


def answer_text(answer: Any, label_names: Sequence[str]) -> str:
    """A class index, or a set of labels bool [C], by name; a set as a list in JSON."""
    if np.ndim(answer) == 0:
        return label_names[int(answer)]
    return json.dumps([label_names[index] for index in np.flatnonzero(answer).tolist()], ensure_ascii=False)


def confidences(logits: np.ndarray, *, several: bool) -> np.ndarray:
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


def evaluate_pseudo(teacher_logits: np.ndarray, student_logits: np.ndarray, basis: Basis) -> PseudoEvaluation:
    """The evaluation of logits [N, C] of both models on N >= 1 pseudo samples that the student was not trained on."""
    several = basis.several
    teacher, student = (answers_of(logits, several=several) for logits in (teacher_logits, student_logits))
    counts = teacher.sum(axis=0) if several else np.bincount(teacher, minlength=teacher_logits.shape[1])
    divergence = mean_kl(teacher_logits, student_logits, several=several)
    return PseudoEvaluation(
        samples=len(teacher),
        agreement_on_pseudo_samples=float(same_answers(teacher, student).mean()),
        mean_kl_on_pseudo_samples=divergence,
        teacher_confidence=float(confidences(teacher_logits, several=several).mean()),
        teacher_class_counts=tuple(counts.tolist()),
        basis=basis,
        predicted_agreement=basis.predicted(divergence),
    )
