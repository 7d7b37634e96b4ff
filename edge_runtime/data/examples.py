"""Labelled texts on this device, in a file of any form that the contract's reader knows (docs/data.md).

Only an index stays in memory: 12 bytes for each example (place in the file, label). A text is read from the file when
it is used. No message here contains a text; a label is named, since it must be one of the package's public list.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.csv_header import USUAL, Columns
from edge_runtime.wire.data_files import Layout, Row, layout_of, nothing, opened, rows, rows_from
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.labels import unknown_labels
from edge_runtime.wire.order import epoch_order

_SHOWN: Final = 5
_BLOCK: Final = 1 << 16
_CHUNK: Final = 64

Places = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int32]


class ExampleSource(Protocol):
    """N labelled texts."""

    @property
    def labels(self) -> Labels:
        """Rows of the head, int32 [N]."""
        ...

    @property
    def digest(self) -> bytes:
        """Changes when any example does."""
        ...

    def __len__(self) -> int:
        """Return N."""
        ...

    def texts(self, rows: Sequence[int]) -> list[str]:
        """Return the texts of ``rows``, in their order."""
        ...


@dataclass(frozen=True)
class FileSource:
    """Examples in a file that is read again whenever a text is needed.

    Args:
        path: the file.
        layout: how rows stand in it.
        places: int64 [N], byte at which each example starts.
        labels: int32 [N].
        skipped: rows without a text.
        digest: SHA-256 over the file's bytes, the package's labels and the columns that were meant.
        stamp: size in bytes and modification time in ns when the index was made.
    """

    path: Path
    layout: Layout
    places: Places
    labels: Labels
    skipped: int
    digest: bytes
    stamp: tuple[int, int]

    def __len__(self) -> int:
        """Return N."""
        return int(self.labels.size)

    def texts(self, rows: Sequence[int]) -> list[str]:
        """Return the texts of ``rows``.

        Raises:
            DataError: when the file was changed or removed since it was indexed.
        """
        with unchanged(self.path, self.stamp) as file:
            return [next(rows_from(file, self.layout, int(self.places[row]))).text for row in rows]


def texts_of(source: ExampleSource, rows: Sequence[int]) -> Iterator[str]:
    """Yield the texts of ``rows``; few of them are in memory at a time."""
    for first in range(0, len(rows), _CHUNK):
        yield from source.texts(rows[first : first + _CHUNK])


def open_source(path: Path, labels: Sequence[str], columns: Columns = USUAL) -> FileSource:
    """Index a file of examples.

    Args:
        path: whose ending says what it is: ``.jsonl``, ``.ndjson`` or ``.json`` is JSON, anything else CSV.
        labels: the package's C labels, in the order of the head's rows.
        columns: that hold text and label.

    Raises:
        DataError: saying what is wrong, in which line, and what was expected.
    """
    index = _Index({label: row for row, label in enumerate(labels)})
    with indexed(path) as (file, stamp):
        layout = layout_of(file, str(path), columns, labelled=True)
        for row in rows(file, layout):
            index.take(row)
        digest = content_digest(file, [list(labels), *astuple(columns)])
    if index.unknown:
        raise unknown_labels(str(path), index.unknown, labels)
    if not index.rows:
        raise nothing(str(path), columns, index.skipped, labelled=True)
    places, numbers = np.frombuffer(index.places, np.int64), np.frombuffer(index.rows, np.int32)
    return FileSource(path, layout, places, numbers, index.skipped, digest, stamp)


def content_digest(file: BinaryIO, settings: Sequence[object]) -> bytes:
    """Return SHA-256 over a file's bytes and what it was read with."""
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    digest.update(json.dumps(settings).encode())
    return digest.digest()


def stamp_of(file: BinaryIO) -> tuple[int, int]:
    """Return the size in bytes and the modification time in ns of an open file."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


@contextmanager
def indexed(path: Path) -> Iterator[tuple[BinaryIO, tuple[int, int]]]:
    """Open a file to index it; gives it with its stamp.

    Raises:
        DataError: when it cannot be read, can be read once only, or was changed meanwhile.
    """
    with opened(path) as file:
        stamp = stamp_of(file)
        yield file, stamp
        if stamp_of(file) != stamp:
            raise _changed(path)


@contextmanager
def unchanged(path: Path, stamp: tuple[int, int]) -> Iterator[BinaryIO]:
    """Open a file that was indexed when it had ``stamp``.

    Raises:
        DataError: when the file was changed or removed since, or cannot be read.
    """
    with opened(path) as file:
        if stamp_of(file) != stamp:
            raise _changed(path)
        yield file


def _changed(path: Path) -> DataError:
    return DataError(f"{path} was changed while it was in use; start again")


@dataclass
class _Index:
    """What is kept of labelled texts."""

    known: dict[str, int]
    places: array[int] = field(default_factory=lambda: array("q"))
    rows: array[int] = field(default_factory=lambda: array("i"))
    unknown: Counter[str] = field(default_factory=Counter)
    skipped: int = 0

    def take(self, row: Row) -> None:
        number = self.known.get(row.label)
        if not row.text:
            self.skipped += 1
        elif number is None:
            # A few names are enough to tell what is wrong; the rest is counted together.
            self.unknown[row.label if len(self.unknown) < _SHOWN else ""] += 1
        else:
            self.places.append(row.place)
            self.rows.append(number)


class EntryOrder:
    """Which example each entry of a run is: shuffled epochs, laid end to end.

    An entry's example follows from (seed, entry) alone, so a resumed run goes on with the same texts.

    Args:
        seed: of the plan.
        count: N examples.
    """

    def __init__(self, seed: int, count: int) -> None:
        self._seed, self._count = seed, count
        self._epoch, self._order = -1, epoch_order(seed, 0, 0)

    def row(self, entry: int) -> int:
        """Return the row of an entry, counted from 0."""
        epoch, within = divmod(entry, self._count)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, epoch_order(self._seed, epoch, self._count)
        return int(self._order[within])
