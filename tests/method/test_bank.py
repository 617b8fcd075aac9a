"""The bank's files: what is written comes back, parts and shards make one bank, and only what is asked for is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asdfd.base.errors import InputError
from asdfd.method.bank import PART, Bank, Entries, Guessed, concatenate, part_count, part_path, part_range, parts_in, write_part
from asdfd.method.batches import Batches


def make_entries(lengths: list[int], width: int = 0, seed: int = 0) -> Entries:
    """Entries with random content of the given lengths: token ids, or embeddings of `width`."""
    random, total = torch.Generator().manual_seed(seed), sum(lengths)
    content = torch.randn(total, width, generator=random).half() if width else torch.randint(99, (total,), generator=random, dtype=torch.int32)
    size = len(lengths)
    return Entries(
        lengths=torch.tensor(lengths, dtype=torch.int32),
        content=content,
        guessed=Guessed(
            targets=torch.randint(3, (size,), generator=random, dtype=torch.int32),
            teacher_logits=torch.randn(size, 3, generator=random),
            confidence=torch.rand(size, generator=random),
            converged_round=torch.zeros(size, dtype=torch.int32),
        ),
    )


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=40), width=st.sampled_from([0, 5]), seed=st.integers(0, 999))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], width: int, seed: int) -> None:
    folder, entries = tmp_path_factory.mktemp("bank"), make_entries(lengths, width, seed)
    write_part(folder, 0, entries)
    bank = Bank(folder)
    assert bank.lengths.tolist() == lengths
    assert bank.holds_tokens == (width == 0)
    assert bank.embedding_width == width
    starts = np.cumsum([0, *lengths])
    for row, length in enumerate(lengths):
        content = bank.content(np.array([row]))[0]
        expected = entries.content[starts[row] : starts[row] + length]
        assert content.dtype == (torch.int64 if width == 0 else torch.float32)
        assert torch.equal(content.to(expected.dtype), expected)
    assert entries.guessed is not None
    assert bank.guessed
    assert torch.equal(bank.field("teacher_logits"), entries.guessed.teacher_logits)
    assert torch.equal(bank.field("targets"), entries.guessed.targets)


def test_entries_that_were_not_guessed_are_lengths_and_content(tmp_path: Path) -> None:
    entries = make_entries([2, 3])
    plain = concatenate([Entries(entries.lengths, entries.content), Entries(entries.lengths, entries.content)])
    write_part(tmp_path, 0, plain)
    bank = Bank(tmp_path)
    assert not bank.guessed
    assert bank.lengths.tolist() == [2, 3, 2, 3]
    assert torch.equal(bank.content(np.array([1, 3])), entries.content[2:].long().expand(2, -1))


def test_entries_of_several_parts_are_found(tmp_path: Path) -> None:
    first, second = make_entries([2] * PART, seed=1), make_entries([2, 3], seed=2)
    write_part(tmp_path, 0, first)
    write_part(tmp_path, 1, second)
    bank = Bank(tmp_path)
    assert len(bank) == PART + 2
    assert torch.equal(bank.content(np.array([PART, PART - 1])), torch.stack([second.content[:2], first.content[-2:]]).long())
    assert torch.equal(bank.content(np.array([PART + 1]))[0], second.content[2:].long())


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    write_part(tmp_path, 1, make_entries([2]))
    with pytest.raises(InputError, match="parts are missing"):
        Bank(tmp_path)
    with pytest.raises(InputError, match="parts are missing"):
        Bank(part_path(tmp_path, 1).parent.parent)


def test_a_part_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("asdfd.method.bank.sync", crash)
    with pytest.raises(KeyboardInterrupt):
        write_part(tmp_path, 0, make_entries([2]))
    assert parts_in(tmp_path) == []


def test_concatenate_keeps_the_order() -> None:
    pieces = [make_entries([1, 2], seed=1), make_entries([3], seed=2)]
    whole = concatenate(pieces)
    assert whole.lengths.tolist() == [1, 2, 3]
    assert torch.equal(whole.content, torch.cat([piece.content for piece in pieces]))


@given(samples=st.integers(1, 5 * PART))
def test_parts_cover_every_sample_once(samples: int) -> None:
    covered = [row for part in range(part_count(samples)) for row in part_range(part, samples)]
    assert covered == list(range(samples))


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=60), batch_size=st.integers(1, 9), seed=st.integers(0, 99))
def test_batches_are_epochs_of_equal_lengths(lengths: list[int], batch_size: int, seed: int) -> None:
    array = np.array(lengths, dtype=np.int32)
    batches = Batches(array, batch_size, seed)
    epoch = [batches.rows(step) for step in range(batches.per_epoch)]
    for rows in epoch:
        assert len(set(array[rows].tolist())) == 1
        assert len(rows) == batch_size or len(rows) == (array == array[rows[0]]).sum() < batch_size
    drawn = np.concatenate(epoch).tolist()
    assert len(drawn) == len(set(drawn))
    for length, count in zip(*np.unique(array, return_counts=True), strict=True):
        assert (array[drawn] == length).sum() == (count if count < batch_size else count - count % batch_size), "all but those that do not fill a batch"
    late = Batches(array, batch_size, seed)  # a resumed run asks for a late step first
    step = batches.per_epoch + batches.per_epoch // 2
    assert (late.rows(step) == batches.rows(step)).all()
