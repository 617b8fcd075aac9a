"""What models say of texts or of token ids: logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asdfd.base.errors import InputError, RefusedError
from asdfd.models.encoding import Input, encode, pad, rows_at_once

if TYPE_CHECKING:
    from asdfd.evaluation.texts import Texts
    from asdfd.models.classifiers import Classifier
    from asdfd.models.encoding import Encoded


def predict(classifier: Classifier, texts: Sequence[Input], *, batch_size: int, maximum_length: int) -> np.ndarray:
    """Logits [N, C] float32 of each text or pair of texts, in the order of `texts`.

    Longer ones are cut at `maximum_length` tokens or at what the model can take.

    Raises:
        RefusedError: the model gives logits that are not finite.
    """
    return logits_of(classifier, encode(classifier, texts, maximum_length), batch_size=batch_size)


def logits_of(classifier: Classifier, sequences: Sequence[Sequence[int]], *, batch_size: int) -> np.ndarray:
    """Logits [N, C] float32 of token ids with special tokens, in their order; those of like length share a batch.

    Raises:
        RefusedError: the model gives logits that are not finite.
    """
    import torch

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


@dataclass(frozen=True)
class Inputs:
    """What models are asked, which each reads by its own tokenizer: one of them may have fewer words than the teacher."""

    teacher: Classifier
    texts: Texts | None
    maximum_length: int
    """Tokens after which a text is cut; 0 takes what the models take."""
    held_out: Sequence[Encoded] = ()
    """Held-out pseudo samples as the teacher's token ids, where there are no texts."""

    def read_by(self, reader: Classifier) -> Sequence[Encoded]:
        """Token ids with special tokens, as a model reads them."""
        if self.texts is not None:
            return encode(reader, self.texts.inputs, self.maximum_length)
        from asdfd.models.vocabulary import translation

        return [*map(translation(self.teacher.tokenizer, reader.tokenizer), self.held_out)]


def check_classes(teacher: Classifier, student: Classifier) -> None:
    """Refuse to compare models of different classes.

    Raises:
        InputError: the two do not have the same classes in the same order.
    """
    if teacher.label_names != student.label_names:
        raise InputError("teacher and student have different label names; evaluate a student together with the teacher that it was distilled from")
