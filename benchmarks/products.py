"""The matrix products of a piece of code: recorded while it runs, and computed again with nothing between them, on operands of the same shapes and layouts.

Attention that torch computes in one fused kernel counts as the products that it cannot do without: two in the forward pass, four in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ATTENTION = "_scaled_dot_product"


@dataclass(frozen=True)
class Operand:
    """Shape, strides and type of a matrix, or of a batch of matrices."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def make(self) -> Tensor:
        """A tensor of that layout with random entries."""
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device=self.device).normal_()


@dataclass(frozen=True)
class Product:
    """One product of two matrices [n, k] and [k, m], or of two batches of them."""

    left: Operand
    right: Operand

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        *batch, rows, inner = self.left.shape
        return 2 * (batch[0] if batch else 1) * rows * inner * self.right.shape[-1]


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        del types
        name = func.overloadpacket.__name__
        if name in ("mm", "bmm"):
            self.products.append(_product(args[0], args[1]))
        elif name in ("addmm", "baddbmm"):
            self.products.append(_product(args[1], args[2]))
        elif name.startswith(_ATTENTION):
            self.products += _attention(*(args[1:4] if name.endswith("backward") else args[:3]), backward=name.endswith("backward"))
        return func(*args, **(kwargs or {}))


def record(action: Callable[[], object]) -> list[Product]:
    """The matrix products of an action, in order."""
    with _Recorder() as recorder:
        action()
    return recorder.products


def replay(products: list[Product]) -> Callable[[], None]:
    """A function that computes the products in order; products of one layout share their operands."""
    operands = {operand: operand.make() for product in products for operand in (product.left, product.right)}
    pairs = [(operands[product.left], operands[product.right]) for product in products]

    def compute() -> None:
        for left, right in pairs:
            torch.matmul(left, right)

    return compute


def _operand(tensor: Tensor) -> Operand:
    return Operand(tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype, tensor.device)


def _product(left: Tensor, right: Tensor) -> Product:
    return Product(_operand(left), _operand(right))


def _attention(query: Tensor, key: Tensor, value: Tensor, backward: bool) -> list[Product]:
    """Products of attention on [B, heads, L, E]: scores and mixture; in the backward pass the gradients of value, weights, query and key."""
    queries, keys, values = (_contiguous(tensor) for tensor in (query, key, value))
    weights = Operand((queries.shape[0], queries.shape[1], keys.shape[1]), (queries.shape[1] * keys.shape[1], keys.shape[1], 1), query.dtype, query.device)
    if not backward:
        return [Product(queries, _turned(keys)), Product(weights, values)]
    return [Product(_turned(weights), queries), Product(queries, _turned(values)), Product(weights, keys), Product(_turned(weights), queries)]


def _contiguous(tensor: Tensor) -> Operand:
    batch, heads, length, width = tensor.shape
    return Operand((batch * heads, length, width), (length * width, width, 1), tensor.dtype, tensor.device)


def _turned(operand: Operand) -> Operand:
    batch, rows, columns = operand.shape
    stride, row, column = operand.strides
    return Operand((batch, columns, rows), (stride, column, row), operand.dtype, operand.device)


def operations(products: list[Product]) -> int:
    """Multiplications and additions of all products."""
    return sum(product.operations for product in products)
