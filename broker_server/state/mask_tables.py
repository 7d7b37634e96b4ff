"""What the ledger keeps of rounds under masks: each step before anybody is told, and bodies until the round is over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from broker_server.state.database import Database
from broker_server.state.version_tables import LAST_MERGES
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.digests import sha256

ROUND_SUMS: Final = "round "
"""How the class sums of a round under masks are named among those of devices, whose names have no space."""
CLASS_SUM_GIVERS: Final = "class_sum_givers"
"""Setting of the state directory: JSON, names of devices by the round in which their class sums were opened."""


@dataclass(frozen=True)
class MaskRow:
    """A round under masks.

    Args:
        round: its number.
        terms: pb.MaskTerms of all its circles.
        members: pb.MaskMembers as published; None: keys come.
        dealt: bits of who dealt; None: shares come.
        survivors: pb.MaskSurvivors as published, written once; None: deltas come.
        sums: digest of the opened sums in the spool; None: answers come.
        told: what became of it, for people.
    """

    round: int
    terms: bytes
    members: bytes | None = None
    dealt: bytes | None = None
    survivors: bytes | None = None
    sums: bytes | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


def rounds_of(names: Iterable[str]) -> list[int]:
    """Return the rounds under masks whose class sums are among statistics, ascending. Args: names: of all of them."""
    return sorted(int(name.removeprefix(ROUND_SUMS)) for name in names if name.startswith(ROUND_SUMS))


def counting_sums(digests: Mapping[str, bytes], *, masked: bool) -> dict[str, bytes]:
    """Return the class sums that count. Args: digests: of all; masked: those of rounds under masks, not of devices."""
    return {name: digest for name, digest in digests.items() if name.startswith(ROUND_SUMS) == masked}


class MaskTables(Database):
    """Rounds under masks."""

    def open_masks(self, number: int, terms: bytes) -> None:
        """Keep that a round goes under masks. Args: terms: as in MaskRow."""
        self._execute("INSERT INTO mask_rounds (round, terms) VALUES (?, ?)", (number, terms))

    def masks(self, number: int) -> MaskRow | None:
        """Return a round under masks; None: it is none."""
        rows = self._rows("SELECT * FROM mask_rounds WHERE round = ?", (number,))
        return _row(rows[0]) if rows else None

    def newest_masks(self, count: int) -> list[MaskRow]:
        """Return the last rounds under masks, newest first."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'mask_rounds'"):
            return []  # an older gateway's, which is only read here
        return [_row(row) for row in self._rows("SELECT * FROM mask_rounds ORDER BY round DESC LIMIT ?", (count,))]

    def list_masks(self, number: int, members: bytes) -> None:
        """Keep the list of a round's members; there is one."""
        self._execute("UPDATE mask_rounds SET members = ? WHERE round = ? AND members IS NULL", (members, number))

    def deal_masks(self, number: int, dealt: bytes) -> None:
        """Keep who dealt; it is said once."""
        self._execute("UPDATE mask_rounds SET dealt = ? WHERE round = ? AND dealt IS NULL", (dealt, number))

    def end_masks(self, number: int, survivors: bytes) -> None:
        """Keep whose deltas are summed; it is said once."""
        self._execute("UPDATE mask_rounds SET survivors = ? WHERE round = ? AND survivors IS NULL", (survivors, number))

    def open_sums(self, number: int, digest: bytes | None) -> None:
        """Keep that the sums of a round are open. Args: digest: of what the spool has; None: that is damaged."""
        self._execute("UPDATE mask_rounds SET sums = ? WHERE round = ?", (digest, number))

    def tell_masks(self, number: int, told: Mapping[str, Any]) -> None:
        """Keep what became of a round, for people."""
        self._execute("UPDATE mask_rounds SET told = ? WHERE round = ?", (json.dumps(dict(told)), number))

    def keep_class_sums(self, number: int, sums: ClassSums | None, devices: Sequence[str], now: float) -> None:
        """Keep the class sums that were opened in a round, among those of single devices, and whose they are.

        Args:
            number: of the round.
            sums: float64; None: they were opened, and are none that honest devices have.
            devices: that they are of.
            now: seconds since 1970.
        """
        if sums is not None:
            parts = (sums.counts.astype("<f8").tobytes(), sums.sums.astype("<f8").tobytes())
            row = (f"{ROUND_SUMS}{number}", sha256(b"".join(parts)), *parts, now)
            self._execute("INSERT OR REPLACE INTO statistics VALUES (?, ?, ?, ?, ?)", row)
        told = {**self.class_sum_givers(), number: list(devices)}
        self._execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (CLASS_SUM_GIVERS, json.dumps(told)))

    def class_sum_givers(self) -> dict[int, list[str]]:
        """Return whose class sums were opened in each round under masks, ascending."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (CLASS_SUM_GIVERS,))
        told = json.loads(rows[0]["value"]) if rows else {}
        return {int(number): devices for number, devices in sorted(told.items(), key=lambda one: int(one[0]))}

    def keep_mask_body(self, device: str, number: int, kind: pb.Kind, digest: bytes, body: bytes) -> None:
        """Keep what a device sent in a round; one of a kind."""
        self._execute("INSERT INTO mask_bodies VALUES (?, ?, ?, ?, ?)", (device, number, kind, digest, body))

    def mask_bodies(self, number: int, kind: int) -> dict[str, bytes]:
        """Return the bodies of a kind that came in a round, by device."""
        query = "SELECT device, body FROM mask_bodies WHERE round = ? AND kind = ? ORDER BY device"
        return {row["device"]: bytes(row["body"]) for row in self._rows(query, (number, kind))}

    def mask_digest(self, device: str, number: int, kind: pb.Kind) -> bytes | None:
        """Return the digest of what a device sent in a round."""
        query = "SELECT digest FROM mask_bodies WHERE device = ? AND round = ? AND kind = ?"
        rows = self._rows(query, (device, number, kind))
        return bytes(rows[0]["digest"]) if rows else None

    def has_mask_body(self, device: str, kind: pb.Kind, digest: bytes) -> bool:
        """Return whether a body is kept."""
        query = "SELECT 1 FROM mask_bodies WHERE device = ? AND kind = ? AND digest = ?"
        return bool(self._rows(query, (device, kind, digest)))

    def has_mask_bodies(self, number: int) -> bool:
        """Return whether anything is kept of rounds up to ``number``."""
        return bool(self._rows("SELECT 1 FROM mask_bodies WHERE round <= ? LIMIT 1", (number,)))

    def forget_mask_bodies(self, number: int) -> None:
        """Remove keys, shares and answers of a round that is over: nobody can open anything with them any more."""
        self._execute("DELETE FROM mask_bodies WHERE round <= ?", (number,))

    def mask_sums(self) -> list[bytes]:
        """Return the digests of opened sums that stay: of the open round, and of the last merges."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'mask_rounds'"):
            return []
        query = (
            "SELECT sums FROM mask_rounds WHERE sums IS NOT NULL AND round IN ("  # noqa: S608 - the clauses are ours
            f"SELECT round FROM versions WHERE version IN ({LAST_MERGES}) "
            "UNION SELECT round FROM rounds WHERE closed IS NULL)"
        )
        return [bytes(row["sums"]) for row in self._rows(query)]


def _row(row: Any) -> MaskRow:  # noqa: ANN401 - a row of sqlite3
    return MaskRow(
        row["round"], bytes(row["terms"]), row["members"], row["dealt"], row["survivors"], row["sums"],
        json.loads(row["told"]),
    )  # fmt: skip
