"""Tables of a command: aligned, within 80 columns, in colour on a terminal only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.text import Text

GAP: Final = 2
LEAST: Final = 8
"""Columns of the first cell at least, however little room there is."""


@dataclass(frozen=True)
class Cell:
    """A word in a table. Args: style: of rich, for terminals."""

    text: str
    style: str = ""


def say_table(columns: Sequence[str], rows: Sequence[Sequence[str | Cell]], *, left: int = 1) -> None:
    """Print a table under its columns' names. On a terminal the first column gives way so that all fits.

    Args:
        columns: names.
        rows: as many cells each.
        left: so many columns are aligned left, the others right.
    """
    console = Console(highlight=False)
    table = [[Cell(name, "dim") for name in columns], *([_cell(one) for one in row] for row in rows)]
    widths = [max(len(row[place].text) for row in table) for place in range(len(columns))]
    if console.is_terminal:
        over = sum(widths) + GAP * (len(widths) - 1) - console.width
        widths[0] = max(LEAST, widths[0] - max(0, over))
    for row in table:
        line = Text(" " * GAP).join(
            _padded(cell, width, place < left) for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        line.rstrip()
        console.print(line, soft_wrap=True)


def say_lines(lines: Sequence[tuple[str, str | Cell]]) -> None:
    """Print what there is to say of one thing: a name and a value on each line; an empty value is left out."""
    console = Console(highlight=False)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        cell = _cell(value)
        if cell.text:
            line = Text.assemble((name.ljust(width + 1), "dim"), (cell.text, cell.style))
            console.print(line, soft_wrap=True)


def say_rest(shown: int, total: int, noun: str) -> None:
    """Say that a table has not everything."""
    if shown < total:
        Console(highlight=False).print(
            Text(f"the last {shown} of {total} {noun}; --newest N shows more", "dim"), soft_wrap=True
        )


def _cell(value: str | Cell) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)


def _padded(cell: Cell, width: int, left: bool) -> Text:
    text = cell.text if len(cell.text) <= width else cell.text[: width - 1] + "…"
    return Text(text.ljust(width) if left else text.rjust(width), cell.style)
