"""A model with fewer tokens: texts of those are encoded and answered as before, every other text still is encoded, and its folder says nothing of old ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from asdfd.base.errors import RefusedError
from asdfd.models.classifiers import Classifier, load_classifier, probe
from asdfd.models.encoding import Encoded, types_of
from asdfd.models.pruning import prune, with_all_words
from asdfd.models.students import save_student
from asdfd.models.tokenization_check import TELLING
from asdfd.models.vocabulary import merges_of, pruned_tokenizer, tokens_kept, translation
from tests import tiny_models
from tests.tiny_models import FAMILIES, TOKENIZERS, WORDS, make_teacher, random_texts
from tests.tolerance import assert_close

pytestmark = pytest.mark.slow  # dozens of small ones that together take long

TEXTS = random_texts(8, seed=3)
"""Texts whose tokens are kept."""


def ids_of(classifier: Classifier, texts: Sequence[str]) -> list[list[int]]:
    return classifier.tokenizer(list(texts))["input_ids"]


def names_of(classifier: Classifier, texts: Sequence[str]) -> list[list[str]]:
    return [[str(token) for token in classifier.tokenizer.convert_ids_to_tokens(ids)] for ids in ids_of(classifier, texts)]


def logits_of(classifier: Classifier, texts: Sequence[str]) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([classifier.model(input_ids=torch.tensor([ids])).logits for ids in ids_of(classifier, texts)])


def pruned_and_loaded(whole: Classifier, folder: Path) -> Classifier:
    pruned = prune(whole, {token for ids in ids_of(whole, TEXTS) for token in ids})
    save_student(pruned.model, pruned, folder)
    return load_classifier(folder, "pruned")


@pytest.mark.parametrize("family", FAMILIES)
def test_with_all_words_again_it_is_the_model_that_it_was(family: str, tmp_path: Path) -> None:
    whole = load_classifier(make_teacher(tmp_path / "teacher", family), "whole")
    again = with_all_words(pruned_and_loaded(whole, tmp_path / "pruned"), whole)
    assert again is not None
    weights, before = again.model.state_dict(), whole.model.state_dict()
    assert weights.keys() == before.keys()
    assert [name for name, value in before.items() if not torch.equal(weights[name], value)] == [], "copies, so bit for bit"
    texts = [*TEXTS, *random_texts(8, seed=4), "team match bank broken late"]
    assert_close(logits_of(again, texts), logits_of(whole, texts))
    assert with_all_words(whole, whole) is None, "it has them"
    other = load_classifier(make_teacher(tmp_path / "other", family, seed=1), "other")
    assert with_all_words(pruned_and_loaded(whole, tmp_path / "again"), other) is None, "of another teacher's table"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pruned_model_of_every_family_answers_as_before_on_texts_of_its_tokens(family: str, tmp_path: Path) -> None:
    whole = load_classifier(make_teacher(tmp_path / "teacher", family), "whole")
    pruned = pruned_and_loaded(whole, tmp_path / "pruned")
    probe(pruned)
    assert len(pruned.tokenizer) < 0.75 * len(whole.tokenizer)
    assert len(pruned.embedding_table) == pruned.model.config.vocab_size == len(pruned.tokenizer)
    assert sorted(pruned.tokenizer.get_vocab().values()) == list(range(len(pruned.tokenizer)))
    assert names_of(pruned, TEXTS) == names_of(whole, TEXTS)
    assert_close(logits_of(pruned, TEXTS), logits_of(whole, TEXTS))
    for name, old in whole.model.config.to_dict().items():
        if name.endswith("_token_id") and isinstance(old, int) and old >= 0:
            new = getattr(pruned.model.config, name)
            assert pruned.tokenizer.convert_ids_to_tokens(new) == whole.tokenizer.convert_ids_to_tokens(old), name


@pytest.mark.parametrize("family", TOKENIZERS)
def test_every_text_is_still_encoded(family: str, tmp_path: Path) -> None:
    whole = load_classifier(make_teacher(tmp_path / "teacher", family), "whole")
    pruned = pruned_and_loaded(whole, tmp_path / "pruned")
    texts = [*TELLING, *WORDS, *(f"{word}ing, {word.upper()}" for word in WORDS[::7])]
    unknown = [each.tokenizer.convert_tokens_to_ids(str(each.tokenizer.unk_token)) for each in (pruned, whole)]
    for text, more, less in zip(texts, ids_of(pruned, texts), ids_of(whole, texts), strict=True):
        assert sum(token == unknown[0] for token in more) <= sum(token == unknown[1] for token in less), text
    dropped = [word for word, ids in zip(WORDS, ids_of(whole, WORDS), strict=True) if set(names_of(whole, [word])[0]) - set(pruned.tokenizer.get_vocab())]
    assert len(dropped) > 20, "words that fall apart"
    plain = {ord(each): None for each in " #Ġ▁"}
    for word in dropped:
        assert str(pruned.tokenizer.decode(ids_of(pruned, [word])[0], skip_special_tokens=True)).translate(plain).lower() == word


@pytest.mark.parametrize("family", TOKENIZERS)
def test_ids_of_the_teacher_become_those_of_the_pruned_model(family: str, tmp_path: Path) -> None:
    whole = load_classifier(make_teacher(tmp_path / "teacher", family), "whole")
    pruned = pruned_and_loaded(whole, tmp_path / "pruned")
    translated = translation(whole.tokenizer, pruned.tokenizer)
    assert [*map(translated, ids_of(whole, TEXTS))] == ids_of(pruned, TEXTS)
    singles = [f"the {word}" for word in WORDS]
    for text, ids in zip(singles, ids_of(whole, singles), strict=True):
        assert translated(ids) == ids_of(pruned, [text])[0], text
    pair = Encoded(ids_of(whole, singles)[-1])
    pair.types = [0] * (len(pair) - 2) + [1] * 2
    made = translated(pair)
    assert len(types_of(made)) == len(made)
    assert sum(types_of(made)) == len(made) - len(translated(pair[:-2]))
    unchanged = translation(whole.tokenizer, whole.tokenizer)
    assert [*map(unchanged, ids_of(whole, TEXTS))] == ids_of(whole, TEXTS)


def test_the_files_hold_no_id_of_old(tmp_path: Path) -> None:
    whole = load_classifier(make_teacher(tmp_path / "teacher"), "whole")
    pruned_and_loaded(whole, tmp_path / "pruned")
    described = json.loads((tmp_path / "pruned" / "tokenizer.json").read_text())
    ids = described["model"]["vocab"]
    assert all(token["id"] == ids[token["content"]] for token in described["added_tokens"])
    frame = described["post_processor"]
    named = frame.get("special_tokens") or {frame[name][0]: {"ids": [frame[name][1]], "tokens": [frame[name][0]]} for name in ("cls", "sep")}
    assert all(each["ids"] == [ids[token] for token in each["tokens"]] for each in named.values())
    assert sorted(path.name for path in (tmp_path / "pruned").iterdir()) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


def test_a_kept_token_of_byte_pairs_keeps_the_merges_that_make_it() -> None:
    described = {
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(["a", "b", "c", "d", "ab", "cd", "abc", "abcd", "bc"])},
            "merges": ["a b", "c d", "ab c", "ab cd", "b c"],
        },
        "added_tokens": [],
    }
    kept = tokens_kept(described, {7})
    assert kept == [0, 1, 2, 3, 4, 5, 7], "abcd is made of ab and cd, and abc and bc on no way to it"
    assert merges_of(described["model"])[0] == ("a", "b")


def test_what_cannot_be_pruned_is_refused() -> None:
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "end": 2}, unk_token="[UNK]")), unk_token="[UNK]")
    with pytest.raises(RefusedError, match="WordLevel"):
        pruned_tokenizer(words, {1})
    pieces = tiny_models.numbered(["[UNK]", *"word", *(f"##{each}" for each in "word"), "wor", "##d…"])
    with pytest.raises(RefusedError, match="token ##d… has characters that are no tokens of their own"):
        pruned_tokenizer(split_by_space(models.WordPiece(pieces, unk_token="[UNK]")), {1})


def test_a_tokenizer_that_would_know_less_is_refused() -> None:
    """Unigram takes the best path, and without `wor` that is through `word`, and no longer through the only piece that has the character."""
    pieces = [("[UNK]", 0.0), *((each, -60.0) for each in "word"), ("wor", -1.0), ("word", -1.0), ("d…", -50.0)]
    tokenizer = split_by_space(models.Unigram(pieces, unk_id=0))
    assert tokenizer.tokenize("word…word") == ["wor", "d…", "word"]
    with pytest.raises(RefusedError, match="would not know all of 'word…word'"):
        pruned_tokenizer(tokenizer, {6})


def split_by_space(model: models.Model) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
