"""The devices that were seen last: what each can spend, how it stands, what it sent and what became of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from broker_server.rounds.roster import wants_statistics
from broker_server.state.readings import Readings
from broker_server.state.rows import TrustRow
from broker_server.views.liveness import liveness
from broker_server.views.wording import instant


@dataclass(frozen=True)
class DeviceBudget:
    """What a device says that it can spend. Args: bytes and seconds: in a round, 0 for no limit."""

    trained_slots: int
    held_slots: int
    bytes_up_per_round: int
    bytes_down_per_round: int
    seconds_per_round: float


@dataclass(frozen=True)
class Device:
    """One device.

    Args:
        name: in the federation.
        state: "here", "away" or "revoked".
        profile, runtime: as it says; budget: likewise.
        examples: that it has.
        step_ms: milliseconds of a step in its last delta, else as it says; 0: not measured yet.
        class_statistics: whether the gateway has the class sums of its present data.
        accepted, refused: deltas with that final verdict, since the state began; refusals: by code.
        blocks_trained: how often a block of its became part of a version.
        bytes_up, bytes_down: since the state began.
        first_seen, last_seen: seconds since 1970.
        limits: how often it reached each limit.
        trust: how far its updates point where those of the others do, over its rounds; None: they were not compared.
        left_out_since: first version of those, up to its last, that its deltas were not merged into; None: they were.
    """

    name: str
    state: str
    profile: str
    runtime: str
    budget: DeviceBudget
    examples: int
    step_ms: float
    class_statistics: bool
    accepted: int
    refusals: dict[str, int]
    blocks_trained: int
    bytes_up: int
    bytes_down: int
    first_seen: float
    last_seen: float
    limits: dict[str, int]
    trust: float | None = None
    left_out_since: int | None = None

    @property
    def refused(self) -> int:
        """Refused deltas since the state began."""
        return sum(self.refusals.values())

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "device": self.name,
            "state": self.state,
            "profile": self.profile,
            "runtime": self.runtime,
            **asdict(self.budget),
            "examples": self.examples,
            "step_ms": self.step_ms,
            "class_statistics": self.class_statistics,
            "accepted": self.accepted,
            "refusals": self.refusals,
            "blocks_trained": self.blocks_trained,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "first_seen": instant(self.first_seen),
            "last_seen": instant(self.last_seen),
            "limits": self.limits,
            "trust": None if self.trust is None else round(self.trust, 4),
            "left_out_since": self.left_out_since,
        }


@dataclass(frozen=True)
class Devices:
    """Args: total: devices that are known; rows: those of them that were asked for, by name."""

    total: int
    rows: tuple[Device, ...]

    def plain(self) -> dict[str, Any]:
        """Return them for JSON."""
        return {"total": self.total, "devices": [row.plain() for row in self.rows]}


def read_devices(ledger: Readings, newest: int = 100, names: Sequence[str] = ()) -> Devices:
    """Read devices.

    Args:
        ledger: of a state directory.
        newest: those that were seen last, at most so many.
        names: instead, these; who is not known is left out.

    Raises:
        StateError: when the ledger cannot be read.
    """
    running = liveness(ledger.path.parent).held
    trust = {row.device: row for row in ledger.trust()}
    every = names or ledger.last_seen_devices(newest)
    views = (_view(ledger, name, running=running, trust=trust.get(name)) for name in every)
    return Devices(ledger.count("devices"), tuple(view for view in views if view is not None))


def _view(ledger: Readings, name: str, *, running: bool, trust: TrustRow | None) -> Device | None:
    row = ledger.device(name)
    if row is None:
        return None
    hello, digest, verdicts = row["hello"], ledger.statistics_digest(name), ledger.verdicts(name)
    return Device(
        name=name,
        state="revoked" if row["revoked"] else "here" if row["present"] and running else "away",
        profile=hello.profile,
        runtime=hello.runtime,
        budget=DeviceBudget(
            hello.trained_slots, hello.held_slots, hello.bytes_up_per_round, hello.bytes_down_per_round,
            round(hello.seconds_per_round, 1),
        ),
        examples=hello.examples,
        # A Hello tells of the rounds before it; in its first session a device has trained only since.
        step_ms=round(ledger.step_ms(name) or hello.step_ms, 2),
        class_statistics=not row["revoked"] and digest is not None and not wants_statistics(hello, digest),
        accepted=verdicts.pop("ACCEPTED", 0),
        refusals=verdicts,
        blocks_trained=ledger.blocks_trained(name),
        bytes_up=row["bytes_up"],
        bytes_down=row["bytes_down"],
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
        limits=ledger.limits_hit(name),
        trust=trust.trust if trust is not None else None,
        left_out_since=trust.left_out_since if trust is not None else None,
    )  # fmt: skip
