"""Losses against values worked out by hand, and their gradients against finite differences in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asdfd.method.objectives import class_loss, hidden_state_loss, soft_target_loss
from asdfd.method.synthesis import normalised

CLOSE = 1e-5
"""A few roundings of float32, of numbers whose difference is a tenth of them."""


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_soft_target_loss_by_hand() -> None:
    # softmax([ln 3, 0]) = [3/4, 1/4], softmax([0, 0]) = [1/2, 1/2]: KL = 3/4 ln(3/2) + 1/4 ln(1/2)
    loss = soft_target_loss(torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]]), temperature=1.0)
    assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=CLOSE)
    # at temperature 2 the teacher's logits halve: softmax([ln 3 / 2, 0]) = [s, 1 - s] with s = sqrt(3) / (1 + sqrt(3)), and the loss carries 2 squared
    s = math.sqrt(3) / (1 + math.sqrt(3))
    loss = soft_target_loss(torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]]), temperature=2.0)
    assert loss.item() == pytest.approx(4 * (s * math.log(2 * s) + (1 - s) * math.log(2 * (1 - s))), rel=CLOSE)


def test_soft_target_loss_is_a_mean_over_the_batch() -> None:
    student, teacher = drawn(6, 4), drawn(6, 4, seed=1)
    rows = [soft_target_loss(student[i : i + 1], teacher[i : i + 1], 3.0) for i in range(6)]
    assert soft_target_loss(student, teacher, 3.0).item() == pytest.approx(torch.stack(rows).mean().item(), rel=CLOSE)


def test_soft_target_loss_survives_logits_that_underflow() -> None:
    loss = soft_target_loss(torch.tensor([[0.0, 500.0]]), torch.tensor([[500.0, 0.0]]), temperature=1.0)
    assert loss.item() == pytest.approx(500.0)


def test_hidden_state_loss_by_hand() -> None:
    teacher = torch.tensor([[[3.0, 4.0]]])  # mean square 12.5
    student = torch.tensor([[[3.0, 3.0]]])  # mean squared distance 0.5
    assert hidden_state_loss([student], [teacher]).item() == pytest.approx(0.5 / 12.5)
    assert hidden_state_loss([student, torch.zeros(1, 1, 2)], [teacher, teacher]).item() == pytest.approx((0.5 / 12.5 + 1) / 2)


def test_hidden_state_loss_needs_as_many_layers_on_both_sides() -> None:
    with pytest.raises(ValueError, match="longer"):
        hidden_state_loss([torch.zeros(1, 1, 2)], [torch.zeros(1, 1, 2)] * 2)


def test_class_loss_sums_over_the_batch() -> None:
    assert class_loss(torch.zeros(5, 4), torch.tensor([0, 1, 2, 3, 0])).item() == pytest.approx(5 * math.log(4))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_target_gradient(temperature: float) -> None:
    student, teacher = drawn(3, 5).double().requires_grad_(), drawn(3, 5, seed=1).double()
    assert torch.autograd.gradcheck(lambda logits: soft_target_loss(logits, teacher, temperature), (student,))


def test_hidden_state_gradient() -> None:
    student, teacher = drawn(2, 3, 4).double().requires_grad_(), drawn(2, 3, 4, seed=1).double()
    assert torch.autograd.gradcheck(lambda hidden: hidden_state_loss([hidden], [teacher]), (student,))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.1, 20))
def test_soft_target_loss_is_a_distance(seed: int, temperature: float) -> None:
    random = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(4, 3, generator=random, dtype=torch.float64), torch.randn(4, 3, generator=random, dtype=torch.float64)
    assert soft_target_loss(student, teacher, temperature).item() > 0
    assert soft_target_loss(teacher, teacher, temperature).item() == pytest.approx(0, abs=1e-9)
    shifted = soft_target_loss(student + 7, teacher - 3, temperature).item()
    assert shifted == pytest.approx(soft_target_loss(student, teacher, temperature).item(), rel=1e-6, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-6, 1e6))
def test_normalised_rows_have_unit_mean_square_length(seed: int, scale: float) -> None:
    gradient = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale
    assert normalised(gradient).square().sum(-1).mean(-1) == pytest.approx([1.0] * 3)
    assert torch.equal(normalised(torch.zeros(1, 2, 3)), torch.zeros(1, 2, 3))
