"""Own texts of a language model on this device: one stream of tokens, cut into windows.

Axes: W windows, S sequence length. Texts are the column ``text`` of a CSV, the string "text" of JSON lines, or the
lines of any other file. Only an index stays in memory, 12 bytes for each window; texts are read and tokenized again
when a window is used. No message here contains a text.
"""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from edge_runtime.data import Scan, is_json, stamp_of, unchanged
from edge_runtime.errors import DataError
from edge_runtime.tokenizer import Tokenizer

_CSV: Final = ".csv"


@dataclass(frozen=True)
class WindowSource:
    """Windows of a file.

    Args:
        path: the file.
        header: column names of a CSV, else empty.
        places: int64 [W], byte at which the text starts in which a window begins.
        offsets: int32 [W], tokens of that text that stand before the window.
        tokenizer: of the package.
        end_token: that ends a text, or -1.
        length: S.
        skipped: rows without a text.
        digest: SHA-256 over the file's bytes, S and the end token.
        stamp: size in bytes and modification time in ns when the index was made.
    """

    path: Path
    header: tuple[str, ...]
    places: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int32]
    tokenizer: Tokenizer
    end_token: int
    length: int
    skipped: int
    digest: bytes
    stamp: tuple[int, int]

    def __len__(self) -> int:
        """Return W."""
        return int(self.places.size)

    def windows(self, rows: Sequence[int]) -> list[list[int]]:
        """Return the tokens of windows ``rows``, S + 1 each or fewer at the end of the stream.

        Raises:
            DataError: when the file was changed or removed since it was indexed.
        """
        with unchanged(self.path, self.stamp) as file:
            return [self._window(file, row) for row in rows]

    def _window(self, file: BinaryIO, row: int) -> list[int]:
        file.seek(int(self.places[row]))
        offset, found = int(self.offsets[row]), list[int]()
        for text in _texts(file, self.path, self.header):
            found += ended(self.tokenizer, text, self.end_token)
            if len(found) - offset > self.length:
                break
        return found[offset : offset + self.length + 1]


def ended(tokenizer: Tokenizer, text: str, end_token: int) -> list[int]:
    """Return the tokens that a text adds to a stream: its own and the one that ends it; none for an empty text."""
    tokens = tokenizer.tokens(text) if text else []
    return [*tokens, end_token] if tokens and end_token >= 0 else tokens


def _texts(file: BinaryIO, path: Path, header: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts of a file from where it stands, as ``_index`` saw them."""
    lines = (line.decode("utf-8-sig") for line in file)
    if header:
        column = header.index("text")
        yield from (row[column].strip() for row in csv.reader(lines, strict=True) if row)
    elif is_json(path):
        yield from (json.loads(line)["text"].strip() for line in lines if line.strip())
    else:
        yield from (line.strip() for line in lines)


@dataclass
class _Index:
    """Where windows begin: the stream is walked once, and no text is kept."""

    tokenizer: Tokenizer
    end_token: int
    length: int
    places: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("i"))
    stream: int = 0
    skipped: int = 0

    def take(self, place: int, text: str) -> None:
        """Take the text that starts at byte ``place``."""
        count = len(ended(self.tokenizer, text.strip(), self.end_token))
        self.skipped += count == 0
        first = -(-self.stream // self.length) * self.length  # the first window that begins in this text
        for start in range(first, self.stream + count, self.length):
            self.places.append(place)
            self.offsets.append(start - self.stream)
        self.stream += count

    def finish(self) -> None:
        """Drop a window of one token: it has no target."""
        if self.places and (self.stream - 1) % self.length == 0:
            self.places.pop()
            self.offsets.pop()


def open_windows(path: Path, tokenizer: Tokenizer, end_token: int, length: int) -> WindowSource:
    """Index a file of own texts.

    Args:
        path: ``.csv`` with a column ``text``, JSON lines with "text", or lines of plain text.
        tokenizer: of the package.
        end_token: of the architecture.
        length: S.

    Raises:
        DataError: saying what is wrong, in which line, and what was expected.
    """
    index = _Index(tokenizer, end_token, length)
    scan = Scan(path, index.take, ("text",))
    try:
        with path.open("rb") as file:
            stamp = stamp_of(file)
            if is_json(path) or path.suffix.lower() == _CSV:
                header = scan.rows(file)
            else:
                header = _plain_lines(scan, file, index.take)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    index.finish()
    if not index.places:
        blank = f" ({index.skipped} rows have an empty text)" if index.skipped else ""
        raise DataError(f"{path} has no two tokens of text{blank}; expected a column text, or lines of text")
    scan.hash.update(f"{length} {end_token}".encode())
    places, offsets = np.frombuffer(index.places, np.int64), np.frombuffer(index.offsets, np.int32)
    return WindowSource(
        path, header, places, offsets, tokenizer, end_token, length, index.skipped, scan.hash.digest(), stamp
    )


def _plain_lines(scan: Scan, file: BinaryIO, take: Callable[[int, str], None]) -> tuple[str, ...]:
    place = 0
    for line in scan.lines(file):
        take(place, line)
        place = scan.offset
    return ()
