"""All devices: who comes and goes, what befalls each, what they know of versions, and what became of their deltas."""

from __future__ import annotations

import bisect
import math
import random
from collections import Counter
from functools import lru_cache
from itertools import accumulate
from typing import Final

from benchmarks.fleet.bodies import EXAMPLES, STEP_MS, Bodies, Body, Lie
from benchmarks.fleet.load import NAME
from benchmarks.fleet.packaged import SLOTS
from benchmarks.fleet.simulated.assumed import LIGHT, Assumed
from benchmarks.fleet.simulated.clock import Clock
from benchmarks.fleet.simulated.device import Device
from benchmarks.fleet.simulated.kinds import Kind, kinds
from benchmarks.fleet.simulated.network import Network
from edge_runtime.federation.lacking import ways_to
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import decode

BATCH: Final = 16


class Fleet:
    """All devices.

    Args:
        devices: how many.
        profile: of them (``kinds.kinds``).
        assumed: what befalls them.
        package: of the federation.
        shape: of its bank.
        clock, network: simulated.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        devices: int,
        profile: str,
        assumed: Assumed,
        package: Package,
        shape: BankShape,
        *,
        clock: Clock,
        network: Network,
        seed: int,
    ) -> None:
        self.assumed, self.clock, self.network = assumed, clock, network
        self._package, self._shape = package, shape
        self._federation = package.manifest.architecture.digest()
        self._bodies = Bodies(shape, seed)
        self.random = random.Random(seed)  # noqa: S311 - a simulation
        self._most_arrivals = max(assumed.arrivals(hour * 3600.0) for hour in range(24))
        kinds_, shares = zip(*kinds(profile), strict=True)
        self._kinds: tuple[Kind, ...] = kinds_
        self._ends = list(accumulate(shares))
        self._own = frozenset(package.bank().digests().values())
        self._blocks: dict[bytes, frozenset[bytes]] = {b"": self._own}
        self._versions: dict[bytes, pb.Version] = {}
        self._last = b""
        self.newest = b""
        self._lacking: dict[tuple[bytes, bytes], tuple[bytes, ...]] = {}
        self._base_of = lru_cache(65_536)(lambda plan: pb.Plan.FromString(plan).version_digest)
        self._session_of = lru_cache(1)(lambda state: decode(pb.GatewayState, state).session)
        self._visits: dict[Device, int] = {}
        self.refused: Counter[str] = Counter()
        """Answers after which a device is to come again, by code."""
        self.lies: Counter[str] = Counter()
        """Final verdicts on wrong deltas, by what was wrong."""
        self.dropped = self.lost = self.gone = self.comings = self.left_at_work = 0
        self.accepted: list[bytes] = []
        """Digests of the deltas that devices were told are accepted."""
        self.devices = [self._device(number) for number in range(devices)]

    def _device(self, number: int) -> Device:
        kind = self._kinds[min(bisect.bisect(self._ends, self.random.random()), len(self._kinds) - 1)]
        factors: tuple[float, ...] = (1.0, 1.0, 1.0, 0.0)
        if kind.profile != LIGHT:
            factors = tuple(self.random.lognormvariate(0.0, self.assumed.spread) for _ in range(4))
        return Device(self, number, NAME.format(number), kind, factors)

    # coming and going

    def start(self) -> None:
        """Let those come who are here at the start, and the others when their time is."""
        share, join_s = self.assumed.here(0.0), self.assumed.join_s
        for device in self.devices:
            if self.random.random() < share:
                self._come_at(device, self.random.uniform(0.0, join_s))
            else:
                self._come_at(device, self._next_arrival())

    def _next_arrival(self) -> float:
        """Return when a device comes that is away: of a rate that changes through the day, by thinning.

        Lewis and Shedler, "Simulation of nonhomogeneous Poisson processes by thinning" (1979).
        """
        most, when = self._most_arrivals, self.clock.now
        while True:
            when += self.random.expovariate(most)
            if self.random.random() * most <= self.assumed.arrivals(when):
                return when

    def _come_at(self, device: Device, when: float) -> None:
        visit = self._visits[device] = self._visits.get(device, 0) + 1
        self.clock.at(when, self._come, device, visit)

    def _come(self, device: Device, visit: int) -> None:
        if visit != self._visits[device] or device.here:
            return
        self.comings += 1
        device.come()
        if math.isfinite(self.assumed.session_s):
            self.clock.after(self.random.expovariate(1.0 / self.assumed.session_s), self._end, device, visit)

    def _end(self, device: Device, visit: int) -> None:
        """End a session; the device comes again some time, or a new one in its place."""
        if visit != self._visits[device]:
            return
        self.left_at_work += device.busy
        device.go()
        comes_at = self._next_arrival()
        if self.random.random() < self.assumed.churn:
            self.gone += 1
            device = self._device(len(self.devices))
            self.devices.append(device)
        self._come_at(device, comes_at)

    def may_drop(self, device: Device, training_s: float) -> None:
        """Let a device leave during its training, perhaps."""
        if self.random.random() < self.assumed.drop:
            when = self.random.uniform(0.0, training_s)
            self.clock.after(when, self._drop, device, self._visits[device])

    def _drop(self, device: Device, visit: int) -> None:
        if visit == self._visits[device] and device.here:
            self.dropped += 1
            device.go()
            self._come_at(device, self.clock.now + self.random.expovariate(1.0 / self.assumed.away_s))

    def lost_at(self, chunks: int) -> int:
        """Return before which of a body's chunks the connection is lost; past the last: it is not."""
        return self.random.randrange(chunks) if self.random.random() < self.assumed.lost else chunks

    def lose(self, device: Device, seconds: float) -> None:
        """Let a device lose its connection, and come back. Args: seconds: until it does."""
        self.clock.after(seconds * self.random.random(), self._lose, device, self._visits[device])

    def _lose(self, device: Device, visit: int) -> None:
        if visit == self._visits[device] and device.here:
            self.lost += 1
            device.go()
            self._come_at(device, self.clock.now + self.random.uniform(0.0, self.assumed.back_s))

    # what devices know

    def hello(self, device: Device) -> pb.Hello:
        """Return what a device says of itself."""
        kind = device.kind
        return pb.Hello(
            device=device.name, federation_digest=self._federation, package_digest=self._package.digest,
            gateway_session=self._session_of(self.network.gateway), profile=kind.profile, runtime="none",
            trained_slots=SLOTS, held_slots=2 * SLOTS,
            batch_size=BATCH, examples=EXAMPLES, codecs=[pb.FLOAT32, pb.INT8], step_ms=device.step_ms,
            bytes_up_per_round=kind.bytes_up, bytes_down_per_round=kind.bytes_down, seconds_per_round=kind.seconds,
        )  # fmt: skip

    def take_version(self, payload: bytes) -> None:
        """Take a version's message; one that is older than the newest changes nothing."""
        if not payload or payload is self._last:
            return
        self._last, version = payload, decode(pb.Version, payload)
        known = self._versions.get(self.newest)
        if version.digest not in self._versions:
            self._versions[version.digest] = version
            self._blocks[version.digest] = frozenset(block.digest for block in version.blocks)
        if known is None or version.version > known.version:
            self.newest = version.digest

    def base_of(self, plan: bytes) -> bytes:
        """Return the digest of the version that a plan starts from."""
        return self._base_of(plan)

    def lacking(self, complete: bytes, target: bytes) -> tuple[bytes, ...]:
        """Return what a device that has one version lacks of another, as ``edge_runtime`` finds it. Args: digests."""
        lacking = self._lacking.get((complete, target))
        if lacking is None:
            here = self._own | self._blocks[complete]
            ways = ways_to(self._versions[target], self._shape, here.__contains__, ())
            lacking = tuple(dict.fromkeys(digest for way in ways.values() for digest in way.awaited))
            self._lacking[complete, target] = lacking
        return lacking

    def training_s(self, device: Device, plan: bytes) -> float:
        """Return how long a device trains for a plan."""
        if device.kind.profile == LIGHT:
            return self.random.uniform(0.0, self.assumed.think_s)
        return pb.Plan.FromString(plan).steps * device.step_ms / 1000.0

    # deltas

    def body(self, device: Device, plan: bytes, number: int, lie: Lie | None) -> Body:
        """Return the body of a device's delta."""
        message = pb.Plan.FromString(plan)
        return self._bodies.delta(message, sha256(plan), number, lie, device.step_ms or STEP_MS)

    def lie(self) -> Lie | None:
        """Return what is wrong with the next delta; None: nothing."""
        return self.random.choice(list(Lie)) if self.random.random() < self.assumed.unruly else None

    def twice(self) -> bool:
        """Return whether a body's last chunk comes twice."""
        return self.random.random() < self.assumed.again

    def sends_another(self) -> bool:
        """Return whether a device sends another delta of a plan that it answered."""
        return self.random.random() < self.assumed.second

    def settled(self, digest: bytes, code: int, lie: Lie | None) -> None:
        """Take note of a final verdict on a body."""
        if lie is not None:
            self.lies[f"{lie.value}: {pb.Code.Name(pb.Code.ValueType(code))}"] += 1
        elif code == pb.ACCEPTED:
            self.accepted.append(digest)
