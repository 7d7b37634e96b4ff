"""What a round's contributions count for once claims are capped, and updates cut to the round's usual norm. Pure.

The same for deltas of this round and for late ones of earlier rounds: a device counts as the sum of what it
contributed, each discounted by its staleness. Formulas: ``weights.py`` and docs/algorithm.md, "What one device may
weigh".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from broker_server.rules.aggregate import Contribution, discount
from broker_server.rules.encoded_block import Block, EncodedBlock
from broker_server.rules.norms import kind_of, norm_of
from broker_server.rules.weights import Caps, Wide, bounded_use, factors, label_factors
from edge_runtime.wire.experts import ExpertId

TOLERANCE = 1e-9
Owner = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Limited:
    """A device that reached a limit. Args: limit: which; came: what it said or sent; counted: what was made of it."""

    device: str
    limit: str
    came: float
    counted: float


def cap(contributions: Sequence[Contribution], caps: Caps, top_k: int) -> tuple[list[Contribution], list[Limited]]:
    """Cap examples, label counts and tokens.

    Args:
        contributions: of a round; their deltas are not looked at.
        caps: what one device may weigh.
        top_k: experts chosen for a token; 0: gates are soft, and tokens count for nothing.

    Returns:
        The contributions in their order, and who was capped.
    """
    devices = sorted({one.device for one in contributions})
    place = {device: number for number, device in enumerate(devices)}
    owner = np.array([place[one.device] for one in contributions], np.intp)
    stale = [one.staleness for one in contributions]
    said = _by_device(discount([one.examples for one in contributions], stale), owner, len(devices))
    contributions, caps = [_counted(one, caps) for one in contributions], replace(caps, examples=0.0)
    claimed = _by_device(discount([one.examples for one in contributions], stale), owner, len(devices))
    left = factors(claimed, caps)
    result = [
        replace(one, examples=one.examples * float(left[number]))
        for one, number in zip(contributions, owner, strict=True)
    ]
    limited = [
        Limited(device, "examples", float(said[number]), float(claimed[number] * left[number]))
        for device, number in place.items()
        if claimed[number] * left[number] < said[number] * (1 - TOLERANCE)
    ]
    result = _label_counts(result, owner, len(devices), caps)
    return (_tokens(result, owner, len(devices), caps, top_k) if top_k else result), limited


def _counted(one: Contribution, caps: Caps) -> Contribution:
    """Cap a delta by what one may claim whatever the others do; its label counts by the same factor."""
    counted = float(caps.counted(one.examples))
    if counted >= one.examples:
        return one
    left = counted / one.examples
    return replace(one, examples=counted, label_counts=tuple(count * left for count in one.label_counts))


def _label_counts(contributions: list[Contribution], owner: Owner, devices: int, caps: Caps) -> list[Contribution]:
    """Cap the weights of a head's rows, row by row; a frozen head has none."""
    labels = max((len(one.label_counts) for one in contributions), default=0)
    if not labels:
        return contributions
    zero = (0.0,) * labels
    counts = np.array([one.label_counts or zero for one in contributions], np.float64)
    stale = np.array([one.staleness for one in contributions], np.float64)
    left = label_factors(_by_device(discount(counts, stale[:, None]), owner, devices), caps)[owner]
    return [
        replace(one, label_counts=tuple((row * part).tolist()) if one.label_counts else ())
        for one, row, part in zip(contributions, counts, left, strict=True)
    ]


def _tokens(
    contributions: list[Contribution], owner: Owner, devices: int, caps: Caps, top_k: int
) -> list[Contribution]:
    seen = [max((tokens for _, tokens in one.use.values()), default=0.0) for one in contributions]
    left = factors(_by_device(np.array(seen, np.float64), owner, devices), caps)[owner]
    return [
        replace(one, use=bounded_use(one.use, top_k, float(part)))
        for one, part in zip(contributions, left, strict=True)
    ]


def _by_device(values: Wide, owner: Owner, devices: int) -> Wide:
    total: Wide = np.zeros((devices, *values.shape[1:]), np.float64)
    np.add.at(total, owner, values)
    return total


def cut(
    update: Contribution, limits: Mapping[str, float], norms: Mapping[str, float] | None = None
) -> tuple[Contribution, list[Limited]]:
    """Cut each block of an update to the norm that its kind may have; its direction stays.

    Args:
        update: of one device.
        limits: by kind of block, see ``weights.norm_limits``.
        norms: the largest of the update by kind, where they are known: only kinds above their limit are looked at.

    Returns:
        The update, and of each kind the block that was cut most.
    """
    if norms is not None:
        limits = {kind: limit for kind, limit in limits.items() if norms.get(kind, 0.0) > limit}
    deltas, most = dict(update.deltas), dict[str, Limited]()
    for block, limit in _limits(update, limits).items():
        norm = norm_of(deltas[block])
        if norm > limit:
            deltas[block] = _times(deltas[block], limit / norm)
            name = f"norm of {kind_of(block)}"
            if name not in most or most[name].came < norm:
                most[name] = Limited(update.device, name, norm, limit)
    return (replace(update, deltas=deltas), list(most.values())) if most else (update, [])


def _times(block: Block, factor: float) -> Block:
    return block.times(factor) if isinstance(block, EncodedBlock) else (block * factor).astype(np.float32)


def _limits(update: Contribution, limits: Mapping[str, float]) -> dict[ExpertId, float]:
    return {block: limits[kind_of(block)] for block in update.deltas if kind_of(block) in limits}
