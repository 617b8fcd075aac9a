"""Does an export answer as the student that it was made from? On pseudo samples, which need no data, and on labelled texts where there are some."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from asdfd.base.config import Run, Synthesis
from asdfd.base.errors import RefusedError
from asdfd.base.figures import FIGURES
from asdfd.evaluation.comparison import PseudoEvaluation, TextEvaluation, answer_text
from asdfd.evaluation.scores import answers_of, same_answers, score
from asdfd.method.bank import Bank, part_count
from asdfd.method.inspection import drawn_sequences, held_out_seed, nearest_tokens
from asdfd.method.prior import frame_of
from asdfd.method.randomness import generator
from asdfd.method.synthesis import synthesize_parts
from asdfd.models.classifiers import Classifier
from asdfd.models.encoding import Encoded, encode, input_limit, pad
from asdfd.models.sizes import like_export

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
    largest_logit: float
    agreement: float
    """Share of the rows where both give the same class."""
    text: LabelledText | None = None
    student_accuracy: float | None = None
    export_accuracy: float | None = None

    def document(self) -> dict[str, Any]:
        """Its part of export.json."""
        figures = {"rows": self.rows, "largest_logit_difference": self.largest_difference, "largest_logit": self.largest_logit, "agreement": self.agreement}
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
        float(np.abs(student).max()),
        float(same_answers(*answers).mean()),
        text,
        *accuracies,
    )


def check_parity(parity: Parity, where: str, form: str, minimum_agreement: float) -> None:
    """Refuse an export that is another model than its student: by its logits where both are float32, else by its classes.

    Raises:
        RefusedError: it is.
    """
    on = f"on {parity.rows} {where.replace('_', ' ').removesuffix('s')}s"
    limit = TOLERANCE * max(1.0, parity.largest_logit)
    if form == "onnx" and not parity.largest_difference <= limit:
        raise RefusedError(
            f"the exported model's logits differ from the student's by {parity.largest_difference:.3g} {on}, {limit:.3g} are allowed; deploy the student itself"
        )
    if form != "onnx" and not parity.agreement >= minimum_agreement:
        raise RefusedError(
            f"the {form} model gives the student's class on {parity.agreement:.4f} {on}, gate.minimum_agreement asks for {minimum_agreement}; use --format onnx"
        )


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


def add_export(
    metrics: dict[str, Any],
    exported: Exported,
    models: tuple[Classifier, Classifier],
    latency: LatencyComparison,
    run: Run,
    result: TextEvaluation | PseudoEvaluation,
    text: LabelledText | None,
) -> None:
    """Add to metrics.json, in place, what an export of the student is, how large and fast, and what it answers where teacher and student were evaluated.

    Raises:
        RefusedError: its logits are not finite.
    """
    assert latency.export is not None
    teacher_bytes = like_export(metrics["teacher_bytes"], metrics["teacher_dtype"], exported.format)
    metrics |= {
        "export_format": exported.format,
        "export_digest": exported.digest,
        "export_bytes": exported.bytes,
        **latency.export.document("export"),
        "export_compression": teacher_bytes / exported.bytes,
        "export_speedup": latency.teacher.p50_seconds / latency.export.p50_seconds,
    }
    if text is None or isinstance(result, PseudoEvaluation):
        metrics |= _on_pseudo_samples(exported, *models, run)
        return
    logits = exported.logits(encode(models[1], text.inputs, run.evaluation.maximum_length), run.evaluation.batch_size)
    truth = text.truth(len(result.label_names))
    metrics |= _on_text(logits, result, truth)
    recalls = score(logits, truth).recall
    metrics["per_class"] = [{**row, "export_recall": recall} for row, recall in zip(metrics["per_class"], recalls, strict=True)]


def _on_text(logits: np.ndarray, result: TextEvaluation, labels: np.ndarray) -> dict[str, float]:
    """The export's answers on the texts that teacher and student were evaluated on."""
    answers = [answer_text(answer, result.label_names) for answer in answers_of(logits, several=result.several)]
    found, figures = score(logits, labels), [figure for figure in FIGURES if figure.of == "each model" and figure.on == "texts"]
    return {
        **{figure.of_role("export"): getattr(found, figure.name) for figure in figures if result.several or not figure.several_only},
        "export_agreement": float(np.mean([answer == row.teacher for answer, row in zip(answers, result.predictions, strict=True)])),
        "export_agreement_with_student": float(np.mean([answer == row.student for answer, row in zip(answers, result.predictions, strict=True)])),
    }


def _on_pseudo_samples(exported: Exported, teacher: Classifier, student: Classifier, run: Run) -> dict[str, float]:
    """The export's answers on held-out pseudo samples of the teacher, as tokens."""
    sequences, size = held_out_sequences(teacher, run.synthesis, run.evaluation.pseudo_samples, run.seed), run.evaluation.batch_size
    export, *others = (
        answers_of(logits, several=teacher.several)
        for logits in (exported.logits(sequences, size), *(classifier_logits(model, sequences, size) for model in (teacher, student)))
    )
    return {
        "export_agreement_on_pseudo_samples": float(same_answers(export, others[0]).mean()),
        "export_agreement_with_student": float(same_answers(export, others[1]).mean()),
    }
