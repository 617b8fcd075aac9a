"""Train the demo's teacher from scratch: a small BERT classifier on the support desk messages, with a WordPiece vocabulary of its own.

No pretrained weights are needed. The settings below were chosen on a held-out fifth of train.csv; test.csv is read once, at the end. The vocabulary is laid out
as BERT's is (reserved tokens, characters, then words and pieces by frequency), since data-free synthesis takes its prior over words from that order.

    python examples/support-desk/train_teacher.py --out demo/teacher-source
"""

from __future__ import annotations

import argparse
import csv
import shutil
import string
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer, PreTrainedTokenizerBase

HERE = Path(__file__).resolve().parent
LAYERS, HIDDEN, HEADS, POSITIONS = 4, 128, 4, 128
EPOCHS = 40
BATCH_SIZE = 32
LEARNING_RATE = 1e-3
DROPPED_TOKENS = 0.2
"""Share of a training text's tokens that become [MASK] or another word, anew each time: with so few texts the model must not lean on single words."""
LABEL_SMOOTHING = 0.1
DROPOUT = 0.0
POSITION_SCALE = 0.0
LSA = 0.0
SPLIT = 10
MIX = 0.5
KEEP = 0.6
WORD_SCALE = 1.0
WEIGHT_DECAY = 0.01
MINIMUM_COUNT = 1
"""Occurrences from which a word gets a token of its own."""


class Texts(NamedTuple):
    """Texts and the label of each."""

    texts: list[str]
    labels: list[str]


def read(path: Path) -> Texts:
    """The two columns of a CSV file."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return Texts([row["text"] for row in rows], [row["label"] for row in rows])


def build_vocabulary(texts: list[str]) -> dict[str, int]:
    """Token ids: reserved and special tokens, single characters, then words and the endings that turn one word into another, most frequent first."""
    normalizer, splitter = BertNormalizer(), BertPreTokenizer()
    counts = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    characters = sorted({*string.printable[:95].lower(), *(character for word in counts for character in word)} - {" "})
    tokens = Counter({word: count for word, count in counts.items() if count >= MINIMUM_COUNT and len(word) > 1})
    endings: Counter[str] = Counter()
    for word, count in counts.items():
        endings.update({f"##{word[cut:]}": count for cut in range(3, len(word)) if word[:cut] in tokens})
    tokens.update({ending: count for ending, count in endings.items() if count >= MINIMUM_COUNT})
    if SPLIT:
        for word, count in counts.items():
            if count < SPLIT and any(word[:cut] in counts and counts[word[:cut]] >= MINIMUM_COUNT and cut >= 3 and f"##{word[cut:]}" in tokens for cut in range(max(3, len(word) - 3), len(word))):
                tokens.pop(word, None)
    ordered = sorted(tokens, key=lambda token: (-tokens[token], token))
    pieces = [f"##{character}" for character in characters if f"##{character}" not in tokens]
    special = ["[PAD]", *(f"[unused{i}]" for i in range(10)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return {token: index for index, token in enumerate([*special, *characters, *pieces, *ordered])}


def build_model(vocabulary: dict[str, int], label_names: list[str]) -> BertForSequenceClassification:
    """A BERT classifier with random weights."""
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN,
        max_position_embeddings=POSITIONS,
        pad_token_id=vocabulary["[PAD]"],
        hidden_dropout_prob=DROPOUT,
        attention_probs_dropout_prob=DROPOUT,
        id2label=dict(enumerate(label_names)),
        label2id={name: index for index, name in enumerate(label_names)},
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.bert.embeddings.position_embeddings.weight.mul_(POSITION_SCALE)
        model.bert.embeddings.word_embeddings.weight.mul_(WORD_SCALE)
    return model


def train(data: Texts, seed: int) -> tuple[BertForSequenceClassification, PreTrainedTokenizerBase]:
    """Train on `data`, all of it, and return the model in evaluation mode with its tokenizer. Equal arguments give equal weights on one machine."""
    torch.manual_seed(seed)
    vocabulary = build_vocabulary(data.texts)
    tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=POSITIONS)
    label_names = sorted(set(data.labels))
    model = build_model(vocabulary, label_names).train()
    if LSA:
        import numpy as np
        X = np.zeros((len(data.texts), len(vocabulary)))
        for i, ids in enumerate(tokenizer(data.texts, add_special_tokens=False)["input_ids"]):
            for j in ids: X[i, j] = 1
        X = X * np.log(len(X) / (1 + X.sum(0)))
        X = X / np.linalg.norm(X, axis=1, keepdims=True)
        U, S, V = np.linalg.svd(X, full_matrices=False)
        W = V[:HIDDEN].T * S[:HIDDEN] ** LSA
        W = W / np.maximum(np.linalg.norm(W, axis=1, keepdims=True), 1e-9)
        W = torch.tensor(W, dtype=torch.float32)
        with torch.no_grad():
            E = model.bert.embeddings.word_embeddings.weight
            rows = W.norm(dim=1) > .5
            E[rows] = W[rows] * WORD_SCALE * 0.02 * HIDDEN ** .5
            model.bert.embeddings.token_type_embeddings.weight.zero_()
    labels = torch.tensor([label_names.index(label) for label in data.labels])
    steps = EPOCHS * len(batches_of_similar_length(data.texts))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1, anneal_strategy="linear")
    for epoch in range(EPOCHS):
        batches = batches_of_similar_length(data.texts)
        total = 0.0
        for rows in batches:
            batch = tokenizer([mix(data, row) for row in rows], padding=True, truncation=True, return_tensors="pt")
            batch["input_ids"] = drop_tokens(batch["input_ids"], tokenizer)
            loss = cross_entropy(model(**batch).logits, labels[rows], label_smoothing=LABEL_SMOOTHING)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.item()
        if (epoch + 1) % 10 == 0:
            print(f"teacher: epoch {epoch + 1}/{EPOCHS}, loss {total / len(batches):.3f}", flush=True)
    return model.eval(), tokenizer


def batches_of_similar_length(texts: list[str]) -> list[list[int]]:
    """One epoch's batches of rows: shuffled, sorted by length in four pools so that little is padded, and the batches shuffled; an incomplete one is dropped."""
    batches: list[list[int]] = []
    for pool in torch.randperm(len(texts)).chunk(4):
        rows = sorted(pool.tolist(), key=lambda row: len(texts[row]))
        batches += [rows[start : start + BATCH_SIZE] for start in range(0, len(rows) - BATCH_SIZE + 1, BATCH_SIZE)]
    return [batches[index] for index in torch.randperm(len(batches)).tolist()]


def mix(data: Texts, row: int) -> str:
    if torch.rand(()) >= MIX:
        return data.texts[row]
    rows = [i for i, label in enumerate(data.labels) if label == data.labels[row]]
    other = rows[int(torch.randint(len(rows), ()))]
    words = [w for i in (row, other) for w in data.texts[i].split() if torch.rand(()) < KEEP]
    return " ".join(words)


def drop_tokens(ids: torch.Tensor, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Token ids [B, L] with a random share of the ordinary ones replaced: half of them by [MASK], half by a token drawn from the batch."""
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    ordinary = ids[~special]
    drawn = ordinary[torch.randint(len(ordinary), ids.shape)]
    replacement = torch.where(torch.rand(ids.shape) < 0.5, torch.tensor(tokenizer.mask_token_id), drawn)
    return torch.where(~special & (torch.rand(ids.shape) < DROPPED_TOKENS), replacement, ids)


@torch.no_grad()
def accuracy(model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerBase, data: Texts) -> float:
    """Share of the texts whose most probable class is the label."""
    batch = tokenizer(data.texts, padding=True, truncation=True, return_tensors="pt")
    assert model.config.label2id is not None
    wanted = torch.tensor([model.config.label2id[label] for label in data.labels])
    return (model(**batch).logits.argmax(-1) == wanted).float().mean().item()


def main() -> None:
    """Train, report the test accuracy, save a Hugging Face folder that is whole or not there."""
    parser = argparse.ArgumentParser(description="Train the demo's teacher from scratch.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, in the Hugging Face format")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything that is drawn (default 0)")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out}: exists; remove it or name another --out")
    torch.set_num_threads(2)
    model, tokenizer = train(read(HERE / "train.csv"), arguments.seed)
    print(f"teacher: {model.num_parameters():,} parameters, test accuracy {accuracy(model, tokenizer, read(HERE / 'test.csv')):.4f}")
    partial = arguments.out.with_name(f"{arguments.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(arguments.out)


if __name__ == "__main__":
    main()
