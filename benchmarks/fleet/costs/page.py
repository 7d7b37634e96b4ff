"""The section of docs/results.md on what a gateway needs by the number of devices. Pure: records in, Markdown out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from benchmarks.fleet.costs.sizing import (
    FOLDING,
    HEADROOM,
    Needs,
    Shard,
    Sizing,
    gateways,
    loads,
    needs,
    shards,
)
from benchmarks.fleet.costs.units import Records, Unit, read
from benchmarks.markdown import source, table
from broker_server.rounds.block_requests import DRAIN_BYTES_PER_S

SIZES: Final = tuple(10**power for power in range(3, 8))
_ONE: Final[Sequence[tuple[str, Callable[[Needs], str]]]] = (
    ("connected at the busiest hour", lambda need: f"{need.connected:,}"),
    ("deltas of a round", lambda need: f"{need.cohort:,}"),
    ("the thread that decides, cores", lambda need: number(need.deciding)),
    ("the broker's thread, cores", lambda need: number(need.broker)),
    ("folding a round, core seconds", lambda need: number(need.folding_s)),
    ("memory, GB", lambda need: number(need.memory_gb)),
    ("disk, GB: ledger; spool; versions",
     lambda need: "; ".join(map(number, (need.ledger_gb, need.spool_gb, need.versions_gb)))),
    ("a version to all, minutes", lambda need: number(need.sending_s / 60)),
    ("all connected again after a start, minutes", lambda need: number(need.restart_s / 60)),
    ("network, Mbit/s: up; down", lambda need: f"{number(need.up_mbit)}; {number(need.down_mbit)}"),
)  # fmt: skip
_SHARD: Final[Sequence[tuple[str, Callable[[Shard], str]]]] = (
    ("each shard: folding a round, s", lambda one: number(one.folding_s)),
    ("its disk, GB", lambda one: number(one.spool_gb)),
    ("its network, Mbit/s", lambda one: number(one.mbit)),
)


def number(value: float) -> str:
    """Return a number with two digits that count, or all before the point."""
    if not value:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def section(records: Records, one: Sizing | None = None) -> str:
    """Return the section; nothing where a unit cost was not measured yet.

    Args:
        records: lines of benchmarks/results, by file.
        one: what is assumed; None: the defaults.
    """
    units, one = read(records), one or Sizing()
    if not units:
        return ""
    cost = {name: unit.value for name, unit in units.items()}
    return (
        "\n## What a gateway needs, by the number of devices\n\n"
        f"{_assumed(one)}\n\n"
        "One gateway for all, at the busiest hour; below, how much that is of what each part can do. Over 100 % it\n"
        "breaks; the part that breaks first is bold. The thread that decides looks at bodies itself in this count; a\n"
        f"gateway has threads for that. A version goes out at the {DRAIN_BYTES_PER_S / 1e6:g} MB/s that a gateway\n"
        "reckons with at least.\n\n"
        + _whole(cost, one)
        + "\n"
        + _loads(cost, one)
        + "\nAs many gateways, each with its part of the devices and all of them below one that adds up their sums,\n"
        f"that no part is loaded over {HEADROOM:.0%}; and shards of each that fold a round in {FOLDING:.0%} of its\n"
        "deadline, on one core each.\n\n"
        + _split(cost, one)
        + "\nThe unit costs, with the command that measured each. What a version is worth is measured once for each\n"
        "version, by a process of its own: it takes as long for ten devices as for ten million, and is not in here.\n\n"
        + _units(units)
    )


def _assumed(one: Sizing) -> str:
    fleet = one.fleet
    return (
        f"Assumed: {one.rounds_a_day:g} rounds a day with {one.share:.0%} of all devices each, a deadline of "
        f"{one.deadline_s:g} s,\n{one.restart_s:g} s for all to connect again after a start;\n"
        f"{fleet.here_least:.0%} to {fleet.here_most:.0%} of the devices connected, over TLS, for "
        f"{fleet.session_s / 3600:g} hours on average; {one.labels} labels;\n"
        f"{one.keep_versions} versions kept; the embedded broker. The machine of a gateway: {one.cores} cores as those "
        f"that were measured, {one.memory_gb:g} GB of memory,\n"
        f"{one.disk_gb:,.0f} GB of disk, {one.line_mbit:,.0f} Mbit/s each way, {one.files:,} open files."
    )


def _head() -> tuple[str, ...]:
    return ("devices", *(f"{size:,}" for size in SIZES))


def _whole(cost: Mapping[str, float], one: Sizing) -> str:
    every = [needs(size, cost, one) for size in SIZES]
    return table(_head(), [[name, *(show(need) for need in every)] for name, show in _ONE])


def _loads(cost: Mapping[str, float], one: Sizing) -> str:
    every = [loads(needs(size, cost, one), one) for size in SIZES]
    firsts = [max(load, key=lambda part, load=load: load[part]) for load in every]  # type: ignore[misc]
    rows = [
        [part, *(_percent(load[part], first=part == first) for load, first in zip(every, firsts, strict=True))]
        for part in every[0]
    ]
    return table(("load, %", *_head()[1:]), [*rows, ["**breaks first**", *firsts]])


def _percent(load: float, *, first: bool) -> str:
    text = number(100 * load)
    return f"**{text}**" if first else text


def _split(cost: Mapping[str, float], one: Sizing) -> str:
    counts = [gateways(size, cost, one) for size in SIZES]
    each = [needs(math.ceil(size / count), cost, one) for size, count in zip(SIZES, counts, strict=True)]
    parts = [shards(need, one) for need in each]
    rows = [["gateways", *(f"{count:,}" for count in counts)]]
    rows += [["each gateway: devices", *(f"{need.devices:,}" for need in each)]]
    rows += [[name, *(show(need) for need in each)] for name, show in _ONE]
    rows += [["shards of a gateway", *(f"{count:,}" for count, _ in parts)]]
    rows += [[name, *(show(part) for _, part in parts)] for name, show in _SHARD]
    return table(_head(), rows)


def _units(units: Mapping[str, Unit]) -> str:
    rows = [[unit.about, f"{number(unit.value)} {unit.unit}".rstrip(), source(dict(unit.line))] for unit in
            units.values()]  # fmt: skip
    return table(("unit cost", "value", "from"), rows)


def figures_of(lines: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of a measurement for a terminal."""
    return [(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value)) for name, value in
            lines.items()]  # fmt: skip
