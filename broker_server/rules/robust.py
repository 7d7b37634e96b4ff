"""Robust merging: each value of a block over those who trained it, by a rule for their number. Pure; float64.

Axes: k devices, P values of a block.
Five holders or more of a value: the mean without the largest and the smallest, at least one of each (coordinate-wise
trimmed mean: Yin et al., arXiv 1803.01498, definition 2). Three or four: their median (definition 1). One or two have
no majority to be held against: their mean is shrunk towards no change. Whose weight for a value is 0 does not hold it.
Which devices are heard at all is decided before, by their directions (agreement.py).
Before that updates are cut to a norm that the last rounds made usual, so that one or two can say little that is wrong.
Rules: docs/algorithm.md, "Robust merging".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import numpy as np
import numpy.typing as npt

from broker_server.rules.aggregate import Contribution, Part, Sums, Wide, fill_part, parts_of, router_row
from broker_server.rules.agreement import Agreement
from broker_server.rules.weights import FEW_DEVICES
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.tensors import GROUP

TRIMMED_FROM: Final = 5
"""Holders from which on the mean is trimmed; fewer, down to three, have a median."""
STACK_BYTES: Final = 8 * 1024 * 1024
"""Float64 values of all holders that are sorted at once."""
REMEMBERED: Final = 8
"""Rounds whose median norms say what is usual: rates fall, and norms with them."""
Counts = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Robust:
    """How robust merging is done.

    Args:
        trim: share of a value's holders that is left out at each side, in [0, 0.5); at least one of each side is.
        shrink: holders without any change that are thought beside one or two: n of them count n / (n + shrink).
        by_value: whether values are merged so; else who is heard is merged by the weighted mean.
        directions: how devices whose updates point away from the others' are known; None: all are heard.
    """

    trim: float = 0.2
    shrink: float = 1.0
    by_value: bool = True
    directions: Agreement | None = None


@dataclass(frozen=True)
class UsualNorms:
    """Median norms of the last rounds. Args: medians: by kind of block, oldest first, REMEMBERED at most."""

    medians: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def after(self, norms: Sequence[Mapping[str, float]]) -> UsualNorms:
        """Return them with a round's. Args: norms: of each device its largest norm by kind; two say nothing."""
        by_kind: dict[str, list[float]] = {}
        for one in norms:
            for kind, norm in one.items():
                by_kind.setdefault(kind, []).append(norm)
        new = {kind: float(median(values)) for kind, values in by_kind.items() if len(values) > FEW_DEVICES}
        last = {kind: (*self.medians.get(kind, ()), value)[-REMEMBERED:] for kind, value in new.items()}
        return UsualNorms({**self.medians, **last})

    def limits(self, multiple: float) -> dict[str, float]:
        """Return the norm by kind of block that updates are cut to. Args: multiple: of the usual; 0: none are cut."""
        return {kind: multiple * float(median(values)) for kind, values in self.medians.items() if multiple}


NO_NORMS: Final = UsualNorms()


def robust_sums(
    updates: Sequence[Contribution], shape: BankShape, rules: Robust, *, topk: bool, normalized: bool = False
) -> Sums:
    """Return sums whose means are the robust ones, for ``aggregate.close``.

    Args:
        updates: all of a round, in their order; of equal values the earlier counts as the smaller.
        shape: of the bank.
        rules: how it is done.
        topk: whether routers chose experts.
        normalized: whether deltas are divided by their steps, see ``aggregate.fold_all``.
    """
    parts: dict[ExpertId, list[Part]] = {}
    for update in updates:
        for block, part in parts_of(update, shape, topk=topk, normalized=normalized).items():
            parts.setdefault(block, []).append(part)
    sums = Sums()
    for block in sorted(parts):
        add_robust(sums, block, parts[block], rules, router_row(shape))
    return sums


def add_robust(sums: Sums, block: ExpertId, parts: Sequence[Part], rules: Robust, router: slice) -> None:
    """Put the robust mean of one block into ``sums``, with weight 1 where somebody gave any.

    Args:
        sums: changed in place; has nothing of this block yet.
        block: its name.
        parts: of all who trained it, in their order.
        rules: how it is done.
        router: where the router row stands, see ``aggregate.router_row``.
    """
    heard = [part for part in parts if (part.weights > 0).any()]
    size = parts[0].block.size
    means, moved = np.zeros(size), np.zeros(size)
    width = max(1, STACK_BYTES // (8 * GROUP * max(1, len(heard)))) * GROUP
    for start in range(0, size if heard else 0, width):
        piece = slice(start, min(size, start + width))
        stack = _stacked(heard, piece, router)
        weights = np.stack([_of_piece(part.weights, piece) for part in heard])
        means[piece] = _robust_mean(stack, weights, rules) * _mean_steps(heard, weights)
        moved[piece] = (weights > 0).any(axis=0)
    sums.deltas[block], sums.weights[block], sums.devices[block] = means, moved, len(parts)


def _of_piece(weights: Wide, piece: slice) -> Wide:
    return weights if weights.size == 1 else weights[piece]


def _stacked(parts: Sequence[Part], piece: slice, router: slice) -> Wide:
    """Return the values of a piece, [k, piece], divided by their steps where they are to be."""
    stack = np.empty((len(parts), piece.stop - piece.start))
    values = np.empty(stack.shape[1], np.float32)
    for row, part in zip(stack, parts, strict=True):
        fill_part(part, piece.start, values, router)
        np.divide(values, part.steps or 1, out=row)
    return stack


def _mean_steps(parts: Sequence[Part], weights: Wide) -> Wide:
    """Return the weighted mean of the steps that values were divided by, [piece] or [1]; ones where they were not."""
    steps = np.array([part.steps or 1 for part in parts], np.float64)[:, None]
    total = weights.sum(axis=0)
    mean: Wide = np.divide((weights * steps).sum(axis=0), total, out=np.ones_like(total), where=total > 0)
    return mean


def _robust_mean(values: Wide, weights: Wide, rules: Robust) -> Wide:
    """Return the robust mean of each column, 0 where nobody gave weight. Args: values: [k, n]; weights: [k, n or 1]."""
    holds = np.broadcast_to(weights > 0, values.shape)
    ranked = np.where(holds, values, np.inf)  # behind all others
    order = np.argsort(ranked, axis=0, kind="stable")
    ranked = np.take_along_axis(ranked, order, axis=0)
    counted = np.take_along_axis(np.broadcast_to(weights, values.shape), order, axis=0)
    holders = holds.sum(axis=0)
    aside, place = _left_out(holders, rules.trim), np.arange(len(values))[:, None]
    inside = (place >= aside) & (place < holders - aside)
    counted = np.where(inside, counted, 0.0)
    total = counted.sum(axis=0)
    mean = np.divide(
        (counted * np.where(inside, ranked, 0.0)).sum(axis=0), total, out=np.zeros_like(total), where=total > 0
    )
    few = np.where(holders <= FEW_DEVICES, holders / (holders + rules.shrink), 1.0)
    result: Wide = mean * few
    return result


def _left_out(holders: Counts, trim: float) -> Counts:
    """Return how many of n holders are left out at each side.

    Of three and four one: what stays is the middle one, or a mean of the two in the middle, as good a median as any
    between them.
    """
    trimmed = np.minimum(np.maximum(1, np.floor(trim * holders)), (holders - 1) // 2).astype(np.intp)
    return np.where(holders >= TRIMMED_FROM, trimmed, np.where(holders > FEW_DEVICES, 1, 0))
