"""How much one device can weigh: caps on what devices say of themselves, and on how far one update reaches. Pure.

Axes: k devices, C labels. Whatever a device claims, its part in a sum is bounded by the claims of the others. The caps
are a form of weight truncation (Portnoy, Tirosh and Hendler, arXiv 2004.04986): large weights are cut, small ones stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.experts import ExpertId

Wide = npt.NDArray[np.float64]
ROUNDING = 1.0001
"""Tokens routed and seen are sums of float32; an honest device's keep every bit (as in ``wire/checks``)."""
FEW_DEVICES = 2
"""With so few there is no majority that could say what is usual."""


@dataclass(frozen=True)
class Caps:
    """What one device may weigh.

    Args:
        multiple: of the median of the round; 0: any.
        share: of the round's total; 1: any.
        norm: of the round's median norm, which longer updates are cut to; 0: any.
        examples: whatever the others have; 0: any number.
    """

    multiple: float = 10.0
    share: float = 0.25
    norm: float = 1.5
    examples: float = 0.0

    def counted(self, examples: npt.ArrayLike) -> Wide:
        """Return how many examples count of what one device claims, whatever the others do. Args: examples: [k]."""
        claimed = np.asarray(examples, np.float64)
        return np.minimum(claimed, self.examples) if self.examples else claimed


def capped(weights: npt.ArrayLike, caps: Caps) -> Wide:
    """Cap claimed weights by a multiple of their median, then by a share of their total.

    The median is the lower one of two in the middle, so that one liar of two devices does not raise it. Weights of 0
    are nobody's and count for neither.

    Args:
        weights: [k], 0 or more.
        caps: what one may weigh.

    Returns:
        [k], none above its weight.
    """
    claimed = np.asarray(weights, np.float64)
    some = np.sort(claimed[claimed > 0])
    if caps.multiple and some.size:
        claimed = np.minimum(claimed, caps.multiple * some[(some.size - 1) // 2])
    return share_capped(claimed, caps.share)


def share_capped(weights: npt.ArrayLike, share: float) -> Wide:
    """Cap weights so that, after capping, none is more than a share s of their total.

    Of k weights s is ``share``, or twice the equal part, 2 / k, where that is more: below 1 / k no weights exist, and
    at 1 / k nobody's data would count more than another's. The cap c is the water level for which the largest has
    c = s * sum_j min(w_j, c) (water-filling: Boyd and Vandenberghe, Convex Optimization, 2004, example 5.2). With the j
    largest at c and R the sum of the others, c = s R / (1 - j s); j is the smallest for which no other is above c.

    Args:
        weights: [k], 0 or more.
        share: in (0, 1]; 1 caps nothing.

    Returns:
        [k], none above its weight.
    """
    claimed = np.asarray(weights, np.float64)
    largest = np.sort(claimed[claimed > 0])[::-1]
    part = max(share, 2.0 / max(1, largest.size))
    if part >= 1.0:
        return claimed
    rest = np.cumsum(largest[::-1])[::-1]
    for count in range(largest.size):
        left = 1.0 - count * part
        level = part * rest[count] / left if left > 0 else np.inf
        if largest[count] <= level:
            return np.minimum(claimed, level) if count else claimed
    return claimed


def factors(weights: npt.ArrayLike, caps: Caps) -> Wide:
    """Return what ``capped`` leaves of each weight, [k] in (0, 1]; 1 for a weight of 0."""
    claimed = np.asarray(weights, np.float64)
    return _ratio(capped(claimed, caps), claimed)


def label_factors(counts: npt.ArrayLike, caps: Caps) -> Wide:
    """Return what is left of each device's count of each label, [k, C] in (0, 1].

    A device's counts are first scaled together, so that its total is capped among the totals; then each label's by
    their share of that label. The median of a label is no measure: with skewed data most devices have few examples of
    it, and who has many is right.

    Args:
        counts: [k, C] examples, 0 or more.
        caps: what one may weigh.
    """
    claimed = np.asarray(counts, np.float64)
    totals = claimed.sum(axis=1)
    own = _ratio(caps.counted(totals), totals)
    scaled = claimed * (own * factors(totals * own, caps))[:, None]
    columns = [share_capped(scaled[:, label], caps.share) for label in range(claimed.shape[1])]
    return _ratio(np.stack(columns, axis=1), claimed) if columns else np.ones_like(claimed)


def capped_sums(parts: Sequence[ClassSums], caps: Caps) -> list[ClassSums]:
    """Cap class sums of devices: a label's count and sum are scaled by one factor, so its mean stays. float64."""
    if not parts:
        return []
    scale = label_factors(np.stack([part.counts for part in parts]), caps)
    return [
        ClassSums(part.counts * row, part.sums.astype(np.float64) * row[:, None])
        for part, row in zip(parts, scale, strict=True)
    ]


def stale_blocks(blocks: Iterable[ExpertId], moved: Sequence[Collection[ExpertId] | None]) -> dict[ExpertId, int]:
    """Return for each block how many versions since its base moved it: 0 where it still is what was trained from.

    Args:
        blocks: of a delta.
        moved: by each version since its base, the blocks that it moved; None: not known, so all.
    """
    return {block: sum(some is None or block in some for some in moved) for block in blocks}


def norm_limits(norms: Sequence[Mapping[str, float]], caps: Caps) -> dict[str, float]:
    """Return the norm by kind of block that updates of a round are cut to; none of a kind that too few trained.

    Cutting to a norm keeps the direction (Sun et al., arXiv 1911.07963, norm thresholding).

    Args:
        norms: of each device its largest norm by kind.
        caps: what one may weigh.
    """
    by_kind: dict[str, list[float]] = {}
    for one in norms:
        for kind, norm in one.items():
            by_kind.setdefault(kind, []).append(norm)
    return {
        kind: caps.norm * float(median(values))
        for kind, values in by_kind.items()
        if caps.norm and len(values) > FEW_DEVICES
    }


def bounded_use(
    use: Mapping[ExpertId, tuple[float, float]], top_k: int, factor: float
) -> dict[ExpertId, tuple[float, float]]:
    """Bound the tokens that a device says it routed: T tokens make at most k T choices in a layer, for all its experts.

    Args:
        use: (tokens routed, tokens seen) by expert.
        top_k: k, experts chosen for a token.
        factor: what is left of the device's tokens, in (0, 1].
    """
    routed: dict[int, float] = {}
    possible: dict[int, float] = {}
    for block, (tokens, seen) in use.items():
        routed[block.layer] = routed.get(block.layer, 0.0) + tokens
        possible[block.layer] = max(possible.get(block.layer, 0.0), top_k * seen)
    left = {
        layer: possible[layer] / tokens if tokens > ROUNDING * possible[layer] else 1.0
        for layer, tokens in routed.items()
    }
    return {block: (tokens * factor * left[block.layer], seen * factor) for block, (tokens, seen) in use.items()}


def _ratio(after: Wide, before: Wide) -> Wide:
    result: Wide = np.divide(after, before, out=np.ones_like(before), where=before > 0)
    return result
