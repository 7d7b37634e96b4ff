"""Rounds, one after another, with zero training; memory, disk and time are looked at now and then."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.suite import part
from benchmarks.fleet import usage
from broker_server.config_tables import Limits, RoundRules
from broker_server.rules.round import State
from broker_server.state.ledger import NAME
from broker_server.state.settings_table import ROLLBACK
from edge_runtime.wire import wire_pb2 as pb

NAMES: Final = ("ada", "bo", "cy")
TEXTS: Final = (["rose", "leaf"], ["sky", "stone"], ["rose", "sky"], ["leaf", "stone"])
LABELS: Final = [0, 1]
OTHER_DATA_EVERY: Final = 40
"""Rounds after which a device comes with other data, which makes a new head."""
ROLLBACK_EVERY: Final = 250
"""Versions after which the operator goes back by BACK of them."""
BACK: Final = 3
LOOKS: Final = 20
"""How often a run is looked at."""
TABLES: Final = ("plans", "deltas", "verdicts", "rounds", "versions")


@dataclass(frozen=True)
class Look:
    """What the gateway has and costs at some version.

    Args:
        version: the newest.
        rss_mib: of the process.
        ledger_kb, journal_kb, disk_kb: of its files; of the whole state directory.
        files: in the state directory.
        rows: of the ledger's tables.
        round_ms, cpu_ms: mean of a round since the look before; of the processor's time.
    """

    version: int
    rss_mib: float
    ledger_kb: int
    journal_kb: int
    disk_kb: int
    files: int
    rows: dict[str, int]
    round_ms: float
    cpu_ms: float


class Day:
    """A gateway that lives through many versions.

    Args:
        folder: of package and state.
        keep_versions, keep_rounds: of [limits].
    """

    def __init__(self, folder: Path, keep_versions: int, keep_rounds: int) -> None:
        self.state = folder / "state"
        self._limits = Limits(keep_versions=keep_versions, keep_rounds=keep_rounds)
        self._package = part("tiny", "broker").make_package(folder / "package")
        self.accepted = self.rolled_back = 0
        self.gateway: Any = None
        self.start_s = self.start()

    def start(self) -> float:
        """Start the gateway, again; return the seconds until it goes on."""
        if self.gateway is not None:
            self.gateway.close()
        began = time.monotonic()
        rules = RoundRules(quorum=len(NAMES), join_wait_s=0, deadline_s=1e9)
        tiny_gateway = part("tiny_gateway", "broker")
        self.gateway = tiny_gateway.Gateway(self.state, self._package, rounds=0, round=rules, limits=self._limits)
        self.gateway.out.sent = deque(maxlen=100)
        seconds = time.monotonic() - began
        for device in NAMES:
            self._greet(device, 0)
        return seconds

    @property
    def version(self) -> int:
        """The newest version."""
        return int(self.gateway.conductor.row.version)

    def until(self, version: int, look: Callable[[Look], None], every: int) -> None:
        """Play rounds until a version is there. Args: look: is told; every: so many versions."""
        next_look, begun, rounds = self.version + every, _clocks(), 0
        while self.version < version:
            self._round()
            rounds += 1
            if self.version >= next_look:
                look(self.look([1000 * (now - then) / rounds for now, then in zip(_clocks(), begun, strict=True)]))
                next_look, begun, rounds = self.version + every, _clocks(), 0

    def _round(self) -> None:
        gateway = self.gateway
        while gateway.conductor.state is not State.OPEN:
            gateway.tick()
        number = gateway.conductor.round
        for place, device in enumerate(NAMES):
            digest = gateway.train(device, value=1e-4 * (1 + (number + place) % 5) * (-1) ** number)
            verdict = gateway.verdict(device)
            self.accepted += verdict.digest == digest and verdict.code == pb.ACCEPTED
        if number % OTHER_DATA_EVERY == 0:
            self._greet(NAMES[number % len(NAMES)], number // OTHER_DATA_EVERY)
        if self.version // ROLLBACK_EVERY > self.rolled_back:
            self.rolled_back += 1
            gateway.store.ledger.put(ROLLBACK, str(self.version - BACK))
        while gateway.conductor.state is State.OPEN:
            gateway.tick()
        gateway.told.clear()

    def _greet(self, device: str, which: int) -> None:
        body = self.gateway.hello_with(device, TEXTS[which % len(TEXTS)], LABELS)
        if self.gateway.verdict(device).want_statistics:
            self.gateway.statistics(device, body)

    def look(self, round_ms: Sequence[float] = (0.0, 0.0)) -> Look:
        """Return what there is now. Args: round_ms: of a round, and of the processor's time for one."""
        ledger = self.gateway.store.ledger
        sizes = {path: path.stat().st_size for path in self.state.rglob("*") if path.is_file()}
        rows = {table: ledger._rows(f"SELECT COUNT(*) AS rows FROM {table}")[0]["rows"] for table in TABLES}  # noqa: S608, SLF001
        return Look(
            self.version, round(usage.rss_mib(os.getpid()), 1), _kb(sizes, NAME), _kb(sizes, "journal.jsonl"),
            sum(sizes.values()) // 1000, len(sizes), rows, *(round(each, 2) for each in round_ms),
        )  # fmt: skip

    def counted(self) -> int:
        """Return how many deltas became part of a version, by the experts that they trained."""
        ledger = self.gateway.store.ledger
        trained = sum(ledger.trained().values())
        blocks = len(ledger.recent_deltas(1)[0].blocks)
        return int(trained) // blocks


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def _kb(sizes: dict[Path, int], name: str) -> int:
    return sum(size for path, size in sizes.items() if path.name.startswith(name)) // 1000


def run(folder: Path, versions: int, limits: tuple[int, int], tell: Callable[[Look], None]) -> dict[str, Any]:
    """Play a day; return its figures.

    Args:
        folder: for package and state; empty.
        versions: to be made.
        limits: keep_versions and keep_rounds.
        tell: is told of each look.
    """
    day = Day(folder, *limits)
    looks: list[Look] = []

    def note(look: Look) -> None:
        looks.append(look)
        tell(look)

    began = time.monotonic()
    day.until(versions, note, max(1, versions // LOOKS))
    seconds = time.monotonic() - began
    restart_s = day.start()
    figures = {
        "versions": day.version, "seconds": round(seconds, 1), "accepted": day.accepted, "counted": day.counted(),
        "restart_s": round(restart_s, 3), "first_start_s": round(day.start_s, 3), "rolled_back": day.rolled_back,
        "looks": [asdict(look) for look in looks],
    }  # fmt: skip
    day.gateway.close()
    return figures
