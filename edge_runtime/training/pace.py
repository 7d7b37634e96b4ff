"""How fast a device steps at each depth: measured where it trained, else what export predicted, scaled by that. Pure.

A gateway plans by these times (docs/algorithm.md, "Plans by depth"), so a depth that was never tried needs one, too: a
device that is three times as slow as its profile at one depth is taken to be so at the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from edge_runtime.errors import PlanError
from edge_runtime.program.slots import Need
from edge_runtime.training.tiers import fitting
from edge_runtime.wire.manifest import Tier


@dataclass(frozen=True)
class Pace:
    """What a step takes; 0 where it is not known.

    Args:
        step_ms: median, with the prefixes of its texts at hand.
        trunk_ms: more, while they are not.
    """

    step_ms: float
    trunk_ms: float = 0.0


def reaches(tiers: Sequence[Tier], largest: Tier, paces: Mapping[str, Pace]) -> dict[int, Pace]:
    """Return the depths for which a device has a tier with all the slots that it offers, ascending, and their paces.

    Args:
        tiers: that the device may use.
        largest: that it offers for plans.
        paces: measured on the device, by the tier's method.
    """
    best = {layers: _best(tiers, largest, layers) for layers in sorted({tier.layers for tier in tiers})}
    return {layers: pace_of(tier, tiers, paces) for layers, tier in best.items() if tier is not None}


def _best(tiers: Sequence[Tier], largest: Tier, layers: int) -> Tier | None:
    """Return the tier in which a plan of this depth, with an expert for each slot, is trained, if it is so deep."""
    try:
        best = fitting(tiers, largest, Need(largest.trained_slots, layers))[0]
    except PlanError:
        return None
    return best if best.layers == layers else None


def pace_of(tier: Tier, tiers: Sequence[Tier], paces: Mapping[str, Pace]) -> Pace:
    """Return a tier's pace: measured, or predicted times what the nearest measured tier took of its prediction."""
    if tier.method in paces:
        return paces[tier.method]
    known = [one for one in tiers if one.method in paces and _expected(one).step_ms]
    expected = _expected(tier)
    if not known:
        return expected
    nearest = min(known, key=lambda one: (abs(one.layers - tier.layers), abs(one.rows - tier.rows)))
    measured, foreseen = paces[nearest.method], _expected(nearest)
    factor = measured.step_ms / foreseen.step_ms
    trunk = measured.trunk_ms / foreseen.trunk_ms if foreseen.trunk_ms else 0.0
    return Pace(expected.step_ms * factor, expected.trunk_ms * (trunk or factor))


def _expected(tier: Tier) -> Pace:
    """Return what export told of a tier: predicted, or as it measured a step that is too quick for a prediction."""
    predicted, measured = tier.predicted, tier.measured
    return Pace(predicted.step_ms or measured.step_ms, predicted.trunk_ms or measured.trunk_ms)


@dataclass
class Stretch:
    """Steps that one process made in one tier. Args: bare_ms: of each, without its trunk; texts: of all of them."""

    bare_ms: list[float] = field(default_factory=list)
    texts: int = 0

    def add(self, bare_ms: float, texts: int) -> None:
        """Count a step."""
        self.bare_ms.append(bare_ms)
        self.texts += texts

    def pace(self, text_ms: float) -> Pace | None:
        """Return the pace of these steps, where the trunk takes ``text_ms`` a text; None of none."""
        steps = len(self.bare_ms)
        return Pace(median(self.bare_ms), text_ms * self.texts / steps) if steps else None
