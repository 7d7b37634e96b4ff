"""A wire between one device and the broker that a test can listen on, and stop at a message of its choice.

It understands no more of MQTT than where a packet ends, which version a CONNECT is of, and what topic and payload a
PUBLISH has (sections 2.2, 3.1 and 3.3), so both ends are the real ones and talk as they always do.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field

CONNECT, PUBLISH = 1, 3
MQTT_5 = 5
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Heard:
    """A PUBLISH that passed. Args: upward: from the device to the broker."""

    upward: bool
    topic: str
    payload: bytes


@dataclass
class Talk:
    """A connection. Args: version: of MQTT, by its level; 4 is 3.1.1."""

    version: int = 4


@dataclass
class Hold:
    """Stops one direction of the wire at the first message whose topic has ``word``, until it is released or cut."""

    upward: bool
    word: str
    reached: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        """Wait until such a message stands still on the wire."""
        assert self.reached.wait(PATIENCE_S), f"no message on {self.word} came within {PATIENCE_S:.0f} s"

    def release(self) -> None:
        """Let it, and all that waits behind it, go."""
        self.go_on.set()


class Wiretap:
    """Listens on a port of its own and forwards each connection to ``port`` on loopback."""

    def __init__(self, port: int) -> None:
        self._broker = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._heard: list[Heard] = []
        self._holds: list[Hold] = []
        self._ends: list[socket.socket] = []
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where the device connects."""
        return f"mqtt://127.0.0.1:{self._server.getsockname()[1]}"

    def heard(self, word: str) -> list[Heard]:
        """Return what passed on topics with ``word`` in them, in order."""
        with self._lock:
            return [one for one in self._heard if f"/{word}" in one.topic]

    def hold(self, word: str, *, upward: bool) -> Hold:
        """Stop at the next message on a topic with ``word``."""
        hold = Hold(upward, word)
        with self._lock:
            self._holds.append(hold)
        return hold

    def cut(self) -> None:
        """End every connection; what stands still on the wire is lost."""
        with self._lock:
            ends, self._ends = self._ends, []
            holds, self._holds = self._holds, []
        for end in ends:
            _close(end)
        for hold in holds:
            hold.release()

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        _close(self._server)
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                device, _ = self._server.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self._broker), 5)
            except OSError:  # no broker there: the device sees what it would see without this wire, a closed door
                _close(device)
                continue
            broker.settimeout(None)
            for end in (device, broker):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._ends += [device, broker]
            talk = Talk()
            for upward, source, target in ((True, device, broker), (False, broker, device)):
                threading.Thread(target=self._pump, args=(talk, upward, source, target), daemon=True).start()

    def _pump(self, talk: Talk, upward: bool, source: socket.socket, target: socket.socket) -> None:
        try:
            with source.makefile("rb") as stream:
                while packet := _packet(stream):
                    if packet[0] >> 4 == CONNECT:
                        talk.version = packet[packet.index(b"MQTT") + 4]
                    if packet[0] >> 4 == PUBLISH:
                        self._message(_publish(talk.version, upward, packet))
                    target.sendall(packet)
        except (OSError, ValueError):
            pass
        finally:
            _close(source)
            _close(target)

    def _message(self, heard: Heard) -> None:
        with self._lock:
            hold = next(
                (one for one in self._holds if one.upward == heard.upward and f"/{one.word}" in heard.topic), None
            )
        if hold is not None:
            hold.reached.set()
            hold.go_on.wait(PATIENCE_S)
            with self._lock:
                if hold not in self._holds:
                    raise OSError("cut")
                self._holds.remove(hold)
        with self._lock:
            self._heard.append(heard)


def _packet(stream: object) -> bytes:
    """Read one packet: a type byte, a length of 7 bits a byte, the rest; empty at the end of the stream."""
    read = stream.read  # type: ignore[attr-defined]
    head: bytes = read(1)
    if not head:
        return b""
    length = shift = 0
    while True:
        byte: bytes = read(1)
        if not byte:
            return b""
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
    rest: bytes = read(length)
    return head + rest if len(rest) == length else b""


def _publish(version: int, upward: bool, packet: bytes) -> Heard:
    start = 1
    while packet[start] >= 0x80:
        start += 1
    start += 1
    size = int.from_bytes(packet[start : start + 2], "big")
    topic = packet[start + 2 : start + 2 + size].decode()
    start += 2 + size + (2 if packet[0] & 0x06 else 0)  # a packet id where the quality of service is above 0
    start += 1 + packet[start] if version == MQTT_5 else 0  # properties, of which nobody here has many
    return Heard(upward, topic, packet[start:])


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
