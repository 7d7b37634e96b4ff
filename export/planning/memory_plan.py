"""How a step of a given size spends its memory: plain, recomputing, in micro-batches, or both. Pure.

Every plan makes the same step; they differ in memory and time. The cheapest one that fits is the fastest one, by the
planner's prediction (``planning``), whose cost exceeds no budget.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from edge_runtime.wire.manifest import Cost
from edge_runtime.wire.manifest_checks import RECOMPUTE
from edge_runtime.wire.text import counted
from export.planning.cost_model import excesses, predict, step_seconds
from export.planning.profiles import DeviceProfile
from export.planning.sizes import Sizes, TierShape

AUTO: Final = "auto"
PARTS: Final = (1, 2, 4, 8)
"""Numbers of micro-batches to try."""


@dataclass(frozen=True)
class Fixed:
    """What the user fixed. Args: recompute: a level, or ``auto``; micro_batches: k; 0 leaves it open."""

    recompute: str = AUTO
    micro_batches: int = 0


OPEN: Final = Fixed()


@dataclass(frozen=True)
class Planned:
    """One plan for a tier.

    Args:
        shape: the tier, plan included.
        cost: predicted.
        over: budgets that it exceeds, with numbers; empty when it fits.
        why: a sentence that says why this plan and no faster one.
    """

    shape: TierShape
    cost: Cost
    over: tuple[str, ...]
    why: str


def candidates(tier: TierShape, fixed: Fixed) -> list[TierShape]:
    """Return the plans to consider; none where there are to be more micro-batches than texts.

    A call takes whole rows: where they cannot be dealt out evenly, a step has some rows more.
    """
    levels = RECOMPUTE if fixed.recompute == AUTO else (fixed.recompute,)
    counts = (fixed.micro_batches,) if fixed.micro_batches else PARTS
    return [
        replace(tier, rows=count * -(-tier.rows // count), recompute=level, micro_batches=count)
        for level in levels
        for count in counts
        if count <= tier.batch
    ]


def cheapest(sizes: Sizes, tier: TierShape, fixed: Fixed, profile: DeviceProfile) -> Planned | None:
    """Return the fastest plan that fits; the one of least memory when none does; None when no plan is possible."""
    sizes = sizes.at_depth(tier.layers)
    costs = [(shape, predict(sizes, shape, profile)) for shape in candidates(tier, fixed)]
    if not costs:
        return None
    by_time = sorted(costs, key=lambda pair: step_seconds(sizes, pair[0], profile))  # a cost's step_ms is rounded
    for shape, cost in by_time:
        if not excesses(cost, profile):
            return Planned(shape, cost, (), _why(by_time, shape, fixed, profile))
    shape, cost = min(costs, key=lambda pair: (pair[1].memory_mib, pair[1].step_ms))
    return Planned(shape, cost, tuple(excesses(cost, profile)), "no plan fits")


def shown(tier: TierShape) -> str:
    """Return a plan in words."""
    words = [] if tier.recompute == "none" else [f"recompute {tier.recompute}"]
    rows = counted(tier.rows_per_call, "row")
    words += [] if tier.micro_batches == 1 else [f"{tier.micro_batches} micro-batches of {rows}"]
    return " with ".join(words) or "everything kept, one batch"


def _why(by_time: list[tuple[TierShape, Cost]], chosen: TierShape, fixed: Fixed, profile: DeviceProfile) -> str:
    cost = dict(by_time)[chosen]
    text = (
        f"{shown(chosen)}: {cost.memory_mib:.4g} of {profile.budget.memory_mib:.4g} MiB, {cost.step_ms:.4g} ms a step"
    )
    if fixed.recompute != AUTO and fixed.micro_batches:
        return f"{text}; as asked"
    fastest, least = by_time[0]
    if fastest == chosen:
        return f"{text}; the fastest plan fits"
    over = ", ".join(excesses(least, profile))
    return f"{text}; faster, but needs {over}: {shown(fastest)} ({least.step_ms:.4g} ms)"
