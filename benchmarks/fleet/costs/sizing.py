"""How much of everything a gateway needs for a fleet, and how near each part is to what it can do. Pure.

Everything that grows is counted at the busiest hour: as many devices connected as ever are, and a whole round, that is
its deltas within the deadline and the version to everybody before the next one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.fleet.costs.units import MIB
from benchmarks.fleet.simulated.assumed import DAY_S, Assumed
from broker_server.rounds.block_requests import DRAIN_BYTES_PER_S

GB: Final = 1e9
FIXED_MIB: Final = 64 + 32 + 32 + 2 * 32
"""Bounds that do not grow with devices: inbox, bodies that are looked at, group, transfers and their pieces."""
KEPT_ROUNDS: Final = 2
"""Whose deltas are in the spool: those of the newest merge, and those that came since."""
HEADROOM: Final = 0.7
"""Load up to which a part is planned for: beyond it queues grow."""
FOLDING: Final = 0.1
"""Share of a round's deadline in which it is to be folded."""
GROUP: Final = 16


@dataclass(frozen=True)
class Sizing:
    """What is assumed of fleet and machine.

    Args:
        rounds_a_day: as ``[round] every_s`` spaces them.
        share: of all devices, in a round's cohort.
        labels: of the federation, for class sums.
        keep_versions: of [limits].
        deadline_s: of a round.
        restart_s: in which all devices are to be connected again after a gateway was started anew.
        fleet: presence and sessions.
        cores, memory_gb, disk_gb, line_mbit, files: of a gateway's machine; ``line_mbit`` each way, files open at most.
    """

    rounds_a_day: float = 24.0
    share: float = 0.01
    labels: int = 4
    keep_versions: int = 50
    deadline_s: float = 600.0
    restart_s: float = 600.0
    fleet: Assumed = field(default_factory=Assumed)
    cores: int = 16
    memory_gb: float = 64.0
    disk_gb: float = 1000.0
    line_mbit: float = 1000.0
    files: int = 1_048_576

    @property
    def every_s(self) -> float:
        """Seconds from round to round."""
        return DAY_S / self.rounds_a_day

    @property
    def here_mean(self) -> float:
        """Share of devices that are connected, over a day."""
        return (self.fleet.here_least + self.fleet.here_most) / 2

    @property
    def sessions_s(self) -> float:
        """Sessions that begin in a second at the busiest hour, for each device."""
        return self.fleet.here_most / self.fleet.session_s


@dataclass(frozen=True)
class Needs:
    """What one gateway needs for all devices.

    Args:
        devices: in all.
        connected: at the busiest hour.
        cohort: devices of a round.
        deciding, broker: share of one core that each of these threads is busy in the busiest hour.
        folding_s: core seconds to fold a round.
        memory_gb: of the process.
        ledger_gb, spool_gb, versions_gb: on the disk.
        up_mbit, down_mbit: 10^6 bits a second: a round's deltas within its deadline; a version to all until the next.
        syncs: share of the deadline in which the disk is waited for.
        sending_s: until a version went out to all that are connected, at what a gateway reckons its broker sends.
        restart_s: until all are connected again after a start.
    """

    devices: int
    connected: int
    cohort: int
    deciding: float
    broker: float
    folding_s: float
    memory_gb: float
    ledger_gb: float
    spool_gb: float
    versions_gb: float
    up_mbit: float
    down_mbit: float
    syncs: float
    sending_s: float
    restart_s: float

    @property
    def disk_gb(self) -> float:
        """Of the state directory."""
        return self.ledger_gb + self.spool_gb + self.versions_gb


@dataclass(frozen=True)
class Shard:
    """What one of a gateway's shards needs.

    Args:
        folding_s: core seconds to fold its range of a round.
        spool_gb: of the parts of deltas that it keeps.
        mbit: 10^6 bits a second from the gateway, within the deadline.
    """

    folding_s: float
    spool_gb: float
    mbit: float


def needs(devices: int, cost: Mapping[str, float], one: Sizing) -> Needs:
    """Return what one gateway needs. Args: devices: in all; cost: unit costs by name (``units``); one: assumed."""
    connected, cohort = math.ceil(one.fleet.here_most * devices), math.ceil(one.share * devices)
    sessions_s = one.sessions_s * devices
    # Whoever hears of a version asks for it, and so does whoever comes back to one that is new.
    wants = cost["wants"] * (connected + sessions_s * one.every_s)
    round_ms = cohort * (cost["delta_ms"] + cost["plan_us"] / 1e3) + wants * cost["want_ms"]
    # Among so many devices some have new class sums in every round, and then those of all are read.
    sums_us = one.labels * cost["sums_us"]
    round_ms += devices * (cost["look_us"] + cost["coverage_us"] + sums_us) / 1e3
    each_s_ms = sessions_s * (cost["hello_ms"] + cost["serving_ms"]) + connected / 1000 * cost["looking_ms"]
    down, up = connected * cost["version_bytes"], cohort * cost["delta_bytes"]
    broker_us = down / 1e6 * cost["down_us"] + up / 1e6 * cost["up_us"]
    body_gb = up / GB
    return Needs(
        devices, connected, cohort,
        deciding=round_ms / 1e3 / one.every_s + each_s_ms / 1e3,
        broker=broker_us / 1e6 / one.every_s + sessions_s * cost["tls_ms"] / 1e3,
        folding_s=body_gb / cost["fold_gb_s"] * cost["fold_threads"],
        memory_gb=(
            (cost["start_mib"] + FIXED_MIB) * MIB + connected * cost["tls_bytes"]
            + devices * (cost["member_bytes"] + one.labels * cost["sums_bytes"])
        ) / GB,
        ledger_gb=(
            devices * (cost["known_bytes"] + one.labels * cost["sums_bytes"])
            + one.keep_versions * cohort * cost["rows_bytes"]
        ) / GB,
        spool_gb=KEPT_ROUNDS * body_gb,
        versions_gb=one.keep_versions * cost["version_mb"] / 1e3,
        up_mbit=8 * up / 1e6 / one.deadline_s,
        down_mbit=8 * down / 1e6 / one.every_s,
        syncs=cohort / GROUP * cost["group_ms"] / 1e3 / one.deadline_s,
        sending_s=down / DRAIN_BYTES_PER_S,
        restart_s=connected * max(cost["tls_ms"], cost["hello_ms"]) / 1e3,
    )  # fmt: skip


def loads(need: Needs, one: Sizing) -> dict[str, float]:
    """Return how much of what each part can do is needed; 1: all of it, beyond that it breaks."""
    return {
        "the thread that decides": need.deciding,
        "the broker's thread": need.broker,
        "folding": need.folding_s / one.cores / (FOLDING * one.deadline_s),
        "memory": need.memory_gb / one.memory_gb,
        "disk": need.disk_gb / one.disk_gb,
        "syncs of the ledger and the spool": need.syncs,
        "a version to all before the next": need.sending_s / one.every_s,
        "all connected again after a start": need.restart_s / one.restart_s,
        "network up": need.up_mbit / one.line_mbit,
        "network down": need.down_mbit / one.line_mbit,
        "open files": need.connected / one.files,
    }


def gateways(devices: int, cost: Mapping[str, float], one: Sizing) -> int:
    """Return how many gateways have no part beyond HEADROOM, each with its part of the devices.

    Every gateway keeps the versions and folds its own cohort; their sums are one delta each for the gateway above. What
    does not grow with devices cannot be shared out: then it ends at one device each.
    """
    count = 1
    while count < devices:
        most = max(loads(needs(math.ceil(devices / count), cost, one), one).values())
        if most <= HEADROOM:
            break
        count = min(devices, max(count + 1, math.floor(count * most / HEADROOM)))
    return count


def shards(need: Needs, one: Sizing) -> tuple[int, Shard]:
    """Return how many shards fold a gateway's round in FOLDING of its deadline, on a core each, and what each needs."""
    count = max(1, math.ceil(need.folding_s / (FOLDING * one.deadline_s)))
    return count, Shard(need.folding_s / count, need.spool_gb / count, need.up_mbit / count)
