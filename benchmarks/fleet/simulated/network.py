"""Messages between devices and the gateway, in memory: links with a speed and a latency, and what a broker retains.

Each device sends one message after the other, and hears one after the other; all of them share the gateway's line, one
way each. A message that is for nobody who is connected is lost, but for what is retained. Counted are payloads, as the
gateway counts them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.fleet.load import FEDERATION
from benchmarks.fleet.simulated.blocks import Waves
from benchmarks.fleet.simulated.clock import Clock
from edge_runtime.wire.topics import Address, Topic

if TYPE_CHECKING:
    from benchmarks.fleet.simulated.device import Device


class Network:
    """The publisher of the gateway, and the way there.

    Args:
        clock: simulated.
        line_bytes_s: of the gateway's line, each way.
    """

    def __init__(self, clock: Clock, line_bytes_s: float) -> None:
        self._clock, self._line = clock, line_bytes_s
        self._arriving: deque[tuple[float, str, bytes]] = deque()  # by the time at which they are whole
        self._in_free = self._out_free = 0.0
        self._published: dict[bytes, int] = {}
        self.waves = Waves()
        self.connected: dict[str, Device] = {}
        self.version = self.gateway = b""
        self.plans: dict[str, bytes] = {}
        self.bytes_up = self.bytes_down = self.messages_up = self.messages_down = 0
        self.most_connected = 0

    def connect(self, device: Device) -> None:
        """Let a device listen; what is retained comes at once, in one piece."""
        self.connected[device.name] = device
        self.most_connected = max(self.most_connected, len(self.connected))
        plan = self.plans.get(device.name, b"")
        retained = [self.gateway, self.version, plan]
        self._to(device, sum(map(len, retained)), device.hear_retained, self.version, plan)

    def disconnect(self, device: Device) -> None:
        """Let a device listen no more."""
        self.connected.pop(device.name, None)
        if device.wave is not None:
            device.wave.devices.pop(device, None)
            device.wave = None

    def send(self, device: Device, topic: Topic, payload: bytes) -> float:
        """Send a message to the gateway, behind those before it; return when it has left the device."""
        begin = max(self._clock.now, device.up_free)
        device.up_free = begin + len(payload) / device.up_bytes_s
        device.bytes_up += len(payload)
        address = str(Address(FEDERATION, topic, device.name))
        self._clock.at(device.up_free + device.latency_s, self._arrive, address, payload)
        return device.up_free

    def _arrive(self, topic: str, payload: bytes) -> None:
        self._in_free = max(self._clock.now, self._in_free) + len(payload) / self._line
        self._arriving.append((self._in_free, topic, payload))

    def arrived(self) -> list[tuple[str, bytes]]:
        """Return what came to the gateway since the last time: (topic, payload)."""
        came = []
        while self._arriving and self._arriving[0][0] <= self._clock.now:
            _, topic, payload = self._arriving.popleft()
            self.bytes_up += len(payload)
            came.append((topic, payload))
        self.messages_up += len(came)
        return came

    def publish(self, topic: Topic, name: str, payloads: Iterable[bytes]) -> None:
        """Take what the gateway says."""
        for payload in payloads:
            if topic is Topic.BLOB:
                digest = bytes.fromhex(name)
                self._published[digest] = self._published.get(digest, 0) + len(payload)
            elif topic in (Topic.VERSION, Topic.GATEWAY):
                self._to_all(topic, payload)
            else:
                self._to_one(topic, name, payload)

    def _to_all(self, topic: Topic, payload: bytes) -> None:
        if topic is Topic.VERSION:
            self.version = payload
        else:
            self.gateway = payload
        for device in self.connected.values():
            if topic is Topic.VERSION:
                self._to(device, len(payload), device.hear_version, payload)
            else:  # what it says changes nothing for a device that is connected: its bytes count
                self._count(device, len(payload))

    def _to_one(self, topic: Topic, name: str, payload: bytes) -> None:
        if topic is Topic.PLAN:
            self.plans[name] = payload
            if not payload:
                del self.plans[name]
        device = self.connected.get(name)
        if device is not None:
            call = device.hear_plan if topic is Topic.PLAN else device.hear_verdict
            self._to(device, len(payload), call, payload)

    def flush(self) -> None:
        """Let the blobs go out that were published in this turn of the gateway."""
        sizes, self._published = self._published, {}
        if not sizes:
            return
        for wave, size in self.waves.publish(sizes):
            whole = not wave.left
            for device in list(wave.devices):
                if whole:
                    self._to(device, size, device.hear_blobs, wave)
                else:
                    self._occupy(device, size)

    def _to(self, device: Device, size: int, call: object, *args: object) -> None:
        self._clock.at(self._occupy(device, size), device.hear, device.connection, call, *args)

    def _occupy(self, device: Device, size: int) -> float:
        """Send bytes to a device, behind those before them; return when they are there."""
        self._count(device, size)
        self._out_free = max(self._clock.now, self._out_free) + size / self._line
        begin = max(self._out_free + device.latency_s, device.down_free)
        device.down_free = begin + size / device.down_bytes_s
        return device.down_free

    def _count(self, device: Device, size: int) -> None:
        device.bytes_down += size
        self.bytes_down += size
        self.messages_down += 1
