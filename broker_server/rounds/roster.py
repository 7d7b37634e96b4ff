"""Who is here in this session of the gateway, and how many bytes went to and from each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from broker_server.rules.planner import Budget
from broker_server.rules.round import Present
from edge_runtime.wire import wire_pb2 as pb


@dataclass
class Member:
    """A device that said hello to this session.

    Args:
        hello: its last one.
        hello_at: monotonic seconds.
        here: has not said bye since.
        step_ms: of its last accepted delta in this session; 0 before it.
    """

    hello: pb.Hello
    hello_at: float
    here: bool = True
    step_ms: float = 0.0


class Roster:
    """Members by name."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self._traffic: dict[str, tuple[int, int]] = {}

    def greet(self, hello: pb.Hello, now: float) -> bool:
        """Note a hello; return whether the device was not here before."""
        old = self.members.get(hello.device)
        self.members[hello.device] = Member(hello, now, step_ms=old.step_ms if old else 0.0)
        return old is None or not old.here

    def leave(self, device: str) -> bool:
        """Note a bye; return whether the device was here."""
        member = self.members.get(device)
        was_here = member is not None and member.here
        if member is not None:
            member.here = False
        return was_here

    def heard(self, device: str) -> None:
        """Note a sign of life: a bye may be the will of a connection that was replaced since."""
        member = self.members.get(device)
        if member is not None:
            member.here = True

    def trained(self, device: str, step_ms: float) -> None:
        """Note how long a step took: a first Hello cannot tell, and the planner divides a round's seconds by it."""
        member = self.members.get(device)
        if member is not None:
            member.step_ms = step_ms

    def joined(self, device: str) -> bool:
        """Return whether a device said hello since the gateway started."""
        return device in self.members

    def here(self) -> frozenset[str]:
        """Return who is here."""
        return frozenset(name for name, member in self.members.items() if member.here)

    def gone(self) -> frozenset[str]:
        """Return who said bye."""
        return frozenset(name for name, member in self.members.items() if not member.here)

    def present(self, statistics: Mapping[str, bytes]) -> dict[str, Present]:
        """Return who is here and whether their class statistics are. Args: statistics: digests that came, by device."""
        return {
            name: Present(member.hello_at, complete=not wants_statistics(member.hello, statistics.get(name)))
            for name, member in self.members.items()
            if member.here
        }

    def budget(self, device: str) -> Budget:
        """Return what a member said it can do."""
        member = self.members[device]
        hello = member.hello
        return Budget(
            device,
            trained_slots=hello.trained_slots,
            bytes_up=hello.bytes_up_per_round,
            bytes_down=hello.bytes_down_per_round,
            seconds=hello.seconds_per_round,
            step_ms=member.step_ms or hello.step_ms,
            codecs=tuple(hello.codecs),
        )

    def count(self, device: str, up: int = 0, down: int = 0) -> None:
        """Add payload bytes."""
        before = self._traffic.get(device, (0, 0))
        self._traffic[device] = (before[0] + up, before[1] + down)

    def take_traffic(self) -> dict[str, tuple[int, int]]:
        """Return the bytes counted since the last call, by device: (up, down)."""
        taken, self._traffic = self._traffic, {}
        return taken


def wants_statistics(hello: pb.Hello, have: bytes | None) -> bool:
    """Return whether the device has class statistics that the gateway lacks."""
    return bool(hello.statistics_digest) and hello.statistics_digest != have
