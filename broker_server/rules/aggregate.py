"""Merging: per-value weighted means of deltas, streamed. Pure; float64; a fixed order gives a bit-identical result.

Axes: P values of a block, C labels, d width, r rank.
For each block a round keeps (sum of weight * delta, sum of weight), both with the block's own shape, because the rows
of a head and the router row of an expert have weights of their own. Memory grows with the bank, not with the devices.
Sums of parts add up (``combine``), so a bank may be folded in shards, by expert, or at sites. Rules:
docs/algorithm.md, "Merging".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, MEAN, BankShape, ExpertId
from edge_runtime.wire.tensors import Array

Wide = npt.NDArray[np.float64]
ROUTED_HALF = 64.0
"""Tokens at which an expert's update counts half (top-k): a handful of tokens says little."""


@dataclass(frozen=True)
class Contribution:
    """One device's accepted delta, decoded.

    Args:
        device: its name; the order of folding.
        round: of its plan; second in the order.
        examples: n, weight in the mean; a fraction once it was capped.
        staleness: versions between its base and the version it is added to.
        deltas: trained - base, float32 [P] for each block.
        use: (tokens routed, tokens seen) for each expert; top-k only.
        label_counts: [C] examples for each label, weights of the head's rows; empty when the head was frozen.
    """

    device: str
    round: int
    examples: float
    staleness: int
    deltas: Mapping[ExpertId, Array]
    use: Mapping[ExpertId, tuple[float, float]] = field(default_factory=dict)
    label_counts: tuple[float, ...] = ()


@dataclass
class Sums:
    """What is kept of a round: for each block float64 [P] of weighted deltas and of weights."""

    deltas: dict[ExpertId, Wide] = field(default_factory=dict)
    weights: dict[ExpertId, Wide] = field(default_factory=dict)
    devices: dict[ExpertId, int] = field(default_factory=dict)


def discount(examples: npt.ArrayLike, staleness: npt.ArrayLike) -> Wide:
    """Return n * (1 + staleness)^(-1/2), for one device or a stack of them."""
    result: Wide = np.asarray(examples, np.float64) / np.sqrt(1.0 + np.asarray(staleness, np.float64))
    return result


def routed_weight(routed: npt.ArrayLike, seen: npt.ArrayLike) -> Wide:
    """Return sqrt(share of tokens) * N / (N + 64), N tokens routed; 0 where none was seen."""
    n, t = np.asarray(routed, np.float64), np.asarray(seen, np.float64)
    share = np.divide(n, t, out=np.zeros_like(n), where=t > 0)
    result: Wide = np.sqrt(share) * n / (n + ROUTED_HALF)
    return result


def fold(sums: Sums, update: Contribution, shape: BankShape, *, topk: bool) -> None:
    """Add one contribution to ``sums``."""
    changed = _recentred(update.deltas, shape) if topk else update.deltas
    for block in sorted(changed):
        weights = _weights(block, update, shape, topk=topk)
        delta = changed[block].astype(np.float64)
        if block in sums.deltas:
            sums.deltas[block] += weights * delta
            sums.weights[block] += weights
        else:
            sums.deltas[block] = weights * delta
            sums.weights[block] = weights
        sums.devices[block] = sums.devices.get(block, 0) + 1


def combine(parts: Iterable[Sums]) -> Sums:
    """Add sums that were folded apart, in the order given."""
    total = Sums()
    for part in parts:
        for block in part.deltas:
            if block in total.deltas:
                total.deltas[block] = total.deltas[block] + part.deltas[block]
                total.weights[block] = total.weights[block] + part.weights[block]
            else:
                total.deltas[block], total.weights[block] = part.deltas[block], part.weights[block]
            total.devices[block] = total.devices.get(block, 0) + part.devices[block]
    return total


def close(base: Bank, sums: Sums) -> Bank:
    """Return base + weighted mean of deltas; a value that nobody gave weight to keeps its bits."""
    changed: dict[ExpertId, Array] = {}
    for block, total in sums.deltas.items():
        weights = sums.weights[block]
        moved = weights > 0
        if not moved.any():
            continue
        mean = np.divide(total, weights, out=np.zeros_like(total), where=moved)
        values = base.block(block)
        after = (values.astype(np.float64) + mean).astype(np.float32)
        changed[block] = np.where(moved, after, values)
    return base.replace(changed)


def merge(base: Bank, updates: Iterable[Contribution], *, topk: bool) -> Bank:
    """Fold ``updates`` in their order and close; a gateway's order is (device, round), see ``Ledger.waiting``."""
    sums = Sums()
    for update in updates:
        fold(sums, update, base.shape, topk=topk)
    return close(base, sums)


def _weights(block: ExpertId, update: Contribution, shape: BankShape, *, topk: bool) -> Wide:
    base = float(discount(update.examples, update.staleness))
    size = shape.size(block)
    if block == HEAD and update.label_counts:
        rows = discount(update.label_counts, update.staleness)
        return np.concatenate([np.repeat(rows, shape.width), rows])
    if not topk or block in (HEAD, MEAN) or block.shared:
        return np.full(size, base)
    routed, seen = update.use.get(block, (0.0, 0.0))
    weights = np.full(size, base * float(routed_weight(routed, seen)))
    if sum(other.layer == block.layer and not other.shared for other in update.deltas) == 1:
        weights[_router(shape)] = 0.0  # softmax over one expert trains no router
    return weights


def _recentred(deltas: Mapping[ExpertId, Array], shape: BankShape) -> dict[ExpertId, Array]:
    """Subtract each layer's mean router update: softmax ignores an offset shared by all rows, Adam drifts along it."""
    result = dict(deltas)
    rows = _router(shape)
    for layer in {block.layer for block in deltas}:
        experts = [block for block in deltas if block.layer == layer and not block.shared and block not in (HEAD, MEAN)]
        if not experts:
            continue
        mean = np.mean([deltas[block][rows].astype(np.float64) for block in experts], axis=0)
        for block in experts:
            result[block] = deltas[block].copy()
            result[block][rows] = (deltas[block][rows] - mean).astype(np.float32)
    return result


def _router(shape: BankShape) -> slice:
    return slice(shape.rank * shape.width, (shape.rank + 1) * shape.width)
