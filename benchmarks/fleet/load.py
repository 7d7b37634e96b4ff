"""What a run is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

FEDERATION: Final = "fleet"
NAME: Final = "light-{:05d}"
"""Of a device, by its number from 0."""
STALL_S: Final = 3.0
"""How long a device that stalls says nothing in the middle of its delta; one that drops comes back after as long."""
PATIENCE_S: Final = 300.0
"""For anything that must come; then the run goes on without it, and says so."""


@dataclass(frozen=True)
class Load:
    """One run.

    Args:
        devices: how many.
        broker: "embedded" or "mosquitto".
        delta_kb: thousands of bytes of a delta, roughly.
        seconds: that devices send, once all have joined.
        think_s: a device waits up to so long between its plan and its delta.
        unruly: share of deltas whose device stalls, drops its connection or lies.
        fetch: share of devices that fetch every block at the end.
        past_capacity: nobody waits, and who has its verdict sends another body at once.
        offers: devices offer a body before they send it.
        tree: checkout of the gateway; None: this one.
        out: folder of the run.
        seed: of all that is drawn.
        limits: lines of the gateway's [limits], after those of the fleet.
    """

    devices: int = 1000
    broker: str = "embedded"
    delta_kb: int = 100
    seconds: float = 60.0
    think_s: float = 2.0
    unruly: float = 0.03
    fetch: float = 0.1
    past_capacity: bool = False
    offers: bool = False
    tree: Path | None = None
    out: Path = Path("runs/fleet")
    seed: int = 1
    limits: tuple[str, ...] = ()
