"""What MQTT packets consist of: numbers, texts, bytes, and the properties of MQTT 5 (sections 1.5 and 2.2.2). Pure."""

from __future__ import annotations

import struct
from collections.abc import Collection
from enum import IntEnum
from typing import Any, Final


class Code(IntEnum):
    """Reason codes of MQTT 5 (table 2.6); MQTT 3.1.1 knows a few, with other numbers."""

    SUCCESS = 0x00
    WITH_WILL = 0x04
    NO_SUBSCRIPTION = 0x11
    MALFORMED = 0x81
    PROTOCOL = 0x82
    VERSION = 0x84
    CLIENT_ID = 0x85
    NOT_AUTHORIZED = 0x87
    UNAVAILABLE = 0x88
    SHUTTING_DOWN = 0x8B
    METHOD = 0x8C
    SILENT = 0x8D
    TAKEN_OVER = 0x8E
    ALIAS = 0x94
    TOO_LARGE = 0x95
    QUOTA = 0x97
    QOS = 0x9B
    SUBSCRIPTION_ID = 0xA1


class FrameError(Exception):
    """The peer sent something that ends its connection. Args: what: it sent; code: that tells it so."""

    def __init__(self, what: str, code: Code = Code.MALFORMED) -> None:
        super().__init__(what)
        self.code = code
        self.version = 0
        """Of MQTT, by its level, where a CONNECT could not be taken and said it."""


class Property(IntEnum):
    """Identifiers of properties that are read or written here (table 2.4)."""

    SESSION_EXPIRY_S = 0x11
    ASSIGNED_CLIENT_ID = 0x12
    AUTHENTICATION_METHOD = 0x15
    REASON = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    USER = 0x26
    MAXIMUM_PACKET = 0x27
    WILDCARDS = 0x28
    SUBSCRIPTION_IDS = 0x29
    SHARED = 0x2A


_TEXT, _DATA, _VARINT, _PAIR = "text", "data", "varint", "pair"
_KINDS: Final[dict[int, int | str]] = {
    0x01: 1, 0x02: 4, 0x03: _TEXT, 0x08: _TEXT, 0x09: _DATA, 0x0B: _VARINT, 0x11: 4, 0x12: _TEXT, 0x15: _TEXT,
    0x16: _DATA, 0x17: 1, 0x18: 4, 0x19: 1, 0x1F: _TEXT, 0x21: 2, 0x22: 2, 0x23: 2, 0x24: 1, 0x26: _PAIR, 0x27: 4,
    0x28: 1, 0x29: 1, 0x2A: 1,
}  # fmt: skip
"""How the value of each property is written: a number of so many bytes, or as named."""
IN_CONNECT: Final = frozenset({0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27})
IN_WILL: Final = frozenset({0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26})
IN_PUBLISH: Final = frozenset({0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26})
IN_SUBSCRIBE: Final = frozenset({0x0B, 0x26})
IN_UNSUBSCRIBE: Final = frozenset({0x26})
IN_PUBACK: Final = frozenset({0x1F, 0x26})
IN_DISCONNECT: Final = frozenset({0x11, 0x1F, 0x26})


class Fields:
    """Reads a packet's content from its start to its end. Args: content: behind the packet's length."""

    def __init__(self, content: memoryview) -> None:
        self._content, self._at = content, 0

    def __bool__(self) -> bool:
        """Whether something is left."""
        return self._at < len(self._content)

    def take(self, size: int) -> memoryview:
        """Return the next bytes.

        Raises:
            FrameError: when there are fewer.
        """
        end = self._at + size
        if end > len(self._content):
            raise FrameError("a packet ends before its content does")
        taken, self._at = self._content[self._at : end], end
        return taken

    def rest(self) -> bytes:
        """Return all that is left."""
        return bytes(self.take(len(self._content) - self._at))

    def number(self, size: int) -> int:
        """Return a number of ``size`` bytes."""
        return int.from_bytes(self.take(size), "big")

    def data(self) -> bytes:
        """Return bytes that begin with their number."""
        return bytes(self.take(self.number(2)))

    def text(self) -> str:
        """Return text.

        Raises:
            FrameError: when it is no UTF-8, or holds a NUL (section 1.5.4).
        """
        try:
            text = self.data().decode()
        except UnicodeDecodeError as error:
            raise FrameError("a packet has a text that is no UTF-8") from error
        if "\0" in text:
            raise FrameError("a packet has a text with a NUL")
        return text

    def varint(self) -> int:
        """Return a number of one to four bytes, seven bits in each."""
        number = 0
        for shift in (0, 7, 14, 21):
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return number
        raise FrameError("a number has more than four bytes")

    def properties(self, allowed: Collection[int]) -> dict[int, Any]:
        """Return the properties that come next; those of users are read and dropped.

        Raises:
            FrameError: for one that does not belong here, or that comes twice.
        """
        fields, values = Fields(self.take(self.varint())), dict[int, Any]()
        while fields:
            name = fields.varint()
            if name not in allowed or name in values:
                raise FrameError(f"property {name} {'twice' if name in values else 'here'}", Code.PROTOCOL)
            value = fields._value(name)
            if name != Property.USER:
                values[name] = value
        return values

    def _value(self, name: int) -> int | str | bytes:
        kind = _KINDS[name]
        if isinstance(kind, int):
            return self.number(kind)
        if kind == _PAIR:
            return self.text() + self.text()
        return self.text() if kind == _TEXT else self.data() if kind == _DATA else self.varint()


def varint(number: int) -> bytes:
    """Write a number below 2^28 in one to four bytes."""
    written = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        written.append(low | (0x80 if number else 0))
        if not number:
            return bytes(written)


def data(content: bytes) -> bytes:
    """Write bytes, their number first."""
    return struct.pack(">H", len(content)) + content


def properties(values: dict[Property, int | str]) -> bytes:
    """Write properties, their length first."""
    written = bytearray()
    for name, value in values.items():
        kind = _KINDS[name]
        written.append(name)
        written += data(value.encode()) if isinstance(value, str) else value.to_bytes(int(kind), "big")
    return varint(len(written)) + written
