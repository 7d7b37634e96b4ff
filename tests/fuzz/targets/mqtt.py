"""MQTT as the embedded broker reads it: frames, CONNECT, and all that a client says once it was admitted."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from broker_server.broker.access import AccessError, Certificate, Peer, identify, may_publish, may_subscribe
from broker_server.broker.connect_packet import MQTT_3, MQTT_5, NO_LIMIT, Connect, read_connect
from broker_server.broker.connection import Connection
from broker_server.broker.fields import Code, FrameError, varint
from broker_server.broker.framing import Frames
from broker_server.broker.intake import Intake
from broker_server.broker.link import Arrived
from broker_server.broker.outgoing import Message
from broker_server.broker.packets import Kind
from broker_server.broker.session import Hub, Session
from broker_server.broker.subscriptions import Subscriptions
from broker_server.config_tables import ConnectionLimits
from tests.fuzz.target import Target, need

_PACKET: Final = 1024


# --- frames: one stream, cut anyhow -------------------------------------------------------------------------------


def _frames(data: bytes) -> str:
    """Read packets from one piece and from many: the same ones, and no more is kept than a packet takes."""
    whole, ended = _packets(data, len(data) + 1)
    for most in (1, 7, 300):
        need(_packets(data, most) == (whole, ended), f"pieces of {most} bytes give other packets")
    return ended


def _packets(data: bytes, most: int) -> tuple[list[tuple[int, bytes]], str]:
    """Return the packets and how it ended. Args: most: bytes of a piece."""
    frames, chance, at = Frames(_PACKET, memoryview(bytearray(4096))), Random(most), 0
    packets: list[tuple[int, bytes]] = []
    try:
        while at < len(data):
            piece = data[at : at + chance.randint(1, most)]
            at += _put(frames, piece, feed=most > len(data))
            while (packet := frames.next()) is not None:
                packets.append((packet[0], bytes(packet[1])))
            frames.keep()
            need(len(frames.buffer()) > 0, "no room for more")
            need(frames.kept_bytes <= _PACKET + 5, f"{frames.kept_bytes} bytes are kept")
    except FrameError as error:
        return packets, error.code.name
    return packets, "ACCEPT" if not frames.kept_bytes else "half"


def _put(frames: Frames, piece: bytes, *, feed: bool) -> int:
    if feed:
        frames.feed(piece)
        return len(piece)
    buffer = frames.buffer()
    size = min(len(piece), len(buffer))
    buffer[:size] = piece[:size]
    frames.filled(size)
    return size


def _seeds_of_frames() -> Iterator[bytes]:
    for connect in _seeds_of_connects():
        start = b"\x10" + varint(len(connect)) + connect
        yield start
        yield start + b"\xc0\x00" + b"\x32\x0a\x00\x03a/b\x00\x01xyz" + b"\xe0\x00"
    yield b"\x30\x80\x08" + bytes(1024) + b"\xc0\x00"
    yield b"\x30\x81\x08" + bytes(1025)
    yield b"\x10\xff\xff\xff\x7f"
    yield b"\x10\x80\x80\x80\x80\x01"
    yield b"\xc0\x80\x00\xc0\x00"


# --- CONNECT: read, written, read again -----------------------------------------------------------------------------


def _connect(data: bytes) -> str:
    """Read a CONNECT's content: what was read is the same once it was written, and a certificate is nobody else's."""
    try:
        connect = read_connect(memoryview(data))
    except FrameError as error:
        return error.code.name
    need(read_connect(memoryview(_written(connect))) == connect, "it is another one once it was written")
    with contextlib.suppress(AccessError):
        peer = identify(connect, "home", "10.0.0.1", Certificate("a", "01"))
        need(peer.device in ("", "a"), f"the certificate of a was taken for {peer.device!r}")
        need(connect.will is None or may_publish(peer, connect.will.topic), "a will speaks as somebody else")
        need(not (connect.user or connect.password), "a user was let in")
    return "ACCEPT"


def _written(connect: Connect) -> bytes:
    """Write a CONNECT from the standard: flags only where they stand for something."""
    flags, five = 0x02, connect.version == MQTT_5
    will, more = connect.will, b""
    if will is not None:
        flags |= 0x04 | 0x20 * will.retain
        more += b"\x00" * five + _data(will.topic.encode()) + _data(will.payload)
    if connect.user or (connect.password and not five):
        flags |= 0x80
        more += _data(connect.user.encode())
    if connect.password:
        flags |= 0x40
        more += _data(connect.password)
    head = b"\x00\x04MQTT" + bytes((connect.version, flags)) + struct.pack(">H", connect.keep_alive_s)
    return head + (_properties(connect) if five else b"") + _data(connect.client_id.encode()) + more


def _properties(connect: Connect) -> bytes:
    values = struct.pack(">BIBH", 0x11, connect.session_expiry_s, 0x21, connect.receive_maximum)
    if connect.maximum_packet != NO_LIMIT:
        values += struct.pack(">BI", 0x27, connect.maximum_packet)
    return varint(len(values)) + values


def _data(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def _seeds_of_connects() -> Iterator[bytes]:
    will = b"\x00\x10fl/v1/home/bye/a\x00\x01x"
    for flags, rest in (
        (b"\x02", b""),
        (b"\x00", b""),
        (b"\x26", will),
        (b"\x0e", will),
        (b"\xc6", will + b"\x00\x02me\x00\x02pw"),
        (b"\xc2", b"\x00\x07gateway\x00\x02pw"),
        (b"\x42", b"\x00\x02pw"),
        (b"\x16", will),
    ):
        for client_id in (b"home.a", b"", b"home.b"):
            yield b"\x00\x04MQTT\x04" + flags + b"\x00\x3c" + _data(client_id) + rest
    for values in (
        b"",
        b"\x11\x00\x00\x00\x05\x21\x00\x0a\x27\x00\x00\x04\x00",
        b"\x26\x00\x01a\x00\x01b\x26\x00\x01a\x00\x01c\x17\x01\x19\x00\x22\x00\x00",
        b"\x15\x00\x01x\x16\x00\x01y",
        b"\x21\x00\x00",
        b"\x21\x00\x01\x21\x00\x01",
        b"\x01\x01",
    ):
        yield b"\x00\x04MQTT\x05\x02\x00\x3c" + varint(len(values)) + values + _data(b"home.a")
        more = b"\x05\x18\x00\x00\x00\x1e" + will
        yield b"\x00\x04MQTT\x05\x06\x00\x3c" + varint(len(values)) + values + _data(b"home.a") + more


# --- a session: whatever a client says after CONNECT ------------------------------------------------------------------


class _Connection(Connection):
    """A connection without a socket: keeps what is written."""

    def __init__(self) -> None:
        self.can_write, self.ended, self.held = True, False, set[str]()
        self.written = bytearray()

    @property
    def unsent_bytes(self) -> int:
        return len(self.written)

    def answer(self, packet: bytes) -> None:
        self.written += packet

    def write(self, packet: bytes) -> None:
        self.written += packet

    def hold(self, reason: str) -> None:
        self.held.add(reason)

    def release(self, reason: str) -> None:
        self.held.discard(reason)

    def rest(self, seconds: float, reason: str) -> None:
        need(seconds > 0, f"a rest of {seconds} s for {reason}")

    def finish(self, code: Code = Code.SUCCESS, last: bytes = b"") -> None:
        del code, last
        self.ended = True


class _Sink:
    """A gateway with room for every other message."""

    def __init__(self) -> None:
        self.events: list[Arrived] = []
        self.calls: list[Callable[[], None]] = []
        self._tries = 0

    def offer(self, event: Arrived, size: int) -> bool:
        need(size >= len(event.payload), "a message is counted for less than it has")
        self._tries += 1
        if self._tries % 2:
            self.events.append(event)
        return bool(self._tries % 2)

    def when_room(self, call: Callable[[], None]) -> None:
        self.calls.append(call)


def _session(data: bytes) -> str:
    """Take a client's packets, of 3.1.1 or 5 as the first byte says: it speaks and hears as itself only."""
    sink, connection = _Sink(), _Connection()
    intake, subscriptions, ended = Intake(lambda call: call()), Subscriptions[Session](), list[Session]()
    intake.connect(sink)
    hub = Hub(subscriptions, intake, lambda _reason, _fields: None, lambda: 0.0, ended.append)
    peer = Peer("home", "a", "10.0.0.1")
    connect = Connect("home.a", 0, version=MQTT_5 if data[:1] > b"\x7f" else MQTT_3, maximum_packet=_PACKET)
    session = Session(connection, peer, connect, hub, ConnectionLimits())
    subscriptions.retain("fl/v1/home/version", b"v")
    decision = _talk(session, connection, sink, data[1:])
    for topic in subscriptions._listeners:
        need(may_subscribe(peer, topic), f"{topic!r} is heard")
    need(all(may_publish(peer, event.topic) for event in sink.events), "it spoke as somebody else")
    session.deliver(Message(b"fl/v1/home/version", b"v" * 2000, 1))
    frames = Frames(_PACKET, memoryview(bytearray(4096)))
    frames.feed(bytes(connection.written))
    while (packet := frames.next()) is not None:
        need(packet[0] >> 4 in set(Kind), "no packet was written")
    need(not frames.kept_bytes, "half a packet was written")
    session.lost()
    need(ended == [session], "its end was not told")
    need(not subscriptions._listeners, "it hears when it is gone")
    return decision


def _talk(session: Session, connection: _Connection, sink: _Sink, data: bytes) -> str:
    frames = Frames(_PACKET, memoryview(bytearray(4096)))
    frames.feed(data)
    try:
        while not connection.ended and (packet := frames.next()) is not None:
            session.take(*packet)
            if connection.held:  # the gateway takes what waits, and has room again
                need(len(sink.calls) == 1, f"{len(sink.calls)} calls wait for room")
                sink.calls.pop()()
                need(not connection.held, "nobody goes on")
    except FrameError as error:
        return error.code.name
    return "ACCEPT"


def _seeds_of_sessions() -> Iterator[bytes]:
    version, own, other = (
        _data(topic) for topic in (b"fl/v1/home/version", b"fl/v1/home/hello/a", b"fl/v1/home/bye/b")
    )
    for start, none in ((b"\x04", b""), (b"\x85", b"\x00")):
        say = own + b"\x00\x07" + none + b"here"
        packets = [
            _packet(0x82, b"\x00\x01" + none + version + b"\x01" + other + b"\x00"),
            _packet(0x82, b"\x00\x02" + none + version + b"\x11"),
            _packet(0xA2, b"\x00\x03" + none + version + other),
            _packet(0x32, say),
            _packet(0x33, say),
            _packet(0x30, own + none + b"here"),
            _packet(0x32, other + b"\x00\x08" + none + b"foe"),
            _packet(0x32, _data(b"fl/v1/#") + b"\x00\x08" + none),
            _packet(0x40, b"\x00\x01"),
            _packet(0x40, b"\x00\x01\x10\x00"),
            b"\xc0\x00",
            b"\xe0\x00",
            _packet(0xE0, b"\x04"),
            _packet(0x34, say),
            b"\x10\x00",
            _packet(0x32, own + b"\x00\x07\x03\x23\x00\x01here"),
            _packet(0x82, b"\x00\x01\x02\x0b\x01" + version + b"\x01"),
        ]
        yield start + b"".join(packets[:7])
        yield from (start + packet for packet in packets)
        yield start + packets[3] * 4 + packets[10]


def _packet(first: int, content: bytes) -> bytes:
    return bytes((first,)) + varint(len(content)) + content


def targets() -> list[Target]:
    """Return the targets of this module."""
    return [
        Target("mqtt_frames", _frames, _seeds_of_frames, longest=3000),
        Target("mqtt_connect", _connect, _seeds_of_connects, longest=300),
        Target("mqtt_session", _session, _seeds_of_sessions, longest=1500),
    ]
