"""Every kind of message, and what carries them: chunks, values, topics."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message

from edge_runtime.wire import messages, tensors, topics
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import Assembler, split
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.scan import fields_within
from edge_runtime.wire.signatures import SigningKey, verify_message
from edge_runtime.wire.vectors.decide import MESSAGES
from tests.fuzz.proto_mutator import mutator_of
from tests.fuzz.target import Target, decided, need
from tests.fuzz.vectors import seeds_of

TOPIC: Final = "fl/v1/home/gateway"
_ROOM: Final = 8192
"""Bytes that the assembler under test keeps: little, so that it has to make room."""


def _message(kind: type[Message], data: bytes) -> str:
    return decided(partial(_read, kind, data), WireError)


def _read(kind: type[Message], data: bytes) -> None:
    message = messages.decode(kind, data)
    written = messages.encode(message)
    need(messages.decode(kind, written) == message, f"{kind.__name__} is another one once it was written and read")
    count = _fields(data)
    need(fields_within(data, count), f"{count} fields are counted as more")
    need(count == 0 or not fields_within(data, count - 1), f"{count} fields are counted as fewer")


def _fields(data: bytes) -> int:
    """Count the top-level fields of a message that was read, the plain way."""
    position = count = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(data):
        count += 1
        wire_type = varint() & 7
        if wire_type == 0:
            varint()
        elif wire_type == 2:
            size = varint()
            position += size
        else:
            position += {1: 8, 5: 4}.get(wire_type, 0)
    return count


def _targets_of_messages() -> Iterator[Target]:
    for name, kind in MESSAGES.items():
        yield Target(name, partial(_message, kind), partial(seeds_of, name), mutator_of(kind))


def payloads_of(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield who sends which payload: a byte for the sender, two for the size, the payload."""
    position = 0
    while position + 3 <= len(data):
        sender, size = struct.unpack_from("<BH", data, position)
        yield f"device-{sender % 3}", data[position + 3 : position + 3 + size]
        position += 3 + size


def _chunks(data: bytes) -> str:
    assembler = Assembler(limit=_ROOM, body_limit=4096)
    outcome = "ACCEPT"
    for sender, payload in payloads_of(data):
        try:
            chunk = messages.decode(pb.Chunk, payload)
            body = assembler.add(sender, chunk)
        except WireError:
            outcome = "REFUSED"
            continue
        held = assembler.held_bytes
        need(0 <= held <= _ROOM + 4096 + 1024 + 128 * 64, f"{held} bytes are held, {_ROOM} are allowed")
        need(body is None or (sha256(body) == chunk.digest and len(body) == chunk.total), "a body has another digest")
    for sender in range(3):
        assembler.forget(f"device-{sender}")
    need(assembler.held_bytes == 0, f"{assembler.held_bytes} bytes are held by nobody")
    return outcome


def _seeds_of_chunks() -> Iterator[bytes]:
    bodies = [bytes(range(size)) for size in (1, 40, 200)]
    parts = [list(split(body, pb.DELTA, 40)) for body in bodies]
    listed = [(sender, part) for sender, pieces in enumerate(parts) for part in pieces]
    for order in (listed, listed[::-1], listed[::2] + listed, [(0, part) for _, part in listed]):
        yield b"".join(struct.pack("<BH", sender, len(part)) + part for sender, part in order)


def _values(data: bytes) -> str:
    if len(data) < 3:
        return "SHORT"
    codec, count = values_of(data)
    return decided(partial(_read_values, data[3:], count, codec), WireError)


def values_of(data: bytes) -> tuple[int, int]:
    """Return the codec (0 to 2, the last of which is unknown) and the count that an input's first three bytes say."""
    codec, count = struct.unpack_from("<BH", data)
    return codec % 3, count % 1024


def _read_values(data: bytes, count: int, codec: int) -> None:
    values = tensors.decode(data, count, codec)
    need(values.dtype == np.float32 and values.shape == (count,), f"{values.dtype}{values.shape} came")
    need(bool(np.isfinite(values).all()), "values that are not finite")
    need(len(data) == tensors.encoded_size(count, codec), "bytes of another size")
    exact = tensors.encode(values, pb.FLOAT32)
    need(exact == tensors.encode(tensors.decode(exact, count), pb.FLOAT32), "float32 values change on the way")
    need(codec != pb.FLOAT32 or exact == data, "float32 values are not the bytes that came")
    again = tensors.decode(tensors.encode(values, pb.INT8), count, pb.INT8)
    groups = [slice(first, first + tensors.GROUP) for first in range(0, count, tensors.GROUP)]
    for group in groups:
        wide, rounded = values[group].astype(np.float64), again[group].astype(np.float64)
        step = np.abs(wide).max() / 127
        need(bool((np.abs(wide - rounded) <= 0.501 * step + 2e-43).all()), "int8 moves a value by over half a step")


def _seeds_of_values() -> Iterator[bytes]:
    for count in (0, 1, 63, 64, 65, 200):
        values = np.linspace(-2, 3, count, dtype=np.float32) if count else np.zeros(0, np.float32)
        for codec in (pb.FLOAT32, pb.INT8):
            yield struct.pack("<BH", codec, count) + tensors.encode(values, codec)
    largest = np.full(64, np.finfo(np.float32).max)
    yield struct.pack("<BH", pb.INT8, 64) + tensors.encode(largest, pb.INT8)


def _topic(data: bytes) -> str:
    return decided(partial(_read_topic, data.decode("utf-8", "surrogateescape")), WireError)


def _read_topic(text: str) -> None:
    address = topics.parse(text)
    need(str(address) == text, "a topic is another one once it was read and written")
    need(not set(text) & set("#+\0\n ") and text.isascii(), "a topic has a wildcard, or what is not plain")
    need(bool(address.name) or address.topic in (topics.Topic.GATEWAY, topics.Topic.VERSION), "a topic lacks its name")
    if address.topic is topics.Topic.PLAN:
        need(text in topics.device_subscriptions(address.federation, address.name), "a device does not hear its plan")


def _signed(data: bytes) -> str:
    """Verify bytes as they are, or sign them, as the first byte says; then come the serial and a place to spoil."""
    if len(data) < 11 or data[0] & 1:
        return decided(lambda: verify_message(key().public, TOPIC, data[11:]), WireError)
    serial, place = struct.unpack_from("<QH", data, 1)
    payload = signed_of(data)
    need(verify_message(key().public, TOPIC, payload) == serial, "another serial was verified than was signed")
    with suppress(WireError):
        need(messages.decode(pb.GatewayState, payload).serial == serial, "the message has another serial")
    place %= len(payload)
    for spoiled in (payload[:place] + bytes([payload[place] ^ 1]) + payload[place + 1 :], payload[:place]):
        need(decided(partial(verify_message, key().public, TOPIC, spoiled), WireError) == "BAD_SIGNATURE", "spoiled")
    for topic in (f"{TOPIC}x", "fl/v1/other/gateway"):
        need(decided(partial(verify_message, key().public, topic, payload), WireError) == "BAD_SIGNATURE", "moved")
    return "ACCEPT"


def signed_of(data: bytes) -> bytes:
    """Return the payload that an input of eleven bytes or more stands for: as it is, or signed."""
    return data[11:] if data[0] & 1 else key().sign_message(TOPIC, data[11:], struct.unpack_from("<Q", data, 1)[0])


@cache
def key() -> SigningKey:
    """Return the gateway's key."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def _seeds_of_signed() -> Iterator[bytes]:
    for data in seeds_of("GatewayState"):
        yield bytes(11) + data
        yield b"\1" + bytes(10) + key().sign_message(TOPIC, data, 7)
    yield from (b"\1" + bytes(10) + data for data in seeds_of("SignedMessage"))


def targets() -> list[Target]:
    """Return the targets of this module."""
    named: list[tuple[str, Callable[[bytes], str], Callable[[], Any]]] = [
        ("Chunks", _chunks, _seeds_of_chunks),
        ("Values", _values, _seeds_of_values),
        ("SignedMessage", _signed, _seeds_of_signed),
        ("Topic", _topic, partial(seeds_of, "Topic")),
    ]
    return [*_targets_of_messages(), *(Target(*one) for one in named)]
