"""Watch memory and heat while training, and move to another tier between two steps when they ask for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

from edge_runtime.program.slots import Need
from edge_runtime.training.budget import Budget, choose_tier, excess
from edge_runtime.training.capacity import suiting
from edge_runtime.training.sensors import read_sensors
from edge_runtime.training.tiers import AUTO, Signal, by_name, choose, fitting, short
from edge_runtime.training.trainer import Trainer
from edge_runtime.wire.manifest import Manifest, Tier

LOOK_EVERY_S: Final = 10.0
"""A chip needs about that long to show that it has less to do."""


def nothing() -> Signal:
    """Sense nothing: the best tier for every plan, and no move."""
    return Signal()


@dataclass
class Watch:
    """The tiers that training may use, and when to look again.

    Args:
        tiers: that the budget leaves, or the one that the user named.
        largest: that the device offers for plans.
        sensors: tell memory and temperature.
        clock: seconds.
    """

    tiers: tuple[Tier, ...]
    largest: Tier
    sensors: Callable[[], Signal] = nothing
    clock: Callable[[], float] = time.monotonic
    _looked_at: float = field(default=float("-inf"), init=False)

    @classmethod
    def of(cls, manifest: Manifest, budget: Budget, name: str = AUTO) -> Self:
        """Return the watch of a device with a budget; a named tier is kept whatever the device feels.

        Raises:
            ConfigError: when the package has no such tier.
            BudgetError: when no tier fits the budget.
        """
        if name != AUTO:
            tier = by_name(manifest, name)
            return cls((tier,), tier)
        tiers = tuple(tier for tier in manifest.tiers if not excess(tier, budget))
        return cls(tiers, choose_tier(manifest, budget), read_sensors)

    def for_texts(self, counts: Callable[[], Sequence[int]]) -> Self:
        """Return the watch of a device with such texts: no tier of more rows than they need.

        Args:
            counts: gives the tokens of the first texts.
        """
        tiers = suiting(self.tiers, counts)
        return replace(self, tiers=tiers, largest=tiers[0])

    def uses_prefixes(self, layers: int = 1) -> bool:
        """Return whether a plan that goes down so many layers, or more, may be trained above prefixes."""
        return any(tier.trunk_methods for tier in self.tiers if tier.layers >= layers)

    def begin(self, need: Need) -> Tier:
        """Return the tier to start a task in that needs such a tier.

        Raises:
            PlanError: when there is none.
        """
        self._looked_at = self.clock()
        return choose(fitting(self.tiers, self.largest, need), self.sensors())

    def look(self, trainer: Trainer) -> str:
        """Move training to another tier if memory or heat ask for it; return what was done, empty for nothing."""
        now = self.clock()
        if len(self.tiers) < 2 or now - self._looked_at < LOOK_EVERY_S:
            return ""
        self._looked_at = now
        before, signal = trainer.tier, self.sensors()
        after = choose(fitting(self.tiers, self.largest, trainer.need), signal, before)
        if after.method == before.method:
            return ""
        trainer.switch(after)
        return f"{short(before)} -> {short(after)} ({told(signal)})"


def told(signal: Signal) -> str:
    """Return what a device feels, for people."""
    room = "memory not known" if signal.room_mib is None else f"room for {signal.room_mib:.0f} MiB"
    return room if signal.celsius is None else f"{room}, {signal.celsius:.0f} °C"
