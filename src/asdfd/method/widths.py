"""Which widths a student can have. Nothing here loads a model: a run is checked before any is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asdfd.base.errors import InputError, RefusedError
from asdfd.models.families import FAMILIES, family_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def check_width(width: int, config: PreTrainedConfig, *, holds_tokens: bool = True) -> None:
    """Refuse a width that no student of a teacher with this config can have, or that the bank cannot train.

    Raises:
        InputError: not a whole number of heads below the teacher's width, or a bank of embeddings.
        RefusedError: a family whose students cannot be narrower.
    """
    hidden, head = config.hidden_size, config.hidden_size // config.num_attention_heads
    if family_of(config).narrowed is None:
        can = ", ".join(name for name, family in FAMILIES.items() if family.narrowed)
        raise RefusedError(
            f"student.width {width}: students of a {config.model_type} teacher cannot be narrower, those of {can} can; "
            "set it to 0, and take fewer layers with student.count"
        )
    if width >= hidden or width % head:
        choices = "has one head only" if head == hidden else f"takes multiples of {head}, the size of a head, from {head} to {hidden - head}"
        raise InputError(f"student.width {width}: the teacher's hidden size is {hidden}, and it {choices}; choose one, or 0 for the teacher's")
    if not holds_tokens:
        raise InputError(
            f"student.width {width}: the bank holds embeddings of the teacher's width; "
            "make a bank of tokens with `asdfd synthesize --set synthesis.guessing=none`, or set student.width to 0"
        )
