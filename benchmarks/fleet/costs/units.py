"""Unit costs by name, each with the line of benchmarks/results that it is from. Pure: records in, values out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Line = Mapping[str, Any]
Records = Mapping[str, Sequence[Line]]
"""Lines of benchmarks/results by the name of their file, oldest first."""
NAME: Final = "unit_costs"
SIMULATED: Final = "simulated_fleet"
FILES: Final = (NAME, SIMULATED, "broker", "fleet", "fold")
MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class Unit:
    """A unit cost.

    Args:
        about: what it is, for people.
        value: in ``unit``.
        unit: of it.
        line: of the record that it is from.
    """

    about: str
    value: float
    unit: str
    line: Line


@dataclass(frozen=True)
class _Source:
    """Where a unit cost is from. Args: file: of benchmarks/results; read: from a line of it."""

    file: str
    about: str
    unit: str
    read: Callable[[Line], float]


def _gateway(*parts: str) -> Callable[[Line], float]:
    """Return what reads processor ms of the simulated gateway for each message of the kind that is named first."""

    def read(line: Line) -> float:
        times = int(line["gateway"]["times"][parts[0]])
        return 1000 * sum(_spent(line, part) for part in parts) / max(1, times)

    return read


def _spent(line: Line, part: str) -> float:
    return float(line["gateway"]["cpu_s_by"].get(part, 0.0))


def _per_delta(line: Line) -> float:
    spent = sum(_spent(line, part) for part in ("offer", "delta", "decide"))
    return 1000 * spent / max(1, int(sum(line["verdicts"].values())))


def _version_mb(line: Line) -> float:
    folders = line["gateway"]["folders_mb"]
    return float(sum(folders.get(name, 0.0) for name in ("blobs", "versions", "residuals")) / line["rounds_done"])


_SOURCES: Final[Mapping[str, _Source]] = {
    "hello_ms": _Source(SIMULATED, "a Hello, and its Bye", "ms of the thread that decides", _gateway("hello", "bye")),
    "want_ms": _Source(SIMULATED, "a request for the blocks of a version", "ms of that thread", _gateway("want")),
    "wants": _Source(
        SIMULATED, "requests for each device that comes, or hears of a version", "requests",
        lambda line: line["gateway"]["times"]["want"]
        / (line["sessions"] + line["rounds_done"] * _mean_here(line)),
    ),
    "delta_ms": _Source(
        SIMULATED, "an offered delta, decoded, looked at, accepted and answered, without the disk", "ms of that thread",
        _per_delta,
    ),
    "serving_ms": _Source(
        SIMULATED, "for each session: blocks that go out, its bytes in the ledger", "ms of that thread",
        lambda line: 1000 * _spent(line, "reception") / line["sessions"],
    ),
    "looking_ms": _Source(
        SIMULATED, "the look for people, each second, for 1,000 devices connected", "ms of that thread",
        lambda line: 1e6 * _spent(line, "look") / line["gateway"]["times"]["look"] / _mean_here(line),
    ),
    "version_bytes": _Source(
        SIMULATED, "a version for a device that has the one before: message and steps of int8", "bytes",
        lambda line: line["gateway"]["version_bytes"]["message"] + line["gateway"]["version_bytes"]["updates"],
    ),
    "version_mb": _Source(SIMULATED, "a version that is kept", "MB on the disk", _version_mb),
    "plan_us": _Source(NAME, "a plan", "µs of that thread", lambda line: line["plan_us"]),
    "look_us": _Source(
        NAME, "the table looked at, for each device that was here", "µs of that thread",
        lambda line: line["look_us_per_device"],
    ),
    "coverage_us": _Source(
        NAME, "sums of who trained what, for each round and each device that ever trained", "µs of that thread",
        lambda line: line["coverage_us_per_device"],
    ),
    "member_bytes": _Source(NAME, "a device that was here", "bytes of memory", lambda line: line["member_bytes"]),
    "tls_bytes": _Source(
        NAME, "a connection over TLS, idle", "bytes of memory", lambda line: 1024 * line["tls_connection_kib"]
    ),
    "tls_ms": _Source(
        NAME, "a connection over TLS that is made", "ms of the broker's thread", lambda line: line["tls_connect_ms"]
    ),
    "known_bytes": _Source(
        NAME, "a device in the ledger: its Hello, and what it trained", "bytes",
        lambda line: line["known_bytes"] + line["trained_bytes"],
    ),
    "rows_bytes": _Source(
        NAME, "plan, delta and verdict in the ledger, while their version is kept", "bytes",
        lambda line: line["delta_rows_bytes"],
    ),
    "sums_bytes": _Source(
        NAME, "class sums of a device, for each label", "bytes", lambda line: line["class_sums_bytes_per_label"]
    ),
    "sums_us": _Source(
        NAME, "class sums of a device that are read, for each label", "µs of the thread that decides",
        lambda line: line["class_sums_read_us_per_label"],
    ),
    "group_ms": _Source(
        NAME, "16 deltas and their rows on the disk, synced together", "ms", lambda line: line["group_of_16_ms"]
    ),
    "down_us": _Source("broker", "a MB to devices", "µs of the broker's thread", lambda line: line["down_us_per_mb"]),
    "up_us": _Source("broker", "a MB from devices", "µs of the broker's thread", lambda line: line["up_us_per_mb"]),
    "delta_bytes": _Source("fleet", "an int8 delta", "bytes", lambda line: line["delta_bytes"]),
    "start_mib": _Source("fleet", "a gateway as it starts", "MiB of memory", lambda line: line["memory_mib"]["start"]),
    "fold_gb_s": _Source(
        "fold", "folding int8 deltas, on the threads that were measured", "GB/s", lambda line: line["fold_gb_s"]
    ),
    "fold_threads": _Source("fold", "these threads", "", lambda line: line["threads"]),
}  # fmt: skip


def _mean_here(line: Line) -> float:
    """Return how many devices were connected when rounds closed, on average."""
    return float(sum(one["here"] for one in line["by_round"]) / max(1, len(line["by_round"])))


_FITS: Final[Mapping[str, Callable[[Line], bool]]] = {
    "fleet": lambda line: (
        (line["broker"], line["delta_kb"], line["devices"], line["before"]) == ("embedded", 100, 1000, False)
    ),
    "fold": lambda line: not line["topk"],
    "broker": lambda line: not line["profile"],
}
"""Lines that unit costs may be read from, where not all of a file are."""


def _line_of(file: str, lines: Sequence[Line]) -> Line | None:
    """Return the line that unit costs are read from: the newest, of simulated fleets of the largest."""
    fitting = [line for line in lines if file not in _FITS or _FITS[file](line)]
    if file == SIMULATED and fitting:
        most = max(line["devices"] for line in fitting)
        fitting = [line for line in fitting if line["devices"] == most]
    return fitting[-1] if fitting else None


def read(records: Records) -> dict[str, Unit]:
    """Return all unit costs by name; none where a benchmark has no line yet."""
    lines = {file: _line_of(file, records.get(file, ())) for file in FILES}
    if not all(lines.values()):
        return {}
    units = {}
    for name, source in _SOURCES.items():
        line = lines[source.file]
        if line is not None:
            units[name] = Unit(source.about, float(source.read(line)), source.unit, line)
    return units
