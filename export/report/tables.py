"""``--explain``: tables of where memory and time go, by kind of operation and by layer, and what is not delegated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from export.compiling.explained import FIGURES, TIME_NOTE
from export.report.display import print_whole

MIB: Final = 2**20


def totals(parts: Iterable[dict[str, Any]], by: Callable[[dict[str, Any]], Any]) -> dict[Any, dict[str, float]]:
    """Add up the figures of parts that have the same ``by(part)``; ``ms`` as well where it is known."""
    sums: dict[Any, dict[str, float]] = {}
    for part in parts:
        total = sums.setdefault(by(part), dict.fromkeys((*FIGURES, "ms"), 0))
        for name in total:
            total[name] += part.get(name, 0)
    return sums


def print_explained(name: str, explained: dict[str, Any], console: Console) -> None:
    """Print the tables of one method."""
    by_kind = totals(explained["parts"], lambda part: part["kind"])
    print_whole(_table(f"{name}: by kind of operation", "kind", by_kind, explained), console)
    by_layer = totals(explained["parts"], lambda part: "outside of layers" if part["layer"] < 0 else str(part["layer"]))
    if len(by_layer) > 1:
        print_whole(_table(f"{name}: by layer", "layer", by_layer, explained), console)
    ways = totals(explained["parts"], lambda part: part["direction"])
    shares = ", ".join(f"{way} {total['ms']:.2f} ms" for way, total in ways.items() if total["ms"])
    console.print(
        f"planned by ExecuTorch {explained['planned_bytes'] / MIB:.2f} MiB, at a time inside the delegates"
        f" {explained['workspace_bytes'] / MIB:.2f} MiB; in both, kept for the backward"
        f" {explained['kept_bytes'] / MIB:.2f} MiB{'; ' + shares if shares else ''}"
    )
    if explained["step_ms"]:
        console.print(TIME_NOTE)
    if explained["outside"]:
        print_whole(_outside(f"{name}: not delegated to XNNPACK", explained["outside"]), console)


def _table(title: str, first: str, rows: dict[str, dict[str, float]], explained: dict[str, Any]) -> Table:
    table = Table(title=title)
    heads = ("kept\nMiB", "weights\nMiB", "int8\nMMAC", "fp32\nMMAC", "moved\nMiB", "ops", "ms")
    table.add_column(first, no_wrap=True)
    for head in heads if explained["step_ms"] else heads[:-1]:
        table.add_column(head, justify="right", no_wrap=True)
    whole = totals(explained["parts"], lambda _: "all")
    for name, total in [*rows.items(), *whole.items()]:
        if name == "all":
            table.add_section()
        cells = [
            f"{total['kept_bytes'] / MIB:,.2f}",
            f"{total['weight_bytes'] / MIB:,.2f}",
            f"{total['int8_macs'] / 1e6:,.1f}",
            f"{total['fp32_macs'] / 1e6:,.1f}",
            f"{total['moved_bytes'] / MIB:,.1f}",
            f"{total['operations']:,.0f}",
            f"{total['ms']:,.2f}",
        ]
        table.add_row(str(name), *(cells if explained["step_ms"] else cells[:-1]))
    return table


def _outside(title: str, left: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    for head in ("operation", "count", "layers", "why"):
        table.add_column(head, justify="right" if head == "count" else "left", no_wrap=head == "operation")
    for entry in left:
        layers = ", ".join("-" if layer < 0 else str(layer) for layer in entry["layers"])
        table.add_row(entry["operation"], str(entry["count"]), layers, entry["why"])
    return table
