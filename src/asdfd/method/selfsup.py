"""The self-supervised module: predict masked pseudo embeddings from the student's hidden states.

Its loss measures how well the student understands an input without any label; the adversary raises it, the student and this head lower it.
Shapes: B batch, L sequence (special tokens included), D embedding width, H hidden width.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from asdfd.method.prior import Frame


class MaskedEmbeddingHead(nn.Module):
    """Maps the student's last hidden states [..., H] to embeddings [..., D], standardised by the statistics of the teacher's table."""

    mean: Tensor
    deviation: Tensor
    mask_embedding: Tensor

    def __init__(self, hidden_width: int, table: Tensor, mask_embedding: Tensor) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_width)
        self.transform = nn.Linear(hidden_width, hidden_width)
        self.predict = nn.Linear(hidden_width, table.shape[1])
        self.register_buffer("mean", table.mean(dim=0), persistent=False)
        self.register_buffer("deviation", table.std(dim=0).clamp_min(1e-6), persistent=False)
        self.register_buffer("mask_embedding", mask_embedding.clone(), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Predicted standardised embeddings [..., D] for hidden states [..., H]."""
        return self.predict(nn.functional.gelu(self.transform(self.norm(hidden))))

    def standardise(self, embeddings: Tensor) -> Tensor:
        """Embeddings in units of the table's standard deviation in each dimension."""
        return (embeddings - self.mean) / self.deviation


def make_head(hidden_width: int, table: Tensor, tokenizer: PreTrainedTokenizerBase, seed: int) -> MaskedEmbeddingHead:
    """A head with weights drawn from `seed`; a tokenizer without a mask token masks with the table's mean row."""
    mask_id = cast("int | None", tokenizer.mask_token_id)
    mask_embedding = table.mean(dim=0) if mask_id is None else table[mask_id]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedEmbeddingHead(hidden_width, table.detach().cpu(), mask_embedding.detach().cpu()).to(table.device)


def draw_mask(batch: int, content_length: int, frame: Frame, share: float, random: np.random.Generator) -> Tensor:
    """Which positions are masked, bool [B, L]: `share` of the content positions of every sample, at least one, never a special token."""
    count = max(1, round(share * content_length))
    ranks = random.random((batch, content_length)).argsort(axis=1).argsort(axis=1)
    mask = np.zeros((batch, content_length + frame.length), dtype=bool)
    mask[:, frame.content_places(content_length)] = ranks < count
    return torch.from_numpy(mask)


def mask_embeddings(embeddings: Tensor, mask: Tensor, head: MaskedEmbeddingHead) -> Tensor:
    """Embeddings [B, L, D] with the masked positions replaced by the mask token's embedding."""
    return torch.where(mask.unsqueeze(-1), head.mask_embedding, embeddings)


def masked_embedding_losses(head: MaskedEmbeddingHead, hidden: Tensor, embeddings: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of each sample's masked positions in standardised units, [B].

    `hidden` [B, L, H] are the student's last hidden states on the masked input, `embeddings` [B, L, D] what was there before masking.
    """
    errors = (head(hidden) - head.standardise(embeddings)).square().mean(-1)
    return (errors * mask).sum(-1) / mask.sum(-1)
