"""Lines of a file of text as people have it: UTF-8, or UTF-16 with its mark; lines end in LF, CRLF or CR, also mixed.

A line is known by the byte at which it starts, so that an index of places is all that must be kept of a file.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, NoReturn

from edge_runtime.wire.errors import DataError

ROW_LIMIT: Final = 1 << 25
"""Bytes of one line, characters of one field: 32 MiB."""
_FIRST_BLOCK: Final = 1 << 10
_LARGEST_BLOCK: Final = 1 << 16
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FOREIGN: Final = (
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"PK\x03\x04", "a workbook or a zip archive; unpack it, or save it as CSV UTF-8"),
    (b"PAR1", "a Parquet file; save it as CSV or as JSON lines"),
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file with git lfs pull"),
    (codecs.BOM_UTF32_LE, "in UTF-32; save it as UTF-8"),
)


@dataclass(frozen=True)
class Encoding:
    """Args: name: as Python calls it; start: byte after the mark."""

    name: str = "utf-8"
    start: int = 0


@dataclass(frozen=True)
class Line:
    """Args: place: byte at which it starts; number: from 1; text: its line end included."""

    place: int
    number: int
    text: str


def encoding_of(file: BinaryIO, source: str) -> Encoding:
    """Return how a file is written; ``source`` names it in errors.

    Raises:
        DataError: when its first bytes say that it is no text.
    """
    file.seek(0)
    head = file.read(32)
    for sign, what in _FOREIGN:
        if head.startswith(sign):
            raise DataError(f"{source} is {what}")
    for mark, name in _MARKS:
        if head.startswith(mark):
            return Encoding(name, len(mark))
    return Encoding()


def whole(text: str) -> str:
    """Return ``text`` without halves of characters: U+FFFD in place of each surrogate that stands alone."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def lines(file: BinaryIO, encoding: Encoding, source: str, place: int, number: int = 1) -> Iterator[Line]:
    """Yield the lines of a file from the byte ``place`` on, where line ``number`` starts.

    Raises:
        DataError: for bytes that are no text, or a line over the limit.
    """
    for raw in _raw_lines(file, encoding, place, f"{source} line", number):
        yield Line(place, number, _decoded(raw, encoding.name, f"{source} line {number}"))
        place += len(raw)
        number += 1


def _raw_lines(file: BinaryIO, encoding: Encoding, place: int, source: str, number: int) -> Iterator[bytes]:
    file.seek(place)
    rest, size = b"", _FIRST_BLOCK
    while block := file.read(size):
        parts = _split(rest + block, encoding.name)
        # A line that ends in CR may go on with LF in the next block.
        rest = b"" if parts[-1].endswith(_line_feed(encoding.name)) else parts.pop()
        yield from parts
        number += len(parts)
        size = min(2 * size, max(_LARGEST_BLOCK, len(rest)))  # a long line is put together in few steps
        if len(rest) > ROW_LIMIT:
            raise DataError(f"{source} {number}: over {ROW_LIMIT >> 20} MiB; one text a line was expected, split it")
    if rest:
        yield rest


def _line_feed(name: str) -> bytes:
    return "\n".encode(name)


def _split(data: bytes, name: str) -> list[bytes]:
    if name == "utf-8":
        return data.splitlines(keepends=True)  # of bytes: at LF, CR and CRLF alone
    odd = len(data) % 2
    text = data[: len(data) - odd].decode(name, "surrogatepass")
    parts = [part.encode(name, "surrogatepass") for part in _LINE.findall(text)] or [b""]
    if odd:
        parts[-1] += data[-1:]
    return parts


def _decoded(raw: bytes, name: str, where: str) -> str:
    try:
        text = raw.decode(name)
    except UnicodeDecodeError as error:
        text = _with_halves(raw, name, where, error)
    if "\0" in text:
        raise DataError(f"{where}: a NUL byte; expected text in UTF-8, or in UTF-16 with a byte order mark")
    return text


def _with_halves(raw: bytes, name: str, where: str, error: UnicodeDecodeError) -> str:
    try:
        return whole(raw.decode(name, "surrogatepass"))
    except UnicodeDecodeError:
        _refuse(where, name, error)


def _refuse(where: str, name: str, error: UnicodeDecodeError) -> NoReturn:
    raise DataError(f"{where}: byte {error.start + 1} is not {name[:6].upper()}; save the file as UTF-8") from error
