"""4-bit weights with one scale for each group of inputs, as XNNPACK multiplies them (``qd8_f32_qb4w``).

Axes: O outputs, I inputs, G groups of ``GROUP`` inputs.

XNNPACK takes groups of a multiple of 32 inputs and scales that are positive and bfloat16. Weights are levels of -8 to
7 times their group's scale: 4.5 bits a weight.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from export.shapes import GROUP

LOWEST, HIGHEST = -8, 7
_SHRINKING: Final = tuple(1 - 0.025 * step for step in range(13))
"""Scales that are tried: a smaller one cuts a group's largest weights and resolves the others better."""
_SMALLEST: Final = 1e-8


def fits(weight: Tensor) -> bool:
    """Return whether the inputs of a weight [O, I] divide into groups."""
    return weight.shape[1] % GROUP == 0


def quantize_groups(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return levels int8 [O, I] and scales [O, G] of least squared error among those that are tried.

    Levels are chosen before scales are rounded to bfloat16. So a weight that carries a number (``fuse``) has the levels
    of the plain one, and scales that differ by that rounding only, 0.4 % at most: a program stays the model that
    ``reference`` rounds, which knows nothing of such numbers.
    """
    grouped = weight.reshape(weight.shape[0], -1, GROUP)
    largest = grouped.abs().amax(2).clamp(min=_SMALLEST) / HIGHEST
    scales, error = largest, _error(grouped, largest)
    for share in _SHRINKING[1:]:
        tried = largest * share
        better = (rounding := _error(grouped, tried)) < error
        scales, error = torch.where(better, tried, scales), torch.where(better, rounding, error)
    levels = _levels(grouped, scales).reshape(weight.shape).to(torch.int8)
    return levels, scales.to(torch.bfloat16).to(torch.float32)


def restore_groups(levels: Tensor, scales: Tensor) -> Tensor:
    """Return the float32 values [O, I] that levels [O, I] and scales [O, G] stand for."""
    grouped = levels.to(torch.float32).reshape(levels.shape[0], -1, GROUP)
    return (grouped * scales.unsqueeze(-1)).reshape(levels.shape)


def _levels(grouped: Tensor, scales: Tensor) -> Tensor:
    return (grouped / scales.unsqueeze(-1)).round().clamp(LOWEST, HIGHEST)


def _error(grouped: Tensor, scales: Tensor) -> Tensor:
    return (_levels(grouped, scales) * scales.unsqueeze(-1) - grouped).square().sum(2)
