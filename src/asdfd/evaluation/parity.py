"""Does an export answer as the student that it was made from? On pseudo samples, which need no data, and on texts where there are some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from asdfd.base.config import Gate, Run
from asdfd.base.errors import RefusedError
from asdfd.evaluation.scores import answers_of, same_answers, softmax
from asdfd.method.held_out import held_out_sequences
from asdfd.method.inspection import drawn_sequences
from asdfd.method.prior import frame_of
from asdfd.models.classifiers import Classifier
from asdfd.models.encoding import Encoded, input_limit, pad

if TYPE_CHECKING:
    from asdfd.evaluation.texts import Texts
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
    text: Texts | None = None
    student_accuracy: float | None = None
    export_accuracy: float | None = None

    def document(self) -> dict[str, Any]:
        """Its part of export.json."""
        figures: dict[str, Any] = {
            "rows": self.rows,
            "largest_logit_difference": self.largest_difference,
            "largest_probability_difference": self.largest_probability_difference,
            "largest_logit": self.largest_logit,
            "agreement": self.agreement,
        }
        if self.text is None:
            return figures
        figures = {"name": self.text.name, "digest": self.text.digest, **figures}
        if not self.text.labelled:
            return figures
        accuracies = {"student_accuracy": self.student_accuracy, "export_accuracy": self.export_accuracy}
        return figures | accuracies


def parity_on(classifier: Classifier, exported: Exported, sequences: Sequence[Sequence[int]], batch_size: int, text: Texts | None = None) -> Parity:
    """Compare both on token ids with special tokens; `text` is what they are of, where they are of texts.

    Raises:
        RefusedError: the export's logits are not finite.
    """
    student, export = classifier_logits(classifier, sequences, batch_size), exported.logits(sequences, batch_size)
    answers = [answers_of(logits, several=classifier.several) for logits in (student, export)]
    truth = None if text is None or not text.labelled else text.truth(len(classifier.label_names))
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
    held_out = held_out_sequences(student, run.evaluation.pseudo_samples, run.seed, pairs=config.pairs)
    return [*held_out, *drawn_sequences(student, any_length, LONG, run.seed)]
