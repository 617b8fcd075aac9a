"""A tokenizer with fewer tokens: those that are wanted and those that any word needs, so that every text that could be encoded still can.

A text whose tokens are all kept is encoded as before: of WordPiece the longest match is still the longest, of Unigram the best path is still there, and of byte
pairs all merges of a kept token are kept with their order. What is dropped falls apart into smaller pieces, in the end into characters or bytes. The files
of the tokenizer are written anew with ids without gaps, in the old order, so that no version of transformers needs anything of ours to read them.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from asdfd.base.errors import RefusedError
from asdfd.models.encoding import Encoded, types_of
from asdfd.models.loading import without_load_reports
from asdfd.models.tokenization import TOKENIZER, TOKENIZER_CONFIG, load_tokenizer, save_tokenizer
from asdfd.models.tokenization_check import telling_texts

BYTE = re.compile(r"^<0x[0-9A-Fa-f]{2}>$")
"""A token that stands for a byte of a character without a token of its own."""

NAME = re.compile(r"^(\[.+\]|<.+>)$")
"""A token that no text becomes: special, or kept free for one."""


def pruned_tokenizer(tokenizer: PreTrainedTokenizerBase, wanted: Collection[int]) -> tuple[PreTrainedTokenizerBase, list[int]]:
    """A tokenizer of the `wanted` token ids and of those that it cannot do without, and the old id of each of its tokens, rising.

    Raises:
        RefusedError: it cannot be pruned: a tokenizer in Python, of another kind, or one that would not encode every text that it does now.
    """
    backend = _backend(tokenizer)
    described = json.loads(backend.to_str())
    kept = tokens_kept(described, {*wanted, *tokenizer.all_special_ids})
    with tempfile.TemporaryDirectory(prefix="asdfd-tokenizer-") as scratch, without_load_reports():
        folder = Path(scratch)
        save_tokenizer(tokenizer, {}, folder)
        (folder / TOKENIZER).write_text(json.dumps(renumbered(described, kept), ensure_ascii=False), encoding="utf-8")
        config = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
        config.pop("added_tokens_decoder", None)  # tokenizer.json has them, by their new ids
        (folder / TOKENIZER_CONFIG).write_text(json.dumps(config), encoding="utf-8")
        found = load_tokenizer(folder, "the pruned tokenizer")
    ids = {token: new for new, token in enumerate(_by_id(described)[old] for old in kept)}
    if found.get_vocab() != ids:
        raise RefusedError("its added tokens cannot be numbered anew")
    _check_unknown(backend, _backend(found), described["model"])
    return found, kept


def tokens_kept(described: Mapping[str, Any], wanted: Collection[int]) -> list[int]:
    """Ids, rising, of the `wanted` tokens of a tokenizer.json, of its special and added ones, and of those that any word needs.

    Raises:
        RefusedError: a kind of vocabulary whose words do not fall apart into pieces.
    """
    model, names = described["model"], _by_id(described)
    needed = {"WordPiece": _needed_of_wordpiece, "BPE": _needed_of_byte_pairs, "Unigram": _needed_of_unigrams}.get(model["type"])
    if needed is None:
        raise RefusedError(f"its tokenizer is of the kind {model['type']}, whose words do not fall apart into pieces")
    named = {names[index] for index in wanted if index in names}
    added = {token["content"] for token in described["added_tokens"]} | _framing(described.get("post_processor"))
    named |= added
    if model.get("unk_token"):
        named.add(model["unk_token"])
    if model.get("unk_id") is not None:
        named.add(names[model["unk_id"]])
    named |= needed(model, named, added)
    return sorted(index for index, token in names.items() if token in named)


def renumbered(described: Mapping[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """A tokenizer.json with the `kept` ids alone, rising, which are 0, 1, ... from now on. It pads and cuts nothing."""
    new, names = {old: index for index, old in enumerate(kept)}, _by_id(described)
    ids = {names[old]: index for old, index in new.items()}
    model = dict(described["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][old] for old in kept if old < len(model["vocab"])]
        model["unk_id"] = None if model.get("unk_id") is None else new[model["unk_id"]]
    else:
        model["vocab"] = {token: ids[token] for token in sorted(model["vocab"].keys() & ids.keys(), key=ids.__getitem__)}
    if model["type"] == "BPE":
        model["merges"] = [[left, right] for left, right in merges_of(model) if {left, right, merged(model, left, right)} <= ids.keys()]
    return {
        **described,
        "model": model,
        "truncation": None,
        "padding": None,
        "added_tokens": [{**token, "id": new[token["id"]]} for token in described["added_tokens"]],
        "post_processor": _renumbered_frame(described.get("post_processor"), ids),
    }


def translation(source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> Callable[[Sequence[int]], Encoded]:
    """A function from token ids of one tokenizer to those of another that was pruned from it; a token that it has not becomes the pieces that it falls apart
    into. Where both have the same tokens, ids stay as they are."""
    names, known = {index: token for token, index in source.get_vocab().items()}, target.get_vocab()
    model = {} if len(names) == len(known) else json.loads(_backend(target).to_str())["model"]

    @cache
    def pieces(index: int) -> list[int]:
        return [known[names[index]]] if names[index] in known else _pieces(target, model, names[index], known)

    def translated(sequence: Sequence[int]) -> Encoded:
        made = Encoded([piece for index in sequence for piece in pieces(index)])
        if types := types_of(sequence):
            made.types = [kind for kind, index in zip(types, sequence, strict=True) for _ in pieces(index)]
        return made

    return translated


def merges_of(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The merges of a byte-pair model, first ones first; older files hold each as one text."""
    return [(left, right) for left, right in (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])]


def merged(model: Mapping[str, Any], left: str, right: str) -> str:
    """The token that a merge makes."""
    return left + right.removeprefix(model.get("continuing_subword_prefix") or "")


def _backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise RefusedError("its tokenizer is written in Python, and no file of one kind holds it")
    return backend


def _by_id(described: Mapping[str, Any]) -> dict[int, str]:
    vocabulary = described["model"]["vocab"]
    pairs = ((index, entry[0]) for index, entry in enumerate(vocabulary)) if isinstance(vocabulary, list) else ((i, token) for token, i in vocabulary.items())
    return {**dict(pairs), **{token["id"]: token["content"] for token in described["added_tokens"]}}


def _needed_of_wordpiece(model: Mapping[str, Any], wanted: Collection[str], added: Collection[str]) -> set[str]:
    """Every character, as a word's first and as another one: of those every word can be made that was made of any tokens."""
    del wanted
    prefix, vocabulary = model["continuing_subword_prefix"], model["vocab"]
    starts = {token for token in vocabulary if len(token) == 1}
    others = {token for token in vocabulary if token.startswith(prefix) and len(token) == len(prefix) + 1}
    for token in vocabulary.keys() - added:
        if NAME.match(token):
            continue
        inside = token.startswith(prefix) and len(token) > len(prefix)
        first, *more = token.removeprefix(prefix) if inside else token
        if not (f"{prefix}{first}" in others if inside else first in starts) or not all(f"{prefix}{each}" in others for each in more):
            raise RefusedError(f"its token {token} has characters that are no tokens of their own")
    return starts | others


def _needed_of_unigrams(model: Mapping[str, Any], wanted: Collection[str], added: Collection[str]) -> set[str]:
    """Every character and byte, and pieces with a character that is not there by itself."""
    del wanted, added
    pieces = [piece for piece, _ in model["vocab"]]
    characters = {piece for piece in pieces if len(piece) == 1}
    return {piece for piece in pieces if BYTE.match(piece) or not characters.issuperset(piece)} | characters


def _needed_of_byte_pairs(model: Mapping[str, Any], wanted: Collection[str], added: Collection[str]) -> set[str]:
    """What no merge makes (bytes, characters), and what is merged on the way to each wanted token."""
    del added
    order = {pair: rank for rank, pair in reversed(list(enumerate(merges_of(model))))}
    made = {merged(model, *pair) for pair in order}
    needed = {token for token in model["vocab"] if token not in made}
    for token in wanted:
        if token in made:
            needed |= _on_the_way(model, order, token)
    return needed


def _on_the_way(model: Mapping[str, Any], order: Mapping[tuple[str, str], int], token: str) -> set[str]:
    """Tokens that are made while the characters of `token` are merged, first merges first."""
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    inside = bool(prefix) and token.startswith(prefix)
    plain = token.removeprefix(prefix) if inside else token
    ends = bool(suffix) and plain.endswith(suffix)
    symbols = [*plain.removesuffix(suffix)] if ends else [*plain]
    symbols = [f"{prefix if inside or place else ''}{each}" for place, each in enumerate(symbols)]
    if ends:
        symbols[-1] += suffix
    found = set()
    while len(symbols) > 1:
        ranked = [(order[pair], place) for place, pair in enumerate(pairwise(symbols)) if pair in order]
        if not ranked:
            break
        place = min(ranked)[1]
        symbols[place : place + 2] = [merged(model, symbols[place], symbols[place + 1])]
        found.add(symbols[place])
    return found


def _framing(processor: Mapping[str, Any] | None) -> set[str]:
    """Special tokens that a tokenizer.json puts around texts."""
    if processor is None:
        return set()
    if processor["type"] == "Sequence":
        return set().union(*map(_framing, processor["processors"]))
    if processor["type"] == "TemplateProcessing":
        return {token for special in processor["special_tokens"].values() for token in special["tokens"]}
    return {processor[name][0] for name in ("sep", "cls") if name in processor}


def _renumbered_frame(processor: Mapping[str, Any] | None, ids: Mapping[str, int]) -> dict[str, Any] | None:
    if processor is None:
        return None
    if processor["type"] == "Sequence":
        return {**processor, "processors": [_renumbered_frame(each, ids) for each in processor["processors"]]}
    if processor["type"] == "TemplateProcessing":
        special = {name: {**each, "ids": [ids[token] for token in each["tokens"]]} for name, each in processor["special_tokens"].items()}
        return {**processor, "special_tokens": special}
    return {**processor, **{name: [processor[name][0], ids[processor[name][0]]] for name in ("sep", "cls") if name in processor}}


def _check_unknown(before: Tokenizer, after: Tokenizer, model: Mapping[str, Any]) -> None:
    """Refuse a pruned tokenizer that knows less of some telling texts than the whole one."""
    unknown = model.get("unk_token") or (model["vocab"][model["unk_id"]][0] if model.get("unk_id") is not None else "")
    later, earlier = after.token_to_id(unknown), before.token_to_id(unknown)
    if later is None or earlier is None:
        return  # it knows every text, by its bytes
    for text in telling_texts(before):
        if after.encode(text, add_special_tokens=False).ids.count(later) > before.encode(text, add_special_tokens=False).ids.count(earlier):
            raise RefusedError(f"with fewer tokens it would not know all of {text[:40]!r} any more")


def _pieces(tokenizer: PreTrainedTokenizerBase, model: Mapping[str, Any], token: str, known: Mapping[str, int]) -> list[int]:
    """Ids of the pieces that a dropped token falls apart into."""
    if model["type"] != "WordPiece":
        plain = token.removesuffix(model.get("end_of_word_suffix") or "").removeprefix(model.get("continuing_subword_prefix") or "")
        return [piece.id for piece in _backend(tokenizer).model.tokenize(plain)]
    prefix, found = model["continuing_subword_prefix"], []
    rest = token
    while rest not in ("", prefix):
        piece = next((rest[:end] for end in range(len(rest), 0, -1) if rest[:end] in known and rest[:end] != prefix), None)
        if piece is None:
            return [known[model["unk_token"]]]
        found.append(known[piece])
        rest = prefix + rest.removeprefix(piece)
    return found
