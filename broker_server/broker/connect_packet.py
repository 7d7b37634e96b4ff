"""The packet with which a client introduces itself (MQTT 3.1.1 and 5, section 3.1). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker_server.broker.fields import IN_CONNECT, IN_WILL, Code, Fields, FrameError, Property
from edge_runtime.wire.limits import MESSAGE_LIMIT

PACKET_LIMIT: Final = MESSAGE_LIMIT + 1024
"""Bytes of the largest packet that a broker takes: a message of the contract, and what MQTT puts before it."""
MQTT_3, MQTT_5 = 4, 5
"""Protocol levels of MQTT 3.1.1 and 5."""
NO_LIMIT: Final = 0xFFFF_FFFF
_WILL, _WILL_RETAIN, _PASSWORD, _USER = 0x04, 0x20, 0x40, 0x80
_QOS_1: Final = 1
_NAME: Final = b"\x00\x04MQTT"


@dataclass(frozen=True)
class Will:
    """What is to be published when a client vanishes."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True)
class Connect:
    """What a client says of itself.

    Args:
        client_id: "" lets the broker choose.
        keep_alive_s: 0: none.
        will: None without one.
        user: "" is none.
        password: b"" is none.
        version: MQTT_3 or MQTT_5.
        session_expiry_s: how long its session is to outlive its connection; no session does.
        receive_maximum: messages that may be under way to it.
        maximum_packet: bytes of the largest packet that it takes.
    """

    client_id: str
    keep_alive_s: int
    will: Will | None = None
    user: str = ""
    password: bytes = b""
    version: int = MQTT_3
    session_expiry_s: int = 0
    receive_maximum: int = 0xFFFF
    maximum_packet: int = NO_LIMIT


def read_connect(content: memoryview) -> Connect:
    """Return what a CONNECT packet says. Args: content: behind the packet's length.

    Raises:
        FrameError: when it is none of MQTT 3.1.1 or 5, or ends too early.
    """
    if bytes(content[: len(_NAME)]) != _NAME:
        raise FrameError("the first packet is no CONNECT of MQTT 3.1.1 or 5")
    fields = Fields(content[len(_NAME) :])
    version = fields.number(1)
    try:
        return _read(fields, version)
    except FrameError as error:
        error.version = version
        raise


def _read(fields: Fields, version: int) -> Connect:
    if version not in (MQTT_3, MQTT_5):
        raise FrameError(f"MQTT of level {version}, expected 4 (3.1.1) or 5", Code.VERSION)
    flags = fields.number(1)
    _check_flags(flags, version)
    keep_alive = fields.number(2)
    values = fields.properties(IN_CONNECT) if version == MQTT_5 else {}
    client_id = fields.text()
    will = _read_will(fields, flags, version) if flags & _WILL else None
    user = fields.text() if flags & _USER else ""
    password = fields.data() if flags & _PASSWORD else b""
    if fields:
        raise FrameError("a CONNECT goes on behind its end")
    if Property.AUTHENTICATION_METHOD in values:
        raise FrameError("an authentication method, which this broker has not", Code.METHOD)
    window, packet = values.get(Property.RECEIVE_MAXIMUM, 0xFFFF), values.get(Property.MAXIMUM_PACKET, NO_LIMIT)
    if not (window and packet):
        raise FrameError("a receive maximum or a maximum packet size of 0", Code.PROTOCOL)
    expiry = values.get(Property.SESSION_EXPIRY_S, 0)
    return Connect(client_id, keep_alive, will, user, password, version, expiry, window, packet)


def _check_flags(flags: int, version: int) -> None:
    """Refuse flags that have no meaning (section 3.1.2). No session outlives its connection, clean or not."""
    will_qos = flags >> 3 & 3
    if flags & 1 or (not flags & _WILL and (will_qos or flags & _WILL_RETAIN)):
        raise FrameError("the flags of a CONNECT have no meaning")
    if will_qos > _QOS_1:
        raise FrameError(f"a will of quality of service {will_qos}, expected 0 or 1", Code.QOS)
    if version == MQTT_3 and flags & _PASSWORD and not flags & _USER:
        raise FrameError("a password without a user")


def _read_will(fields: Fields, flags: int, version: int) -> Will:
    if version == MQTT_5:
        fields.properties(IN_WILL)  # a delay ends with the session (section 3.1.3.2.2): with the connection
    topic = fields.text()
    return Will(topic, fields.data(), bool(flags & _WILL_RETAIN))
