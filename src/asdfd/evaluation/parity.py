"""Does an export answer as the student that it was made from? On pseudo samples, which need no data, and on labelled texts where there are some."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from asdfd.base.artifacts import sha256_of
from asdfd.base.config import Gate, Run, Synthesis
from asdfd.base.errors import RefusedError
from asdfd.base.figures import FIGURES
from asdfd.evaluation.comparison import answer_text
from asdfd.evaluation.scores import answers_of, same_answers, score, softmax
from asdfd.method.bank import Bank, part_count
from asdfd.method.inspection import drawn_sequences, held_out_seed, nearest_tokens
from asdfd.method.prior import frame_of
from asdfd.method.randomness import generator
from asdfd.method.synthesis import synthesize_parts
from asdfd.models.classifiers import Classifier
from asdfd.models.encoding import Encoded, encode, input_limit, pad
from asdfd.models.sizes import like_export
from asdfd.models.vocabulary import translation

if TYPE_CHECKING:
    from asdfd.evaluation.labelled_text import LabelledText
    from asdfd.evaluation.latency import LatencyComparison
    from asdfd.models.onnx import Exported

TOLERANCE = 1e-3
"""Largest difference of a float32 export's logits, as a share of the largest logit (or of 1, where all are smaller)."""
LONG = 32
"""Pseudo samples of all lengths up to the longest input, beside those of the lengths that the student learned from."""
LONGEST = 256
"""Tokens of the longest of them, where `evaluation.maximum_length` is not set: a model may take thousands."""


@dataclass(frozen=True)
class Parity:
    """A student and its export on the same token ids, in padded batches of mixed lengths."""

    rows: int
    largest_difference: float
    """Largest absolute difference of two logits."""
    largest_probability_difference: float
    largest_logit: float
    agreement: float
    """Share of the rows where both give the same class."""
    text: LabelledText | None = None
    student_accuracy: float | None = None
    export_accuracy: float | None = None

    def document(self) -> dict[str, Any]:
        """Its part of export.json."""
        figures = {
            "rows": self.rows,
            "largest_logit_difference": self.largest_difference,
            "largest_probability_difference": self.largest_probability_difference,
            "largest_logit": self.largest_logit,
            "agreement": self.agreement,
        }
        if self.text is None:
            return figures
        accuracies = {"student_accuracy": self.student_accuracy, "export_accuracy": self.export_accuracy}
        return {"name": self.text.name, "digest": self.text.digest, **figures, **accuracies}


def parity_on(classifier: Classifier, exported: Exported, sequences: Sequence[Sequence[int]], batch_size: int, text: LabelledText | None = None) -> Parity:
    """Compare both on token ids with special tokens; `text` is what they are of, where it is known what is right.

    Raises:
        RefusedError: the export's logits are not finite.
    """
    student, export = classifier_logits(classifier, sequences, batch_size), exported.logits(sequences, batch_size)
    answers = [answers_of(logits, several=classifier.several) for logits in (student, export)]
    truth = None if text is None else text.truth(len(classifier.label_names))
    accuracies = [None if truth is None else float(same_answers(each, truth).mean()) for each in answers]
    return Parity(
        len(sequences),
        float(np.abs(student - export).max()),
        probability_difference(student, export, several=classifier.several),
        float(np.abs(student).max()),
        float(same_answers(*answers).mean()),
        text,
        *accuracies,
    )


def probability_difference(one: np.ndarray, other: np.ndarray, *, several: bool) -> float:
    """Largest difference of a probability of two models' logits [N, C]; where there can be several labels each has one of its own."""
    first, second = (0.5 * (1 + np.tanh(logits.astype(np.float64) / 2)) if several else softmax(logits) for logits in (one, other))
    return float(np.abs(first - second).max())


def check_parity(parity: Parity, where: str, form: str, gate: Gate) -> None:
    """Refuse an export that is another model than its student: by its logits where both are float32, else by the gate's rules of parity.

    Raises:
        RefusedError: it is.
    """
    on = f"on {parity.rows} {where.replace('_', ' ').removesuffix('s')}s"
    limit = TOLERANCE * max(1.0, parity.largest_logit)
    if form == "onnx" and not parity.largest_difference <= limit:
        raise RefusedError(
            f"the exported model's logits differ from the student's by {parity.largest_difference:.3g} {on}, {limit:.3g} are allowed; deploy the student itself"
        )
    if form == "onnx":
        return
    if not parity.agreement >= gate.minimum_parity:
        raise RefusedError(
            f"the {form} model gives the student's class on {parity.agreement:.4f} {on}, gate.minimum_parity asks for {gate.minimum_parity}; use --format onnx"
        )
    if gate.largest_parity_difference and not parity.largest_probability_difference <= gate.largest_parity_difference:
        differs = f"a probability of the {form} model differs from the student's by {parity.largest_probability_difference:.3g} {on}"
        raise RefusedError(f"{differs}, gate.largest_parity_difference allows {gate.largest_parity_difference:g}; use --format onnx")
    if parity.student_accuracy is not None and parity.export_accuracy is not None:
        loss = parity.student_accuracy - parity.export_accuracy
        if loss > gate.largest_export_drop + 1e-9:
            allowed = f"gate.largest_export_drop allows {gate.largest_export_drop:g}"
            raise RefusedError(f"the {form} model loses {loss:.4f} of the student's accuracy {on}, {allowed}; use --format onnx")


@torch.inference_mode()
def classifier_logits(classifier: Classifier, sequences: Sequence[Sequence[int]], batch_size: int) -> np.ndarray:
    """Logits [N, C] of token ids with special tokens, in batches of the given order."""
    starts = range(0, len(sequences), batch_size)
    return np.concatenate([classifier.model(**pad(classifier, sequences[start : start + batch_size])).logits.float().cpu().numpy() for start in starts])


def parity_sequences(student: Classifier, run: Run) -> list[Encoded]:
    """Held-out pseudo samples made from the student, and some of all lengths up to the longest input; nothing is ordered by length."""
    config = run.synthesis
    frame = frame_of(student.tokenizer, pairs=config.pairs)
    longest = input_limit(student, run.evaluation.maximum_length or LONGEST) - frame.length
    any_length = config.changed(minimum_length=2 if config.pairs else 1, maximum_length=longest)
    held_out = held_out_sequences(student, config, run.evaluation.pseudo_samples, run.seed)
    return [*held_out, *drawn_sequences(student, any_length, LONG, run.seed)]


def held_out_sequences(classifier: Classifier, config: Synthesis, samples: int, seed: int) -> list[Encoded]:
    """Token ids with special tokens of pseudo samples that the classifier guides, of a seed that no bank uses, in an order of their own.

    Where samples are embeddings, their nearest tokens are taken: an exported model reads tokens.
    """
    held_out, frame = config.changed(samples=samples), frame_of(classifier.tokenizer, pairs=config.pairs)
    with tempfile.TemporaryDirectory() as folder:
        synthesize_parts(classifier, held_out, held_out_seed(seed), Path(folder), list(range(part_count(samples))))
        bank = Bank(Path(folder))
        sequences = []
        for row in generator(seed, "parity order").permutation(len(bank)):
            content = bank.content(np.array([row]))[0]
            tokens = content if bank.holds_tokens else nearest_tokens(content.to(classifier.embedding_table.device), classifier.embedding_table)
            sequences.append(bank.frame(frame, row).sequence(tokens.tolist()))
    return sequences


@dataclass(frozen=True)
class Answers:
    """What an ONNX model says where teacher and student were evaluated."""

    metrics: Mapping[str, float]
    """Its part of metrics.json."""
    recall: tuple[float, ...] = ()
    """Of each class, on labelled texts."""
    texts: tuple[str, ...] = ()
    """Its answer on each labelled text, by name."""


def answers_of_exports(
    exports: Mapping[str, Exported], models: tuple[Classifier, Classifier], run: Run, text: LabelledText | None, logits: Sequence[np.ndarray]
) -> dict[str, Answers]:
    """What ONNX models say, by their roles: on the labelled texts, where `logits` [N, C] are those of teacher and student, or, where there are none, on
    held-out pseudo samples of the teacher, as tokens.

    Raises:
        RefusedError: their logits are not finite.
    """
    if not exports:
        return {}
    size, held_out = run.evaluation.batch_size, []
    if text is None:
        held_out = held_out_sequences(models[0], run.synthesis, run.evaluation.pseudo_samples, run.seed)

    def read_by(reader: Classifier) -> list[Encoded]:
        if text is not None:
            return encode(reader, text.inputs, run.evaluation.maximum_length)
        return [*map(translation(models[0].tokenizer, reader.tokenizer), held_out)]

    if text is None:
        logits = [classifier_logits(model, read_by(model), size) for model in models]
    found = {}
    for role, exported in exports.items():
        of_export = exported.logits(read_by(exported.reader(models[0 if role == "teacher_int8" else 1])), size)
        found[role] = _answers(role, (of_export, *logits), models[0], text)
    return found


def _answers(role: str, logits: Sequence[np.ndarray], teacher: Classifier, text: LabelledText | None) -> Answers:
    """From logits [N, C] of an ONNX model, of teacher and of student on the same inputs."""
    several = teacher.several
    answers = [answers_of(each, several=several) for each in logits]
    agreement = "agreement_on_pseudo_samples" if text is None else "agreement"
    metrics = {f"{role}_{agreement}": float(same_answers(answers[0], answers[1]).mean())}
    if role == "export":
        metrics["export_agreement_with_student"] = float(same_answers(answers[0], answers[2]).mean())
        metrics["export_largest_difference"] = probability_difference(logits[2], logits[0], several=several)
    if text is None:
        return Answers(metrics)
    scored, figures = (
        score(logits[0], text.truth(len(teacher.label_names))),
        [figure for figure in FIGURES if (figure.of, figure.on) == ("each model", "texts")],
    )
    metrics |= {figure.of_role(role): getattr(scored, figure.name) for figure in figures if several or not figure.several_only}
    return Answers(metrics, scored.recall, tuple(answer_text(answer, teacher.label_names) for answer in answers[0]))


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
