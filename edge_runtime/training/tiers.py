"""Which tier to train in: what a plan needs, what the device may spend, and what it feels. Pure.

Tiers are methods of one program. A plan can be trained in any tier with a trained slot for each of its experts and as
many layers as it goes down. The best has no more layers than that needs, since a step costs by the layers; then it is
the one nearest to the model that is merged (most experts held, longest texts, most rows), and of those the one with the
fewest slots to spare. Memory and heat decide how far down from the best one has to go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edge_runtime.errors import ConfigError, PlanError
from edge_runtime.program.slots import Need
from edge_runtime.training.budget import cost_of
from edge_runtime.wire.manifest import Manifest, Tier

AUTO: Final = "auto"
HOT_C: Final = 80.0
"""Degrees Celsius from which on a device steps down; phones and boards slow down by themselves at about 85."""
COOL_C: Final = 70.0
"""Below it, a device may step up again; between the two it stays where it is."""
RESERVE_MIB: Final = 64.0
"""Memory that is left to others: below it a system begins to end processes."""


@dataclass(frozen=True)
class Signal:
    """What a device feels; None where it cannot tell.

    Args:
        room_mib: resident memory that this process could have, if others kept what they have.
        celsius: of its warmest part.
    """

    room_mib: float | None = None
    celsius: float | None = None


def by_name(manifest: Manifest, name: str) -> Tier:
    """Return the tier of a name: its method's, with or without the first word.

    Raises:
        ConfigError: listing the tiers that there are.
    """
    for tier in manifest.tiers:
        if name in (tier.method, short(tier)):
            return tier
    there = ", ".join(short(tier) for tier in manifest.tiers)
    raise ConfigError(f"tier {name[:60]}: this package has {there}; or auto").about("tier")


def short(tier: Tier) -> str:
    """Return a tier's name without the kind of its method: m4_f4_s64_r4_b16, l2_m4_f4_s64_r4_b16 for two layers."""
    return tier.method.partition("_")[2] or tier.method


def fitting(tiers: Iterable[Tier], largest: Tier, need: Need) -> list[Tier]:
    """Return the tiers in which a plan can be trained, best first.

    Args:
        tiers: of the package.
        largest: what the device offered: no more slots, no longer texts, the same batch.
        need: what the plan needs.

    Raises:
        PlanError: when none has enough.
    """
    listed = list(tiers)
    fitting = [
        tier
        for tier in listed
        if need.slots <= tier.trained_slots <= largest.trained_slots
        and need.layers <= tier.layers
        and tier.held_slots <= largest.held_slots
        and tier.seq_len <= largest.seq_len
        and tier.batch_size == largest.batch_size
    ]
    if not fitting:
        raise PlanError(
            f"the plan trains {need.slots} experts at a layer and the top {need.layers} layers, this device has"
            f" {largest.trained_slots} slots and {max(tier.layers for tier in listed)} layers"
        )
    return sorted(fitting, key=_farness)


def _farness(tier: Tier) -> tuple[int, int, int, int, int]:
    """Return how far a tier is from the best, what counts most first."""
    return tier.layers, -tier.held_slots, -tier.seq_len, -tier.rows, tier.trained_slots


def choose(candidates: list[Tier], signal: Signal, current: Tier | None = None) -> Tier:
    """Return the best tier that memory and heat allow; the smallest when none is allowed.

    A step up needs the reserve twice, and a cool device, so that a device at the edge does not swing.

    Args:
        candidates: best first (``fitting``).
        signal: what the device feels.
        current: where training is; None before it starts.
    """
    cooler = _by_heat(candidates, signal.celsius, current)
    return _by_memory(cooler, signal.room_mib, current)


def _by_heat(candidates: list[Tier], celsius: float | None, current: Tier | None) -> list[Tier]:
    """Return the tiers that a temperature leaves: cheaper steps than now when hot, none dearer until it is cool."""
    if celsius is None or celsius <= COOL_C:
        return candidates
    if current is None:
        return candidates if celsius < HOT_C else [min(candidates, key=_step_ms)]
    now = _step_ms(current)
    cheaper = [tier for tier in candidates if _step_ms(tier) < now]
    if celsius >= HOT_C and cheaper:
        return cheaper
    return [tier for tier in candidates if _step_ms(tier) <= now] or [min(candidates, key=_step_ms)]


def _by_memory(candidates: list[Tier], room_mib: float | None, current: Tier | None) -> Tier:
    if room_mib is None:
        return candidates[0]
    now = _memory_mib(current) if current is not None else float("inf")
    for tier in candidates:
        need = _memory_mib(tier)
        spare = 2 * RESERVE_MIB if need > now else RESERVE_MIB
        if need + spare <= room_mib:
            return tier
    return min(candidates, key=_memory_mib)


def _step_ms(tier: Tier) -> float:
    return cost_of(tier, "step_ms")


def _memory_mib(tier: Tier) -> float:
    return cost_of(tier, "memory_mib")
