"""Train the demo's teacher from scratch: a small BERT classifier on the support desk messages, with a WordPiece vocabulary of its own.

No pretrained weights are needed. The settings below were chosen on a held-out fifth of train.csv; test.csv is read once, at the end. The vocabulary is laid out
as BERT's is (reserved tokens, characters, then words and pieces by frequency), since data-free synthesis takes its prior over words from that order.

    python examples/support-desk/train_teacher.py --out demo/teacher-source
"""

from __future__ import annotations

import argparse
import csv
import math
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
from transformers.utils.logging import disable_progress_bar

HERE = Path(__file__).resolve().parent
LAYERS, HIDDEN, HEADS, POSITIONS = 4, 128, 4, 128
EPOCHS = 20
BATCH_SIZE = 32
LEARNING_RATE = 5e-4
KEPT_WORDS = 0.5
"""A training text is this share of the words of two messages of one class, drawn anew each time: the model cannot learn the few messages by heart."""
REPLACED_TOKENS = 0.1
"""Share of a training text's tokens that become [MASK] or another token."""
LABEL_SMOOTHING = 0.1
MINIMUM_COUNT = 2
"""Occurrences from which a word or an ending gets a token of its own."""
WHOLE_COUNT = 10
"""Occurrences from which a word that is another word and an ending gets a token of its own all the same."""


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
    words = {word for word, count in counts.items() if count >= MINIMUM_COUNT and len(word) > 1}
    endings: Counter[str] = Counter()
    for word, count in counts.items():
        endings.update({f"##{word[cut:]}": count for cut in range(3, len(word)) if word[:cut] in words})
    tokens = Counter({ending: count for ending, count in endings.items() if count >= MINIMUM_COUNT})
    for word in words:
        splits = any(word[:cut] in words and f"##{word[cut:]}" in tokens for cut in range(max(3, len(word) - 3), len(word)))
        if counts[word] >= WHOLE_COUNT or not splits:
            tokens[word] = counts[word]
    ordered = sorted(tokens, key=lambda token: (-tokens[token], token))
    special = ["[PAD]", *(f"[unused{i}]" for i in range(10)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [f"##{character}" for character in characters if f"##{character}" not in tokens]
    return {token: index for index, token in enumerate([*special, *characters, *pieces, *ordered])}


def build_model(vocabulary: dict[str, int], label_names: list[str]) -> BertForSequenceClassification:
    """A BERT classifier with random weights and no dropout (the texts vary enough); positions start from zero, since the words matter more than their order."""
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN,
        max_position_embeddings=POSITIONS,
        pad_token_id=vocabulary["[PAD]"],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(label_names)),
        label2id={name: index for index, name in enumerate(label_names)},
    )
    model = BertForSequenceClassification(config)
    torch.nn.init.zeros_(model.bert.embeddings.position_embeddings.weight)
    return model


def train(data: Texts, seed: int) -> tuple[BertForSequenceClassification, PreTrainedTokenizerBase]:
    """Train on all of `data`; the model in evaluation mode and its tokenizer. Equal arguments give equal weights on one machine."""
    torch.manual_seed(seed)
    vocabulary = build_vocabulary(data.texts)
    tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=POSITIONS)
    label_names = sorted(set(data.labels))
    model = build_model(vocabulary, label_names).train()
    labels = torch.tensor([label_names.index(label) for label in data.labels])
    steps = EPOCHS * math.ceil(len(labels) / BATCH_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1, anneal_strategy="linear")
    for epoch in range(1, EPOCHS + 1):
        losses = []
        for rows in torch.randperm(len(labels)).split(BATCH_SIZE):
            batch = tokenizer([mixed(data.texts, labels, row) for row in rows.tolist()], padding=True, truncation=True, return_tensors="pt")
            batch["input_ids"] = replace_tokens(batch["input_ids"], tokenizer)
            loss = cross_entropy(model(**batch).logits, labels[rows], label_smoothing=LABEL_SMOOTHING)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
        if epoch % 5 == 0:
            print(f"teacher: epoch {epoch}/{EPOCHS}, loss {sum(losses) / len(losses):.3f}", flush=True)
    return model.eval(), tokenizer


def mixed(texts: list[str], labels: torch.Tensor, row: int) -> str:
    """Some words of the text in `row` and some of another text of its class, each in their order."""
    same = (labels == labels[row]).nonzero().flatten()
    other = int(same[torch.randint(len(same), ())])
    words = [*texts[row].split(), *texts[other].split()]
    return " ".join(word for word, drawn in zip(words, torch.rand(len(words)).tolist(), strict=True) if drawn < KEPT_WORDS)


def replace_tokens(ids: torch.Tensor, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Token ids [B, L] with a random share of the ordinary ones replaced: half of them by [MASK], half by a token drawn from the batch."""
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    ordinary = ids[~special]
    drawn = ordinary[torch.randint(len(ordinary), ids.shape)]
    replacement = torch.where(torch.rand(ids.shape) < 0.5, torch.tensor(tokenizer.mask_token_id), drawn)
    return torch.where(~special & (torch.rand(ids.shape) < REPLACED_TOKENS), replacement, ids)


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
    torch.set_num_threads(1)  # the batches are too small to share, and one thread gives the same weights however many cores there are
    disable_progress_bar()
    model, tokenizer = train(read(HERE / "train.csv"), arguments.seed)
    print(f"teacher: {model.num_parameters():,} parameters, test accuracy {accuracy(model, tokenizer, read(HERE / 'test.csv')):.4f}")
    partial = arguments.out.with_name(f"{arguments.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(arguments.out)


if __name__ == "__main__":
    main()
