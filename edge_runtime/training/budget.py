"""What a device may spend, and the largest tier that fits into it: checked at export, and here again.

Memory in MiB (2^20 bytes), storage in MB (10^6 bytes), traffic in bytes a round, time in seconds a round; 0 = no limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from edge_runtime.errors import BudgetError
from edge_runtime.wire.manifest import Cost, Manifest, Tier


@dataclass(frozen=True)
class Budget:
    """Limits of one device; the profile's, unless the user gave others."""

    memory_mib: float = 0.0
    storage_mb: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    round_seconds: float = 0.0

    @classmethod
    def from_profile(cls, profile: Mapping[str, Any]) -> Self:
        """Read the table ``budget`` of a manifest's profile; what it does not say is no limit."""
        table = profile.get("budget")
        limits = table if isinstance(table, Mapping) else {}
        return cls(**{field.name: limits[field.name] for field in fields(cls) if field.name in limits})

    def override(self, **limits: float | None) -> Self:
        """Return the budget with these limits in place of its own; None keeps one."""
        kept: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
        return replace(self, **kept)


def choose_tier(manifest: Manifest, budget: Budget) -> Tier:
    """Return the first tier (they are listed largest first) whose costs fit.

    Raises:
        BudgetError: with the numbers of the smallest tier when none does.
    """
    for tier in manifest.tiers:
        if not excess(tier, budget):
            return tier
    over = "; ".join(excess(manifest.tiers[-1], budget))
    raise BudgetError(
        f"no tier of this package fits this device: its smallest needs {over}; raise the budget or export smaller"
    )


def excess(tier: Tier, budget: Budget) -> list[str]:
    """Return what a tier needs beyond the budget, one phrase for each limit."""
    limits = {
        "memory_mib": ("memory", "MiB", budget.memory_mib),
        "storage_mb": ("storage", "MB", budget.storage_mb),
        "bytes_up": ("upload", "bytes a round", budget.bytes_up),
        "bytes_down": ("download", "bytes a round", budget.bytes_down),
    }
    over = []
    for name, (what, unit, limit) in limits.items():
        cost = cost_of(tier, name)
        # The planner cuts a plan to the bytes that a device offers; only a first block that does not fit is too much.
        share = 1 / tier.trained_slots if name == "bytes_up" else 1.0
        if limit and name != "bytes_down" and cost * share > limit:
            over.append(f"{cost * share:,.0f} {unit} of {what}, the budget is {limit:,.0f}")
    return over


def cost_of(tier: Tier, name: str) -> float:
    """Return a cost of a tier: measured, or predicted where nothing was measured."""
    measured: Cost = tier.measured
    return float(getattr(measured, name) or getattr(tier.predicted, name))
