"""Pieces of docs/results.md that all sections share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def newest(lines: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Return the last line for each value of ``key``, in order of first appearance."""
    return list({line[key]: line for line in lines}.values())


def percent(share: float) -> str:
    """Return a share as per cent with one decimal."""
    return f"{100 * share:.1f}"


def source(run: dict[str, Any]) -> str:
    """Return where a figure comes from."""
    return f"`{run['command']}`, {run['date']}, {run['machine']}, commit {run['commit']}"
