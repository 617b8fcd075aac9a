"""The words that a smaller model keeps: those of the teacher's training texts, which its footprint tells, and the most frequent others.

Nearly all of a small classifier's bytes are its word table, and fine-tuning left most rows as they were. A word that is dropped is read in pieces from then
on. What that changes is measured on drawn texts of which some words are not those of the training texts; where it changes too much, all words are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asdfd.base.errors import RefusedError
from asdfd.method.objectives import answered, same_answers
from asdfd.method.prior import prior_of, vocabulary_prior
from asdfd.method.randomness import generator
from asdfd.models.classifiers import Classifier
from asdfd.models.encoding import encode, pad
from asdfd.models.pruning import prune

SAMPLES = 512
"""Texts on which a model with fewer words is compared with itself."""
LENGTHS = (4, 20)
"""Fewest and most tokens of such a text."""
OTHER_WORDS = 0.05
"""Share of their tokens that are drawn from the whole vocabulary."""
LEAST_EQUAL = 0.8
"""Share of such texts with equal answers below which all words are kept."""
AT_ONCE = 64
"""Texts of one forward pass."""


@dataclass(frozen=True)
class Pruned:
    """A classifier that has fewer words, or all of them."""

    classifier: Classifier
    whole: int
    """Tokens of the teacher's vocabulary."""
    equal: float | None = None
    """Share of drawn texts on which it gives the answer that it gave with all words; None where it has them."""
    problem: str = ""
    """Why it has all words, where it was to have fewer; empty where it has fewer."""

    @property
    def kept(self) -> int:
        """Tokens of its vocabulary."""
        return len(self.classifier.tokenizer.get_vocab())

    def facts(self) -> dict[str, Any]:
        """For reports."""
        if self.problem:
            return {"tokens": self.whole, "whole": self.whole, "why_whole": self.problem}
        return {"tokens": self.kept, "whole": self.whole, "equal_answers": self.equal, "texts": SAMPLES, "other_words": OTHER_WORDS}

    def line(self, whose: str) -> str:
        """A sentence for the user about the model `whose` words these are."""
        if self.problem:
            return f"{whose} keeps all {self.whole:,} tokens of the vocabulary: {self.problem}"
        equal = f"its answers are equal on {self.equal:.1%} of {SAMPLES} drawn texts, of whose words {OTHER_WORDS:.0%} are any"
        return f"{whose} keeps {self.kept:,} of {self.whole:,} tokens, those of the training texts and frequent ones; {equal}"


def with_fewer_words(model: Classifier, teacher: Classifier) -> Pruned:
    """A classifier with the teacher's tokenizer, which may be the teacher, with the words that are needed; with all of them where that harms, or cannot be.

    The teacher must have a footprint.
    """
    whole = len(teacher.tokenizer.get_vocab())
    try:
        pruned = prune(model, wanted_tokens(teacher))
    except RefusedError as error:
        return Pruned(model, whole, problem=str(error))
    texts = drawn_texts(teacher)
    equal = float(same_answers(*(answered(logits_on_texts(each, texts), several=teacher.several) for each in (model, pruned))).float().mean())
    if equal < LEAST_EQUAL:
        return Pruned(
            model, whole, problem=f"with fewer, only {equal:.1%} of its answers on {SAMPLES} drawn texts were equal, and {LEAST_EQUAL:.0%} are asked for"
        )
    return Pruned(pruned, whole, round(equal, 6))


def wanted_tokens(teacher: Classifier) -> set[int]:
    """Ids of the tokens of the training texts, and of as many of the most frequent ones: texts of more words bring more that are new."""
    assert teacher.footprint is not None
    known, general = np.flatnonzero(teacher.footprint.tokens), vocabulary_prior(teacher.tokenizer, "zipf")
    frequent = general.token_ids[np.argsort(-general.probabilities, kind="stable")[: len(known)]]
    return {*frequent.tolist(), *known.tolist()}


def drawn_texts(teacher: Classifier) -> list[str]:
    """Texts of words of the training texts, and some of the whole vocabulary. They are the same for a teacher, whatever the seed of the run."""
    random, own, general = generator(0, "vocabulary"), prior_of(teacher, "zipf"), vocabulary_prior(teacher.tokenizer, "zipf")
    texts = []
    for length in random.integers(LENGTHS[0], LENGTHS[1] + 1, size=SAMPLES).tolist():
        tokens = np.where(random.random(length) < OTHER_WORDS, general.draw(length, random), own.draw(length, random))
        texts.append(str(teacher.tokenizer.decode(tokens.tolist())))
    return texts


@torch.inference_mode()
def logits_on_texts(classifier: Classifier, texts: list[str]) -> Tensor:
    """Logits [N, C] of texts by the classifier's own tokenizer."""
    sequences = encode(classifier, texts, 0)
    return torch.cat([classifier.model(**pad(classifier, sequences[i : i + AT_ONCE])).logits.float().cpu() for i in range(0, len(sequences), AT_ONCE)])
