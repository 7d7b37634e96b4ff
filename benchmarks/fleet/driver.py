"""All devices in one event loop: they join, send for a while, are waited for, and some fetch blocks."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from benchmarks.fleet import usage
from benchmarks.fleet.bodies import EXAMPLES, Bodies
from benchmarks.fleet.client import KEEPALIVE_S, LostError
from benchmarks.fleet.device import Delivery, Device
from benchmarks.fleet.gateway import Gateway
from benchmarks.fleet.load import PATIENCE_S, Load
from benchmarks.fleet.packaged import SLOTS
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import FederationError
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import block_digests, decode

SAMPLE_S: Final = 0.5
CALM_S: Final = 0.5
"""A Hello that is answered sooner shows that the gateway has recovered."""
MIDDLE: Final = (0.05, 0.95)
"""The rate at which a round's deltas are taken is that between these of them: without stragglers and empty starts."""
FILES: Final = 100
"""Open files of the driver beside its connections."""


class FilesError(FederationError):
    """The system allows too few open files."""


class Fleet:
    """What all devices share, and what they did. Args: load: of the run; package: of the federation; gateway: it."""

    def __init__(self, load: Load, package: Package, shape: BankShape, gateway: Gateway) -> None:
        self.load, self._package, self.gateway = load, package, gateway
        self.broker = ("127.0.0.1", gateway.port)
        self.bodies = Bodies(shape, load.seed)
        self.sending, self.over = False, False
        self.version = b""
        self.deliveries: list[Delivery] = []
        self.refusals: Counter[str] = Counter()
        self.manners: Counter[str] = Counter()
        self.lost = self.resent = self.bytes_sent = self.bytes_down = self.asked = self.blocks = 0
        self._joined: dict[str, float] = {}
        self._memory: list[float] = []
        self._marks: dict[str, int] = {}
        self._devices = [Device(self, number) for number in range(load.devices)]
        self._figures: dict[str, Any] = {}

    def hello(self, device: str, session: bytes) -> pb.Hello:
        """Return what a device says of itself."""
        return pb.Hello(
            device=device, federation_digest=self._package.manifest.architecture.digest(),
            package_digest=self._package.digest, gateway_session=session, profile="light", runtime="none",
            trained_slots=SLOTS, held_slots=2 * SLOTS, batch_size=16, examples=EXAMPLES,
            codecs=[pb.FLOAT32, pb.INT8],
        )  # fmt: skip

    def joined(self, device: str) -> None:
        """Take note that a device's Hello was accepted."""
        self._joined.setdefault(device, time.monotonic())

    def ended(self, delivery: Delivery) -> None:
        """Take note of a delivery."""
        self.deliveries.append(delivery)
        if delivery.code != pb.ACCEPTED:
            self.refusals[pb.Code.Name(delivery.code) if delivery.code else "no verdict"] += 1

    # phases

    async def run(self, tell: Callable[[str], None]) -> dict[str, Any]:
        """Drive the fleet through its phases; return the figures. Args: tell: is told what happens."""
        before = self.gateway.rss_mib()
        watch = asyncio.create_task(self._watch())
        lives = asyncio.gather(*(device.live() for device in self._devices))
        try:
            tell(f"{self.load.devices} devices join")
            self._figures |= await self._join()
            tell(
                f"{len(self._joined)} joined in {self._figures['join_s']:.1f} s and send for {self.load.seconds:.0f} s"
            )
            self._mark("joined")
            self._figures |= await self._send()
            self._mark("sent")
            tell(f"{len(self.accepted())} deltas were accepted; what is on its way is waited for")
            self._figures |= await self._recover()
            self._mark("recovered")
            tell(f"recovered in {self._figures['recovery_s']:.1f} s; {self.load.fetch:.0%} of the devices fetch blocks")
            self._figures |= await self._fetch()
            self._mark("fetched")
        finally:
            self.over = True
            watch.cancel()
            for device in self._devices:
                device.leave()
            await asyncio.wait([lives], timeout=10.0)
            lives.cancel()
        return self._figures | self._told(before)

    def accepted(self) -> list[Delivery]:
        """Return the deliveries that were accepted."""
        return [one for one in self.deliveries if one.code == pb.ACCEPTED]

    async def _watch(self) -> None:
        pinged = time.monotonic()
        while True:
            self._memory.append(self.gateway.rss_mib())
            self.gateway.check()
            if time.monotonic() - pinged > KEEPALIVE_S / 2:
                pinged = time.monotonic()
                for device in self._devices:
                    if device.client is not None:
                        device.client.ping()
            await asyncio.sleep(SAMPLE_S)

    async def _until(self, done: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
        until = time.monotonic() + seconds
        while not done() and time.monotonic() < until:
            self.gateway.check()
            await asyncio.sleep(0.05)

    async def _join(self) -> dict[str, Any]:
        began, cpu = time.monotonic(), self._cpu()
        await self._until(lambda: len(self._joined) == self.load.devices)
        times = sorted(at - began for at in self._joined.values())
        seconds = times[-1] if times else PATIENCE_S
        return {
            "joined": len(times), "join_s": round(seconds, 2), "joins_per_s": round(len(times) / seconds, 1),
            "join_cpu": _busy(cpu, self._cpu()),
        }  # fmt: skip

    async def _send(self) -> dict[str, Any]:
        await self._until(lambda: False, 0.2)
        self.sending = True
        began, cpu = time.monotonic(), self._cpu()
        await self._until(lambda: bool(self.deliveries))
        first = time.monotonic()
        await self._until(lambda: time.monotonic() - began >= self.load.seconds + (first - began))
        self.sending = False
        seconds = time.monotonic() - first
        return {"sent_s": round(seconds, 1), "cpu": _busy(cpu, self._cpu())} | self._rates(first, seconds)

    def _rates(self, first: float, seconds: float) -> dict[str, Any]:
        accepted, decided = self.accepted(), [one for one in self.deliveries if one.code]
        size = float(np.mean([one.size for one in accepted])) if accepted else 0.0
        rate = busy_rate([(one.round, one.ended) for one in accepted])
        return {
            "deltas_per_s": round(rate, 1), "mb_per_s": round(rate * size / 1e6, 1), "delta_bytes": round(size),
            "deltas_per_s_with_merges": round(len(accepted) / seconds, 1),
            "verdicts_per_s": round(sum(one.ended >= first for one in decided) / seconds, 1),
        }  # fmt: skip

    async def _recover(self) -> dict[str, Any]:
        """Wait until every body has its verdict and a Hello is answered at once."""
        began = time.monotonic()
        await self._until(lambda: not any(device.sends for device in self._devices))
        waited, probe = time.monotonic() - began, 0.0
        for _ in range(100):
            try:
                probe = await self._devices[0].greet()
            except LostError:
                probe = PATIENCE_S
                await asyncio.sleep(1.0)
            if probe < CALM_S:
                break
        unanswered = sum(device.sends for device in self._devices)
        return {
            "recovery_s": round(time.monotonic() - began, 2), "unanswered": unanswered, "drain_s": round(waited, 2),
            "hello_ms_after": round(1000 * probe, 1),
        }  # fmt: skip

    async def _fetch(self) -> dict[str, Any]:
        some = self._devices[: round(self.load.fetch * self.load.devices)]
        if not self.version or not some:
            return {}
        digests = list(dict.fromkeys(block_digests(decode(pb.Version, self.version)).values()))
        began = time.monotonic()
        await asyncio.gather(*(device.fetch(digests) for device in some), return_exceptions=True)
        seconds = time.monotonic() - began
        return {
            "fetching": len(some), "fetch_s": round(seconds, 2), "blocks_asked": self.asked, "blocks_came": self.blocks,
            "blocks_per_asked": round(self.blocks / self.asked, 3),
            "fetch_mb_per_s": round(self.bytes_down / seconds / 1e6, 1),
        }  # fmt: skip

    # figures

    def _mark(self, phase: str) -> None:
        self._marks[phase] = len(self._memory)

    def _cpu(self) -> dict[str, Any]:
        return {"at": time.monotonic(), "gateway": self.gateway.cpu_s(), "driver": usage.cpu_s(os.getpid())}

    def _told(self, before: float) -> dict[str, Any]:
        orderly = [one for one in self.deliveries if one.orderly and one.code]
        peak = usage.peak_mib(self.gateway.pid)
        memory = {
            "start": round(before, 1), "mean": round(float(np.mean(self._memory)), 1), "peak": round(peak, 1),
            "end": round(self._memory[-1], 1), "per_device": round((peak - before) / self.load.devices, 3),
            "most_until": {phase: max(self._memory[:end], default=0.0) for phase, end in self._marks.items()},
        }  # fmt: skip
        return {
            "accepted": len(self.accepted()), "verdict_ms": percentiles([one.ended - one.sent for one in orderly]),
            "verdict_from_offer_ms": percentiles([one.ended - one.begun for one in orderly if self.load.offers]),
            "memory_mib": memory, "refusals": dict(self.refusals), "manners": dict(self.manners),
            "connections_lost": self.lost, "resent": self.resent, "sent_mb": round(self.bytes_sent / 1e6, 1),
        }  # fmt: skip


def busy_rate(accepted: Iterable[tuple[int, float]]) -> float:
    """Return the accepted deltas per second while there was something to accept.

    Args:
        accepted: (round, seconds of the verdict) of each.
    """
    rounds: dict[int, list[float]] = {}
    for number, ended in accepted:
        rounds.setdefault(number, []).append(ended)
    low, high = MIDDLE
    count, seconds = 0, 0.0
    for times in rounds.values():
        part = sorted(times)
        first, last = int(low * len(part)), int(high * len(part)) - 1
        if last > first:
            count += last - first
            seconds += part[last] - part[first]
    return count / seconds if seconds else 0.0


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return p50, p99 and the most, in ms; nothing of nothing."""
    if not seconds:
        return {}
    p50, p99 = np.percentile(seconds, [50, 99])
    return {
        "p50": round(1000 * float(p50), 1),
        "p99": round(1000 * float(p99), 1),
        "most": round(1000 * max(seconds), 1),
    }


def _busy(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    seconds = after["at"] - before["at"]
    return {name: usage.shares(before[name], after[name], seconds) for name in ("gateway", "driver")}


def raise_files(devices: int) -> None:
    """Raise the limit of open files so that every device has a connection, here and at the gateway, which inherits it.

    Raises:
        FilesError: when the system does not allow so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * devices + FILES + 1000
    if hard != resource.RLIM_INFINITY and hard < devices + FILES:
        msg = f"{devices} devices need {devices + FILES} open files, the system allows {hard} (ulimit -Hn); take fewer"
        raise FilesError(msg)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
