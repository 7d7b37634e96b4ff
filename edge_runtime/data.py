"""Examples on this device: CSV with the columns ``text`` and ``label``, or one JSON object with both on each line.

Only an index stays in memory: 12 bytes for each example (place in the file, label). A text is read from the file when
it is used. No message here contains a text; a label is named, since it must be one of the package's public list.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import DataError
from edge_runtime.wire.order import epoch_order

COLUMNS: Final = ("text", "label")
_SHOWN: Final = 5
_FIELD_LIMIT: Final = 1 << 20
_JSON_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")

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
        header: column names of a CSV, empty for JSON lines.
        places: int64 [N], byte at which each example starts.
        labels: int32 [N].
        skipped: rows without a text.
        digest: SHA-256 over the file's bytes and the package's labels.
        stamp: size in bytes and modification time in ns when the index was made.
    """

    path: Path
    header: tuple[str, ...]
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
            return [self._text(file, int(self.places[row])) for row in rows]

    def _text(self, file: BinaryIO, place: int) -> str:
        file.seek(place)
        if not self.header:
            found: dict[str, str] = json.loads(file.readline())
            return found["text"].strip()
        lines = (line.decode("utf-8") for line in file)
        return next(csv.reader(lines, strict=True))[self.header.index("text")].strip()


def open_source(path: Path, labels: Sequence[str]) -> FileSource:
    """Index a file of examples.

    Args:
        path: ``.jsonl``/``.ndjson``/``.json`` for JSON lines, anything else is CSV.
        labels: the package's C labels, in the order of the head's rows.

    Raises:
        DataError: saying what is wrong, in which line, and what was expected.
    """
    found = _Labelled(path, {label: row for row, label in enumerate(labels)})
    scan = Scan(path, found.take)
    try:
        with path.open("rb") as file:
            stamp = stamp_of(file)
            header = scan.rows(file)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    found.check_labels(labels)
    if not found.rows:
        raise DataError(f"{path} has no examples{found.blank()}; expected rows with {' and '.join(COLUMNS)}")
    scan.hash.update(json.dumps(list(labels)).encode())
    places, rows = np.frombuffer(found.places, np.int64), np.frombuffer(found.rows, np.int32)
    return FileSource(path, header, places, rows, found.skipped, scan.hash.digest(), stamp)


def is_json(path: Path) -> bool:
    """Return whether a file's name says that it has one JSON object on each line."""
    return path.suffix.lower() in _JSON_SUFFIXES


def stamp_of(file: BinaryIO) -> tuple[int, int]:
    """Return the size in bytes and the modification time in ns of an open file."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


@contextmanager
def unchanged(path: Path, stamp: tuple[int, int]) -> Iterator[BinaryIO]:
    """Open a file that was indexed when it had ``stamp``.

    Raises:
        DataError: when the file was changed or removed since, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            if stamp_of(file) != stamp:
                raise DataError(f"{path} was changed while it was in use; start again")
            yield file
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


@dataclass
class Scan:
    """One pass over a file, line by line.

    Args:
        path: the file, for messages.
        take: gets the byte at which each row starts, and the row's ``columns``.
        columns: that every row must have.
        hash: over the file's bytes.
    """

    path: Path
    take: Callable[..., None]
    columns: tuple[str, ...] = COLUMNS
    offset: int = 0
    line: int = 0
    hash: Any = field(default_factory=hashlib.sha256)

    def rows(self, file: BinaryIO) -> tuple[str, ...]:
        """Take every row of a CSV or of JSON lines; return the CSV's header, nothing for JSON lines."""
        return self.json_lines(file) if is_json(self.path) else self.csv_rows(file)

    def fail(self, detail: str) -> DataError:
        """Return the error that says in which line what is wrong."""
        return DataError(f"{self.path} line {self.line}: {detail}")

    def lines(self, file: BinaryIO) -> Iterator[str]:
        """Yield decoded lines; ``offset`` is where the next one starts."""
        for raw in file:
            self.line += 1
            self.hash.update(raw)
            self.offset += len(raw)
            if b"\0" in raw:
                raise self.fail("a NUL byte; expected text in UTF-8 (save the file as UTF-8, not UTF-16)")
            try:
                yield raw.decode("utf-8-sig" if self.line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise self.fail(f"byte {error.start + 1} is not UTF-8; save the file as UTF-8") from error

    def csv_rows(self, file: BinaryIO) -> tuple[str, ...]:
        """Take every row of a CSV; return its header."""
        csv.field_size_limit(_FIELD_LIMIT)
        reader = csv.reader(self.lines(file), strict=True)
        header = tuple(name.strip() for name in self._next(reader) or ())
        if not set(self.columns) <= set(header):
            came = ", ".join(name[:40] for name in header[:10]) or "nothing"
            raise DataError(f"{self.path} has the columns {came}; expected {' and '.join(self.columns)}")
        wanted = [header.index(name) for name in self.columns]
        place = self.offset
        while (row := self._next(reader)) is not None:
            if row and len(row) != len(header):
                raise self.fail(f"{len(row)} fields, the header has {len(header)}; quote texts that contain commas")
            if row:
                self.take(place, *(row[column] for column in wanted))
            place = self.offset
        return header

    def _next(self, reader: Iterator[list[str]]) -> list[str] | None:
        try:
            return next(reader, None)
        except csv.Error as error:
            raise self.fail(f"not CSV ({error})") from error

    def json_lines(self, file: BinaryIO) -> tuple[str, ...]:
        """Take the object of every line."""
        place = 0
        for line in self.lines(file):
            if line.strip():
                found = self._object(line)
                self.take(place, *(found[name] for name in self.columns))
            place = self.offset
        return ()

    def _object(self, line: str) -> dict[str, str]:
        try:
            found = json.loads(line)
        except ValueError as error:
            raise self.fail("not JSON; expected one object on each line") from error
        if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in self.columns):
            came = ", ".join(sorted(found)[:10]) if isinstance(found, dict) else type(found).__name__
            raise self.fail(f"came {came[:200]}; expected an object with the strings {' and '.join(self.columns)}")
        return found


@dataclass
class _Labelled:
    """What a scan finds of labelled texts."""

    path: Path
    known: dict[str, int]
    places: array[int] = field(default_factory=lambda: array("q"))
    rows: array[int] = field(default_factory=lambda: array("i"))
    unknown: Counter[str] = field(default_factory=Counter)
    skipped: int = 0

    def take(self, place: int, text: str, label: str) -> None:
        if not text.strip():
            self.skipped += 1
            return
        row = self.known.get(label.strip())
        if row is None:
            # A few names are enough to tell what is wrong; the rest is counted together.
            self.unknown[label.strip() if len(self.unknown) < _SHOWN else ""] += 1
            return
        # A byte-order mark belongs to the header line of a CSV, but to the first object of JSON lines.
        self.places.append(place if place or not self._marked() else 3)
        self.rows.append(row)

    def _marked(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(3) == b"\xef\xbb\xbf"

    def check_labels(self, labels: Sequence[str]) -> None:
        if not self.unknown:
            return
        named = ", ".join(repr(name[:40]) for name in list(self.unknown)[:_SHOWN] if name)
        raise DataError(
            f"{self.path}: {self.unknown.total()} rows have labels that the package does not know ({named}); "
            f"it knows {len(labels)}: {', '.join(labels[:_SHOWN])}{', …' if len(labels) > _SHOWN else ''}; "
            "export a package with these labels or correct the file"
        )

    def blank(self) -> str:
        return f" ({self.skipped} rows have an empty text)" if self.skipped else ""


class BatchOrder:
    """Which examples a step trains on: shuffled epochs, laid end to end and cut into batches.

    A step's rows follow from (seed, step) alone, so a resumed run goes on with the same batches.

    Args:
        seed: of the plan.
        count: N examples.
        batch: B.
    """

    def __init__(self, seed: int, count: int, batch: int) -> None:
        self._seed, self._count, self._batch = seed, count, batch
        self._epoch, self._order = -1, epoch_order(seed, 0, 0)

    def rows(self, step: int) -> list[int]:
        """Return the B rows of ``step`` (from 0)."""
        first = step * self._batch
        return [self._row(place) for place in range(first, first + self._batch)]

    def _row(self, place: int) -> int:
        epoch, within = divmod(place, self._count)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, epoch_order(self._seed, epoch, self._count)
        return int(self._order[within])
