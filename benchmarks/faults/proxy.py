"""A bad network between devices and broker: it knows where MQTT packets end, and does one kind of harm to them.

Below TCP nothing can be lost or changed unnoticed, so messages are: a PUBLISH is swallowed and acknowledged (as a
broker does whose queue is full), comes twice, late, or with a flipped bit; connections stall, are cut in the middle of
a packet, or all of them at once for a while. MQTT 3.1.1, sections 2.2 and 3.3.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

KINDS: Final = ("drop", "duplicate", "reorder", "corrupt", "stall", "cut in a packet", "partition")
PUBLISH: Final = 3
AWAY_S: Final = 2.0


class Proxy:
    """Listens on a port of its own and forwards to the broker.

    Args:
        broker: port on loopback.
        kind: of harm.
        every: one PUBLISH in so many is harmed.
        chance: which.
        told: called at each harm.
    """

    def __init__(self, broker: int, kind: str, every: int, chance: random.Random, told: Callable[[], None]) -> None:
        self._broker, self._kind, self._every, self._chance, self._told = broker, kind, every, chance, told
        self._server = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._away_until = 0.0
        self._ends: list[socket.socket] = []
        self.port: int = self._server.getsockname()[1]

    def serve(self) -> None:
        """Forward for ever."""
        while True:
            device, _ = self._server.accept()
            if time.monotonic() < self._away_until:
                device.close()
                continue
            try:
                broker = socket.create_connection(("127.0.0.1", self._broker), 5)
            except OSError:
                device.close()
                continue
            broker.settimeout(None)
            self._ends += [device, broker]
            for source, target in ((device, broker), (broker, device)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        held: list[bytes] = []
        with contextlib.suppress(OSError, EOFError):
            while True:
                packet = _packet(source)
                harm = packet[0] >> 4 == PUBLISH and self._harms()
                for part in self._harmed(packet, source, target, held) if harm else [packet, *held]:
                    target.sendall(part)
                if not harm:
                    held.clear()
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _harms(self) -> bool:
        with self._lock:
            hit = self._chance.randrange(self._every) == 0
        if hit:
            self._told()
        return hit

    def _harmed(self, packet: bytes, source: socket.socket, target: socket.socket, held: list[bytes]) -> list[bytes]:
        """Return what goes out in place of a PUBLISH."""
        body = len(packet) - _body(packet)
        if self._kind == "drop":
            if packet[0] & 6:
                place = body + 2 + int.from_bytes(packet[body : body + 2], "big")
                source.sendall(b"\x40\x02" + packet[place : place + 2])
            return []
        if self._kind == "duplicate":
            return [packet, packet]
        if self._kind == "reorder":
            held.append(packet)
            return []
        if self._kind == "corrupt":
            changed = bytearray(packet)
            topic = body + 2 + int.from_bytes(packet[body : body + 2], "big") + 2
            if topic < len(changed):
                changed[self._chance.randrange(topic, len(changed))] ^= 1 << self._chance.randrange(8)
            return [bytes(changed)]
        if self._kind == "stall":
            time.sleep(1.5)
            return [packet]
        if self._kind == "partition":
            self._away_until = time.monotonic() + AWAY_S
            for end in self._ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._ends = []
        else:
            target.sendall(packet[: len(packet) // 2])
        raise EOFError


def _packet(source: socket.socket) -> bytes:
    """Read one packet."""
    head = _exactly(source, 1)
    size = shift = 0
    while True:
        byte = _exactly(source, 1)
        head += byte
        size |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return head + _exactly(source, size)


def _body(packet: bytes) -> int:
    """Return how many bytes stand behind the fixed header."""
    place = 1
    while packet[place] >= 0x80:
        place += 1
    return len(packet) - place - 1


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = source.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
