"""The table of a simulated run, for people and for docs/results.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rich.table import Table

from benchmarks.markdown import newest, source, table


def _numbers(*values: float) -> str:
    return "; ".join(f"{value:,}" for value in values)


def _some(spread: Mapping[str, float], form: str, *keys: str) -> str:
    return "; ".join(form.format(spread[key]) for key in keys or ("least", "median", "most")) if spread else "-"


def _by_round(run: Mapping[str, Any], *keys: str) -> str:
    rounds = run["by_round"]
    means = (sum(one[key] for one in rounds) / len(rounds) for key in keys) if rounds else ()
    return "; ".join(f"{mean:,.0f}" for mean in means) or "-"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _megabytes(*sizes: float) -> str:
    return "; ".join(f"{size / 1e6:,.0f}" for size in sizes)


def _mb_of(spread: Mapping[str, float]) -> str:
    return "; ".join(f"{spread[key] / 1e6:.2f}" for key in ("median", "most")) if spread else "-"


def _cores(run: Mapping[str, Any]) -> str:
    mean = run["gateway"]["cpu_s"] / max(run["simulated_s"], 1.0)
    return f"{mean:.2f}; {run['gateway']['cores_busiest_minute']:.2f}"


_ROWS: Final[Sequence[tuple[str, Callable[[dict[str, Any]], str]]]] = (
    ("devices; came; connected at most", lambda run: _numbers(run["devices"], run["came"], run["connected_most"])),
    ("simulated hours; rounds", lambda run: f"{run['simulated_s'] / 3600:.1f}; {run['rounds_done']}"),
    ("planned for in a round; accepted; late", lambda run: _by_round(run, "planned", "accepted", "late")),
    ("seconds of a round, median; most", lambda run: _some(run["round_s"], "{:.0f}", "median", "most")),
    ("trainings of an expert, least; median; most", lambda run: _some(run["trainings"], "{:,.0f}")),
    ("staleness of accepted deltas", lambda run: _counts(run["staleness"])),
    ("final verdicts", lambda run: _counts(run["verdicts"])),
    ("told to come again", lambda run: _counts(run["come_again"])),
    ("left while at work; dropped out; connections lost",
     lambda run: _numbers(run["left_at_work"], run["dropped"], run["connections_lost"])),
    ("deltas lost; counted twice", lambda run: _numbers(run["kept"]["lost"], run["kept"]["twice"])),
    ("MB up; down, in all", lambda run: _megabytes(run["bytes_up"], run["bytes_down"])),
    ("MB up of a device, median; most", lambda run: _mb_of(run["device_up"])),
    ("MB down of a device, median; most", lambda run: _mb_of(run["device_down"])),
    ("gateway: processor ms for an accepted delta", lambda run: f"{run['gateway']['cpu_ms_per_delta'] or 0:.1f}"),
    ("cores busy, mean; in the busiest minute", _cores),
    ("memory of the process, MiB: devices alone; peak",
     lambda run: _numbers(*(round(mib) for mib in run["gateway"]["memory_mib"].values()))),
    ("MB of the ledger; of the state directory",
     lambda run: f"{run['gateway']['ledger_mb']:,.0f}; {run['gateway']['state_mb']:,.0f}"),
    ("minutes that the simulation took", lambda run: f"{run['gateway']['run_s'] / 60:.1f}"),
)  # fmt: skip


def cpu(run: Mapping[str, Any]) -> str:
    """Return what the gateway's processor time went into, the most first."""
    spent = run["gateway"]["cpu_s_by"]
    return ", ".join(f"{what} {seconds:.1f}" for what, seconds in spent.items())


def figures_table(run: dict[str, Any]) -> Table:
    """Return one run for a terminal."""
    grid = Table("", "", box=None, pad_edge=False, show_header=False)
    for name, show in _ROWS:
        grid.add_row(name, show(run))
    grid.add_row("processor seconds of the gateway", cpu(run))
    return grid


def section(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section: the newest run of each number of devices, side by side."""
    runs = newest(lines, "devices")
    rows = [[name, *(show(run) for run in runs)] for name, show in _ROWS]
    return (
        "\n## A simulated fleet\n\n"
        "The real reception, rounds, ledger and spool of a gateway, with every message of the protocol; simulated\n"
        "are the clock, the links and the devices, which come and go through a day, drop out, lose connections, send\n"
        "twice and lie (benchmarks/fleet/simulated/assumed.py has what is assumed, and why). The processor times are\n"
        "those of the gateway alone, without a broker; nothing waits for them on the simulated clock.\n\n"
        + table(("an evening of", *(f"{run['devices']:,} devices" for run in runs)), rows)
        + "\n"
        + "".join(f"- {run['devices']:,} devices: processor seconds: {cpu(run)}; {source(run)}\n" for run in runs)
    )
