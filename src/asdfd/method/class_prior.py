"""The class prior: which words speak for a class, found by asking the teacher about every word alone and turning its answers around by Bayes' rule.

p(word | class) is proportional to p(word) * p(class | word), where p(word) is the vocabulary prior and p(class | word) comes from the teacher's logits for the
word alone. A teacher's answers to single words lean to few classes, so each class's logits are standardised over the words before they compete.
One pass over the vocabulary, no gradient; our own addition to the method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from asdfd.method.prior import Frame, VocabularyPrior
from asdfd.models import Classifier

WORDS = 32768
"""Most probable words that the teacher is asked about; rarer ones of a larger vocabulary are left out, since they would cost more than all of the bank."""
SHARPNESS = 3.0
"""Units of log-odds that one standard deviation of a logit counts for; chosen on Banking77's held-out training questions (docs/research.md)."""
BLOCK = 512
"""Words of one forward pass."""


@dataclass(frozen=True)
class ClassPrior:
    """A distribution over words for every class; C classes, K words."""

    token_ids: np.ndarray
    """Token ids, int64 [K]."""
    cumulative: np.ndarray
    """Cumulative probabilities of each class's words, float64 [C, K]; each row ends in one."""

    def draw(self, targets: np.ndarray, length: int, random: np.random.Generator) -> np.ndarray:
        """Token ids [B, length] for the classes `targets` [B]."""
        numbers = random.random((len(targets), length))
        positions = [np.searchsorted(self.cumulative[target], row, side="right") for target, row in zip(targets, numbers, strict=True)]
        return self.token_ids[np.minimum(positions, len(self.token_ids) - 1)]


def class_prior(teacher: Classifier, frame: Frame, prior: VocabularyPrior) -> ClassPrior:
    """Ask the teacher about the most probable words of the prior and turn its answers around."""
    chosen = np.sort(np.argsort(-prior.probabilities, kind="stable")[:WORDS])
    token_ids, words = prior.token_ids[chosen], prior.probabilities[chosen]
    logits = single_word_logits(teacher, frame, token_ids)
    standardised = (logits - logits.mean(0)) / np.maximum(logits.std(0), 1e-6)
    evidence = SHARPNESS * standardised
    likelihood = np.exp(evidence - evidence.max(1, keepdims=True))
    joint = (likelihood / likelihood.sum(1, keepdims=True) * words[:, None]).T
    cumulative = np.cumsum(joint, axis=1)
    return ClassPrior(token_ids, cumulative / cumulative[:, -1:])


@torch.no_grad()
def single_word_logits(teacher: Classifier, frame: Frame, token_ids: np.ndarray) -> np.ndarray:
    """The teacher's logits, float64 [K, C], for each word alone in the frame."""
    table, parts = teacher.embedding_table, []
    before, after = (torch.tensor(ids, device=table.device, dtype=torch.long) for ids in (frame.prefix, frame.suffix))
    for start in range(0, len(token_ids), BLOCK):
        block = torch.from_numpy(token_ids[start : start + BLOCK]).to(table.device)[:, None]
        sequences = torch.cat([before.expand(len(block), -1), block, after.expand(len(block), -1)], dim=1)
        parts.append(teacher.model(inputs_embeds=table[sequences]).logits.double().cpu())
    return torch.cat(parts).numpy()
