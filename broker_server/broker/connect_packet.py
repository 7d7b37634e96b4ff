"""The packet with which a client introduces itself (MQTT 3.1.1, section 3.1), read before the broker acts on it. Pure.

amqtt ends whoever holds a client id before it asks whether the newcomer may have it, so that who may is decided on
the packet, here and in access.py.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from edge_runtime.wire.limits import MESSAGE_LIMIT

PACKET_LIMIT: Final = MESSAGE_LIMIT + 1024
"""Bytes of the largest packet that a broker takes: a message of the contract, and what MQTT puts before it."""
_CONNECT: Final = 1
_CLEAN, _WILL, _WILL_RETAIN, _PASSWORD, _USER = 0x02, 0x04, 0x20, 0x40, 0x80


class FrameError(ConnectionResetError):
    """The peer sent something that ends its connection; a ConnectionResetError, which the broker knows how to end."""


@dataclass(frozen=True)
class Connect:
    """What a client says of itself.

    Args:
        client_id: "" lets the broker choose.
        keep_alive_s: 0: none.
        will_topic: None without a will.
        will_retain: whether the will is to be kept.
        user: "" is none.
        password: b"" is none.
    """

    client_id: str
    keep_alive_s: int
    will_topic: str | None = None
    will_retain: bool = False
    user: str = ""
    password: bytes = b""


def body_start(frame: bytes) -> int:
    """Return where the content of a packet begins: behind its type and its length of one to four bytes."""
    end = 1
    while frame[end] & 0x80:
        end += 1
    return end + 1


def read_connect(frame: bytes) -> tuple[Connect, bytes]:
    """Return what a CONNECT packet says, and the packet with its clean-session flag set.

    No session outlives its connection here: whatever must arrive is sent again by whoever needs it to.

    Raises:
        FrameError: when it is none of MQTT 3.1.1, or ends too early.
    """
    start = body_start(frame)
    if frame[0] >> 4 != _CONNECT or frame[start : start + 7] != b"\x00\x04MQTT\x04" or len(frame) < start + 10:
        msg = "the first packet is no MQTT 3.1.1 CONNECT"
        raise FrameError(msg)
    flags = frame[start + 7]
    fields = _Fields(frame, start + 10)
    client_id = fields.text()
    will_topic = fields.text() if flags & _WILL else None
    if flags & _WILL:
        fields.data()
    user = fields.text() if flags & _USER else ""
    password = fields.data() if flags & _PASSWORD else b""
    keep_alive: int = struct.unpack_from(">H", frame, start + 8)[0]
    clean = frame[: start + 7] + bytes([flags | _CLEAN]) + frame[start + 8 :]
    return Connect(client_id, keep_alive, will_topic, bool(flags & _WILL_RETAIN), user, password), clean


class _Fields:
    """Reads fields that begin with their length in two bytes."""

    def __init__(self, frame: bytes, at: int) -> None:
        self._frame, self._at = frame, at

    def data(self) -> bytes:
        end = self._at + 2 + int.from_bytes(self._frame[self._at : self._at + 2], "big")
        if self._at + 2 > len(self._frame) or end > len(self._frame):
            msg = "a packet ends before its content does"
            raise FrameError(msg)
        data, self._at = self._frame[self._at + 2 : end], end
        return data

    def text(self) -> str:
        try:
            return self.data().decode()
        except UnicodeDecodeError as error:
            msg = "the first packet has a text that is no UTF-8"
            raise FrameError(msg) from error
