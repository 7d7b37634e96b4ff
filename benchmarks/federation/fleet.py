"""How strong each simulated device is, and what a round costs it: time, bytes, and whom a round waits for.

Strength comes from the profiles that ship with export; ``devices.json`` has it, written by
``python -m benchmarks.federation.devices --data F.npz --write`` from export's cost model, held against what the product
measured (that module says how). Bandwidths are assumed here: no profile has one.

Axes: K devices.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.federation.arms.base import Device
from broker_server.rules.planner import Reach

DEVICES: Final = Path(__file__).parent / "devices.json"
SHARES: Final = {"lowend-phone": 0.4, "pixel8": 0.3, "raspberrypi5": 0.3}
"""Of a fleet of three strengths. Assumed."""
MEGABITS: Final = {"lowend-phone": (2.0, 8.0), "pixel8": (10.0, 40.0), "raspberrypi5": (20.0, 50.0)}
"""Up and down a second. Assumed: a phone on a mobile network or a full Wi-Fi, one on Wi-Fi, a box behind DSL."""


def transfer_s(device: Device, bytes_up: float, bytes_down: float) -> float:
    """Return the seconds of a transfer, one way after the other; a way without a bandwidth takes no time."""
    ways = ((bytes_up, device.up_bytes_s), (bytes_down, device.down_bytes_s))
    return sum(count / speed for count, speed in ways if speed)


@dataclass(frozen=True)
class Luck:
    """What happens to a device in one round.

    Args:
        slowness: its times are so many times as long; 1 where nothing else runs and it is cool.
        leaves: share of its round after which it is gone; 1: it answers.
    """

    slowness: float = 1.0
    leaves: float = 1.0

    @property
    def answers(self) -> bool:
        """Whether the round gets its delta."""
        return self.leaves >= 1.0


@dataclass(frozen=True)
class Fleet:
    """All devices of a federation.

    Args:
        devices: [K], client by client.
        seed: of what happens to them.
        share: of the devices that take part in a round.
        drop: share of those that leave before they answer.
        straggle: share of those that are ``slow`` times as slow.
        slow: how slow that is.
        deadline_s: after which a round waits for nobody; 0: it waits for all that are there.
    """

    devices: tuple[Device, ...]
    seed: int = 0
    share: float = 1.0
    drop: float = 0.0
    straggle: float = 0.0
    slow: float = 3.0
    deadline_s: float = 0.0

    def here(self, number: int) -> list[int]:
        """Return who takes part in a round, ascending; the same for every arm of a seed."""
        count = max(1, round(self.share * len(self.devices)))
        return sorted(self._random(number, 0).permutation(len(self.devices))[:count].tolist())

    def luck(self, number: int) -> list[Luck]:
        """Return what happens to each device in a round; the same for every arm of a seed."""
        draws = self._random(number, 1).random((len(self.devices), 3))
        return [
            Luck(self.slow if straggles < self.straggle else 1.0, float(leaves) if drops < self.drop else 1.0)
            for straggles, drops, leaves in draws
        ]

    def _random(self, number: int, what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, number, what])

    def close(self, took: Mapping[int, float], luck: Sequence[Luck]) -> Closed:
        """Return how a round ends.

        Args:
            took: seconds of each device that got a plan, training and transfer, were it alone on its device.
            luck: of every device.
        """
        ends = {client: seconds * luck[client].slowness for client, seconds in took.items()}
        limit = self.deadline_s or float("inf")
        in_time = [client for client, end in ends.items() if luck[client].answers and end <= limit]
        waited = [min(limit, end * luck[client].leaves) for client, end in ends.items()]
        return Closed(tuple(sorted(in_time)), max(waited, default=0.0), sum(waited))


@dataclass(frozen=True)
class Closed:
    """A round as it ended.

    Args:
        answered: whose deltas came in time, ascending.
        wall_s: until the last that was waited for answered or left.
        busy_s: of all devices together, training and transferring.
    """

    answered: tuple[int, ...]
    wall_s: float
    busy_s: float


def fleet(
    name: str,
    clients: int,
    seed: int,
    shares: Mapping[str, float] | None = None,
    depths: Iterable[int] = (6, 2),
    *,
    budgets: Mapping[str, int] | None = None,
    **circumstances: float,
) -> Fleet:
    """Return a fleet that learns from a set: which client has which device is drawn by ``seed``.

    Args:
        name: of the set; short texts make short steps.
        clients: K.
        seed: the same for every arm.
        shares: of each profile, 1 in all; ``SHARES`` when left out.
        depths: that the packages have tiers for; the largest is all layers.
        budgets: bytes up of a round by profile, instead of the profile's own.
        circumstances: of ``Fleet``: share, drop, straggle, slow, deadline_s.

    Raises:
        ValueError: for a set, profile or depth that devices.json lacks.
    """
    kinds = _dealt(shares or SHARES, clients)
    order = np.random.default_rng([seed, clients]).permutation(clients)
    table = json.loads(DEVICES.read_text(encoding="utf-8"))
    known = {kind: device(table, kind, name, tuple(depths)) for kind in set(kinds)}
    known |= {kind: replace(known[kind], bytes_up=size) for kind, size in (budgets or {}).items() if kind in known}
    return Fleet(tuple(known[kinds[place]] for place in order), seed, **circumstances)


def _dealt(shares: Mapping[str, float], clients: int) -> list[str]:
    """Return a profile for each client: whole numbers nearest to the shares, cumulated."""
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"shares of a fleet must sum to 1, got {dict(shares)}")
    ends = np.rint(np.cumsum(list(shares.values())) * clients).astype(int)
    counts = np.diff([0, *ends])
    return [kind for kind, count in zip(shares, counts, strict=True) for _ in range(count)]


def device(table: Mapping[str, Any], profile: str, name: str, depths: tuple[int, ...]) -> Device:
    """Return a device of a profile, as ``devices.json`` has it.

    Raises:
        ValueError: for a set, profile or depth that is not there.
    """
    entry = table["profiles"].get(profile)
    if entry is None or profile not in MEGABITS:
        raise ValueError(f"no profile {profile!r} in {DEVICES.name}; it has {', '.join(table['profiles'])}")
    if name not in entry["reaches"]:
        raise ValueError(f"no set {name!r} in {DEVICES.name}; it has {', '.join(entry['reaches'])}")
    by_depth = {int(row["layers"]): Reach(**row) for row in entry["reaches"][name]}
    if not set(depths) <= set(by_depth):
        raise ValueError(f"depths {sorted(depths)}: {DEVICES.name} has {sorted(by_depth)}")
    reaches = tuple(by_depth[depth] for depth in sorted(depths))
    up, down = (1e6 * megabits / 8 for megabits in MEGABITS[profile])
    return Device(profile, reaches, entry["bytes_up"], entry["bytes_down"], up, down)
