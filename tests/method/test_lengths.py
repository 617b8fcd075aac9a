"""Lengths from how far the rows of absolute positions moved, and batches of as many tokens whatever the length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asdfd.base.config import Distillation, Synthesis
from asdfd.method import distillation, synthesis
from asdfd.method.bank import Bank
from asdfd.method.batches import USUAL_TOKENS, Batches
from asdfd.method.inspection import drawn_sequences
from asdfd.method.lengths import falling, lengths_of, revealed_lengths
from asdfd.method.prior import frame_of
from asdfd.models.classifiers import Classifier
from asdfd.models.footprint import Footprint


def with_positions(teacher: Classifier, *moved: float) -> Classifier:
    """A teacher whose first position rows moved so far."""
    tokens, positions = np.zeros(len(teacher.embedding_table), dtype=np.float32), np.zeros(128, dtype=np.float32)
    tokens[60:90] = 1.0
    positions[: len(moved)] = moved
    return replace(teacher, footprint=Footprint(tokens, positions, "e" * 64))


@pytest.fixture
def revealing(teacher: Classifier) -> Classifier:
    """The longest text has 8 tokens with the two special ones, and the rows of the last two moved half as far."""
    return with_positions(teacher, 0.3, 1.0, 0.4, 0.4, 0.4, 0.4, 0.2, 0.2)


def test_half_of_the_lengths_are_the_usual_ones_and_half_of_every_order_up_to_the_longest(revealing: Classifier) -> None:
    found = lengths_of(revealing, 3, 4)
    assert found is not None
    assert found.lengths.tolist() == [3, 4, 5, 6]
    weights = np.array([1 / 3, 1 / 4, 1 / 5 / 4, 1 / 6 / 4])
    assert found.probabilities == pytest.approx((weights / weights.sum() + np.array([0.5, 0.5, 0, 0])) / 2, rel=1e-5)
    random = np.random.default_rng(0)
    counts = np.bincount([found.draw(random) for _ in range(4000)], minlength=7)[3:]
    assert np.allclose(counts / 4000, found.probabilities, atol=0.03)


def test_a_teacher_that_tells_no_lengths_has_none(teacher: Classifier, revealing: Classifier) -> None:
    assert lengths_of(teacher, 3, 20) is None
    assert lengths_of(with_positions(teacher), 3, 20) is None
    assert lengths_of(revealing, 7, 20) is None, "no text is that long"


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_falling_is_the_nearest_sequence_that_does_not_rise(values: list[float]) -> None:
    found = falling(np.array(values))
    assert (np.diff(found) <= 1e-12).all()
    assert found.sum() == pytest.approx(sum(values))
    assert np.allclose(falling(found), found)
    if (np.diff(values) <= 0).all():
        assert np.allclose(found, values)


@given(moved=st.lists(st.floats(0.0625, 1, width=32), min_size=4, max_size=40), special=st.integers(0, 3), minimum=st.integers(1, 6))
def test_probabilities_are_of_lengths_between_the_least_and_the_longest(moved: list[float], special: int, minimum: int) -> None:
    found = revealed_lengths(np.array(moved, dtype=np.float32), special, minimum, minimum + 5)
    if found is None:
        assert len(moved) - special < minimum
        return
    assert found.probabilities.sum() == pytest.approx(1)
    assert (found.probabilities > 0).all()
    assert minimum <= found.lengths.min() <= found.lengths.max() <= len(moved) - special
    assert (np.diff(found.lengths) > 0).all()


def test_a_bank_and_timed_sequences_have_the_revealed_lengths(revealing: Classifier, tmp_path: Path) -> None:
    config = Synthesis(samples=2048, minimum_length=3, maximum_length=5)
    synthesis.synthesize_parts(revealing, config, 0, tmp_path, [0, 1])
    found = lengths_of(revealing, 3, 5)
    assert found is not None
    counts = np.bincount(Bank(tmp_path).lengths, minlength=7)[3:] / 2048
    assert np.allclose(counts, found.probabilities, atol=0.2), "64 groups"
    assert counts.min() > 0
    special = frame_of(revealing.tokenizer).length
    assert {len(row) - special for row in drawn_sequences(revealing, config, 100, 0)} == {3, 4, 5, 6}


def test_a_step_has_as_many_tokens_whatever_the_length(revealing: Classifier, tmp_path: Path) -> None:
    synthesis.synthesize_parts(revealing, Synthesis(samples=1024, minimum_length=3), 0, tmp_path, [0])
    bank = Bank(tmp_path)
    batches = distillation.prepare(revealing, bank, (1,), Distillation(batch_size=4, steps=2), 0).batches
    sizes = {int(bank.lengths[rows[0]]): len(rows) for rows in (batches.rows(step) for step in range(batches.per_epoch))}
    assert sizes == {length: round(4 * USUAL_TOKENS / (length + 2)) for length in set(bank.lengths.tolist())}
    assert len(sizes) > 2


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=200), batch_size=st.integers(1, 9), special=st.integers(0, 3))
def test_batches_of_tokens_hold_one_length_and_every_entry_at_most_once(lengths: list[int], batch_size: int, special: int) -> None:
    array = np.array(lengths, dtype=np.int32)
    batches = Batches(array, batch_size, 0, special)
    drawn = [batches.rows(step) for step in range(batches.per_epoch)]
    for rows in drawn:
        (length,) = set(array[rows].tolist())
        wanted = max(1, round(batch_size * USUAL_TOKENS / (length + special)))
        assert len(rows) == min(wanted, int((array == length).sum()))
    everything = np.concatenate(drawn).tolist()
    assert len(everything) == len(set(everything))
