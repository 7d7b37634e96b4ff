"""Who is here in this session of the gateway, what may be expected of each, how many bytes went to and from each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from broker_server.config_tables import RoundRules
from broker_server.rules import standing as rules
from broker_server.rules.planner import Budget, Reach, measured
from broker_server.rules.round import Present
from broker_server.rules.standing import NEWCOMER, Standing
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.mask_checks import knows_masks


@dataclass
class Member:
    """A device that said hello to this session.

    Args:
        hello: its last one.
        arrived_at: monotonic seconds; a Hello said again changes it only after a bye or with other data.
        ready_at: when it was first seen with its class statistics; None while they are missing.
        step_ms: of its last accepted delta in this session, by the depth that it trained.
    """

    hello: pb.Hello
    arrived_at: float
    ready_at: float | None = None
    step_ms: dict[int, float] = field(default_factory=dict)


class Roster:
    """Members by name, and the standing of every device that a plan was made for."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self._here: set[str] = set()
        self._batch_sizes: Counter[int] = Counter()
        self._standings: dict[str, Standing] = {}
        self._traffic: dict[str, tuple[int, int]] = {}
        self.totals = (0, 0)
        """Bytes of all messages from and to devices since the start."""
        self._totals_before = (0, 0)
        self._hits: dict[tuple[str, str], int] = {}
        self.unwritten: set[str] = set()
        """Names whose first Hello is on its way to the ledger."""

    def greet(self, hello: pb.Hello, now: float) -> bool:
        """Note a hello; return whether the device was not here before."""
        old = self.members.get(hello.device)
        new = hello.device not in self._here
        self._here.add(hello.device)
        self._count_batch_size(hello.batch_size, 1)
        if old is not None:
            self._count_batch_size(old.hello.batch_size, -1)
        if old is None or new or old.hello.statistics_digest != hello.statistics_digest:
            self.members[hello.device] = Member(hello, now, step_ms=old.step_ms if old else {})
        else:
            old.hello = hello
        return new

    def told(self, hello: pb.Hello) -> bool:
        """Return whether a device that is here said just this before."""
        return hello.device in self._here and self.members[hello.device].hello == hello

    def leave(self, device: str) -> bool:
        """Note a bye; return whether the device was here."""
        was_here = device in self._here
        self._here.discard(device)
        return was_here

    def heard(self, device: str) -> None:
        """Note a sign of life: a bye may be the will of a connection that was replaced since."""
        if device in self.members:
            self._here.add(device)

    def trained(self, device: str, layers: int, step_ms: float) -> None:
        """Note how long a step took: a first Hello cannot tell, and the planner divides a round's seconds by it.

        Args:
            device: its name.
            layers: how many, from the top, it trained.
            step_ms: median.
        """
        member = self.members.get(device)
        if member is not None:
            member.step_ms[layers] = step_ms

    def forget(self, devices: Iterable[str]) -> None:
        """Forget devices that are not here and never answered a plan."""
        for device in devices:
            member = self.members.pop(device, None)
            if member is not None:
                self._count_batch_size(member.hello.batch_size, -1)
            self._here.discard(device)
            self._standings.pop(device, None)

    def joined(self, device: str) -> bool:
        """Return whether a device said hello since the gateway started."""
        return device in self.members

    def examples(self, device: str) -> int:
        """Return how many examples a member's last Hello told of; 0 for a device that said none."""
        member = self.members.get(device)
        return member.hello.examples if member is not None else 0

    def batch_size(self, device: str) -> int:
        """Return what a member told of the texts that a step takes at most; 0 for a device that said nothing."""
        member = self.members.get(device)
        return member.hello.batch_size if member is not None else 0

    @property
    def usual_batch_size(self) -> int:
        """The median of what members told, rounded down; 0 without any. Counted, since every delta asks for it."""
        lower, upper, passed, below = (len(self.members) - 1) // 2, len(self.members) // 2, 0, 0
        for size in sorted(self._batch_sizes):
            before, passed = passed, passed + self._batch_sizes[size]
            if before <= lower < passed:
                below = size
            if upper < passed:
                return (below + size) // 2
        return 0

    def _count_batch_size(self, size: int, times: int) -> None:
        self._batch_sizes[size] += times
        if not self._batch_sizes[size]:
            del self._batch_sizes[size]

    def here(self) -> frozenset[str]:
        """Return who is here."""
        return frozenset(self._here)

    def all_among(self, devices: AbstractSet[str]) -> bool:
        """Return whether nobody is here but some of ``devices``."""
        return len(self._here) <= len(devices) and self._here <= devices

    def gone(self, devices: Iterable[str]) -> frozenset[str]:
        """Return who of ``devices`` said bye."""
        return frozenset(one for one in devices if one in self.members and one not in self._here)

    def present(
        self, statistics: Mapping[str, bytes], now: float, *, masks: int = 0, signed: bool = False
    ) -> dict[str, Present]:
        """Return who is here, and since when with its class statistics.

        Args:
            statistics: digests of those that came, by device.
            now: monotonic seconds.
            masks: version of sums under masks that a device has to know to be planned for; 0: none.
            signed: whether it has to sign its keys for them.
        """
        result = {}
        for name, member in self.members.items():
            if name not in self._here:
                continue
            if wants_statistics(member.hello, statistics.get(name)):
                member.ready_at = None
            elif member.ready_at is None:
                member.ready_at = now
            rests = not knows_masks(member.hello, masks, signed=signed) or self.standing(name).rests(now)
            result[name] = Present(member.arrived_at, member.ready_at, rests)
        return result

    # standings

    def standing(self, device: str) -> Standing:
        """Return what may be expected of a device."""
        return self._standings.get(device, NEWCOMER)

    def standings(self) -> dict[str, Standing]:
        """Return the standings of all devices that have one, as they are now."""
        return dict(self._standings)

    def prove(self, devices: Iterable[str]) -> None:
        """Note devices that are known to have answered a plan."""
        for device in devices:
            self._standings[device] = replace(self.standing(device), proven=True)

    def answered(self, device: str) -> None:
        """Note that a device answered its plan, in time or late."""
        self._standings[device] = rules.answered(self.standing(device))

    def missed(self, devices: Iterable[str], now: float, round_rules: RoundRules) -> dict[str, Standing]:
        """Note that devices which were here left a plan without an answer; return their standings.

        Args:
            devices: their names.
            now: monotonic seconds.
            round_rules: settings.
        """
        after = {device: rules.missed(self.standing(device), now, round_rules) for device in devices}
        self._standings |= after
        return after

    # budgets and traffic

    def budget(self, device: str, layers: int) -> Budget:
        """Return what a member said it can do. Args: device: its name; layers: that the federation adapts."""
        member = self.members[device]
        hello = member.hello
        reaches = [Reach(reach.layers, reach.step_ms, reach.trunk_ms) for reach in hello.reaches]
        return Budget(
            device,
            trained_slots=hello.trained_slots,
            bytes_up=hello.bytes_up_per_round,
            bytes_down=hello.bytes_down_per_round,
            seconds=hello.seconds_per_round,
            step_ms=member.step_ms.get(layers) or hello.step_ms,
            codecs=tuple(hello.codecs),
            reaches=tuple(measured(reaches, member.step_ms)),
            examples=hello.examples,
            batch=hello.batch_size,
        )

    def hit(self, device: str, limit: str, times: int = 1) -> None:
        """Count that a device, or some name that is not known (""), reached a limit."""
        self._hits[device, limit] = self._hits.get((device, limit), 0) + times

    def take_hits(self) -> dict[tuple[str, str], int]:
        """Return how often limits were reached since the last call, by (device, limit)."""
        taken, self._hits = self._hits, {}
        return taken

    def count(self, device: str, up: int = 0, down: int = 0) -> None:
        """Add payload bytes."""
        self.totals = (self.totals[0] + up, self.totals[1] + down)
        before = self._traffic.get(device, (0, 0))
        self._traffic[device] = (before[0] + up, before[1] + down)

    def take_totals(self) -> tuple[int, int]:
        """Return the bytes of all messages since the last call: (up, down)."""
        (up, down), before, self._totals_before = self.totals, self._totals_before, self.totals
        return up - before[0], down - before[1]

    def take_traffic(self) -> dict[str, tuple[int, int]]:
        """Return the bytes counted since the last call, by device: (up, down); of those that the ledger knows."""
        kept = {device: bytes_ for device, bytes_ in self._traffic.items() if device in self.unwritten}
        taken = {device: bytes_ for device, bytes_ in self._traffic.items() if device not in kept}
        self._traffic = kept
        return taken


def wants_statistics(hello: pb.Hello, have: bytes | None) -> bool:
    """Return whether the device has class statistics that the gateway lacks."""
    return bool(hello.statistics_digest) and hello.statistics_digest != have
