"""Which of the tiers that differ in rows only suits a device's texts: fewer rows cost less, and hold fewer texts. Pure.

Axes: B texts of a step at most, R rows of S places. The rule is the contract's (SPEC.md, "Packing"), so that devices
with the same texts choose alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_runtime.data.packed import tier_capacity
from edge_runtime.wire import packing
from edge_runtime.wire.manifest import Tier


def suiting(tiers: Sequence[Tier], counts: Callable[[], Sequence[int]]) -> tuple[Tier, ...]:
    """Return the tiers without those that have more rows than the texts need; in their order.

    Smaller ones stay: memory and heat may ask for them.

    Args:
        tiers: that the device may use.
        counts: gives the tokens of the first texts, uncut or cut at the longest S; asked only where it matters.
    """
    if len({_all_but_rows(tier) for tier in tiers}) == len(tiers):
        return tuple(tiers)
    texts = counts()
    most = {key: _rows(_alike(tiers, key), texts) for key in {_all_but_rows(tier) for tier in tiers}}
    return tuple(tier for tier in tiers if tier.rows <= most[_all_but_rows(tier)])


def _all_but_rows(tier: Tier) -> tuple[int, ...]:
    return tier.trained_slots, tier.frozen_slots, tier.seq_len, tier.batch_size, tier.layers


def _alike(tiers: Sequence[Tier], key: tuple[int, ...]) -> list[Tier]:
    return sorted((tier for tier in tiers if _all_but_rows(tier) == key), key=lambda tier: tier.rows)


def _rows(tiers: Sequence[Tier], counts: Sequence[int]) -> int:
    """Return the rows of the first of these tiers, fewest rows first, that holds the texts; else those of the last."""
    fitting = (tier.rows for tier in tiers if packing.holds(counts, tier_capacity(tier)))
    return next(fitting, tiers[-1].rows)
