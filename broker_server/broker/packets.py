"""Packets of MQTT 3.1.1 and 5 behind CONNECT: reading what clients send, writing what a broker says. Pure.

Quality of service 0 and 1; in a client's SUBSCRIBE 2 becomes 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from broker_server.broker.connect_packet import MQTT_5, PACKET_LIMIT
from broker_server.broker.fields import (
    IN_DISCONNECT,
    IN_PUBACK,
    IN_PUBLISH,
    IN_SUBSCRIBE,
    IN_UNSUBSCRIBE,
    Code,
    Fields,
    FrameError,
    Property,
    data,
    properties,
    varint,
)

_RETAIN, _AS_PUBLISHED = 0x01, 0x08
_QOS_LIMIT: Final = 2
_NO_PROPERTIES: Final = b"\x00"


class Kind(IntEnum):
    """The upper four bits of a packet's first byte (table 2.1); the lower four are its flags."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


PONG: Final = bytes((Kind.PINGRESP << 4, 0))


class RetainHandling(IntEnum):
    """When a subscription gets what is retained (MQTT 5, section 3.8.3.1)."""

    ALWAYS = 0
    NEW = 1
    NEVER = 2


@dataclass(frozen=True, slots=True)
class Publish:
    """A message of a client. Args: packet_id: 0 for quality of service 0; topic: not decoded."""

    topic: bytes
    packet_id: int
    payload: bytes
    retain: bool


@dataclass(frozen=True)
class Subscription:
    """What a client asks to hear.

    Args:
        topic_filter: whose messages.
        qos: 0 or 1.
        as_published: retained messages are marked as such also when they come live.
        handling: of what is retained.
    """

    topic_filter: str
    qos: int
    as_published: bool = False
    handling: RetainHandling = RetainHandling.ALWAYS


def read_publish(flags: int, content: memoryview, version: int) -> Publish:
    """Read a PUBLISH (section 3.3).

    Raises:
        FrameError: when it is none, or of quality of service 2.
    """
    fields = Fields(content)
    topic = fields.data()
    qos = flags >> 1 & 3
    if qos > 1:
        raise FrameError(f"a message of quality of service {qos}, expected 0 or 1", Code.QOS)
    packet_id = _packet_id(fields) if qos else 0
    if version == MQTT_5 and Property.TOPIC_ALIAS in fields.properties(IN_PUBLISH):
        raise FrameError("a topic alias, of which this broker takes none", Code.ALIAS)
    if not topic:
        raise FrameError("a message without a topic")
    return Publish(topic, packet_id, fields.rest(), bool(flags & _RETAIN))


def read_subscribe(flags: int, content: memoryview, version: int) -> tuple[int, list[Subscription]]:
    """Read a SUBSCRIBE (section 3.8); return its number and what it asks for.

    Raises:
        FrameError: when it is none, or asks for nothing.
    """
    fields = _numbered(flags, content)
    packet_id = _packet_id(fields)
    if version == MQTT_5 and 0x0B in fields.properties(IN_SUBSCRIBE):
        raise FrameError("a subscription identifier, of which this broker takes none", Code.SUBSCRIPTION_ID)
    asked = [_subscription(fields, version)]
    while fields:
        asked.append(_subscription(fields, version))
    return packet_id, asked


def _subscription(fields: Fields, version: int) -> Subscription:
    topic_filter, options = fields.text(), fields.number(1)
    qos, handling = options & 3, options >> 4 & 3
    if qos > _QOS_LIMIT or options >> (6 if version == MQTT_5 else 2) or handling > RetainHandling.NEVER:
        raise FrameError("the options of a subscription have no meaning")
    return Subscription(topic_filter, min(qos, 1), bool(options & _AS_PUBLISHED), RetainHandling(handling))


def read_unsubscribe(flags: int, content: memoryview, version: int) -> tuple[int, list[str]]:
    """Read an UNSUBSCRIBE (section 3.10); return its number and what is to be heard no more.

    Raises:
        FrameError: when it is none.
    """
    fields = _numbered(flags, content)
    packet_id = _packet_id(fields)
    if version == MQTT_5:
        fields.properties(IN_UNSUBSCRIBE)
    filters = [fields.text()]
    while fields:
        filters.append(fields.text())
    return packet_id, filters


def _numbered(flags: int, content: memoryview) -> Fields:
    if flags != 0b0010:
        raise FrameError("the flags of a packet have no meaning")
    return Fields(content)


def _packet_id(fields: Fields) -> int:
    packet_id = fields.number(2)
    if not packet_id:
        raise FrameError("a packet with the number 0", Code.PROTOCOL)
    return packet_id


def read_puback(content: memoryview, version: int) -> int:
    """Return the number of the message that a client took, or refused (section 3.4).

    Raises:
        FrameError: when it is no PUBACK.
    """
    fields = Fields(content)
    packet_id = _packet_id(fields)
    _read_reason(fields, version, IN_PUBACK)
    return packet_id


def read_disconnect(content: memoryview, version: int) -> bool:
    """Return whether a client that leaves wants its will to be published (section 3.14).

    Raises:
        FrameError: when it is no DISCONNECT.
    """
    return _read_reason(Fields(content), version, IN_DISCONNECT) != Code.SUCCESS


def _read_reason(fields: Fields, version: int, allowed: frozenset[int]) -> int:
    """Return a code that may be left out, behind it properties that may be left out."""
    code = fields.number(1) if version == MQTT_5 and fields else Code.SUCCESS
    if version == MQTT_5 and fields:
        fields.properties(allowed)
    if fields:
        raise FrameError("a packet goes on behind its end")
    return code


def _packet(kind: Kind, content: bytes, flags: int = 0) -> bytes:
    return bytes((kind << 4 | flags,)) + varint(len(content)) + content


def connack(version: int, client_id: str = "") -> bytes:
    """Take a client in. Args: client_id: that was chosen for it; "" where it has one."""
    if version != MQTT_5:
        return _packet(Kind.CONNACK, b"\x00\x00")
    says: dict[Property, int | str] = {
        Property.SESSION_EXPIRY_S: 0,
        Property.MAXIMUM_QOS: 1,
        Property.MAXIMUM_PACKET: PACKET_LIMIT,
        Property.WILDCARDS: 0,
        Property.SUBSCRIPTION_IDS: 0,
        Property.SHARED: 0,
    }
    if client_id:
        says[Property.ASSIGNED_CLIENT_ID] = client_id
    return _packet(Kind.CONNACK, b"\x00\x00" + properties(says))


_CONNACK_3: Final = {Code.VERSION: 1, Code.CLIENT_ID: 2, Code.UNAVAILABLE: 3, Code.QUOTA: 3, Code.NOT_AUTHORIZED: 5}
"""Return codes of MQTT 3.1.1 (table 3.1)."""


def refusal(version: int, code: Code, reason: str) -> bytes:
    """Refuse a client, as CONNACK says it; MQTT 3.1.1 has no words and few codes for it."""
    if version == MQTT_5:
        return _packet(Kind.CONNACK, bytes((0, code)) + properties({Property.REASON: reason}))
    known = _CONNACK_3.get(code)
    return b"" if known is None else _packet(Kind.CONNACK, bytes((0, known)))


def puback(version: int, packet_id: int, code: Code = Code.SUCCESS) -> bytes:
    """Say that a message was taken; MQTT 3.1.1 cannot say that it was not."""
    number = packet_id.to_bytes(2, "big")
    return _packet(Kind.PUBACK, number + bytes((code,)) if version == MQTT_5 and code else number)


def suback(version: int, packet_id: int, codes: Sequence[int]) -> bytes:
    """Answer a SUBSCRIBE. Args: codes: for each subscription its quality of service, or why it is refused."""
    if version != MQTT_5:
        codes = [min(code, 0x80) for code in codes]  # its only code for a refusal
    more = _NO_PROPERTIES if version == MQTT_5 else b""
    return _packet(Kind.SUBACK, packet_id.to_bytes(2, "big") + more + bytes(codes))


def unsuback(version: int, packet_id: int, codes: Sequence[Code]) -> bytes:
    """Answer an UNSUBSCRIBE."""
    more = _NO_PROPERTIES + bytes(codes) if version == MQTT_5 else b""
    return _packet(Kind.UNSUBACK, packet_id.to_bytes(2, "big") + more)


def disconnect(version: int, code: Code) -> bytes:
    """Say why a connection ends; with MQTT 3.1.1 a broker cannot."""
    return _packet(Kind.DISCONNECT, bytes((code,))) if version == MQTT_5 else b""


def publish_head(version: int, topic: bytes, size: int, packet_id: int, *, retain: bool) -> bytes:
    """Write all of a PUBLISH but its payload. Args: size: of the payload in bytes; packet_id: 0 for QoS 0."""
    number = packet_id.to_bytes(2, "big") if packet_id else b""
    head = data(topic) + number + (_NO_PROPERTIES if version == MQTT_5 else b"")
    flags = (0b0010 if packet_id else 0) | retain
    return bytes((Kind.PUBLISH << 4 | flags,)) + varint(len(head) + size) + head
