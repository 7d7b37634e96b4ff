"""Contributions into exact sums: of each staleness its own, which are weighed against each other only at the end. Pure.

A late delta counts less, and by how much is known only when a merge begins: a site that sent a sum cannot know. So a
sum has the full weight of each delta, and the discount is one factor for all that is equally late, taken in the order
of staleness. That order is the same for one gateway and for any tree of sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker_server.rules.aggregate import (
    Contribution,
    Part,
    Run,
    Sums,
    combine,
    discount,
    fold_parts,
    in_turn,
    parts_of,
)
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.grids import LIMIT

ByStaleness = dict[int, Sums]
"""Exact sums by staleness: merges since the base of what they are sums of that moved the block."""


def fold_exact(
    sums: ByStaleness,
    updates: Sequence[Contribution],
    shape: BankShape,
    *,
    topk: bool,
    normalized: bool = False,
    shares: int = 1,
    run: Run = in_turn,
) -> None:
    """Add contributions to ``sums``; their order does not matter. Args: as ``aggregate.fold_all``."""
    parts: dict[int, dict[ExpertId, list[Part]]] = {}
    for update in updates:
        for block, part in parts_of(update, shape, topk=topk, normalized=normalized, on_grid=True).items():
            parts.setdefault(update.staleness_of(block), {}).setdefault(block, []).append(part)
    for staleness in sorted(parts):
        fold_parts(sums.setdefault(staleness, Sums()), parts[staleness], shape, shares=shares, run=run)


def combined(parts: Sequence[Mapping[int, Sums]]) -> ByStaleness:
    """Add up exact sums that were folded apart, in any order."""
    every = sorted({staleness for part in parts for staleness in part})
    return {staleness: combine([part[staleness] for part in parts if staleness in part]) for staleness in every}


def discounted(sums: Mapping[int, Sums]) -> Sums:
    """Return one sum of all: each staleness times its discount, freshest first.

    A block of which some sum is not exact, since sizes add up to LIMIT, is left out: it is not moved.
    """
    spilled = {block for part in sums.values() for block, size in part.sizes.items() if size >= LIMIT}
    total: list[Sums] = []
    for staleness in sorted(sums):
        part, factor = sums[staleness], float(discount(1.0, staleness))
        kept = [block for block in sorted(part.deltas) if block not in spilled]
        total.append(
            Sums(
                {block: part.deltas[block] * factor for block in kept},
                {block: part.weights[block] * factor for block in kept},
                {block: part.devices[block] for block in kept},
                {block: part.steps[block] * factor for block in kept if block in part.steps},
            )
        )
    return combine(total)
