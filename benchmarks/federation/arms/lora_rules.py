"""How other methods merge the LoRA factors of devices, as they are published: one function each. Pure.

Axes: L adapted layers, r_k rank of device k, R largest rank. ``examples`` are n_k, texts of a device. Where a paper's
text was not at hand, its docstring says what its abstract states and what is our reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.federation.arms.factors import Factors, mean, reduced, shares, stacked
from edge_runtime.wire.tensors import Array

Mask = npt.NDArray[np.bool_]


def fedit(parts: Sequence[Factors], examples: Sequence[float]) -> Factors:
    """Average a and b apart, by examples (FedIT, Zhang et al., 2305.05644): one rank for all.

    The product of the means is not the mean of the products, which is what the later rules mend.
    """
    return Factors(mean([part.a for part in parts], examples), mean([part.b for part in parts], examples))


def ffa_lora(parts: Sequence[Factors], examples: Sequence[float]) -> Factors:
    """Average b alone; a is drawn once and never trained (FFA-LoRA, Sun et al., 2403.12313).

    So the mean of the products is the product with the mean b, exactly.

    Raises:
        ValueError: when two devices have another a: somebody trained it.
    """
    if any(not np.array_equal(part.a, parts[0].a) for part in parts):
        raise ValueError("FFA-LoRA averages b under one frozen a, but two devices have another a")
    return Factors(parts[0].a, mean([part.b for part in parts], examples))


def hetlora(parts: Sequence[Factors], rank: int) -> Factors:
    """Pad with zeros to ``rank`` and average a and b apart, weighted by norm (HetLoRA, Cho et al., 2401.06432).

    The weight of a device is the Frobenius norm of its update b @ a, here of each layer by itself; equal where nobody
    has any. Devices take the first r_k ranks back. The paper's pruning of ranks on the device is left out: ranks
    follow the device's bytes here.
    """
    padded = [part.padded(rank) for part in parts]
    norms = np.stack([part.norms() for part in parts])
    layers = [shares(list(column)) for column in norms.T]
    weights = np.asarray(layers).T[:, :, None, None]

    def average(arrays: list[Array]) -> Array:
        return np.asarray((np.stack(arrays) * weights).sum(0), np.float32)

    return Factors(average([part.a for part in padded]), average([part.b for part in padded]))


def flexlora(parts: Sequence[Factors], examples: Sequence[float], rank: int) -> Factors:
    """Average the products by examples and decompose the mean (FlexLoRA, Bai et al., 2402.11505).

    Devices take the first r_k singular directions of the result, which has ``rank`` of them.
    """
    return reduced(flora(parts, examples), rank)


def flora(parts: Sequence[Factors], examples: Sequence[float]) -> Factors:
    """Stack: a one above the other, b side by side, times n_k / n (FLoRA, Wang et al., 2409.05976).

    The product is the mean of the devices' products without any error. Devices add it to the frozen weight, and begin
    the next round with a new random a and b = 0.
    """
    return stacked(parts, shares(examples))


def raflora(parts: Sequence[Factors], examples: Sequence[float], before: Factors) -> Factors:
    """Average each partition of ranks over those who have it, then decompose (raFLoRA, Wu et al., 2602.13486).

    From its abstract: local updates are split into partitions of ranks, each weighted by its effective contributions,
    against rank collapse: with one weight for all ranks, what only large devices have shrinks by their share in every
    round. Our reading: rank j of device k, which is column j of b times row j of a, has the weight n_k / (sum of n
    over devices with more than j ranks); equal in a partition, so partitions need not be formed. Ranks that nobody of
    a round has stay as in ``before``. The sum is decomposed as in FlexLoRA, to the rank of ``before``.
    """
    total = np.zeros(before.rank)
    for part, weight in zip(parts, examples, strict=True):
        total[: part.rank] += weight
    scales: list[npt.NDArray[np.floating[Any]] | float] = [
        weight / total[: part.rank] for part, weight in zip(parts, examples, strict=True)
    ]
    return reduced(stacked([*parts, before], [*scales, np.where(total > 0, 0.0, 1.0)]), before.rank)


def fed_plora(before: Factors, parts: Sequence[Factors], trained: Sequence[Mask], examples: Sequence[float]) -> Factors:
    """Average each module of rank one over those who trained it (Fed-PLoRA, Zhang et al., 2602.16936).

    From its abstract: the ranks are parallel modules of rank one; a device trains a selection of them and folds the
    others into its frozen weight before (Select-N-Fold). Our reading: it computes with all R modules and changes its
    own (a folded module is a frozen one), a and b of a module are averaged apart by examples, and a module that nobody
    trained keeps its bits.

    Args:
        before: what the devices began with, R ranks.
        parts: after training, all R ranks of each device.
        trained: [L, R] for each device, true where it trained the module.
        examples: n_k.
    """
    weights = np.stack([mask * float(weight) for mask, weight in zip(trained, examples, strict=True)])
    total = weights.sum(0)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    a = sum((part.a * weight[:, :, None] for part, weight in zip(parts, weights, strict=True)), np.float64(0))
    b = sum((part.b * weight[:, None, :] for part, weight in zip(parts, weights, strict=True)), np.float64(0))
    moved = total > 0
    return Factors(
        np.where(moved[:, :, None], a, before.a).astype(np.float32),
        np.where(moved[:, None, :], b, before.b).astype(np.float32),
    )


def chosen_modules(rng: np.random.Generator, layers: int, modules: int, count: int) -> Mask:
    """Return which modules a device trains, ``count`` in each layer, drawn anew in every round (our reading).

    Args:
        rng: of the device and round.
        layers: L.
        modules: R.
        count: r_k, at most R.

    Returns:
        [L, R].
    """
    order = rng.permuted(np.tile(np.arange(modules), (layers, 1)), axis=1)
    return np.asarray(order < count)
