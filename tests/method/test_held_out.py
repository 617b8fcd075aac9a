"""Held-out samples: drawn anew for each seed, and never as a bank's are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asdfd.evaluation.logits import Inputs, logits_of
from asdfd.method.class_words import Mixture
from asdfd.method.held_out import JUDGING, held_out_seed, held_out_sequences
from asdfd.method.prior import prior_of
from asdfd.models.classifiers import Classifier
from asdfd.models.footprint import Footprint
from tests.tiny_models import POSITIONS


@pytest.fixture
def revealing(teacher: Classifier) -> Classifier:
    """A teacher whose training texts held 40 words and up to 12 tokens."""
    tokens = np.zeros(len(teacher.embedding_table), dtype=np.float32)
    tokens[prior_of(teacher, "zipf").token_ids[:40]] = np.linspace(1, 0.2, 40)
    positions = np.where(np.arange(POSITIONS) < 12, 0.5, 0).astype(np.float32)
    return replace(teacher, footprint=Footprint(tokens, positions, "e" * 64))


def test_they_are_drawn_anew_for_each_seed_and_the_same_for_the_same_one(teacher: Classifier) -> None:
    first, again, other = (held_out_sequences(teacher, 200, seed) for seed in (0, 0, 1))
    assert len(first) == 200
    assert first == again
    assert first != other
    assert held_out_seed(0) != held_out_seed(1)
    assert {len(sequence) - 2 for sequence in first} == set(range(4, 21))
    assert len({len(sequence) for sequence in first[:8]}) > 1, "neighbours differ in length"


def test_a_footprint_changes_nothing(teacher: Classifier, revealing: Classifier) -> None:
    """A bank holds its words; these are of the whole vocabulary."""
    held = set(prior_of(revealing, "zipf").token_ids.tolist())
    sequences = held_out_sequences(revealing, 80, 0)
    assert sequences == held_out_sequences(teacher, 80, 0)
    assert not {token for sequence in sequences for token in sequence[1:-1]} <= held


def test_the_teacher_is_surer_of_them_than_of_words_drawn_alike(revealing: Classifier) -> None:
    """Random models are not sure of much; words that say one class make even them surer."""
    confidence = {}
    for mixture in (JUDGING, Mixture(0.0, 0.0, 0.0)):
        logits = logits_of(revealing, held_out_sequences(revealing, 320, 0, mixture=mixture), batch_size=64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        confidence[mixture] = float((shares.max(axis=1) / shares.sum(axis=1)).mean())
    assert confidence[JUDGING] > confidence[Mixture(0.0, 0.0, 0.0)] + 0.02


def test_a_student_of_the_same_tokens_reads_the_teachers_ids(teacher: Classifier) -> None:
    held_out = held_out_sequences(teacher, 8, 0)
    assert list(Inputs(teacher, None, 0, held_out).read_by(teacher)) == held_out
