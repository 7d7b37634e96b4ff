"""Merging: per-value weighted means of deltas, streamed. Pure; float64; a fixed order gives a bit-identical result.

Axes: P values of a block, C labels, d width, r rank.
For each block a round keeps (sum of weight * delta, sum of weight). The weights of a head's rows and of an expert's
router row are their own, so a sum of weights has the block's shape, or one value where all are equal. Memory grows with
the bank, not with the devices: deltas are read in pieces that stay in the processor's cache, and several of them at
once, so that a piece of the sums is read and written once for all of them. Blocks know nothing of each other, so
threads may share them. Sums of parts add up (``combine``), so a bank may be folded in shards, by expert, or at sites.
Rules: docs/algorithm.md, "Merging".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from broker_server.rules import exact
from broker_server.rules.encoded_block import Block, fill_from, piece_of
from broker_server.rules.summed_block import SummedBlock
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, MEAN, BankShape, ExpertId
from edge_runtime.wire.tensors import Array

Wide = npt.NDArray[np.float64]
ROUTED_HALF = 64.0
"""Tokens at which an expert's update counts half (top-k): a handful of tokens says little."""
PIECE: Final = 32_768
"""Values that are folded at once: 640 KiB as float32, float64 and sum. A multiple of the codec's group."""
Work = Callable[[], None]
Run = Callable[[Sequence[Work]], None]
"""Does pieces of work that know nothing of each other, in any order or at once."""


@dataclass(frozen=True)
class Contribution:
    """One device's accepted delta, decoded; or the sum of a site's.

    Args:
        device: its name; the order of folding.
        round: of its plan; second in the order.
        examples: n, weight in the mean; a fraction once it was capped.
        staleness: versions between its base and the version it is added to that moved its block, of that block of its
            for which they are fewest.
        deltas: trained - base, float32 [P] for each block, as arrays or as they came.
        use: (tokens routed, tokens seen) for each expert; top-k only.
        label_counts: [C] examples for each label, weights of the head's rows; empty when the head was frozen.
        steps: optimizer steps that it was trained for, 1 or more.
        stale: likewise by block; ``staleness`` for those that are not here.
        sums: of a site, in place of deltas, for exact sums alone; examples are 0 then.
    """

    device: str
    round: int
    examples: float
    staleness: int
    deltas: Mapping[ExpertId, Block]
    use: Mapping[ExpertId, tuple[float, float]] = field(default_factory=dict)
    label_counts: tuple[float, ...] = ()
    steps: int = 1
    stale: Mapping[ExpertId, int] = field(default_factory=dict)
    sums: Mapping[ExpertId, SummedBlock] = field(default_factory=dict)

    def staleness_of(self, block: ExpertId) -> int:
        """Return the versions since its base that moved a block."""
        return self.stale.get(block, self.staleness)


@dataclass
class Sums:
    """What is kept of a round: for each block float64 [P] of weighted deltas, and [P] or [1] of weights.

    ``steps``: [P] or [1] of weights times steps, of blocks whose deltas were divided by their steps (FedNova).
    ``sizes``: of exact sums (``exact.py``), bounds of what they are sums of.
    """

    deltas: dict[ExpertId, Wide] = field(default_factory=dict)
    weights: dict[ExpertId, Wide] = field(default_factory=dict)
    devices: dict[ExpertId, int] = field(default_factory=dict)
    steps: dict[ExpertId, Wide] = field(default_factory=dict)
    sizes: dict[ExpertId, float] = field(default_factory=dict)


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


@dataclass(frozen=True)
class Part:
    """One device's part in a block.

    Args:
        block: its values.
        weights: [P] or [1].
        router: recentred values of the router row.
        steps: that the values are divided by, to be multiplied with the mean steps again; None: they are not.
        exact: whether products stand on the grid of exact sums.
    """

    block: Block | SummedBlock
    weights: Wide
    router: Array | None = None
    steps: int | None = None
    exact: bool = False

    @property
    def devices(self) -> int:
        """Deltas in it."""
        return self.block.devices if isinstance(self.block, SummedBlock) else 1

    @property
    def scale(self) -> Wide:
        """What the values count in the sum, [P] or [1]."""
        return self.weights if self.steps is None else self.weights / self.steps

    @property
    def weighted_steps(self) -> Wide:
        """What the steps count in their sum, [P] or [1]; zeros where values are not divided by them."""
        if isinstance(self.block, SummedBlock):
            return np.zeros(1) if self.block.steps is None else self.block.steps
        if self.steps is None:
            return np.zeros(1)
        return exact.steps_on_grid(self.weights * self.steps) if self.exact else self.weights * self.steps


def fold(sums: Sums, update: Contribution, shape: BankShape, *, topk: bool, normalized: bool = False) -> None:
    """Add one contribution to ``sums``."""
    fold_all(sums, [update], shape, topk=topk, normalized=normalized)


def in_turn(works: Sequence[Work]) -> None:
    """Do pieces of work one after the other."""
    for work in works:
        work()


def fold_all(
    sums: Sums,
    updates: Sequence[Contribution],
    shape: BankShape,
    *,
    topk: bool,
    normalized: bool = False,
    shares: int = 1,
    run: Run = in_turn,
) -> None:
    """Add contributions to ``sums``, in their order: the bits are those of folding them one by one.

    Args:
        sums: changed in place.
        updates: all of them are in memory, so their number is for the caller to bound.
        shape: of the bank.
        topk: whether routers chose experts.
        normalized: whether each delta is divided by its steps, and the mean multiplied with the mean steps (FedNova:
            Wang et al., arXiv 2007.07481, with a_i of ones); the same for all contributions of a round.
        shares: pieces of work, of some blocks each.
        run: does them.
    """
    parts: dict[ExpertId, list[Part]] = {}
    for update in updates:
        for block, part in parts_of(update, shape, topk=topk, normalized=normalized).items():
            parts.setdefault(block, []).append(part)
    fold_parts(sums, parts, shape, shares=shares, run=run)


def fold_parts(
    sums: Sums, parts: Mapping[ExpertId, Sequence[Part]], shape: BankShape, *, shares: int = 1, run: Run = in_turn
) -> None:
    """Add parts to ``sums``, of each block in their order. Args: as fold_all."""
    blocks = sorted(parts)
    for block in blocks:
        sums.devices.setdefault(block, 0)  # in order, whichever share comes first
    listed = [{block: parts[block] for block in blocks[number::shares]} for number in range(shares)]
    run([partial(_fold_blocks, sums, share, shape) for share in listed])


def parts_of(
    update: Contribution, shape: BankShape, *, topk: bool, normalized: bool = False, on_grid: bool = False
) -> dict[ExpertId, Part]:
    """Return a contribution's part in each of its blocks.

    Args:
        update: the contribution.
        shape: of the bank.
        topk: as fold_all.
        normalized: as fold_all.
        on_grid: for exact sums: weights are those of a fresh delta, and stand on their grid as products do.
    """
    routers = _recentred(update.deltas, shape) if topk else {}
    steps = update.steps if normalized else None
    if on_grid:
        update = replace(update, staleness=0, stale={})

    def weights_of(block: ExpertId) -> Wide:
        weights = _weights(block, update, shape, topk=topk)
        return exact.weights_on_grid(weights) if on_grid else weights

    summed = {block: Part(one, one.weights, None, steps, exact=True) for block, one in update.sums.items()}
    return summed | {
        block: Part(values, weights_of(block), routers.get(block), steps, on_grid)
        for block, values in update.deltas.items()
    }


def _fold_blocks(sums: Sums, parts: Mapping[ExpertId, Sequence[Part]], shape: BankShape) -> None:
    """Fold some blocks; no two shares have the same."""
    buffers = np.empty(PIECE, np.float32), np.empty(PIECE, np.float64)
    for block, listed in parts.items():
        _fold_block(sums, block, listed, buffers, router_row(shape))


def _fold_block(sums: Sums, block: ExpertId, parts: Sequence[Part], buffers: tuple[Array, Wide], router: slice) -> None:
    new = block not in sums.deltas
    if new:
        sums.deltas[block] = np.empty(parts[0].block.size, np.float64)
    total = sums.deltas[block]
    largest = [0.0] * len(parts)
    for start in range(0, total.size, PIECE):
        piece = total[start : start + PIECE]
        for number, part in enumerate(parts):
            product = _product(part, start, piece.size, buffers, router)
            if part.exact:
                largest[number] = max(largest[number], float(product.max()), -float(product.min()))
            # The first is not added to zeros: 0 + -0 would be 0.
            if new and number == 0:
                np.copyto(piece, product)
            else:
                np.add(piece, product, out=piece)
    for number, part in enumerate(parts):
        first = new and number == 0
        sums.weights[block] = part.weights if first else sums.weights[block] + part.weights
        if part.steps is not None:
            steps = part.weighted_steps
            sums.steps[block] = steps if first else sums.steps[block] + steps
        if isinstance(part.block, SummedBlock):
            sums.sizes[block] = sums.sizes.get(block, 0.0) + part.block.bound
        elif part.exact:
            size = exact.size_of(largest[number], part.weights, part.weighted_steps)
            sums.sizes[block] = sums.sizes.get(block, 0.0) + size
    sums.devices[block] = sums.devices.get(block, 0) + sum(part.devices for part in parts)


def _product(part: Part, start: int, size: int, buffers: tuple[Array, Wide], router: slice) -> Wide:
    """Return weights times values of a piece, in the buffer."""
    values, product = buffers[0][:size], buffers[1][:size]
    if isinstance(part.block, SummedBlock):
        np.copyto(product, part.block.values[start : start + size])
        return product
    fill_part(part, start, values, router)
    np.copyto(product, values)
    scale = part.scale
    np.multiply(product, scale if scale.size == 1 else scale[start : start + size], out=product)
    return exact.products_on_grid(product) if part.exact else product


def fill_part(part: Part, start: int, into: Array, router: slice) -> None:
    """Write some values of a part, the router row recentred. Args: start, into: as EncodedBlock.fill."""
    assert not isinstance(part.block, SummedBlock)  # noqa: S101 - robust merging has no sums of sites
    fill_from(part.block, start, into)
    if part.router is not None:
        first, last = max(router.start, start), min(router.stop, start + into.size)
        if first < last:
            into[first - start : last - start] = part.router[first - router.start : last - router.start]


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
            if block in part.steps:
                known = total.steps.get(block)
                total.steps[block] = part.steps[block] if known is None else known + part.steps[block]
            if block in part.sizes:
                total.sizes[block] = total.sizes.get(block, 0.0) + part.sizes[block]
            total.devices[block] = total.devices.get(block, 0) + part.devices[block]
    return total


def mean_of(sums: Sums, block: ExpertId) -> tuple[Wide, npt.NDArray[np.bool_]]:
    """Return the weighted mean of a block's deltas, and where somebody gave weight.

    Returns:
        [P], 0 where nobody did; of deltas that were divided by their steps, times the weighted mean of the steps. And
        bool [P] or [1].
    """
    weights = sums.weights[block]
    moved = weights > 0
    mean = np.divide(sums.deltas[block], weights, out=np.zeros_like(sums.deltas[block]), where=moved)
    if block in sums.steps:
        mean *= np.divide(sums.steps[block], weights, out=np.zeros_like(weights), where=moved)
    return mean, moved


def close(base: Bank, sums: Sums) -> Bank:
    """Return base + weighted mean of deltas; a value that nobody gave weight to keeps its bits."""
    return base.replace(closed(base.block, sums))


def closed(base_of: Callable[[ExpertId], Array], sums: Sums) -> dict[ExpertId, Array]:
    """Return what ``close`` changes, whoever has the other blocks.

    Args:
        base_of: the values of a block before.
        sums: of some blocks.

    Returns:
        Of each block that somebody gave weight to its values, float32 [P].
    """
    changed: dict[ExpertId, Array] = {}
    for block in sums.deltas:
        mean, moved = mean_of(sums, block)
        if not moved.any():
            continue
        values = base_of(block)
        after = (values.astype(np.float64) + mean).astype(np.float32)
        changed[block] = np.where(moved, after, values)
    return changed


def merge(base: Bank, updates: Iterable[Contribution], *, topk: bool, normalized: bool = False) -> Bank:
    """Fold ``updates`` in their order and close; a gateway's order is (device, round), see ``Ledger.waiting``."""
    sums = Sums()
    for update in updates:
        fold(sums, update, base.shape, topk=topk, normalized=normalized)
    return close(base, sums)


def _weights(block: ExpertId, update: Contribution, shape: BankShape, *, topk: bool) -> Wide:
    staleness = update.staleness_of(block)
    base = float(discount(update.examples, staleness))
    size = shape.size(block)
    if block == HEAD and update.label_counts:
        rows = discount(update.label_counts, staleness)
        return np.concatenate([np.repeat(rows, shape.width), rows])
    if not topk or block in (HEAD, MEAN) or block.shared:
        return np.full(1, base)
    routed, seen = update.use.get(block, (0.0, 0.0))
    weight = base * float(routed_weight(routed, seen))
    if sum(other.layer == block.layer and not other.shared for other in update.deltas) > 1:
        return np.full(1, weight)
    weights = np.full(size, weight)
    weights[router_row(shape)] = 0.0  # softmax over one expert trains no router
    return weights


def _recentred(deltas: Mapping[ExpertId, Block], shape: BankShape) -> dict[ExpertId, Array]:
    """Return each expert's router update less the mean of its layer's.

    Softmax ignores an offset shared by all rows, and Adam drifts along it.
    """
    result: dict[ExpertId, Array] = {}
    router = router_row(shape)
    for layer in {block.layer for block in deltas}:
        experts = [block for block in deltas if block.layer == layer and not block.shared and block not in (HEAD, MEAN)]
        if not experts:
            continue
        rows = {block: piece_of(deltas[block], router.start, router.stop) for block in experts}
        mean = np.mean([row.astype(np.float64) for row in rows.values()], axis=0)
        result |= {block: (row - mean).astype(np.float32) for block, row in rows.items()}
    return result


def router_row(shape: BankShape) -> slice:
    """Return where an expert's router row stands in its block."""
    return slice(shape.rank * shape.width, (shape.rank + 1) * shape.width)
