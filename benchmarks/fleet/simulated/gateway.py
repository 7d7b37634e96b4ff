"""The real parts of a gateway around a simulated clock and network, and the processor time that they take.

One turn is what ``broker_server.service.Service`` does in one: it takes the messages that came, decides on the bodies
that are whole, and looks at the table. Bodies are looked at in this thread instead of beside it; nothing else differs.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from benchmarks.fleet.simulated.clock import Clock
from benchmarks.fleet.simulated.network import Network
from broker_server.config import GatewayConfig
from broker_server.events import Events
from broker_server.rounds.conductor import Conductor
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.reception import Reception
from broker_server.rounds.roster import Roster
from broker_server.rounds.signer import Signer, SigningPublisher
from broker_server.rules.round import State
from broker_server.state.store import Store
from broker_server.views.live import LOOK_S, Load, look
from edge_runtime.wire.manifest import Package

TURN_S: Final = 0.1
"""Between two turns; ``service.TICK_S``, when nothing comes. What comes meanwhile is taken together."""
EPOCH: Final = 1.7e9
"""Seconds since 1970 at the start of the clock."""
MINUTE_S: Final = 60.0


class Meter:
    """Processor time by what it was spent on, and that of the busiest minute of the simulated clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.cpu_s: dict[str, float] = defaultdict(float)
        self.times: Counter[str] = Counter()
        self.wall_s = 0.0
        self._minutes: dict[int, float] = defaultdict(float)

    @contextmanager
    def counted(self, what: str) -> Iterator[None]:
        """Count the processor time of all threads, and seconds as they pass."""
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            spent = time.process_time() - cpu
            self.wall_s += time.perf_counter() - wall
            self.cpu_s[what] += spent
            self.times[what] += 1
            self._minutes[int(self._clock.now // MINUTE_S)] += spent

    @property
    def busiest_minute(self) -> float:
        """Cores that were busy in the minute in which most were."""
        return max(self._minutes.values(), default=0.0) / MINUTE_S


class SimulatedGateway:
    """A gateway without a broker; its state is on the disk.

    Args:
        config: settings.
        package: of the federation.
        clock, network: simulated.
        seed: of cohorts and jitter.
        tell: takes events.
    """

    def __init__(
        self,
        config: GatewayConfig,
        package: Package,
        clock: Clock,
        network: Network,
        *,
        seed: int,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._clock, self._network = clock, network
        self.meter = Meter(clock)
        self.store = Store.open(config.state, package, self.wall, keep_versions=config.kept_versions)
        events = Events(lambda: self.wall)
        events.watch(tell)
        signer = Signer(None, config.federation, self.store.ledger)
        chance = random.Random(seed)  # noqa: S311 - a simulation
        self.roster = Roster()
        publisher = SigningPublisher(network, signer)
        parts = GatewayParts(config, self.store, self.roster, publisher, events, signer, chance=chance)
        self.conductor = Conductor(parts, b"simulated start!")
        self.reception = Reception(parts, self.conductor)
        self._look_at = 0.0
        self.conductor.resume(0.0)
        self.conductor.announce()

    @property
    def wall(self) -> float:
        """Seconds since 1970."""
        return EPOCH + self._clock.now

    @property
    def finished(self) -> bool:
        """Whether all rounds are done."""
        return self.conductor.state is State.FINISHED

    def turn(self) -> None:
        """Take what came, decide, look at the table; the next turn follows."""
        now, wall, counted = self._clock.now, self.wall, self.meter.counted
        for topic, payload in self._network.arrived():
            with counted(topic.split("/", 4)[3]):
                self.reception.take(topic, payload, now, wall)
        with counted("decide"):
            self.reception.decide(wall)
        with counted("reception"):
            self.reception.tick(now, wall)
        with counted("table"):
            self.conductor.tick(now, wall)
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            with counted("look"):
                look(self.conductor, self.roster, Load(), (now, wall), EPOCH)
        self._network.flush()
        self._clock.after(TURN_S, self.turn)

    def close(self) -> None:
        """Let the state directory go."""
        self.store.close()
