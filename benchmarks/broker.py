"""The embedded broker alone: bytes a second in and out, what its thread takes of it: ``python -m benchmarks.broker``.

Clients are plain sockets in a process of their own. Up: each sends bodies in chunks, eight under way, and a body counts
when the gateway's inbox has it. Down: each hears every message of the gateway and acknowledges it.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import multiprocessing
import pstats
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Any, Final

from benchmarks import record
from broker_server.broker.connect_packet import MQTT_3, MQTT_5
from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.fields import data as text
from broker_server.broker.fields import varint
from broker_server.broker.link import Arrived
from broker_server.broker.packets import publish_head
from broker_server.config_tables import ConnectionLimits
from broker_server.inbox import Inbox
from edge_runtime.wire.limits import MESSAGE_LIMIT
from edge_runtime.wire.topics import Topic

COMMAND: Final = "python -m benchmarks.broker"
EXAMPLES: Final = """examples:
  python -m benchmarks.broker                            30 clients, bodies of 820 kB, MQTT 3.1.1
  python -m benchmarks.broker --body-kb 100 --mqtt 5     smaller ones, MQTT 5
  python -m benchmarks.broker --profile                  where the broker's thread spends itself (which slows it down)

exit codes: 0 done, 2 bad usage"""
WINDOW: Final = 8
MB: Final = 1e6
NO_LIMIT: Final = ConnectionLimits(
    connections=4096, connections_per_address=4096, handshakes_per_address=4096, messages_per_s=1e9, hellos_per_s=1e9
)


@dataclass(frozen=True)
class Load:
    """What clients do. Args: bodies: of each client; body: bytes of one; version: of MQTT, by its level."""

    clients: int
    bodies: int
    body: int
    version: int
    port: int

    @property
    def chunks(self) -> int:
        """Messages of a body."""
        return -(-self.body // MESSAGE_LIMIT)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Send bytes through the embedded broker, up and down: megabytes a second, and its thread's part.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--clients", type=int, default=30, metavar="N", help="connections (%(default)s)")
    add("--bodies", type=int, default=20, metavar="N", help="that each sends, and hears (%(default)s)")
    add("--body-kb", type=int, default=820, metavar="KB", help="size of a body (%(default)s)")
    add("--mqtt", choices=("3", "5"), default="3", help="version; 3 is 3.1.1 (%(default)s)")
    add("--profile", action="store_true", help="print the functions in which the broker's thread was longest")
    add("--json", action="store_true", help="print only the JSON line")
    add("--record", action="store_true", help="keep the result in benchmarks/results/broker.jsonl")
    options = parser.parse_args(argv)
    if min(options.clients, options.bodies, options.body_kb) < 1:
        parser.error("expected 1 client, body and kilobyte, or more")
    return options


class Client:
    """One connection. Args: load: what it does; name: of its device."""

    def __init__(self, load: Load, name: str) -> None:
        self._load, self._name = load, name

    async def connect(self) -> None:
        """Connect, and hear the version's topic."""
        load, five = self._load, b"\0" * (self._load.version == MQTT_5)
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", load.port, limit=2 * MESSAGE_LIMIT)
        head = text(b"MQTT") + bytes((load.version, 2)) + bytes(2) + five
        self._write(0x10, head + text(f"default.{self._name}".encode()))
        self._write(0x82, b"\0\1" + five + text(_topic(Topic.VERSION).encode()) + b"\1")
        for _ in range(2):
            await self._packet()

    async def send(self) -> None:
        """Send every body, a window of chunks under way."""
        load, topic = self._load, _topic(Topic.DELTA, self._name).encode()
        sizes = [MESSAGE_LIMIT] * (load.body // MESSAGE_LIMIT) + [load.body % MESSAGE_LIMIT or MESSAGE_LIMIT]
        sizes = sizes[: load.chunks] * load.bodies
        for place, size in enumerate(sizes):
            if place >= WINDOW:
                await self._packet()
            number = place % 0xFFFF + 1
            self._writer.write(publish_head(load.version, topic, size, number, retain=False) + bytes(size))
            await self._writer.drain()
        for _ in sizes[-WINDOW:]:
            await self._packet()

    async def hear(self) -> None:
        """Acknowledge every message."""
        start = 2 + len(_topic(Topic.VERSION))
        for _ in range(self._load.bodies * self._load.chunks):
            packet = await self._packet()
            self._write(0x40, packet[start : start + 2])

    def _write(self, first: int, content: bytes) -> None:
        self._writer.write(bytes((first,)) + varint(len(content)) + content)

    async def _packet(self) -> bytes:
        length = shift = 0
        await self._reader.readexactly(1)
        while True:
            byte = (await self._reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return await self._reader.readexactly(length)


def _topic(topic: Topic, name: str = "") -> str:
    return f"fl/v1/default/{topic}/{name}".rstrip("/")


def drive(load: Load, connected: Event, go: Event, sent: Event, heard: Event) -> None:
    """Run all clients, in a process of their own."""

    async def run() -> None:
        clients = [Client(load, f"d{number}") for number in range(load.clients)]
        await asyncio.gather(*(client.connect() for client in clients))
        connected.set()
        await asyncio.to_thread(go.wait)
        await asyncio.gather(*(client.send() for client in clients))
        sent.set()
        await asyncio.gather(*(client.hear() for client in clients))
        heard.set()

    asyncio.run(run())


class Gateway:
    """Takes what devices say. Args: profile: of the broker's thread, from the first message on."""

    def __init__(self, profile: cProfile.Profile | None) -> None:
        self._inbox: Inbox[Arrived] = Inbox()
        self._profile = profile
        self._took, self._changed = 0, threading.Condition()
        threading.Thread(target=self._take, daemon=True).start()

    def offer(self, event: Arrived, size: int) -> bool:
        """Take a message, in the broker's thread."""
        if self._profile is not None:
            self._profile.enable()
            self._profile = None
        return self._inbox.offer(event, size)

    def when_room(self, call: Callable[[], None]) -> None:
        """Call once there is room."""
        self._inbox.when_room(call)

    def wait(self, messages: int) -> None:
        """Wait until so many came."""
        with self._changed:
            self._changed.wait_for(lambda: self._took >= messages)

    def _take(self) -> None:
        while True:
            took = len(self._inbox.take(0.1))
            with self._changed:
                self._took += took
                self._changed.notify_all()


class Watch:
    """Time, and processor time of the broker's thread, from now on."""

    def __init__(self) -> None:
        [self._thread] = [thread for thread in threading.enumerate() if thread.name == "embedded-broker"]
        self._started, self._before = time.perf_counter(), self._cpu_s()

    def rates(self, size: int, way: str) -> dict[str, float]:
        """Return what ``size`` bytes took. Args: way: up or down."""
        seconds, cpu_s = time.perf_counter() - self._started, self._cpu_s() - self._before
        return {f"{way}_mb_s": round(size / MB / seconds, 1), f"{way}_us_per_mb": round(cpu_s / size * MB * 1e6)}

    def _cpu_s(self) -> float:
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident or 0))


def measure(options: argparse.Namespace, profile: cProfile.Profile | None) -> dict[str, Any]:
    """Return the figures."""
    broker, gateway = EmbeddedBroker("127.0.0.1", 0, limits=NO_LIMIT), Gateway(profile)
    version = MQTT_5 if options.mqtt == "5" else MQTT_3
    load = Load(options.clients, options.bodies, options.body_kb * 1000, version, broker.start().port)
    broker.connect(gateway)
    spawn = multiprocessing.get_context("spawn")
    connected, go, sent, heard = (spawn.Event() for _ in range(4))
    clients = spawn.Process(target=drive, args=(load, connected, go, sent, heard), daemon=True)
    clients.start()
    connected.wait()
    watch, messages = Watch(), load.bodies * load.chunks
    go.set()
    gateway.wait(load.clients * messages)
    up = watch.rates(load.clients * load.bodies * load.body, "up")
    sent.wait()
    watch = Watch()
    for _ in range(messages):
        broker.publish(_topic(Topic.VERSION), bytes(MESSAGE_LIMIT), retain=True)
    heard.wait()
    down = watch.rates(load.clients * messages * MESSAGE_LIMIT, "down")
    clients.join()
    broker.stop()
    return {
        "clients": load.clients, "bodies": load.bodies, "body_kb": options.body_kb, "mqtt": options.mqtt,
        "profile": options.profile, **up, **down,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(argv)
    profile = cProfile.Profile() if options.profile else None
    figures = measure(options, profile)
    if profile is not None and not options.json:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    if not options.json:
        print(f"up   {figures['up_mb_s']:8.1f} MB/s  {figures['up_us_per_mb']:6d} us of the broker's thread for a MB")
        print(f"down {figures['down_mb_s']:8.1f} MB/s  {figures['down_us_per_mb']:6d}")
        print(f"peak {figures['peak_mib']} MiB")
    print(json.dumps(figures))
    if options.record:
        record.append("broker", COMMAND, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
