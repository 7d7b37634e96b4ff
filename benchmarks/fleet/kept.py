"""Nothing lost, nothing twice: the gateway's state against the verdicts that devices got."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Kept:
    """What became of the accepted deltas.

    Args:
        accepted: that devices were told of.
        lost: of them, those that the ledger lacks.
        twice: digests that the ledger has more than once, or that several versions were merged from.
        merged: that are part of a version.
        waiting: that are part of none yet.
        untold: in the ledger, without a device that heard of it: its verdict was on the way at the end.
        versions: in all.
    """

    accepted: int
    lost: int
    twice: int
    merged: int
    waiting: int
    untold: int
    versions: int

    @property
    def right(self) -> bool:
        """Whether every accepted delta counts once."""
        return self.lost == self.twice == 0 and self.merged + self.waiting >= self.accepted


def look(state: Path, accepted: Iterable[bytes]) -> Kept:
    """Compare a stopped gateway's state with the digests that devices were told are accepted."""
    told = set(accepted)
    ledger = sqlite3.connect(f"file:{state / 'ledger.sqlite3'}?mode=ro", uri=True)
    try:
        rows = ledger.execute("SELECT digest, version FROM deltas").fetchall()
        versions = int(ledger.execute("SELECT MAX(version) FROM versions").fetchone()[0])
    finally:
        ledger.close()
    times = Counter(bytes(digest) for digest, _ in rows)
    merges: Counter[bytes] = Counter()
    for path in (state / "versions").glob("[0-9]*"):
        if path.name.isdecimal():
            merges.update(_merged(json.loads(path.read_bytes())))
    twice = {digest for counts in (times, merges) for digest, count in counts.items() if count > 1}
    waiting = sum(version is None for _, version in rows)
    return Kept(
        len(told), len(told - set(times)), len(twice), len(rows) - waiting, waiting, len(set(times) - told), versions
    )


def _merged(record: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(delta["digest"]) for delta in record.get("deltas", [])]
