"""What export refuses because runtimes from 1.3 on would compute it wrong without an error."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.export import ExportedProgram, export

from export.compiling.delegates import check_constants, check_packing
from export.errors import LoweringError


class Scaled(torch.nn.Module):
    """Multiplies by a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        """Return three products."""
        return x * self.factor


class Product(torch.nn.Module):
    """One GEMM with a constant weight, perhaps with a bias, perhaps as int8 levels with scales."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, scales: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("scales", scales)

    def forward(self, x: Tensor) -> Tensor:
        """Return x times the transposed weight."""
        weight = self.weight if self.scales is None else self.weight * self.scales
        return torch.nn.functional.linear(x, weight, self.bias)


def product(weight: Tensor, bias: Tensor | None = None, scales: Tensor | None = None) -> ExportedProgram:
    """Return a delegate's contents."""
    return export(Product(weight, bias, scales), (torch.ones(2, weight.shape[1]),))


def test_a_constant_operand_is_refused_and_named() -> None:
    """A delegate may hold weights and biases of GEMMs only."""
    with pytest.raises(LoweringError, match=r"method train: a delegate holds a constant operand of mul\.Tensor"):
        check_constants("train", export(Scaled(), (torch.ones(3),)))


def test_a_row_of_ones_and_its_transpose_are_refused() -> None:
    """Their bytes are the same and their packings are not; it does not matter in which method each is."""
    row, column = product(torch.ones(1, 32)), product(torch.ones(32, 1))
    with pytest.raises(LoweringError, match=r"method b: constant weights of shape \[32, 1\] and \[1, 32\] with"):
        check_packing({"a": [row], "b": [column]})
    with pytest.raises(LoweringError, match=r"method a: .* \[1, 32\] and \[32, 1\]"):
        check_packing({"a": [column, row]})


def test_a_bias_tells_equal_bytes_apart() -> None:
    """With zeros added to one of them the cache has two names; twice the same weight is one packing, used twice."""
    row, column = product(torch.ones(1, 32)), product(torch.ones(32, 1), torch.zeros(32))
    check_packing({"a": [row, row], "b": [column, row]})


def test_equal_levels_with_other_scales_are_refused() -> None:
    """An int8 weight and a multiple of it have the same levels; scales are in the packing and not in its name."""
    levels = torch.ones(3, 4)
    one, two = product(levels, None, torch.full((3, 1), 0.5)), product(levels, None, torch.full((3, 1), 0.25))
    check_packing({"a": [one, one]})
    with pytest.raises(LoweringError, match=r"same bytes"):
        check_packing({"a": [one, two]})
