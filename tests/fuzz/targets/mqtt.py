"""MQTT as the embedded broker reads it: frames, and the packet with which a client says who it is."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import struct
from collections.abc import Iterator
from functools import cache
from typing import Final

from amqtt.errors import AMQTTError
from amqtt.mqtt.connect import ConnectPacket

from broker_server.broker.access import AccessError, Certificate, identify
from broker_server.broker.connect_packet import Connect, FrameError, body_start, read_connect
from broker_server.broker.framing import FrameReader
from broker_server.broker.pace import Pace
from tests.fuzz.target import Target, need

_PACKET: Final = 1024


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


def _frames(data: bytes) -> str:
    return _loop().run_until_complete(_read_frames(data))


async def _read_frames(data: bytes) -> str:
    """Read packets as the broker does: CONNECT, then of each a byte, its length, the rest; all that came, in order."""
    stream = asyncio.StreamReader()
    stream.feed_data(data)
    stream.feed_eof()
    reader, read = FrameReader(stream, _PACKET, Pace(1e9), Pace(1e9)), b""
    try:
        connect = await reader.connect()
    except (ConnectionResetError, asyncio.IncompleteReadError) as error:
        return type(error).__name__
    try:
        with contextlib.suppress(AccessError):
            peer = identify(connect, "home", "10.0.0.1", Certificate("a", "01"))
            need(peer.device in ("", "a"), f"the certificate of a was taken for {peer.device!r}")
        first = await reader.read()
        flags = body_start(first) + 7  # the one byte that is changed: no session outlives its connection
        data = data[:flags] + first[flags : flags + 1] + data[flags + 1 :]
        read += first
        while True:
            read += await reader.read(1)
            need(len(reader._frame) <= _PACKET + 5, f"a packet of {len(reader._frame)} bytes is kept")
            read += await reader.read(min(2, len(reader._frame) - 1))
            read += await reader.read()
    except (ConnectionResetError, asyncio.IncompleteReadError) as error:
        need(data.startswith(read), "other bytes came than were sent")
        with contextlib.suppress(ConnectionResetError, asyncio.IncompleteReadError):
            await reader.read(1)
            need(condition=False, what="a connection that was given up is read on")
        return type(error).__name__


def _seeds_of_frames() -> Iterator[bytes]:
    for keep_alive in (0, 60, 0xFFFF):
        connect = b"\x00\x04MQTT\x04\x02" + struct.pack(">H", keep_alive) + b"\x00\x06home.a"
        start = b"\x10" + bytes([len(connect)]) + connect
        yield start
        yield start + b"\xc0\x00" + b"\x32\x0a\x00\x03a/b\x00\x01xyz" + b"\xe0\x00"
        yield start + b"\x30\x80\x08" + bytes(1024)
    will = b"\x00\x04MQTT\x04\xc6\x00\x3c\x00\x06home.a\x00\x10fl/v1/home/bye/a\x00\x01x\x00\x02me\x00\x02pw"
    yield b"\x10" + bytes([len(will)]) + will + b"\x82\x05\x00\x01\x00\x00\x00"
    yield b"\x10\xff\xff\xff\x7f"
    yield b"\x10\x80\x80\x80\x80\x01"


# --- CONNECT: two readers of one packet ---------------------------------------------------------------------------


def _connect(data: bytes) -> str:
    """Read a CONNECT's content as we do, and as amqtt does: rights follow from ours, the session from amqtt's."""
    size, length = len(data), bytearray()
    while True:
        length.append(size & 0x7F | (0x80 if size > 0x7F else 0))
        size >>= 7
        if not size:
            break
    try:
        connect, clean = read_connect(b"\x10" + bytes(length) + data)
    except FrameError:
        return "FrameError"
    with contextlib.suppress(AccessError):
        peer = identify(connect, "home", "10.0.0.1", Certificate("a", "01"))
        need(peer.device in ("", "a"), f"the certificate of a was taken for {peer.device!r}")
    return _loop().run_until_complete(_as_amqtt_does(connect, clean))


async def _as_amqtt_does(connect: Connect, packet: bytes) -> str:
    stream = asyncio.StreamReader()
    stream.feed_data(packet)
    stream.feed_eof()
    try:
        theirs = await ConnectPacket.from_stream(FrameReader(stream, _PACKET * 4))
    except (AMQTTError, ConnectionResetError, UnicodeDecodeError, ValueError) as error:
        return type(error).__name__
    if theirs.reserved_flag:
        return "reserved"
    need(theirs.client_id == connect.client_id or not connect.client_id, "amqtt reads another client id")
    need(theirs.clean_session_flag, "a session outlives its connection")
    need(theirs.will_flag is (connect.will_topic is not None), "amqtt reads another will")
    need(not theirs.will_flag or theirs.will_topic == connect.will_topic, "amqtt reads another topic of the will")
    need(not theirs.will_flag or theirs.will_retain_flag is connect.will_retain, "amqtt keeps another will")
    need((theirs.username or "") == connect.user, "amqtt reads another user")
    return "ACCEPT"


def _seeds_of_connects() -> Iterator[bytes]:
    for flags, rest in (
        (b"\x02", b""),
        (b"\x00", b""),
        (b"\x26", b"\x00\x10fl/v1/home/bye/a\x00\x01x"),
        (b"\xc6", b"\x00\x10fl/v1/home/bye/a\x00\x01x\x00\x02me\x00\x02pw"),
        (b"\xc2", b"\x00\x07gateway\x00\x02pw"),
        (b"\x42", b"\x00\x02pw"),
    ):
        for client_id in (b"home.a", b"", b"home.b"):
            head = b"\x00\x04MQTT\x04" + flags + b"\x00\x3c"
            yield head + struct.pack(">H", len(client_id)) + client_id + rest


def targets() -> list[Target]:
    """Return the targets of this module."""
    return [
        Target("mqtt_frames", _frames, _seeds_of_frames, longest=3000),
        Target("mqtt_connect", _connect, _seeds_of_connects, longest=300),
    ]
