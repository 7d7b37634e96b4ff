"""Files of texts, with or without a label: the one reader of devices, gateway and export (docs/data.md has the rules).

    table        CSV: a header names the columns; commas, semicolons or tabs between them
    JSON lines   an object on each line
    JSON list    one list of objects
    lines        a text on each line, without a label

The file's name says which: .json, .jsonl and .ndjson are JSON; .csv, .tsv and .tab are tables; anything else is a table
where a label is needed or the user named a column, and lines otherwise. A row is known by the byte at which it starts:
a device keeps those and reads a text when it is used. No error shows a text, but for the
first line of a table: it may be the header that was meant.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Final

from edge_runtime.wire.csv_header import (
    SEPARATORS,
    Columns,
    Header,
    how_to_name,
    listed,
    naming_arguments,
    places_of,
    read_header,
)
from edge_runtime.wire.csv_header import separator_hint as hint
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.json_list import EXPECTED, Item, distinct, fault_of, items
from edge_runtime.wire.text import counted
from edge_runtime.wire.text_lines import ROW_LIMIT, Encoding, Line, encoding_of, lines, whole

HELP: Final = (
    "CSV with a header (text and label; commas, semicolons or tabs), JSON lines or a JSON list of objects, in UTF-8 or "
    "UTF-16"
)
"""What a file may be, for --help."""
JSON_ENDINGS: Final = (".jsonl", ".ndjson", ".json")
TABLE_ENDINGS: Final = (".csv", ".tsv", ".tab")


class Kind(StrEnum):
    """How rows stand in a file."""

    TABLE = "table"
    JSON_LINES = "JSON lines"
    JSON_LIST = "JSON list"
    LINES = "lines"


@dataclass(frozen=True)
class Layout:
    """What is known of a file once its head was read.

    Args:
        source: names the file in errors.
        kind: how rows stand in it.
        encoding: of the file.
        columns: that are meant.
        labelled: whether rows have a label.
        header: of a table.
        place: byte at which the first row (the list of a JSON list) starts.
        line: that it starts in, from 1.
    """

    source: str
    kind: Kind
    encoding: Encoding
    columns: Columns
    labelled: bool
    header: Header | None
    place: int
    line: int


@dataclass(frozen=True)
class Row:
    """One example.

    Args:
        place: byte at which it starts.
        line: from 1.
        text: stripped.
        label: stripped; "" where rows have none.
        more: what stands in the columns that a file may have, "" where it does not.
    """

    place: int
    line: int
    text: str
    label: str = ""
    more: tuple[str, ...] = ()


def layout_of(file: BinaryIO, name: str, columns: Columns, *, labelled: bool) -> Layout:
    """Read the head of a file.

    Args:
        file: open, and able to seek.
        name: of the file, as errors show it; its ending says what the file is.
        columns: that are meant.
        labelled: whether rows have a label.

    Raises:
        DataError: for what is no text, or lacks a column.
    """
    encoding = encoding_of(file, name)
    kind, header, place, line = _kind(name, columns, labelled=labelled), None, encoding.start, 1
    if kind is Kind.JSON_LINES:
        first = next((line for line in lines(file, encoding, name, place) if line.text.strip()), None)
        kind = Kind.JSON_LIST if first and first.text.lstrip().startswith("[") else kind
    elif kind is Kind.TABLE:
        header, place, line = _header(file, encoding, name, columns, labelled=labelled)
    return Layout(name, kind, encoding, columns, labelled, header, place, line)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file of texts.

    Raises:
        DataError: when it cannot be read, also later, or can be read once only.
    """
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is no regular file; it is read more than once, so it must be one")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def read_rows(path: Path, columns: Columns, *, labelled: bool) -> list[Row]:
    """Return all rows of a file that have a text.

    Raises:
        DataError: saying what is wrong, in which line, and what was expected; also when there is no such row.
    """
    with opened(path) as file:
        everything = list(rows(file, layout_of(file, str(path), columns, labelled=labelled)))
    kept = [row for row in everything if row.text]
    if not kept:
        raise nothing(str(path), columns, len(everything), labelled=labelled)
    return kept


def nothing(source: str, columns: Columns, skipped: int, *, labelled: bool) -> DataError:
    """Return the error for a file without a text; ``skipped`` rows had an empty one."""
    blank = f" ({counted(skipped, 'row')} without a text)" if skipped else ""
    wanted = (
        f"rows with {' and '.join(columns.names(labelled=True))}" if labelled else "a column text, or lines of text"
    )
    return DataError(f"{source} has no {'examples' if labelled else 'two tokens of text'}{blank}; expected {wanted}")


def rows(file: BinaryIO, layout: Layout) -> Iterator[Row]:
    """Yield every row of a file in order, those without a text, too.

    Raises:
        DataError: saying what is wrong, in which line, and what was expected.
    """
    for row in rows_from(file, layout, layout.place, layout.line):
        if layout.labelled and row.text and not row.label:
            raise _refusal(layout, row.line, "a text without a label; give it one, or remove the row")
        yield row


def rows_from(file: BinaryIO, layout: Layout, place: int, line: int = 1) -> Iterator[Row]:
    """Yield the rows from the one on that starts at byte ``place``, where ``rows`` found one."""
    if layout.kind is Kind.JSON_LIST:
        inside = place != layout.place
        listed = items(file, layout.encoding, layout.source, place, inside=inside)
        return (_of_object(layout, item) for item in listed)
    ahead = lines(file, layout.encoding, layout.source, place, line)
    if layout.kind is Kind.TABLE:
        return _of_table(layout, ahead)
    if layout.kind is Kind.JSON_LINES:
        return (_of_object(layout, _parsed(layout, line)) for line in ahead if line.text.strip())
    return (Row(line.place, line.number, line.text.strip()) for line in ahead)


def _refusal(layout: Layout, line: int, what: str) -> DataError:
    return DataError(f"{layout.source} line {line}: {what}")


def _kind(name: str, columns: Columns, *, labelled: bool) -> Kind:
    ending = PurePath(name).suffix.lower()
    if ending in JSON_ENDINGS:
        return Kind.JSON_LINES
    return Kind.TABLE if labelled or columns.text or ending in TABLE_ENDINGS else Kind.LINES


# --- tables ---------------------------------------------------------------------------------------------------


def _header(
    file: BinaryIO, encoding: Encoding, name: str, columns: Columns, *, labelled: bool
) -> tuple[Header, int, int]:
    """Return the header, and place and line of what follows it."""
    separator, header = "", None
    for line in lines(file, encoding, name, encoding.start):
        if header is not None:
            return header, line.place, line.number
        if not separator and (separator := hint(line.text)):
            continue
        if line.text.strip():
            header = read_header(line.text, columns, name, labelled=labelled, separator=separator)
    file.seek(0, 2)
    return header or read_header("", columns, name, labelled=labelled), file.tell(), 2


@dataclass
class _Cursor:
    """Gives csv.reader its lines and remembers the first that it took for a row."""

    ahead: Iterator[Line]
    first: Line | None = None

    def __iter__(self) -> Iterator[str]:
        for line in self.ahead:
            self.first = self.first or line
            yield line.text


def _of_table(layout: Layout, ahead: Iterator[Line]) -> Iterator[Row]:
    assert layout.header is not None  # noqa: S101 - a table has one
    cursor = _Cursor(ahead)
    csv.field_size_limit(ROW_LIMIT)
    reader = csv.reader(iter(cursor), delimiter=layout.header.separator, strict=True, skipinitialspace=True)
    while True:
        cursor.first = None
        try:
            fields = next(reader, None)
        except csv.Error as error:
            line = cursor.first.number if cursor.first else layout.line
            raise _refusal(layout, line, _not_csv(error)) from error
        if fields is None:
            return
        if fields and cursor.first:
            yield _of_fields(layout, layout.header, cursor.first, fields)


def _not_csv(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "not CSV: a quotation mark opens here and is never closed"
    return f"not CSV ({error}); a text with quotation marks is written in quotation marks, each inside it doubled"


def _of_fields(layout: Layout, header: Header, line: Line, fields: Sequence[str]) -> Row:
    if len(fields) != len(header.names):
        between = SEPARATORS[header.separator]
        came = f"{counted(len(fields), 'field')}, the header has {len(header.names)} (with {between} between them)"
        raise _refusal(layout, line.number, f"{came}; write a text that contains {between} in quotation marks")
    values = [fields[place].strip() for place in header.used]
    more = tuple("" if place is None else fields[place].strip() for place in header.more)
    return Row(line.place, line.number, values[0], values[1] if layout.labelled else "", more)


# --- JSON -----------------------------------------------------------------------------------------------------


def _parsed(layout: Layout, line: Line) -> Item:
    try:
        return Item(line.place, line.number, json.loads(line.text, object_pairs_hook=distinct))
    except (ValueError, RecursionError) as error:
        raise _refusal(layout, line.number, f"not JSON ({fault_of(error)}); {EXPECTED}") from error


def _of_object(layout: Layout, item: Item) -> Row:
    if not isinstance(item.value, dict):
        wanted = " and ".join(layout.columns.names(labelled=layout.labelled))
        raise _refusal(layout, item.number, f"came {_called(item.value)}; expected an object with the strings {wanted}")
    text, *label = (
        _string(layout, item, name, exact=bool(named))
        for name, named in zip(
            layout.columns.names(labelled=layout.labelled), (layout.columns.text, layout.columns.label), strict=False
        )
    )
    more = (item.value.get(name) for name in layout.columns.more)
    told = tuple(value.strip() if isinstance(value, str) else "" for value in more)
    return Row(item.place, item.number, text, label[0] if label else "", told)


def _string(layout: Layout, item: Item, wanted: str, *, exact: bool) -> str:
    names = list(item.value)
    places = places_of(wanted, names, exact=exact)
    if len(places) != 1:
        came = f"an object with the keys {listed(names)}" if names else "an object without keys"
        expected = f"expected {' and '.join(layout.columns.names(labelled=layout.labelled))}, each once"
        advice = how_to_name(labelled=layout.labelled)
        arguments = naming_arguments(labelled=layout.labelled)
        raise _refusal(layout, item.number, f"came {came}; {expected}; {advice}").about(*arguments)
    value = item.value[names[places[0]]]
    if not isinstance(value, str):
        example = f' such as "{value}"' if isinstance(value, int) and not isinstance(value, bool) else ""
        raise _refusal(layout, item.number, f"{wanted} is {_called(value)}; expected a string{example}")
    return whole(value).strip()


def _called(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return f"the number {str(value)[:20]}"
    return "a string" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"
