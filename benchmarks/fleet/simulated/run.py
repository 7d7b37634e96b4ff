"""A run of the simulated fleet, and its figures."""

from __future__ import annotations

import dataclasses
import os
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.fleet import kept, usage
from benchmarks.fleet.load import FEDERATION
from benchmarks.fleet.packaged import make_package, shape_for
from benchmarks.fleet.simulated.assumed import Assumed
from benchmarks.fleet.simulated.clock import Clock
from benchmarks.fleet.simulated.fleet import Fleet
from benchmarks.fleet.simulated.gateway import SimulatedGateway
from benchmarks.fleet.simulated.network import Network
from broker_server.config import GatewayConfig
from broker_server.config_tables import Limits, Listen, RoundRules, Train
from broker_server.state.readings import Readings
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import decode

QUORUM: Final = 0.8
"""Of a cohort, or of the devices that are here at the quietest hour, that a round needs to start and to close."""
NEVER_S: Final = 100 * 86_400.0
_LINE: Final = ("round", "seconds", "reason", "planned", "accepted", "late", "left", "missed", "extensions")
"""What is told of a round, of its line in the journal."""


@dataclass(frozen=True)
class Scenario:
    """What is simulated.

    Args:
        devices: in all, here or away.
        rounds: after which it ends.
        cohort: of [round]; 0: all that are ready.
        delta_kb: thousands of bytes of a delta, roughly.
        every_s: of [round].
        deadline_s: of [round].
        profile: of the devices (``kinds.kinds``).
        line_mbit: of the gateway's line, each way: 10^6 bits a second.
        seed: of all that is drawn.
        out: folder of the run.
        assumed: what befalls devices.
    """

    devices: int = 100_000
    rounds: int = 24
    cohort: int = 1000
    every_s: float = 900.0
    delta_kb: int = 100
    deadline_s: float = 600.0
    profile: str = "shipped"
    line_mbit: float = 1000.0
    seed: int = 1
    out: Path = Path("runs/simulated-fleet")
    assumed: Assumed = field(default_factory=Assumed)

    def config(self, package: Path) -> GatewayConfig:
        """Return the settings of a gateway for such a fleet: its devices have certificates of its authority."""
        least = self.devices * self.assumed.here_least
        least = min(self.cohort, least) if self.cohort else least
        pem = self.out / "identity.pem"  # of no use but to say so: nobody connects
        return GatewayConfig(
            package, self.out / "gateway", FEDERATION, rounds=self.rounds, keep_serving=True,
            listen=Listen(ca=pem, certificate=pem, key=pem),
            round=RoundRules(max(1, round(QUORUM * least)), self.cohort, self.every_s, self.deadline_s),
            train=Train(final_share=1.0, shared_share=0.0),
            limits=Limits(
                idle_names=2 * self.devices, devices=2 * self.devices, keep_versions=max(50, self.rounds + 2)
            ),
        )  # fmt: skip


class Simulation:
    """A gateway and its fleet.

    Args:
        scenario: what is simulated.
        tell: is told of each version that was merged: the fields of its event.
        configure: returns the gateway's settings, by the folder of the package; None: the scenario's.
    """

    def __init__(
        self,
        scenario: Scenario,
        tell: Callable[[dict[str, Any]], None] = lambda _event: None,
        configure: Callable[[Path], GatewayConfig] | None = None,
    ) -> None:
        self._scenario, self._tell = scenario, tell
        shutil.rmtree(scenario.out, ignore_errors=True)
        shape = shape_for(scenario.delta_kb)
        package = make_package(scenario.out / "package", shape)
        self.clock = Clock()
        self.network = Network(self.clock, scenario.line_mbit * 1e6 / 8)
        self.fleet = self._fleet(package, shape)
        self._memory_before = usage.rss_mib(os.getpid())
        self._staleness: Counter[int] = Counter()
        self._events: Counter[str] = Counter()
        self._rounds: list[dict[str, Any]] = []
        self._began = time.perf_counter()
        config = (configure or scenario.config)(package.folder)
        self.state = config.state
        self._codes = len(shape.layers) * shape.experts
        self.gateway = SimulatedGateway(
            config, package, self.clock, self.network, seed=scenario.seed, tell=self._event
        )  # fmt: skip

    def _fleet(self, package: Package, shape: BankShape) -> Fleet:
        one = self._scenario
        return Fleet(
            one.devices, one.profile, one.assumed, package, shape, clock=self.clock, network=self.network, seed=one.seed
        )

    def _event(self, event: dict[str, Any]) -> None:
        kind = str(event["event"])
        self._events[kind] += 1
        if kind == "delta" and "staleness" in event:
            self._staleness[int(event["staleness"])] += 1
        elif kind == "version" and event["reason"] == "merge":
            told = {key: event["closed" if key == "reason" else key] for key in _LINE}
            self._rounds.append(told | {"here": len(self.network.connected)})
            self._tell(event)

    def run(self) -> None:
        """Run until all rounds are done."""
        self.fleet.start()
        self.gateway.turn()
        while not self.gateway.finished and self.clock.now < NEVER_S:
            self.clock.step()

    def close(self) -> dict[str, Any]:
        """Let the gateway's state go; return the figures so far."""
        finished = self.gateway.finished
        self._version_bytes = self._version()
        self.gateway.reception.write_traffic(self.gateway.wall)
        self.gateway.close()
        return {"finished": finished, **self._how(), **self._outcome(), **self._network(), "gateway": self._gateway()}

    def _version(self) -> dict[str, int]:
        """Return the bytes of the newest version's message, of what leads to it from the one before, and whole."""
        store, row = self.gateway.store, self.gateway.conductor.row
        blocks = decode(pb.Version, row.payload).blocks
        steps = {block.updates[0].digest for block in blocks if block.updates}
        return {
            "message": len(row.payload), "updates": sum(len(store.blobs.get(digest)) for digest in steps),
            "whole": sum(store.lineage.sizes),
        }  # fmt: skip

    def _how(self) -> dict[str, Any]:
        one = dataclasses.asdict(self._scenario)
        del one["out"]
        return one

    def _outcome(self) -> dict[str, Any]:
        ledger = Readings.of(self.state)
        times = ledger.trainers_by_block()
        trainings = [count for block, (_, count) in times.items() if not block.shared]
        trainings += [0] * (self._codes - len(trainings))
        verdicts = ledger.verdicts()
        ledger.close()
        fleet = self.fleet
        state = kept.look(self.state, fleet.accepted)
        return {
            "simulated_s": round(self.clock.now, 1), "rounds_done": len(self._rounds), "by_round": self._rounds,
            "round_s": spread([one["seconds"] for one in self._rounds]),
            "trainings": spread(trainings),
            "staleness": {str(age): count for age, count in sorted(self._staleness.items())},
            "verdicts": verdicts, "kept": dataclasses.asdict(state), "right": state.right,
            "come_again": dict(fleet.refused),
            "lies": dict(fleet.lies), "dropped": fleet.dropped, "connections_lost": fleet.lost,
            "left_at_work": fleet.left_at_work, "sessions": fleet.comings, "gone_for_good": fleet.gone,
            "events": dict(self._events),
        }  # fmt: skip

    def _network(self) -> dict[str, Any]:
        network, came = self.network, [one for one in self.fleet.devices if one.connection]
        return {
            "came": len(came), "connected_most": network.most_connected,
            "bytes_up": network.bytes_up, "bytes_down": network.bytes_down,
            "messages_up": network.messages_up, "messages_down": network.messages_down,
            "device_up": spread([one.bytes_up for one in came]),
            "device_down": spread([one.bytes_down for one in came]),
        }  # fmt: skip

    def _gateway(self) -> dict[str, Any]:
        meter, peak = self.gateway.meter, usage.peak_mib(os.getpid())
        cpu = sum(meter.cpu_s.values())
        accepted = self._staleness.total()
        files = {path.relative_to(self.state): path.stat().st_size for path in self.state.rglob("*") if path.is_file()}
        folders: Counter[str] = Counter()
        for path, size in files.items():
            folders[path.parts[0]] += size
        return {
            "cpu_s": round(cpu, 2), "cpu_ms_per_delta": round(1000 * cpu / accepted, 3) if accepted else None,
            "cores_busiest_minute": round(meter.busiest_minute, 4),
            "cpu_s_by": {what: round(spent, 3) for what, spent in sorted(meter.cpu_s.items(), key=lambda one: -one[1])},
            "times": dict(meter.times), "wall_s": round(meter.wall_s, 1),
            "memory_mib": {"devices_alone": round(self._memory_before, 1), "peak": round(peak, 1)},
            "state_mb": round(sum(folders.values()) / 1e6, 1), "files": len(files),
            "ledger_mb": round(folders["ledger.sqlite3"] / 1e6, 1),
            "folders_mb": {name: round(size / 1e6, 2) for name, size in sorted(folders.items())},
            "version_bytes": self._version_bytes,
            "names": len(self.gateway.roster.members),
            "run_s": round(time.perf_counter() - self._began, 1), "clock_events": self.clock.happened,
        }  # fmt: skip


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the least, the median, the 99th percentile and the most; nothing of nothing."""
    if not values:
        return {}
    return {
        "least": min(values), "median": statistics.median(values), "p99": float(np.percentile(values, 99)),
        "most": max(values),
    }  # fmt: skip
