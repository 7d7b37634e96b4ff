"""Own texts of a language model on this device: one stream of tokens, cut into windows.

Axes: W windows, S sequence length. Texts stand in a file of any form that the contract's reader knows (docs/data.md);
one that is neither a table nor JSON has a text on each line. Only an index stays in memory, 16 bytes for each window;
texts are read and tokenized again when a window is used. No message here contains a text.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from edge_runtime.data.examples import content_digest, indexed, unchanged
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.wire.csv_header import USUAL, Columns
from edge_runtime.wire.data_files import Layout, Row, layout_of, nothing, rows, rows_from
from edge_runtime.wire.windows import pieces

Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class WindowSource:
    """Windows of a file.

    Args:
        path: the file.
        layout: how rows stand in it.
        places: int64 [W], byte at which the row starts in which a window begins.
        parts: int32 [W], the piece of that row's text in which it begins, from 0.
        offsets: int32 [W], tokens of that piece that stand before the window.
        tokenizer: of the package.
        end_token: that ends a text, or -1.
        length: S.
        skipped: rows without a text.
        digest: SHA-256 over the file's bytes, S, the end token and the column that was meant.
        stamp: size in bytes and modification time in ns when the index was made.
    """

    path: Path
    layout: Layout
    places: npt.NDArray[np.int64]
    parts: Numbers
    offsets: Numbers
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
        offset, tokens = int(self.offsets[row]), list[int]()
        for text in islice(_pieces(file, self.layout, int(self.places[row])), int(self.parts[row]), None):
            tokens += ended(self.tokenizer, text, self.end_token)
            if len(tokens) - offset > self.length:
                break
        return tokens[offset : offset + self.length + 1]


def ended(tokenizer: Tokenizer, text: str, end_token: int) -> list[int]:
    """Return the tokens that a text adds to a stream: its own and the one that ends it; none for an empty text."""
    tokens = tokenizer.tokens(text) if text else []
    return [*tokens, end_token] if tokens and end_token >= 0 else tokens


def _pieces(file: BinaryIO, layout: Layout, place: int) -> Iterator[str]:
    """Yield the texts of a stream from the row at ``place`` on, as ``_Index`` saw them."""
    for row in rows_from(file, layout, place):
        yield from pieces(row.text)


@dataclass
class _Index:
    """Where windows begin: the stream is walked once, and no text is kept."""

    tokenizer: Tokenizer
    end_token: int
    length: int
    places: array[int] = field(default_factory=lambda: array("q"))
    parts: array[int] = field(default_factory=lambda: array("i"))
    offsets: array[int] = field(default_factory=lambda: array("i"))
    stream: int = 0
    skipped: int = 0

    def take(self, row: Row) -> None:
        """Take a row's text."""
        before = self.stream
        for part, text in enumerate(pieces(row.text)):
            self._take(row.place, part, len(ended(self.tokenizer, text, self.end_token)))
        self.skipped += self.stream == before

    def _take(self, place: int, part: int, count: int) -> None:
        first = -(-self.stream // self.length) * self.length  # the first window that begins in this piece
        for start in range(first, self.stream + count, self.length):
            self.places.append(place)
            self.parts.append(part)
            self.offsets.append(start - self.stream)
        self.stream += count

    def finish(self) -> None:
        """Drop a window of one token: it has no target."""
        if self.places and (self.stream - 1) % self.length == 0:
            for index in (self.places, self.parts, self.offsets):
                index.pop()


def open_windows(
    path: Path,
    tokenizer: Tokenizer,
    end_token: int,
    length: int,
    columns: Columns = USUAL,
) -> WindowSource:
    """Index a file of own texts.

    Args:
        path: whose ending says what it is: a table, JSON, or lines of plain text.
        tokenizer: of the package.
        end_token: of the architecture.
        length: S.
        columns: of which one holds the text.

    Raises:
        DataError: saying what is wrong, in which line, and what was expected.
    """
    index = _Index(tokenizer, end_token, length)
    with indexed(path) as (file, stamp):
        layout = layout_of(file, str(path), columns, labelled=False)
        for row in rows(file, layout):
            index.take(row)
        digest = content_digest(file, [length, end_token, *astuple(columns)])
    index.finish()
    if not index.places:
        raise nothing(str(path), columns, index.skipped, labelled=False)
    places = np.frombuffer(index.places, np.int64)
    parts, offsets = (np.frombuffer(numbers, np.int32) for numbers in (index.parts, index.offsets))
    settings = (tokenizer, end_token, length, index.skipped, digest, stamp)
    return WindowSource(path, layout, places, parts, offsets, *settings)
