"""The section of docs/results.md, before and after side by side; and the table of one run for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from rich.table import Table

from benchmarks.markdown import source, table

_KEYS: Final = ("broker", "delta_kb", "devices", "past_capacity")
_ROWS: Final[Sequence[tuple[str, Callable[[dict[str, Any]], str]]]] = (
    ("seconds until all joined", lambda run: f"{run['join_s']:.1f}"),
    ("deltas/s", lambda run: f"{run['deltas_per_s']:.1f}"),
    ("MB/s", lambda run: f"{run['mb_per_s']:.1f}"),
    ("bodies decided/s", lambda run: f"{run['verdicts_per_s']:.1f}"),
    ("verdict p50, s", lambda run: _seconds(run, "p50")),
    ("p99, s", lambda run: _seconds(run, "p99")),
    ("p99 from the offer, s", lambda run: _seconds(run, "p99", "verdict_from_offer_ms")),
    ("gateway, MiB", lambda run: f"{run['memory_mib']['peak']:.0f}"),
    ("MiB a device", lambda run: f"{run['memory_mib']['per_device']:.2f}"),
    ("blocks per block asked for", lambda run: f"{run['blocks_per_asked']:.2f}" if "blocks_per_asked" in run else "-"),
    ("recovered after, s", lambda run: f"{run['recovery_s']:.1f}"),
    ("a start after it, s", lambda run: f"{run['restart_s']:.1f}"),
    ("lost, twice", lambda run: f"{run['kept']['lost']}, {run['kept']['twice']}"),
)


def _seconds(run: dict[str, Any], key: str, kind: str = "verdict_ms") -> str:
    return f"{run[kind][key] / 1000:.2f}" if run[kind] else "-"


def section(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on a gateway under load: the newest run of each kind, and of the gateway before it."""
    newest = {(*(line[key] for key in _KEYS), line["before"]): line for line in lines}
    kinds = list(dict.fromkeys(kind[:-1] for kind in newest))
    rows = [[_load(kind), *(_both(newest, kind, show) for _, show in _ROWS)] for kind in kinds]
    runs = [newest[key] for key in newest]
    return (
        "\n## A gateway under load\n\n"
        "Light devices over MQTT that do not train, on the machine of the gateway: they join, answer their plans with\n"
        "int8 deltas that pass admission, stall, drop their connections, lie and come back. Before → after, where\n"
        "both were measured. Deltas per second: while there was something to take, the first and last twentieth of\n"
        "each round left out. Bodies decided per second: over the whole time, refused ones too; past capacity a\n"
        "device that has a verdict sends its next body at once, which the round refuses as DUPLICATE. Verdicts: from\n"
        "the first chunk, of deltas that were sent in one go; a gateway that is asked first (offers) lets devices\n"
        "wait before that.\n\n"
        + table(("load", *(name for name, _ in _ROWS)), rows)
        + "\n"
        + "".join(_about(run) for run in runs)
    )


def _load(kind: Sequence[Any]) -> str:
    broker, delta_kb, devices, past = kind
    return f"{broker}, {delta_kb} kB, {devices:,} devices{', past capacity' if past else ''}"


def _both(newest: dict[Any, dict[str, Any]], kind: Sequence[Any], show: Callable[[dict[str, Any]], str]) -> str:
    return " → ".join(show(run) for before in (True, False) if (run := newest.get((*kind, before))) is not None)


def _about(run: dict[str, Any]) -> str:
    when = "before" if run["before"] else "after"
    kind = _load([run[key] for key in _KEYS])
    return f"- {kind}, {when}: gateway of commit {run['gateway_commit']}; cores busy: {_cores(run)}; {source(run)}\n"


def _cores(run: dict[str, Any]) -> str:
    parts = [f"{name} {share:.2f}" for name, share in list(run["cpu"]["gateway"].items())[:4]]
    return f"{', '.join(parts)}; the devices together {sum(run['cpu']['driver'].values()):.2f}"


def figures_table(run: dict[str, Any]) -> Table:
    """Return one run for a terminal."""
    grid = Table("", "", box=None, pad_edge=False, show_header=False)
    for name, show in _ROWS:
        grid.add_row(name, show(run))
    grid.add_row("deltas/s, merges included", f"{run['deltas_per_s_with_merges']:.1f}")
    grid.add_row("accepted; refused", f"{run['accepted']}; {_counts(run['refusals'])}")
    grid.add_row("of them", _counts(run["manners"]))
    grid.add_row("sent again; connections lost", f"{run['resent']}; {run['connections_lost']}")
    memory = ", ".join(f"{phase} {most:.0f}" for phase, most in run["memory_mib"]["most_until"].items())
    grid.add_row("MiB at most until", f"{memory}; mean {run['memory_mib']['mean']:.0f}")
    grid.add_row("cores busy", _cores(run))
    grid.add_row("joining", _cores(run | {"cpu": run["join_cpu"]}))
    grid.add_row("state", ", ".join(f"{name} {value}" for name, value in run["kept"].items()))
    return grid


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
