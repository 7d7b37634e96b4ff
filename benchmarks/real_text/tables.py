"""The tables that a run prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.real_text import ABOUT

COLUMNS = (
    "arm",
    "texts/s",
    "per CPU s",
    "ms of 16",
    "GFLOP/s",
    "J",
    "MiB",
    "full",
    "÷ padded",
    "÷ eager",
    "CPU ÷ padded",
    "CPU ÷ eager",
)


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print a table for each set, and what holds for all."""
    for name, measured in result["sets"].items():
        console.print(of_set(name, measured))
    if prediction := result.get("prediction"):
        console.print(one_text(prediction))
    for line in result["failed"].values():
        console.print(f"failed: {line}", style="red")
    console.print(machine(result))


def one_text(times: Mapping[str, Any]) -> str:
    """Return what the prediction of one text takes."""
    told = ", ".join(
        f"{times[f'short_{clock}']:.2f} {what} ms against {times[f'long_{clock}']:.2f} in the call of 32 tokens"
        f" ({times[f'short_{clock}'] / times[f'long_{clock}']:.2f} of it)"
        for clock, what in (("ms", "wall"), ("cpu_ms", "processor"))
    )
    return f"One text of 8 tokens is predicted in {told}."


def of_set(name: str, measured: Mapping[str, Any]) -> Table:
    """Return a set's table."""
    mean, longest = f"{measured['tokens_mean']:.1f}", measured["length"]
    drawn = "" if measured["real"] else ", drawn from its recorded lengths"
    title = f"{name}: {mean} tokens a text, cut at {longest}; {measured['rows']} rows{drawn}"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "arm" else "right", no_wrap=True)
    for arm, figures in measured["arms"].items():
        ratios = [measured[kind][arm] for kind in ("ratios", "ratios_cpu")]
        joules = figures["joules_per_1000"]
        table.add_row(
            ABOUT[arm],
            *(f"{figures[key]:,.0f}" for key in ("examples_s", "examples_cpu_s")),
            f"{figures['ms']:.1f}",
            f"{figures['gflop_s']:.0f}",
            "" if joules is None else f"{joules:.1f}",
            f"{figures['peak_rss_mib']:.0f}",
            f"{100 * figures['fill']:.0f}",
            *(
                f"{against[other]:.2f}" if other in against else ""
                for against in ratios
                for other in ("padded", "eager")
            ),
        )
    return table


def machine(result: Mapping[str, Any]) -> str:
    """Return what computed, and what of it the arms could not use or tell."""
    amx = "AMX, which ExecuTorch's wheel has no code for" if result["amx"] else "no AMX"
    energy = "" if result["tells_energy"] else "; the machine does not tell energy"
    load = f"; load average {result['load']:.1f} at the end" if "load" in result else ""
    return f"{', '.join(result['extensions'])} ({amx}); {result['threads']} threads{load}{energy}"
