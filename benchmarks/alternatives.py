"""What somebody could do in a minute instead of distilling a student, none of it with data: the teacher as int8, and a model without layers.

Both are called as a transformers model is, so that their accuracy is measured like a student's.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from asdfd.method.bank import Bank
from asdfd.method.prior import frame_of
from asdfd.models.classifiers import Classifier
from asdfd.models.onnx import Exported, open_model, write_model

HEAD_STEPS = 100
"""Most iterations of L-BFGS that the static model's head is fitted with."""
DECAY = 1e-4
"""L2 penalty of the head's weights, so that words that few samples hold do not decide."""


class Static(torch.nn.Module):
    """The mean of the teacher's word vectors with a linear head, the way of Model2Vec: logits [B, C] of token ids [B, L] where the mask [B, L] is not 0."""

    def __init__(self, table: Tensor, special: Tensor, classes: int) -> None:
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(torch.nn.functional.normalize(table.detach().clone()))
        self.special = special
        self.head = torch.nn.Linear(table.shape[1], classes)

    def means(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Mean vectors [B, D] of the texts' own tokens."""
        weights = (attention_mask.bool() & ~torch.isin(input_ids, self.special)).unsqueeze(-1).float()
        return (self.table(input_ids) * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.head(self.means(input_ids, attention_mask)))


def static_model(teacher: Classifier, bank: Bank, batch_size: int = 64) -> Static:
    """Fit the head to the teacher's probabilities on a bank of token ids."""
    table = teacher.embedding_table
    model = Static(table, torch.tensor(teacher.tokenizer.all_special_ids), len(teacher.label_names))
    frame, means, answers = frame_of(teacher.tokenizer), [], []
    with torch.no_grad():
        for form in np.unique(bank.forms):  # entries of one length, which need no padding
            rows = np.flatnonzero(bank.forms == form)
            for start in range(0, len(rows), batch_size):
                ids = frame.around(bank.content(rows[start : start + batch_size]))
                means.append(model.means(ids, torch.ones_like(ids)))
                answers.append(teacher.model(input_ids=ids).logits.softmax(dim=-1))
    fit(model.head, torch.cat(means), torch.cat(answers))
    return model.eval()


def fit(head: torch.nn.Linear, features: Tensor, answers: Tensor) -> None:
    """Fit a linear head on features [N, D] to probabilities [N, C] by cross-entropy."""
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=HEAD_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(head(features), answers) + DECAY * (head.weight**2).sum()
        value.backward()
        return value

    optimizer.step(loss)


class Int8:
    """An ONNX file that is called as a transformers model is."""

    def __init__(self, exported: Exported) -> None:
        self.exported = exported

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, **_: Tensor) -> SimpleNamespace:
        rows = [ids[mask.bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)]
        return SimpleNamespace(logits=torch.from_numpy(self.exported.logits(rows, len(rows))))


def int8_teacher(teacher: Classifier, teacher_folder: Path, folder: Path) -> Int8:
    """The teacher quantized as the product does it for a student, without data."""
    write_model(teacher, teacher_folder, folder / "model.onnx", "int8", folder / "float.onnx")
    padding = teacher.tokenizer.pad_token_id
    assert isinstance(padding, int)
    return Int8(open_model(folder / "model.onnx", padding=padding, form="int8"))
