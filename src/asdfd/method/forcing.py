"""Teacher forcing: while it is on, each layer of the student reads what the teacher has at that place, not what the student's layers before it made of it.

So every layer learns its part of the teacher from the first step, on inputs that are right, and no gradient of a later layer's error reaches it: one regression
for each layer, side by side, on targets that do not move. The student's own chain is trained after that, for the rest of the steps.
Source: "A Learning Algorithm for Continually Running Fully Recurrent Neural Networks" (Williams and Zipser) has the idea for steps of time in place of layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from asdfd.models.classifiers import Signals, signals
from asdfd.models.families import family_of


class TeacherForcing:
    """Hooks on a student's layers that stay for good and do nothing but in `signals`."""

    def __init__(self, student: PreTrainedModel) -> None:
        """Hook every layer of `student`; of one that is repeated, every call."""
        self._student = student
        self._inputs: tuple[Tensor, ...] = ()
        self._call = 0
        for layer in student.get_submodule(family_of(student.config).all_layers).children():
            layer.register_forward_pre_hook(self._swap)

    def signals(self, embeddings: Tensor, inputs: Sequence[Tensor], types: Tensor | None = None) -> Signals:
        """The student's logits and hidden states on word embeddings [B, L, D]; its first layer reads those, the layer i + 1 reads `inputs[i]` [B, L, H].

        `types` are the token types of pairs, see `models.classifiers.signals`.
        """
        self._inputs, self._call = tuple(inputs), 0
        try:
            return signals(self._student, embeddings, types)
        finally:
            self._inputs = ()

    def _swap(self, _: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The arguments of a layer's call with its hidden states taken from the teacher."""
        if not self._inputs:
            return None
        call, self._call = self._call, self._call + 1
        return None if call == 0 else (self._inputs[call - 1], *arguments[1:])
