"""RAVAN (Raje et al., 2506.05568): several small cores between frozen bases, and how they are merged. Pure.

The update of a layer's weight is the sum over heads of s_i B_i H_i A_i; H_i and s_i alone are trained and travel.
Axes: L adapted layers, h heads, r rank of a head, ``in`` and ``out`` widths.

From its abstract: the form, that s_i H_i is what a device sends, and that this makes the mean of the updates exact.
Our reading of the rest: bases are orthonormal within a layer, H_i starts at zero and s_i at one, a device that can
train few heads takes some of them, drawn at random or by the norm of H_i, and a head is averaged over those who
trained it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.tensors import Array

Mask = npt.NDArray[np.bool_]


def orthonormal_bases(rng: np.random.Generator, layers: int, heads: int, rank: int, width: int) -> Array:
    """Return columns that stand at right angles to all others of their layer, float32 [L, h, width, r].

    Raises:
        ValueError: when a layer has no room for as many.
    """
    if heads * rank > width:
        msg = f"{heads} heads of rank {rank} need {heads * rank} directions, and the width has {width}"
        raise ValueError(msg)
    columns, _ = np.linalg.qr(rng.standard_normal((layers, width, heads * rank)))
    bases: Array = np.moveaxis(columns.reshape(layers, width, heads, rank), 2, 1).astype(np.float32)
    return np.ascontiguousarray(bases)


def ravan(
    before: Array, cores: Sequence[Array], scales: Sequence[Array], trained: Sequence[Mask], examples: Sequence[float]
) -> Array:
    """Return the mean of s_i H_i over those who trained head i; the scales start from one again.

    Args:
        before: [L, h, r, r], cores that the devices began with (their scales were one).
        cores: [L, h, r, r] of each device after training.
        scales: [L, h] of each device after training.
        trained: [L, h] of each device.
        examples: n_k.

    Returns:
        float32 [L, h, r, r]; a head that nobody trained keeps its bits.
    """
    total = np.zeros(before.shape[:2])
    sums = np.zeros(before.shape)
    for core, scale, mask, weight in zip(cores, scales, trained, examples, strict=True):
        total += mask * weight
        sums += core * (scale.astype(np.float64) * mask * weight)[:, :, None, None]
    counted = np.where(total > 0, total, 1.0)[:, :, None, None]
    return np.where((total > 0)[:, :, None, None], sums / counted, before).astype(np.float32)


def chosen_heads(rng: np.random.Generator, cores: Array, count: int, *, by_norm: bool) -> Mask:
    """Return which heads a device trains, ``count`` in each layer, [L, h].

    Args:
        rng: of the device and round; also decides between equal norms, as in the first round.
        cores: [L, h, r, r].
        count: at most h.
        by_norm: take the largest cores; otherwise any.
    """
    chance = rng.random(cores.shape[:2])
    norms = np.sqrt((cores.astype(np.float64) ** 2).sum((2, 3))) if by_norm else np.zeros_like(chance)
    places = np.argsort(np.lexsort((chance, -norms), axis=1), axis=1)
    return np.asarray(places < count)
