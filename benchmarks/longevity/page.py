"""The section of docs/results.md on many versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from benchmarks.markdown import source, table

HEAD: Final = (
    "version",
    "RSS, MiB",
    "ledger, kB",
    "state directory, kB",
    "files",
    "deltas' rows",
    "processor, ms a round",
)
ROWS: Final = 6


def rows(run: dict[str, Any]) -> list[list[str]]:
    """Return some looks of a run, the first and the last among them."""
    looks = run["looks"]
    places = sorted({round(place * (len(looks) - 1) / max(1, ROWS - 1)) for place in range(ROWS)}) if looks else []
    return [
        [
            f"{look['version']:,}", f"{look['rss_mib']:.1f}", f"{look['ledger_kb']:,}", f"{look['disk_kb']:,}",
            f"{look['files']:,}", f"{look['rows']['deltas']:,}", f"{look['cpu_ms']:.1f}",
        ]
        for look in (looks[place] for place in places)
    ]  # fmt: skip


def section(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section: the newest run."""
    run = lines[-1]
    return (
        f"\n## {run['versions']:,} versions\n\n"
        "The gateway's parts in one process, three devices, rounds one after another without training; a new head\n"
        f"every 40 rounds, {run['rolled_back']} times back to an earlier version. Kept are {run['keep_versions']}"
        f" versions and {run['keep_rounds']:,} rounds.\nA start after it took {run['restart_s']:.2f} s; of"
        f" {run['accepted']:,} accepted deltas {run['counted']:,} are part of a version.\n\n"
        + table(HEAD, rows(run))
        + f"\n- {source(run)}\n"
    )
