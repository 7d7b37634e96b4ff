"""The last rounds: what each planned, accepted and made."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker_server.journal import JOURNAL
from broker_server.state.readings import Readings, RoundDeltas
from broker_server.state.rows import RoundRow
from broker_server.views.wording import instant

JOURNAL_TAIL: Final = 256 * 1024
"""Bytes of the journal that are looked through: more than 500 rounds."""


@dataclass(frozen=True)
class Round:
    """One round.

    Args:
        number: from 1.
        base_version, version: trained from; made, None while it is open.
        opened_at, closed_at: seconds since 1970; closed_at None while it is open.
        planned: devices with a plan; None: forgotten.
        deltas: that were accepted of its plans; None: forgotten, or none yet.
        extensions: times it waited once more.
        journal: its line in the journal (RoundLine), when that is near the end; it says why the round closed.
    """

    number: int
    base_version: int
    version: int | None
    opened_at: float
    closed_at: float | None
    planned: int | None
    deltas: RoundDeltas | None
    extensions: int
    journal: dict[str, Any]

    @property
    def accepted(self) -> int:
        """Deltas that were accepted of its plans; of an old round, those that its version is made from."""
        return self.deltas.count if self.deltas else int(self.journal.get("accepted", 0))

    @property
    def reason(self) -> str:
        """Why it closed: "all in", "expected in", "deadline"; "" while it is open, or when that was forgotten."""
        return str(self.journal.get("reason", ""))

    @property
    def distrusted(self) -> int:
        """Accepted deltas that were not merged, as updates of their devices point away from the others'."""
        return int(self.journal.get("distrusted", 0))

    @property
    def served(self) -> bool:
        """Whether devices got the version that it made; not known of an old round."""
        return self.journal.get("gate") != "not served"

    def seconds(self, now: float) -> float:
        """Return how long it was open. Args: now: seconds since 1970, for one that still is."""
        return max(0.0, (now if self.closed_at is None else self.closed_at) - self.opened_at)

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        deltas = self.deltas
        return {
            "round": self.number,
            "open": self.closed_at is None,
            "base_version": self.base_version,
            "version": self.version,
            "opened": instant(self.opened_at),
            "closed": instant(self.closed_at) if self.closed_at is not None else None,
            "planned": self.planned,
            "accepted": self.accepted,
            "bytes_deltas": deltas.bytes if deltas else self.journal.get("bytes_deltas"),
            "examples": deltas.examples if deltas else self.journal.get("examples"),
            "loss_first": round(deltas.loss_first, 4) if deltas else self.journal.get("loss_first"),
            "loss_last": round(deltas.loss_last, 4) if deltas else self.journal.get("loss_last"),
            "extensions": self.extensions,
            "reason": self.reason,
            **{
                key: self.journal.get(key)
                for key in ("late", "left", "missed", "withdrawn", "limited", "left_out", "distrusted", "gate")
            },
        }


@dataclass(frozen=True)
class Rounds:
    """Args: total: rounds that are kept; rows: the last of them, oldest first."""

    total: int
    rows: tuple[Round, ...]

    def plain(self) -> dict[str, Any]:
        """Return them for JSON."""
        return {"total": self.total, "rounds": [row.plain() for row in self.rows]}


def read_rounds(ledger: Readings, newest: int = 20) -> Rounds:
    """Read the last rounds. Args: ledger: of a state directory; newest: at most so many.

    Raises:
        StateError: when the ledger cannot be read.
    """
    rows = ledger.newest_rounds(newest)
    if not rows:
        return Rounds(0, ())
    first, last = rows[0].round, rows[-1].round
    planned, deltas = ledger.planned_counts(first, last), ledger.deltas_of_rounds(first, last)
    lines = _journal(ledger.path.parent / JOURNAL, first)

    def view(row: RoundRow) -> Round:
        line = lines.get(row.round, {})
        plans = planned.get(row.round, line.get("planned"))
        return Round(
            row.round, row.base_version, row.version, row.opened, row.closed, plans, deltas.get(row.round),
            row.extensions, line,
        )  # fmt: skip

    return Rounds(ledger.count("rounds"), tuple(view(row) for row in rows))


def _journal(path: Path, first: int) -> dict[int, dict[str, Any]]:
    """Return the journal's lines of a round and those after it, by round; a damaged one is passed over."""
    lines: dict[int, dict[str, Any]] = {}
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - JOURNAL_TAIL))
            tail = file.read(JOURNAL_TAIL).splitlines()
    except OSError:
        return lines
    for text in tail:
        try:
            line = json.loads(text)
            number = int(line["round"])
        except (ValueError, TypeError, KeyError):
            continue
        if number >= first:
            lines[number] = line
    return lines
