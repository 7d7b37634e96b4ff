"""How strong devices are: what their Hello says, and how fast their links are."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Final

from benchmarks.federation.fleet import DEVICES, SHARES, device
from benchmarks.fleet.simulated.assumed import LIGHT

TEXTS: Final = "hwu64"
"""The set whose texts decide how long a step takes (benchmarks/federation/devices.json)."""
LAYERS: Final = 6
ROUND_S: Final = 300.0
"""What the shipped profiles of phones allow for a round."""


@dataclass(frozen=True)
class Kind:
    """A kind of device.

    Args:
        profile: its name.
        step_ms: of a step through all layers; 0: not measured.
        bytes_up, bytes_down, seconds: budgets for a round; 0: no limit.
        up_bytes_s, down_bytes_s: of its link.
    """

    profile: str
    step_ms: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: float = 0.0
    up_bytes_s: float = math.inf
    down_bytes_s: float = math.inf


def kinds(profile: str) -> list[tuple[Kind, float]]:
    """Return the kinds of a fleet and the share of each.

    Args:
        profile: a shipped one; "shipped": all of a mixed fleet (benchmarks/federation/fleet.py has shares and links);
            "light": devices without budgets, on links that take no time.

    Raises:
        ValueError: for another name.
    """
    if profile == LIGHT:
        return [(Kind(LIGHT), 1.0)]
    table = json.loads(DEVICES.read_text(encoding="utf-8"))
    shares = SHARES if profile == "shipped" else {profile: 1.0}
    return [(_kind(table, name), share) for name, share in shares.items()]


def _kind(table: dict[str, object], profile: str) -> Kind:
    strength = device(table, profile, TEXTS, (LAYERS,))
    return Kind(
        profile, strength.reaches[0].step_ms, strength.bytes_up, strength.bytes_down, ROUND_S, strength.up_bytes_s,
        strength.down_bytes_s,
    )  # fmt: skip
