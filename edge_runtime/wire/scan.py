"""Counts the fields of an encoded message without parsing it: a hostile one is refused before it costs memory."""

from __future__ import annotations

from typing import Final

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GROUP: Final = (3, 4)
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}


def fields_within(data: bytes, limit: int) -> bool:
    """Return whether ``data`` has at most ``limit`` fields at its top level.

    Bytes that are no message count as few: the parser names what is wrong with them. Each tag of a group (proto2) is
    one field, as is each field inside.
    """
    if len(data) <= limit:
        return True
    position = count = 0
    while position < len(data):
        tag, position = _varint(data, position)
        wire_type = tag & 7
        if wire_type == _VARINT:
            _, position = _varint(data, position)
        elif wire_type == _BYTES:
            size, position = _varint(data, position)
            position += size
        elif wire_type in _FIXED:
            position += _FIXED[wire_type]
        elif wire_type not in _GROUP:
            return True
        count += 1
        if count > limit:
            return False
    return True


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            return value, position
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return value, len(data)
