"""The header of a table: what parts its columns, and which of them hold text and label."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge_runtime.wire.errors import DataError
from edge_runtime.wire.text import readable

SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs"}
_HINT: Final = re.compile(r'"?sep=([,;\t])"?\s*')
"""What Excel writes above a header, and reads."""
_NAMED: Final = 10


@dataclass(frozen=True)
class Columns:
    """Which columns of a table, or keys of a JSON object, are meant.

    Args:
        text: as the user named it; "" stands for ``text``, in whatever case.
        label: as the user named it; "" stands for ``label``, in whatever case.
        more: that a file may have, too.
    """

    text: str = ""
    label: str = ""
    more: tuple[str, ...] = ()

    def names(self, *, labelled: bool) -> tuple[str, ...]:
        """Return what an error says was expected."""
        return (self.text or "text", *((self.label or "label",) if labelled else ()))


USUAL: Final = Columns()
"""``text`` and ``label``."""


@dataclass(frozen=True)
class Header:
    """What a header says.

    Args:
        separator: one of SEPARATORS.
        names: of all columns.
        used: places of text and label, or of the text.
        more: places of the columns that a file may have, None for one that it lacks.
    """

    separator: str
    names: tuple[str, ...]
    used: tuple[int, ...]
    more: tuple[int | None, ...]


def separator_hint(line: str) -> str:
    """Return the separator that a line ``sep=;`` names; "" for any other line."""
    match = _HINT.fullmatch(line)
    return match.group(1) if match else ""


def read_header(line: str, columns: Columns, source: str, *, labelled: bool, separator: str = "") -> Header:
    """Find the columns in a table's first line.

    Args:
        line: the header.
        columns: that are meant.
        source: names the file in errors.
        labelled: whether a label is needed, too.
        separator: where it is known already.

    Raises:
        DataError: listing the columns that came.
    """
    split = {sign: _split(line, sign) for sign in ([separator] if separator else SEPARATORS)}
    wanted = columns.names(labelled=labelled)
    chosen = [bool(columns.text), bool(columns.label)]
    for sign, names in split.items():
        places = [places_of(name, names, exact=exact) for name, exact in zip(wanted, chosen, strict=False)]
        if all(places):
            _expect_one(places, names, f"{source} ({SEPARATORS[sign]} between columns)")
            more = tuple(next(iter(places_of(name, names, exact=True)), None) for name in columns.more)
            return Header(sign, tuple(names), tuple(place[0] for place in places), more)
    sign, names = max(split.items(), key=lambda item: len(item[1]))
    if line.lstrip().startswith(("{", "[")):
        raise DataError(f"{source} looks like JSON; give it a name that ends in .jsonl or .json")
    if not names:
        raise DataError(f"{source} has no header line; expected one with {' and '.join(wanted)}")
    between = f"s {listed(names)} with {SEPARATORS[sign]} between them" if len(names) > 1 else f" {listed(names)} alone"
    parted = ", parted by commas, semicolons or tabs" if labelled else ""
    raise DataError(
        f"{source} has the column{between} in its first line, the header; expected {' and '.join(wanted)}{parted};"
        f" {how_to_name(labelled=labelled)}"
    ).about(*naming_arguments(labelled=labelled))


def places_of(wanted: str, names: Sequence[str], *, exact: bool) -> list[int]:
    """Return where a name stands: as it is written if the user wrote it, else in whatever case."""
    exactly = [place for place, name in enumerate(names) if name == wanted]
    if exact and exactly:
        return exactly
    return [place for place, name in enumerate(names) if name.casefold() == wanted.casefold()]


def how_to_name(*, labelled: bool) -> str:
    """Return what a user can do about other names."""
    return f"name yours with {' and '.join(naming_arguments(labelled=labelled))}"


def naming_arguments(*, labelled: bool) -> tuple[str, ...]:
    """Return the arguments with which a caller names columns."""
    return ("text_column", "label_column") if labelled else ("text_column",)


def listed(names: Sequence[str]) -> str:
    """Return names for a message, shortened."""
    return ", ".join(readable(name) for name in names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _split(line: str, sign: str) -> list[str]:
    try:
        row = next(csv.reader([line], delimiter=sign, strict=True, skipinitialspace=True), [])
    except csv.Error:
        return []
    return [name.strip() for name in row]


def _expect_one(places: Sequence[Sequence[int]], names: Sequence[str], source: str) -> None:
    for columns in places:
        if len(columns) > 1:
            which = " and ".join(f"{readable(names[place])} (column {place + 1})" for place in columns[:3])
            raise DataError(f"{source} has {len(columns)} columns of one name: {which}; rename all but one")
    if len({columns[0] for columns in places}) < len(places):
        raise DataError(
            f"{source}: text and label are the same column {readable(names[places[0][0]])}; name two columns"
        )
