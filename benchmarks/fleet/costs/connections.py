"""What a connection to the embedded broker costs: memory while it is idle, and its thread's time until it is there."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final

from benchmarks.broker import NO_LIMIT
from benchmarks.fleet import usage
from benchmarks.fleet.client import Client
from benchmarks.fleet.costs.measuring import apart
from benchmarks.fleet.load import FEDERATION, NAME
from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.link import Arrived
from broker_server.broker.tls import TlsFiles
from broker_server.identity.certificates import new_authority, new_device, new_gateway, utc_now
from edge_runtime.wire.topics import Address, Topic, device_subscriptions

WARM: Final = 20
"""Connections before those that count: the first ones load code."""
PATIENCE_S: Final = 120.0


class _Sink:
    """Takes what devices say: nothing."""

    def offer(self, _event: Arrived, _size: int) -> bool:
        """Take a message."""
        return True

    def when_room(self, call: Callable[[], None]) -> None:
        """Call at once."""
        call()


def measure(folder: Path, connections: int) -> dict[str, Any]:
    """Return what plain and encrypted connections cost. Args: folder: for certificates; connections: of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    return apart(kind, folder, connections, "plain") | apart(kind, folder, connections, "tls")


def kind(folder: Path, connections: int, name: str) -> dict[str, Any]:
    """Return what connections of one kind cost. Args: name: "plain" or "tls"."""
    tls = name == "tls"
    files = _identities(folder, connections + WARM) if tls else None
    broker = EmbeddedBroker("127.0.0.1", 0, federation=FEDERATION, limits=NO_LIMIT, tls=files)
    port = broker.start().port
    broker.connect(_Sink())
    [thread] = [one for one in threading.enumerate() if one.name == "embedded-broker"]
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    spawn = multiprocessing.get_context("spawn")
    ca = str(folder) if tls else ""
    crowd = Crowd(port, ca, connections, spawn.Event(), spawn.Event(), spawn.Event(), spawn.Event())
    clients = spawn.Process(target=connect, args=(crowd,), daemon=True)
    clients.start()
    try:
        _wait(crowd.warm)
        memory, cpu = usage.rss_mib(os.getpid()), time.clock_gettime(clock)
        crowd.go.set()
        _wait(crowd.there)
        spent, grown = time.clock_gettime(clock) - cpu, usage.rss_mib(os.getpid()) - memory
    finally:
        crowd.end.set()
        clients.join(10.0)
        broker.stop()
    return {
        f"{name}_connection_kib": round(1024 * grown / connections, 1),
        f"{name}_connect_ms": round(1000 * spent / connections, 3),
    }


def _wait(event: Event) -> None:
    if not event.wait(PATIENCE_S):
        raise TimeoutError("clients did not connect")


def _identities(folder: Path, devices: int) -> TlsFiles:
    """Write certificates of an authority, a gateway and devices."""
    authority = new_authority("unit costs", utc_now())
    gateway = new_gateway(authority, ["127.0.0.1"], utc_now())
    texts = {"ca.pem": authority.certificate, "gateway.pem": gateway.certificate, "gateway.key": gateway.key}
    for number in range(devices):
        device = new_device(authority, NAME.format(number), utc_now())
        texts |= {f"{number}.pem": device.certificate, f"{number}.key": device.key}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="ascii")
    return TlsFiles(folder / "gateway.pem", folder / "gateway.key", folder / "ca.pem")


@dataclass(frozen=True)
class Crowd:
    """Devices that connect.

    Args:
        port: of the broker.
        folder: of certificates; "": plain.
        count: beside the first ones, which count for nothing.
        warm: set when the first ones are there.
        go: the others may come.
        there: set when they are.
        end: all may go.
    """

    port: int
    folder: str
    count: int
    warm: Event
    go: Event
    there: Event
    end: Event


def connect(crowd: Crowd) -> None:
    """Connect devices, in a process of their own, and stay."""

    async def one(number: int) -> Client:
        name = NAME.format(number)
        context = _context(Path(crowd.folder), number) if crowd.folder else None
        will = (str(Address(FEDERATION, Topic.BYE, name)), b"")
        client = await Client.connect("127.0.0.1", crowd.port, f"{FEDERATION}.{name}", will, _ignore, tls=context)
        await client.subscribe(device_subscriptions(FEDERATION, name))
        return client

    async def run() -> None:
        connected = [await one(number) for number in range(WARM)]
        crowd.warm.set()
        await asyncio.to_thread(crowd.go.wait)
        connected += [await one(number) for number in range(WARM, WARM + crowd.count)]
        crowd.there.set()
        await asyncio.to_thread(crowd.end.wait)  # and they go with this process

    asyncio.run(run())


def _ignore(_topic: str, _payload: bytes) -> None:
    """Hear nothing."""


def _context(folder: Path, number: int) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / f"{number}.pem", folder / f"{number}.key")
    return context
