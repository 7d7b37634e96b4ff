"""Bytes as a person can read them: hex, text, repetition, counting, and lines of another case. README.md, "Bytes"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from typing import Any, Final

Piece = dict[str, Any]

_HEX_BYTES: Final = 512  # of one piece, so that no line is too long to read
_LEAST_RUN: Final = 128  # bytes that repeat before repetition is easier to read than the bytes
_LEAST_COUNTING: Final = 1024  # bytes of records that count, the same
_LONGEST_RECORD: Final = 63  # bytes of one of them
_LEAST_LINES: Final = 3  # that are equal before they are referred to
_REPEATED: Final = re.compile(rb"(.{1,40}?)\1{15,}", re.DOTALL)


def pieces_of(data: bytes, like: tuple[str, bytes] | None = None) -> list[Piece]:
    """Return ``data`` in pieces.

    Args:
        data: bytes of a case.
        like: name and bytes of a case that may have mostly the same lines.
    """
    if like is None or not _are_alike(data, like[1]):
        return list(_literal(data))
    return list(_as_lines_of(data, *like))


def joined(pieces: list[Piece], bytes_of: Callable[[str], bytes]) -> bytes:
    """Return the bytes of ``pieces``.

    Args:
        pieces: as in a file, with repetitions expanded.
        bytes_of: the bytes of another case by its name.

    Raises:
        ValueError: for a piece of keys that are not known here.
    """
    return b"".join(_bytes_of(piece, bytes_of) for piece in pieces)


def _bytes_of(piece: Piece, bytes_of: Callable[[str], bytes]) -> bytes:
    if piece.keys() == {"hex"}:
        return bytes.fromhex(piece["hex"])
    if piece.keys() == {"text"}:
        return str(piece["text"]).encode()
    if piece.keys() == {"case", "lines"}:
        first, last = piece["lines"]
        return b"".join(_lines(bytes_of(piece["case"]))[first - 1 : last])
    if piece.keys() == {"varints", "before", "after"}:
        first, last = piece["varints"]
        before, after = bytes.fromhex(piece["before"]), bytes.fromhex(piece["after"])
        return b"".join(before + _varint(number) + after for number in range(first, last + 1))
    msg = f"a piece has unknown keys: {sorted(piece)}"
    raise ValueError(msg)


def _lines(data: bytes) -> list[bytes]:
    """Return the lines, each with the line feed that ends it; the last may have none."""
    *ended, last = data.split(b"\n")
    return [line + b"\n" for line in ended] + [last] * bool(last)


def _are_alike(data: bytes, other: bytes) -> bool:
    matcher = SequenceMatcher(None, _lines(data), _lines(other), autojunk=False)
    return matcher.real_quick_ratio() > 0.5 and matcher.ratio() > 0.5


def _as_lines_of(data: bytes, name: str, other: bytes) -> Iterator[Piece]:
    lines = _lines(data)
    start = 0
    for block in SequenceMatcher(None, lines, _lines(other), autojunk=False).get_matching_blocks():
        if 0 < block.size < _LEAST_LINES:
            continue
        yield from _literal(b"".join(lines[start : block.a]))
        if block.size:
            yield {"case": name, "lines": [block.b + 1, block.b + block.size]}
        start = block.a + block.size


def _literal(data: bytes) -> Iterator[Piece]:
    start = 0
    for match in _REPEATED.finditer(data):
        if len(match[0]) < _LEAST_RUN:
            continue
        yield from _counting(data[start : match.start()])
        [unit] = _plain(match[1])
        yield {key: {"repeat": value, "times": len(match[0]) // len(match[1])} for key, value in unit.items()}
        start = match.end()
    yield from _counting(data[start:])


def _counting(data: bytes) -> Iterator[Piece]:
    start = position = 0
    while len(data) - position >= _LEAST_COUNTING:
        length, piece = _count_at(data, position)
        if length < _LEAST_COUNTING:
            position += 1
            continue
        yield from _plain(data[start:position])
        yield piece
        start = position = position + length
    yield from _plain(data[start:])


def _count_at(data: bytes, position: int) -> tuple[int, Piece]:
    """Return the length of the records at ``position`` that differ in a varint which counts up, and their piece."""
    for size in range(3, _LONGEST_RECORD + 1):
        one, two = data[position : position + size], data[position + size : position + 2 * size]
        if one[:2] != two[:2]:  # quick; a record that starts with its number is seen two bytes later
            continue
        place = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), size - 1)
        width = 1 if one[place : place + 1] < b"\x80" else 2
        first = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(one[place : place + width]))
        before, after = one[:place], one[place + width :]
        last = first
        while data.startswith(before + _varint(last) + after, position + (last - first) * size):
            last += 1
        length = (last - first) * size
        if length >= _LEAST_COUNTING:
            return length, {"varints": [first, last - 1], "before": before.hex(), "after": after.hex()}
    return 0, {}


def _varint(number: int) -> bytes:
    low = bytearray()
    while number > 0x7F:
        low.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*low, number])


def _plain(data: bytes) -> Iterator[Piece]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if text.replace("\n", "").isprintable():
        yield from ({"text": line.decode()} for line in _lines(data))
        return
    for start in range(0, len(data), _HEX_BYTES):
        yield {"hex": data[start : start + _HEX_BYTES].hex()}
