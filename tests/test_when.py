"""docs/when.md: what it says of ourselves stands in results.md or choosing.md, and its own words hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "when.md").read_text(encoding="utf-8")
MEASURED = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("results.md", "choosing.md"))
FIGURE = re.compile(r"(?<![\w.,-])[+-]?\d[\d,]*(?:\.\d+)?(?![\w,]*\d)")
WANTED = {"2.0"}
"""Figures of the table that are aims, not measured."""


def figures(text: str) -> list[str]:
    """Return the numbers of a text as they are written, without a sign that a sentence may leave out."""
    return [number.lstrip("+-") for number in FIGURE.findall(text)]


def own_rows() -> list[list[str]]:
    """Return what, figure and condition of each row of our own table."""
    table = TEXT.partition("| what | figure | on what |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize("row", own_rows(), ids=lambda row: row[0])
def test_a_figure_of_ours_was_measured(row: list[str]) -> None:
    """A result that is measured anew takes this page along."""
    known = set(figures(MEASURED))
    assert figures(row[1])
    assert [number for number in figures(row[1]) if number not in known | WANTED] == []


def test_every_figure_of_ours_says_on_what_it_was_measured() -> None:
    """A machine with a date, or that it was simulated, or the row above."""
    assert len(own_rows()) > 8
    assert [row for row in own_rows() if not re.search(r"2026-|simulated|the same", row[2])] == []


def test_how_often_the_server_wins_is_counted() -> None:
    """The loop's table of results.md: centralized minus merged, over all sets."""
    table = MEASURED.partition("| data | labels | devices | rounds |")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    margins = [round(float(row[7]) - float(row[6]), 1) for row in cells]
    wins = sorted(margin for margin in margins if margin > 0)
    numbers = ("no", "one", "two", "three", "four", "five", "six", "seven")
    said = f"by {wins[0]} to {wins[-1]} points in\n{numbers[len(wins)]} of {numbers[len(margins)]}"
    assert said in TEXT
    assert f"in {numbers[len(wins)]} of our {numbers[len(margins)]} comparisons" in TEXT


def test_an_invented_figure_is_found() -> None:
    """The test can fail: signs and thousands are read, and other numbers differ."""
    assert figures("1,594 tokens/s, +1.10 points; -0.04 of 9,392.2 ms (int8)") == ["1,594", "1.10", "0.04", "9,392.2"]
    assert "777.7" not in figures(MEASURED)
