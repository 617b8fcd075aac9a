"""Pairs of texts: samples of two segments are what the teacher reads in pairs that people give it, with its tokenizer's separators and token types."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from asdfd.base.config import Distillation, Synthesis
from asdfd.evaluation.logits import predict
from asdfd.method.bank import Bank
from asdfd.method.distillation import prepare
from asdfd.method.held_out import held_out_sequences
from asdfd.method.inspection import drawn_sequences, shown_samples
from asdfd.method.prior import frame_of
from asdfd.method.randomness import generator
from asdfd.method.selfsup import draw_mask
from asdfd.method.synthesis import answers, related, synthesize_parts
from asdfd.models.classifiers import Classifier, load_classifier
from asdfd.models.encoding import encode, types_of
from tests.tiny_models import FAMILIES, TOKENIZERS, make_teacher, random_texts
from tests.tolerance import assert_close

FIRST, SECOND = "the people like this phone", "where is it"


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> Classifier:
    return load_classifier(teacher_folder, "teacher")


@pytest.fixture(scope="module")
def bank(teacher: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    folder = tmp_path_factory.mktemp("bank")
    synthesize_parts(teacher, Synthesis(samples=320, pairs=True, guessing="replacement"), 3, folder, [0])
    return Bank(folder)


@pytest.mark.parametrize("family", TOKENIZERS)
def test_the_frame_of_a_pair_is_the_tokenizer_s(family: str) -> None:
    tokenizer = FAMILIES[family][1]()
    first, second = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (FIRST, SECOND))
    frame = frame_of(tokenizer, pairs=True).at(len(first))
    made, expected = frame.sequence([*first, *second]), tokenizer(FIRST, SECOND)
    assert list(made) == expected["input_ids"]
    assert list(types_of(made)) == (expected["token_type_ids"] if any(expected.get("token_type_ids", [])) else [])
    assert frame.length == len(made) - len(first) - len(second)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pair_gets_the_logits_that_transformers_gives_it(tmp_path: Path, family: str) -> None:
    """From texts, in padded batches, and from the embeddings that pseudo samples are; a second text that came as part of the first one would get others."""
    classifier = load_classifier(make_teacher(tmp_path, family, layers=2), family)
    pairs = list(zip(random_texts(5, seed=1), random_texts(5, seed=2), strict=True))
    with torch.inference_mode():
        expected = torch.cat([classifier.model(**classifier.tokenizer(*pair, return_tensors="pt")).logits for pair in pairs])
        first, second = (classifier.tokenizer(text, add_special_tokens=False)["input_ids"] for text in pairs[0])
        frame, table = frame_of(classifier.tokenizer, pairs=True).at(len(first)), classifier.embedding_table
        by_embeddings = answers(classifier.model, table[torch.tensor([[*first, *second]])], frame, table)
    assert_close(torch.from_numpy(predict(classifier, pairs, batch_size=3, maximum_length=64)), expected)
    assert_close(by_embeddings, expected[:1])
    assert not np.allclose(predict(classifier, [" ".join(pair) for pair in pairs], batch_size=3, maximum_length=64), expected, atol=1e-3)


def test_the_longer_text_of_a_pair_is_cut_first(teacher: Classifier) -> None:
    (row,) = encode(teacher, [(" ".join(["phone"] * 40), "where is it")], 16)
    assert len(row) == 16
    assert teacher.tokenizer.decode(row[-4:]) == "where is it [SEP]"
    assert (row.types[-4:], row.types[0]) == ([1] * 4, 0)


def test_entries_know_their_two_texts_and_the_teacher_s_answer_on_them(teacher: Classifier, bank: Bank) -> None:
    assert bank.first_lengths is not None
    assert ((bank.first_lengths > 0) & (bank.first_lengths < bank.lengths)).all()
    assert len(set(zip(bank.lengths.tolist(), bank.first_lengths.tolist(), strict=True))) > 5
    frame, logits = frame_of(teacher.tokenizer, pairs=True), bank.field("teacher_logits")
    for row in (0, 100, 319):
        sequence = bank.frame(frame, row).sequence(bank.content(np.array([row]))[0].tolist())
        given = {"input_ids": torch.tensor([list(sequence)]), "token_type_ids": torch.tensor([list(sequence.types)])}
        assert_close(teacher.model(**given).logits[0], logits[row])
        assert sequence.types.count(1) == bank.lengths[row] - bank.first_lengths[row] + 1
    assert all(" | " in sample["text"] for sample in shown_samples(bank, teacher, 0))


def test_the_entries_of_a_batch_share_both_lengths(teacher: Classifier, bank: Bank) -> None:
    assert bank.first_lengths is not None
    setup = prepare(teacher, bank, (1, 3), Distillation(), 0)
    for step in range(setup.batches.per_epoch):
        rows = setup.batches.rows(step)
        assert len(set(bank.lengths[rows])) == len(set(bank.first_lengths[rows])) == 1
        assert setup.at(rows).frame.first == bank.first_lengths[rows[0]]


def test_special_tokens_between_the_texts_are_never_masked(teacher: Classifier) -> None:
    frame = frame_of(teacher.tokenizer, pairs=True).at(2)
    mask = draw_mask(200, 7, frame, 0.3, np.random.default_rng(0))
    assert mask.any(0).tolist() == [False, True, True, False, True, True, True, True, True, False]


def test_second_texts_repeat_the_first_one_by_every_share() -> None:
    content = torch.arange(12).expand(400, -1) + 100 * torch.arange(400)[:, None]
    pairs = related(content, 4, generator(0, "group", 0))
    assert torch.equal(pairs[:, :4], content[:, :4])
    repeated = (pairs[:, 4:, None] == content[:, None, :4]).any(-1)
    assert torch.equal(pairs[:, 4:][~repeated], content[:, 4:][~repeated])
    shares = repeated.float().mean(1)
    assert [(shares >= low).float().mean().item() > 0.05 for low in (0, 0.5, 0.9)] == [True] * 3
    assert (shares <= 0.1).float().mean() > 0.05


def test_what_is_held_out_and_timed_are_pairs_too(teacher: Classifier) -> None:
    config, separator = Synthesis(pairs=True), teacher.tokenizer.sep_token_id
    assert isinstance(separator, int)
    for sequences in (held_out_sequences(teacher, 40, 0, pairs=True), drawn_sequences(teacher, config, 8, 0)):
        assert all(sequence.count(separator) == 2 and 1 in types_of(sequence) for sequence in sequences)


def test_samples_of_one_token_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="minimum_length 1 leaves nothing for one of a pair's two texts"):
        Synthesis(pairs=True, minimum_length=1)


def test_single_texts_have_no_word_of_pairs(teacher: Classifier, tmp_path: Path) -> None:
    synthesize_parts(teacher, Synthesis(samples=32), 3, tmp_path, [0])
    assert Bank(tmp_path).first_lengths is None
