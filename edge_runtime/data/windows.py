"""Own texts of a language model on this device: one stream of tokens, cut into windows.

Axes: W windows, S sequence length. Texts stand in a file of any form that the contract's reader knows (docs/data.md);
one that is neither a table nor JSON has a text on each line. Or a caller has them in memory. Of a file only an index
stays in memory, 16 bytes for each window; texts are read and tokenized again when a window is used. No message here
contains a text.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import astuple, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.data.examples import content_digest, indexed, unchanged
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.wire.csv_header import USUAL, Columns
from edge_runtime.wire.data_files import Layout, layout_of, nothing, rows, rows_from
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.text_lines import whole
from edge_runtime.wire.windows import pieces

Numbers = npt.NDArray[np.int32]
TextsFrom = Callable[[int], Iterator[str]]
"""From a place to the texts of a stream that stand there and behind it."""


class Stream(Protocol):
    """Texts one after the other, each at a place: a byte of a file, or a number in a list."""

    def reading(self) -> AbstractContextManager[TextsFrom]:
        """Give what reads texts until the block ends.

        Raises:
            DataError: when the texts are not what they were when windows were counted.
        """
        ...


@dataclass(frozen=True)
class FileStream:
    """Args: path: of the file; layout: how rows stand in it; stamp: size in bytes and modification time in ns."""

    path: Path
    layout: Layout
    stamp: tuple[int, int]

    @contextmanager
    def reading(self) -> Iterator[TextsFrom]:
        """Give what reads the file's texts."""
        with unchanged(self.path, self.stamp) as file:
            yield lambda place: (row.text for row in rows_from(file, self.layout, place))


@dataclass(frozen=True)
class ListStream:
    """Args: texts: that a caller has in memory."""

    texts: tuple[str, ...]

    def reading(self) -> AbstractContextManager[TextsFrom]:
        """Give what reads the list."""
        return nullcontext(lambda place: islice(self.texts, place, None))


@dataclass(frozen=True)
class WindowSource:
    """Windows of a stream of texts.

    Args:
        stream: of the texts.
        places: int64 [W], place of the text in which a window begins.
        parts: int32 [W], the piece of that text in which it begins, from 0.
        offsets: int32 [W], tokens of that piece that stand before the window.
        tokenizer: of the package.
        end_token: that ends a text, or -1.
        length: S.
        skipped: rows without a text.
        digest: SHA-256 over the texts, S and the end token; of a file over its bytes and the column that was meant.
    """

    stream: Stream
    places: npt.NDArray[np.int64]
    parts: Numbers
    offsets: Numbers
    tokenizer: Tokenizer
    end_token: int
    length: int
    skipped: int
    digest: bytes

    def __len__(self) -> int:
        """Return W."""
        return int(self.places.size)

    def windows(self, rows: Sequence[int]) -> list[list[int]]:
        """Return the tokens of windows ``rows``, S + 1 each or fewer at the end of the stream.

        Raises:
            DataError: when the file was changed or removed since it was indexed.
        """
        with self.stream.reading() as texts_from:
            return [self._window(texts_from, row) for row in rows]

    def _window(self, texts_from: TextsFrom, row: int) -> list[int]:
        offset, tokens = int(self.offsets[row]), list[int]()
        cut = (piece for text in texts_from(int(self.places[row])) for piece in pieces(text))
        for text in islice(cut, int(self.parts[row]), None):
            tokens += ended(self.tokenizer, text, self.end_token)
            if len(tokens) - offset > self.length:
                break
        return tokens[offset : offset + self.length + 1]


def ended(tokenizer: Tokenizer, text: str, end_token: int) -> list[int]:
    """Return the tokens that a text adds to a stream: its own and the one that ends it; none for an empty text."""
    tokens = tokenizer.tokens(text) if text else []
    return [*tokens, end_token] if tokens and end_token >= 0 else tokens


@dataclass
class _Index:
    """Where windows begin: the stream is walked once, and no text is kept."""

    tokenizer: Tokenizer
    end_token: int
    length: int
    places: array[int] = field(default_factory=lambda: array("q"))
    parts: array[int] = field(default_factory=lambda: array("i"))
    offsets: array[int] = field(default_factory=lambda: array("i"))
    tokens: int = 0
    skipped: int = 0

    def take(self, place: int, text: str) -> None:
        """Take the next text, which stands at a place."""
        before = self.tokens
        for part, piece in enumerate(pieces(text)):
            self._take(place, part, len(ended(self.tokenizer, piece, self.end_token)))
        self.skipped += self.tokens == before

    def _take(self, place: int, part: int, count: int) -> None:
        first = -(-self.tokens // self.length) * self.length  # the first window that begins in this piece
        for start in range(first, self.tokens + count, self.length):
            self.places.append(place)
            self.parts.append(part)
            self.offsets.append(start - self.tokens)
        self.tokens += count

    def source(self, stream: Stream, digest: bytes) -> WindowSource | None:
        """Return the windows, without one of one token, which has no target; None where there is none."""
        if self.places and (self.tokens - 1) % self.length == 0:
            for index in (self.places, self.parts, self.offsets):
                index.pop()
        if not self.places:
            return None
        places = np.frombuffer(self.places, np.int64)
        parts, offsets = (np.frombuffer(numbers, np.int32) for numbers in (self.parts, self.offsets))
        settings = (self.tokenizer, self.end_token, self.length, self.skipped, digest)
        return WindowSource(stream, places, parts, offsets, *settings)


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
            index.take(row.place, row.text)
        digest = content_digest(file, [length, end_token, *astuple(columns)])
    source = index.source(FileStream(path, layout, stamp), digest)
    if source is None:
        raise nothing(str(path), columns, index.skipped, labelled=False)
    return source


def windows_of(texts: Sequence[str], tokenizer: Tokenizer, end_token: int, length: int) -> WindowSource:
    """Index texts in memory; they make the windows of a file with the same texts.

    Args:
        texts: in their order.
        tokenizer: of the package.
        end_token: of the architecture.
        length: S.

    Raises:
        DataError: when there are no two tokens.
    """
    stream = ListStream(tuple(whole(text).strip() for text in texts))  # as a file's are
    index = _Index(tokenizer, end_token, length)
    for place, text in enumerate(stream.texts):
        index.take(place, text)
    digest = hashlib.sha256(json.dumps([stream.texts, length, end_token]).encode()).digest()
    source = index.source(stream, digest)
    if source is None:
        raise DataError("the texts have no two tokens; give at least one that is not empty")
    return source
