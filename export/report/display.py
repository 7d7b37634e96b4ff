"""Show how far a build is, on stderr: a bar on a terminal, one plain line a stage elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

ROOMY: Final = 10_000
"""Columns in which no table is cut."""


def print_whole(table: Table, console: Console) -> None:
    """Print a table with no cell cut: wider than the console where columns that do not wrap need it; others fold."""
    for column in table.columns:
        column.overflow = "fold"
    roomy = console.options.update(max_width=ROOMY)
    measured = Measurement.get(console, roomy, table)
    needed = measured.maximum if all(column.no_wrap for column in table.columns) else measured.minimum
    if needed > console.width:
        console = Console(file=console.file, width=needed, force_terminal=console.is_terminal)
    console.print(table)


@dataclass(frozen=True)
class Shown:
    """Where a build tells how far it is. Args: stage: is beginning; expect: that many stages in all."""

    stage: Callable[[str], None]
    expect: Callable[[int], None]


@contextmanager
def display() -> Iterator[Shown]:
    """Give functions that show stages while the block runs."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console) as shown:
            yield shown
    else:
        yield _lines()


@contextmanager
def _bar(console: Console) -> Iterator[Shown]:
    """Show the newest stage, how many have begun of how many, and the time since the start."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("plan", total=None)
        begun = 0

        def stage(text: str) -> None:
            nonlocal begun
            bar.update(task, description=text, completed=begun)  # it has begun; those before it are done
            begun += 1

        yield Shown(stage, lambda total: bar.update(task, total=total))


def _lines() -> Shown:
    started, begun, total = time.monotonic(), 0, 0

    def stage(text: str) -> None:
        nonlocal begun
        begun += 1
        place = f" ({begun} of {total}, {time.monotonic() - started:.0f} s)" if total else ""
        sys.stderr.write(f"export: {text}{place}\n")
        sys.stderr.flush()

    def expect(stages: int) -> None:
        nonlocal total
        total = stages

    return Shown(stage, expect)
