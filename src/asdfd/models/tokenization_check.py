"""Whether a loaded tokenizer makes of texts what its tokenizer.json makes of them, and what others would, on characters that normalizers and splitting rules
treat differently."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import transformers
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from asdfd.base.errors import InputError
from asdfd.models.loading import without_load_reports
from asdfd.models.tokenization import TOKENIZER, bytes_unused, follows_file, tokenizer_class

TELLING = (
    *(
        "\u2026",
        "\uff21\uff22\uff43",
        "\uff11\uff12",
        "\ufb01ne",
        "\u00bd",
        "\u2122",
        "\u2163",
        "\u00b2",
        "\u2460",
        "\u33a1",
    ),  # one character that NFKC takes for others
    *(
        "caf\u00e9",
        "cafe\u0301",
        "\u00c5ngstr\u00f6m",
        "\u0130stanbul",
        "stra\u00dfe",
        "\u01c5",
        "na\u00efve",
        "\u1e9e",
        "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2",
    ),  # accents, cases
    *(
        "a\u00a0b",
        "a\u2009b",
        "a\u3000b",
        "a\u200bb",
        "a\u200db",
        "a\ufeffb",
        "a\u00adb",
        "a\u2028b",
        "a\x00b",
        "a\x1fb",
        "a\x85b",
    ),  # spaces, and what is no space
    *("  two  spaces ", " before", "behind ", "tab\there", "line\nbreak", "a\r\nb", "\n\n", ""),
    *(
        "don't",
        "don\u2019t",
        "\u201cquoted\u201d",
        "``quoted''",
        "\u00abquoted\u00bb",
        "a-b",
        "a\u2013b",
        "a\u2014b",
        "a_b",
        "a/b",
        "a.b",
        "e.g.",
        "...",
        "?!",
        "$9,99",
        "1,000.5",
        "9,",
        "10%",
    ),
    *(
        "\u4e2d\u6587",
        "\u65e5\u672c\u8a9e",
        "\uff83\uff7d\uff84",
        "\u30c6\u30b9\u30c8",
        "\ud55c\uad6d\uc5b4",
        "\u0e20\u0e32\u0e29\u0e32",
        "\u0627\u0644\u0639\u064e\u0631\u064e\u0628\u0650\u064a\u0629",
        "\u05e2\u05d1\u05e8\u05d9\u05ea",
        "\u0939\u093f\u0928\u094d\u0926\u0940",
        "\u0440\u0443\u0441\u0441\u043a\u0438\u0439",
        "ti\u1ebfng Vi\u1ec7t",
    ),
    *("\U0001f600", "\U0001f469\u200d\U0001f4bb", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", ":)", "#tag", "@user", "http://a.example/b?c=d", "a@b.example"),
    *("UPPER lower Title", "camelCase", "x" * 120, "12345678901234567890"),
)
"""Texts that tokenizers treat differently: each alone, inside a word and between words."""
PIECES = 200
"""Tokens of the vocabulary, spread over it, that are texts as well."""


def check_tokens(folder: Path, tokenizer: PreTrainedTokenizerBase, shown: str) -> None:
    """Refuse a tokenizer that makes other tokens than the tokenizer.json in its folder. `shown` is what errors call the folder.

    Raises:
        InputError: it does.
    """
    if not follows_file(folder, tokenizer_class(folder)):
        return
    file = _file(folder)
    texts = list(telling_texts(file))
    for text, found, expected in zip(texts, tokenizer(texts)["input_ids"], file.encode_batch(texts), strict=True):
        if found != expected.ids:
            raise InputError(
                f"{shown}/{TOKENIZER}: makes {expected.tokens[:8]} of {text[:40]!r}, with the files beside it that becomes "
                f"{tokenizer.convert_ids_to_tokens(found)[:8]}; save the tokenizer again with save_pretrained"
            )


def other_readings(folder: Path, tokenizer: PreTrainedTokenizerBase, shown: str) -> list[str]:
    """One line for each way in which the files would be read otherwise elsewhere; most often there is none."""
    kind = tokenizer_class(folder)
    if not follows_file(folder, kind):
        unknown = f"{kind.__name__} makes no bytes of unknown characters, as this file would: each is {tokenizer.unk_token}, as in transformers 4"
        return [f"{shown}/{name}: {unknown}" for name in bytes_unused(folder, kind)]
    built, file = _of_class(folder, kind), _file(folder)
    if built is None:
        return []
    texts = list(telling_texts(file))
    pairs = zip(texts, built(texts)["input_ids"], file.encode_batch(texts), strict=True)
    others = [(text, built.convert_ids_to_tokens(ids), made.tokens) for text, ids, made in pairs if ids != made.ids]
    if not others:
        return []
    text, there, here = min(others, key=lambda other: len(other[0]))
    return [
        f"{shown}/{TOKENIZER}: is followed, and makes {here[:8]} of {text[:40]!r}, where {kind.__name__} of transformers {transformers.__version__} makes "
        f"{there[:8]} ({len(others)} of {len(texts)} texts differ); if the teacher was fine-tuned with that class, save the tokenizer again with it"
    ]


def _file(folder: Path) -> Tokenizer:
    """The tokenizer.json, without the cutting and padding of it."""
    file = Tokenizer.from_file(str(folder / TOKENIZER))
    file.no_truncation()
    file.no_padding()
    return file


def _of_class(folder: Path, kind: type[PreTrainedTokenizerBase]) -> PreTrainedTokenizerBase | None:
    """What the class that the folder names makes of it by itself; None where it follows the file, too, or cannot load it."""
    if kind is PreTrainedTokenizerFast:
        return None
    try:
        with without_load_reports():
            unlimited = 2**62  # what the files say may be no number
            return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, model_max_length=unlimited)
    except Exception:  # whatever it lacks: it is not what is used
        return None


def telling_texts(file: Tokenizer) -> Iterator[str]:
    """A few hundred texts on which tokenizers differ."""
    special = {token.content for token in file.get_added_tokens_decoder().values()}
    pieces = sorted(set(file.get_vocab()) - special)
    for text in (*TELLING, *pieces[:: max(1, len(pieces) // PIECES)]):
        yield text
        yield f"the {text} end"
        yield f"word{text}word"
