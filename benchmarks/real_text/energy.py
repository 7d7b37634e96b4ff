"""Joules that the processor's packages took, where the machine tells them (Intel's RAPL through Linux's powercap).

Counters are microjoules since some start and begin again at ``max_energy_range_uj``: kernel.org,
Documentation/power/powercap. They count the whole package, other processes included.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

POWERCAP: Final = Path("/sys/class/powercap")
_MICRO: Final = 1e-6


@dataclass(frozen=True)
class Counter:
    """One package. Args: microjoules: so far; limit: where the counter begins again."""

    microjoules: int
    limit: int


def read(folder: Path = POWERCAP) -> tuple[Counter, ...]:
    """Return the counters of the processor's packages; none where the machine has none or keeps them from us."""
    try:
        zones = sorted(zone for zone in folder.glob("*-rapl:*") if zone.name.count(":") == 1)
        return tuple(Counter(_number(zone / "energy_uj"), _number(zone / "max_energy_range_uj")) for zone in zones)
    except (OSError, ValueError):
        return ()


def joules(before: tuple[Counter, ...], after: tuple[Counter, ...]) -> float | None:
    """Return what was taken between two readings; None where there is nothing to read."""
    if not before or len(before) != len(after):
        return None
    taken = (
        end.microjoules - start.microjoules + (end.limit if end.microjoules < start.microjoules else 0)
        for start, end in zip(before, after, strict=True)
    )
    return sum(taken) * _MICRO


def _number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))
