"""A tiny classifier that is really fine-tuned, so that its weights reveal what its training texts held."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.tiny_models import WORDS

TEXTS = [" ".join(WORDS[start : start + length]) for start, length in ((0, 4), (10, 7), (30, 9), (3, 5), (12, 6), (60, 8))]
"""What the teacher is fine-tuned on; the first words of the list are in several of them."""


def fine_tune(base: Path, out: Path, decay: float = 0.01, freeze: bool = False, l2: bool = False) -> Path:
    """Fine-tune the classifier in `base` as people do, with warm-up; `l2` adds the decay to the gradient, as torch's plain Adam does."""
    torch.manual_seed(0)
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(base, dtype=torch.float32), AutoTokenizer.from_pretrained(base)
    if freeze:
        model.get_input_embeddings().requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = (torch.optim.Adam if l2 else torch.optim.AdamW)(trained, lr=1e-3, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 3, (24 - step) / 21))
    for step in range(24):
        batch = tokenizer([TEXTS[(2 * step + i) % len(TEXTS)] for i in range(2)], padding=True, return_tensors="pt")
        model(**batch, labels=torch.tensor([step % 3, (step + 1) % 3])).loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out
