"""ONNX models beside teacher and student in an evaluation: the teacher's own int8 and the student's export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from asdfd.base.artifacts import sha256_of
from asdfd.base.figures import FIGURES
from asdfd.evaluation.comparison import answer_text
from asdfd.evaluation.fidelity import fidelity, named
from asdfd.evaluation.parity import probability_difference
from asdfd.evaluation.prediction import Basis
from asdfd.evaluation.scores import answers_of, mean_kl, same_answers, score
from asdfd.models.sizes import like_export

if TYPE_CHECKING:
    from asdfd.evaluation.latency import LatencyComparison
    from asdfd.evaluation.logits import Inputs
    from asdfd.models.classifiers import Classifier
    from asdfd.models.onnx import Exported


@dataclass(frozen=True)
class Asked:
    """What teacher and student were asked, and what they said."""

    inputs: Inputs
    logits: tuple[np.ndarray, np.ndarray]
    """Of the teacher and of the student, [N, C]."""
    basis: Basis
    """What held-out samples are."""
    by_pieces: float = 0.0
    """Nats by which the divergence on held-out samples is larger where words that the student dropped are read in pieces. These are words of the whole
    vocabulary, and texts of the task have next to none of those, so that no prediction counts it."""


@dataclass(frozen=True)
class Answers:
    """What an ONNX model says where teacher and student were evaluated."""

    metrics: Mapping[str, float]
    """Its part of metrics.json."""
    recall: tuple[float, ...] = ()
    """Of each class, on labelled texts."""
    texts: tuple[str, ...] = ()
    """Its answer on each text, by name."""


def answers_of_exports(exports: Mapping[str, Exported], models: tuple[Classifier, Classifier], asked: Asked, batch_size: int) -> dict[str, Answers]:
    """What ONNX models say, by their roles, of what teacher and student were asked.

    Raises:
        RefusedError: their logits are not finite.
    """
    return {
        role: _answers(role, exported.logits(asked.inputs.read_by(exported.reader(models[0 if role == "teacher_int8" else 1])), batch_size), models[0], asked)
        for role, exported in exports.items()
    }


def _answers(role: str, logits: np.ndarray, teacher: Classifier, asked: Asked) -> Answers:
    """From an ONNX model's logits [N, C]."""
    several, texts = teacher.several, asked.inputs.texts
    of_teacher, of_student, answers = (answers_of(each, several=several) for each in (*asked.logits, logits))
    metrics: dict[str, float] = {}
    if role == "export":
        metrics["export_agreement_with_student"] = float(same_answers(of_student, answers).mean())
        metrics["export_largest_difference"] = probability_difference(asked.logits[1], logits, several=several)
    if texts is None:
        agreement = float(same_answers(of_teacher, answers).mean())
        predicted = asked.basis.predicted(max(0.0, mean_kl(asked.logits[0], logits, several=several) - asked.by_pieces))
        metrics |= {f"{role}_agreement_on_pseudo_samples": agreement, **(named(f"{role}_predicted_agreement", predicted) if predicted else {})}
        return Answers(metrics)
    metrics |= fidelity(asked.logits[0], logits, several=several).figures(role)
    by_name = tuple(answer_text(answer, teacher.label_names) for answer in answers)
    if not texts.labelled:
        return Answers(metrics, texts=by_name)
    scored = score(logits, texts.truth(len(teacher.label_names)))
    figures = [figure for figure in FIGURES if (figure.of, figure.on) == ("each model", "labelled texts")]
    metrics |= {figure.of_role(role): getattr(scored, figure.name) for figure in figures if several or not figure.several_only}
    return Answers(metrics, scored.recall, by_name)


def add_exports(metrics: dict[str, Any], exports: Mapping[str, Exported], answers: Mapping[str, Answers], latency: LatencyComparison) -> None:
    """Add to metrics.json, in place, what ONNX models are, how large and fast, and what they answered."""
    for role, exported in exports.items():
        metrics |= {
            f"{role}_format": exported.format,
            f"{role}_digest": exported.digest,
            f"{role}_bytes": exported.bytes,
            **latency.exports[role].document(role),
            f"{role}_compression": like_export(metrics["teacher_bytes"], metrics["teacher_dtype"], exported.format) / exported.bytes,
            f"{role}_speedup": latency.teacher.p50_seconds / latency.exports[role].p50_seconds,
            **answers[role].metrics,
        }
        if metrics.get("teacher_accuracy"):
            metrics[f"{role}_retention"] = metrics[f"{role}_accuracy"] / metrics["teacher_accuracy"]
    if {"export", "teacher_int8"} <= exports.keys():
        metrics["export_is_teacher_int8"] = sha256_of(exports["export"].path) == sha256_of(exports["teacher_int8"].path)
    if "export" in answers and "per_class" in metrics:
        metrics["per_class"] = [{**row, "export_recall": recall} for row, recall in zip(metrics["per_class"], answers["export"].recall, strict=True)]
