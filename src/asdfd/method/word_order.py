"""How words follow each other in drawn sequences, from a source that the user declares: public text, or a public masked language model.

The vocabulary prior draws tokens one by one, and needs nothing but the teacher. Both sources here are something beside the teacher: a bank made with one is not
data-free in the strict sense, so its recipe holds the source's digest, and card and report name it. Neither source gives labels; those are the teacher's.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedModel, PreTrainedTokenizerBase

from asdfd.base.artifacts import FileEntry, content_digest, sha256_of
from asdfd.base.config import Synthesis
from asdfd.base.errors import InputError, RefusedError
from asdfd.method.prior import Frame, VocabularyPrior, frame_of
from asdfd.models.classifiers import Classifier
from asdfd.models.lengths import positions
from asdfd.models.loading import reason, without_load_reports
from asdfd.models.tokenization import load_tokenizer
from asdfd.models.weights import read_config

LONGEST_LINE = 2**18
"""Characters after which a line is taken for two, so that a file without line ends is read in pieces as well."""
ENCODED_AT_ONCE = 2**20
"""Characters that are turned into tokens together."""
SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*\s+|[。！？]+\s*")  # the full stops of Chinese and Japanese
BLOCKS = 3
"""Parts of a sequence that the language model draws one after the other, each anew given the others."""
SWEEPS = 2
"""How often it goes over the whole sequence. The first sweep sees words that have nothing to do with each other."""
LOGITS_AT_ONCE = 2**26
"""Numbers that the language model gives in one pass: a vocabulary of 250,000 words would fill the memory otherwise."""


@dataclass(frozen=True)
class PublicText:
    """A text as one row of tokens, memory-mapped."""

    tokens: np.ndarray
    """Ordinary tokens of all lines in order, int32 [T]."""
    starts: np.ndarray
    """Where lines and sentences start in it, rising, int64 [S]."""
    enough: int
    """Starts below which samples would repeat each other; they then start anywhere."""

    def draw(self, size: int, length: int, random: np.random.Generator) -> np.ndarray:
        """Token ids int64 [size, length]: so many tokens that follow each other, from the start of a sentence on. A longer sample goes on in the next one."""
        last = len(self.tokens) - length
        starts = self.starts[: np.searchsorted(self.starts, last, side="right")]
        begin = starts[random.integers(len(starts), size=size)] if len(starts) >= self.enough else random.integers(last + 1, size=size)
        return self.tokens[begin[:, None] + np.arange(length)].astype(np.int64)


@dataclass(frozen=True)
class LanguageModel:
    """A masked language model with the teacher's vocabulary, and the prior that its sequences begin with."""

    model: PreTrainedModel
    prior: VocabularyPrior
    frame: Frame
    mask: int
    """Id of the mask token."""

    def draw(self, size: int, length: int, random: np.random.Generator) -> np.ndarray:
        """Token ids int64 [size, length]: drawn one by one, then each block of positions anew from the model's distribution given all others."""
        tokens = self.prior.draw(size * length, random).reshape(size, length)
        for _ in range(SWEEPS):
            block = random.permuted(np.tile(np.arange(length) % BLOCKS, (size, 1)), axis=1)
            for number in range(min(BLOCKS, length)):
                places = block == number
                tokens[places] = self.predicted(np.where(places, self.mask, tokens), places, random.random(int(places.sum())))
        return tokens

    @torch.no_grad()
    def predicted(self, tokens: np.ndarray, places: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Tokens [N] drawn for the masked `places`, bool [B, L], of token ids [B, L]; each takes one of the numbers `uniform` [N] from 0 to 1."""
        device, first = self.model.device, len(self.frame.prefix)
        rows = max(1, LOGITS_AT_ONCE // (tokens.shape[1] * int(self.model.config.vocab_size)))
        ordinary = torch.from_numpy(self.prior.token_ids).to(device)
        drawn, done = [], 0
        for start in range(0, len(tokens), rows):
            ids = self.frame.around(torch.from_numpy(tokens[start : start + rows]).to(device))
            logits = self.model(input_ids=ids).logits[:, first : first + tokens.shape[1]]
            chosen = logits[torch.from_numpy(places[start : start + rows]).to(device)][:, ordinary]
            drawn.append(ordinary[_inverse(chosen, uniform[done : done + len(chosen)])].cpu().numpy())
            done += len(chosen)
        return np.concatenate(drawn)


def declared_digests(config: Synthesis) -> dict[str, str]:
    """The parameter of the declared source with the digest of what it holds, for recipes: what it holds counts, not where it lies. Empty without one.

    Raises:
        InputError: it cannot be read, or is not a model.
        RefusedError: an unsafe model.
    """
    if config.prior_text:
        try:
            return {"prior_text": sha256_of(Path(config.prior_text))}
        except OSError as error:
            raise InputError(f"synthesis.prior_text: {config.prior_text} cannot be read ({error.strerror}); name a file of one text per line") from None
    return {"prior_model": _model_digest(Path(config.prior_model))} if config.prior_model else {}


def declared_source(parameters: Mapping[str, Any]) -> str:
    """What a person must know of a bank whose recipe holds these parameters: its declared source with its digest. Empty without one."""
    if parameters.get("prior_text"):
        return f"unlabelled public text (SHA-256 {parameters['prior_text']})"
    if parameters.get("prior_model"):
        return f"a public masked language model (digest {parameters['prior_model']})"
    return ""


def open_word_order(config: Synthesis, teacher: Classifier, prior: VocabularyPrior) -> PublicText | LanguageModel | None:
    """The source that the parameters declare, ready to draw from; None where words are independent of each other.

    Raises:
        InputError: a file that is not text or is too short, or a damaged model.
        RefusedError: a model that is unsafe or of another vocabulary than the teacher's.
    """
    if config.prior_text:
        return read_public_text(Path(config.prior_text), teacher.tokenizer, config)
    return load_language_model(Path(config.prior_model), config, teacher, prior) if config.prior_model else None


def read_public_text(path: Path, tokenizer: PreTrainedTokenizerBase, config: Synthesis) -> PublicText:
    """Turn a file of one text per line into tokens once. They go to a file that nobody else sees, so memory does not grow with the text.

    Special tokens are left out wherever the text holds them, a character that the tokenizer does not know among them.

    Raises:
        InputError: no such file, not UTF-8, or too little text for the samples that are asked for.
    """
    count, needed = 0, max(config.samples, config.maximum_length)
    with tempfile.TemporaryFile() as tokens, tempfile.TemporaryFile() as starts:
        for texts in _batches(path):
            for ids, begins in encoded(texts, tokenizer):
                tokens.write(ids.astype(np.int32).tobytes())
                starts.write((begins + count).astype(np.int64).tobytes())
                count += len(ids)
        if count < needed:
            found = f"holds {count} tokens" if count else "holds no text"
            what = f"{config.samples} samples of up to {config.maximum_length} tokens need at least {needed}"
            raise InputError(f"synthesis.prior_text: {path} {found}, {what}; name a longer text or lower synthesis.samples")
        lengths = config.maximum_length - config.minimum_length + 1
        return PublicText(_mapped(tokens, np.int32), _mapped(starts, np.int64), enough=max(1, config.samples // lengths))


def encoded(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ordinary token ids [T] of each text and where among them its sentences start, [S]; texts without any are left out."""
    added: dict[str, int] = tokenizer.get_added_vocab()  # pyright: ignore[reportCallIssue, reportOptionalCall, reportAssignmentType]
    special = np.array(sorted({*tokenizer.all_special_ids, *added.values()}), dtype=np.int64)
    places = bool(tokenizer.is_fast)  # a slow tokenizer does not tell where in the text its tokens come from
    whole = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=places, return_attention_mask=False, verbose=False)
    for row, text in enumerate(texts):
        ids = np.array(whole["input_ids"][row], dtype=np.int64)
        kept = ~np.isin(ids, special)
        if not kept.any():
            continue
        begins = np.zeros(1, dtype=np.int64)
        if places:
            ends = np.array(whole["offset_mapping"][row], dtype=np.int64)[kept, 1]
            sentences = np.searchsorted(ends, [0, *(match.end() for match in SENTENCE_END.finditer(text))], side="right")
            begins = np.unique(sentences[sentences < len(ends)])
        yield ids[kept], begins


def load_language_model(folder: Path, config: Synthesis, teacher: Classifier, prior: VocabularyPrior) -> LanguageModel:
    """The masked language model in a Hugging Face folder, frozen, on the teacher's device. Nothing that came with it is executed.

    Raises:
        InputError: the folder is incomplete or damaged.
        RefusedError: pickles, code, no masked language model, another vocabulary than the teacher's, or too few positions.
    """
    shown, where = str(folder), f"synthesis.prior_model: {folder}"
    _model_digest(folder)
    with without_load_reports():
        tokenizer = load_tokenizer(folder, shown)
        try:
            model, report = AutoModelForMaskedLM.from_pretrained(
                folder,
                config=read_config(folder)[0],
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:  # a config that is wrong somewhere raises whatever trips over it first
            raise InputError(f"{where} cannot be loaded ({reason(error, folder, shown)}); save it again with save_pretrained") from None
    if report["missing_keys"]:
        first = min(report["missing_keys"])
        raise RefusedError(f"{where} is not a masked language model ({first} is missing); name the pretrained model, with its language modelling head")
    if tokenizer.get_vocab() != teacher.tokenizer.get_vocab():
        raise RefusedError(f"{where} has another vocabulary than the teacher; name a masked language model with the teacher's tokenizer")
    mask = cast("int | None", teacher.tokenizer.mask_token_id)
    if mask is None:
        raise RefusedError(f"{where} has no mask token; name a masked language model, or use --prior-text")
    longest = config.maximum_length + frame_of(teacher.tokenizer).length
    if longest > positions(model):
        raise RefusedError(f"{where} has {positions(model)} positions, samples of up to {longest} tokens are asked for; lower synthesis.maximum_length")
    model = model.to(teacher.embedding_table.device).eval().requires_grad_(False)
    return LanguageModel(model, prior, frame_of(teacher.tokenizer), mask)


def _model_digest(folder: Path) -> str:
    """Digest of a language model's files; its folder may hold others, which are not used."""
    from asdfd.models.admission import (  # a bank without such a model does not depend on it
        CONFIG,
        check_family,
        check_no_code,
        read_json,
        tokenizer_files,
        weight_files,
    )

    shown = str(folder)
    if not folder.is_dir():
        raise InputError(f"synthesis.prior_model: {folder}: no such folder; name the folder that holds the model's {CONFIG}")
    config = read_json(folder, CONFIG, shown)
    check_no_code(folder, config, shown)
    check_family(config, shown)
    names = sorted([CONFIG, *weight_files(folder, shown), *tokenizer_files(folder, shown)])
    return content_digest("masked-language-model", {name: FileEntry(sha256_of(folder / name), (folder / name).stat().st_size) for name in names})


def _batches(path: Path) -> Iterator[list[str]]:
    """The lines of a file that hold something, some at a time."""
    where = f"synthesis.prior_text: {path}"
    texts, characters, line = [], 0, 0
    try:
        with path.open(encoding="utf-8-sig") as stream:
            while text := stream.readline(LONGEST_LINE):
                line += 1
                if text.strip():
                    texts.append(text.strip())
                    characters += len(text)
                if characters >= ENCODED_AT_ONCE:
                    yield texts
                    texts, characters = [], 0
    except UnicodeDecodeError:
        raise InputError(f"{where} is not UTF-8 after line {line}; convert it, for example with iconv -f LATIN1 -t UTF-8") from None
    except OSError as error:
        raise InputError(f"{where} cannot be read ({error.strerror}); name a file of one text per line") from None
    if texts:
        yield texts


def _mapped(stream: BinaryIO, kind: type[np.generic]) -> np.ndarray:
    """What a file without a name holds, as an array that stays readable when the file is closed."""
    stream.flush()
    return np.memmap(stream, dtype=kind, mode="r")  # pyright: ignore[reportCallIssue, reportArgumentType]


def _inverse(logits: Tensor, uniform: np.ndarray) -> Tensor:
    """A draw from each row's softmax: the first index [N] at which the cumulative probability of logits [N, K] passes its number from 0 to 1."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    points = torch.from_numpy(uniform).to(cumulative) * cumulative[:, -1]
    return torch.searchsorted(cumulative, points.unsqueeze(-1), right=True).squeeze(-1).clamp_max(logits.shape[-1] - 1)
