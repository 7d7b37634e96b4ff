"""The k largest of a few columns, by what XNNPACK has: it knows no topk, comparison or maximum over an axis.

Axes: H columns, W columns that are left.

Halves of the columns are merged, [.., W] and [.., W] to [.., W], until one column is left: at each step and for each
remaining column the k largest of those that went into it are known, in order.
"""

from __future__ import annotations

import functools
from typing import Final

import torch
from torch import Tensor

_STEEP: Final = 1e37
"""Times the difference of two unequal probabilities it is above 1, unless both are below 1e-30."""


def kth_largest(x: Tensor, k: int, least: float) -> Tensor:
    """Return the k-th largest of each row of [.., H], equal values counted each, as [.., 1]; k is at most H.

    ``least`` is below every value: it fills up to a power of two.
    """
    columns = x.shape[-1]
    missing = (1 << (columns - 1).bit_length()) - columns
    ranked = [torch.cat([x, torch.full((*x.shape[:-1], missing), least)], -1) if missing else x]
    while ranked[0].shape[-1] > 1:
        half = ranked[0].shape[-1] // 2
        ranked = _merged([one[..., :half] for one in ranked], [one[..., half:] for one in ranked], k)
    return ranked[k - 1]


def _merged(a: list[Tensor], b: list[Tensor], k: int) -> list[Tensor]:
    """Merge two descending lists of equal length: the r-th of both is the largest min(a_i, b_j) with i + j = r."""
    return [functools.reduce(torch.maximum, _candidates(a, b, rank)) for rank in range(1, min(k, 2 * len(a)) + 1)]


def _candidates(a: list[Tensor], b: list[Tensor], rank: int) -> list[Tensor]:
    """Return min(a_i, b_j) for each i + j = rank; a_0 and b_0 are above everything."""
    candidates = []
    for i in range(max(0, rank - len(b)), min(rank, len(a)) + 1):
        j = rank - i
        candidates.append(torch.minimum(a[i - 1], b[j - 1]) if i and j else (a[i - 1] if i else b[j - 1]))
    return candidates


def at_least(x: Tensor, floor: Tensor) -> Tensor:
    """Return 1 where a probability reaches ``floor`` and 0 where it does not, as float32."""
    return ((x - floor) * _STEEP + 1.0).clamp(0.0, 1.0)
