"""What the ledger keeps by round: when it ran, what it made, and the plans that it gave to devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from broker_server.state.database import Database
from broker_server.state.rows import RoundRow
from edge_runtime.wire.digests import sha256


class RoundTables(Database):
    """Rounds and plans."""

    def open_round(self, number: int, base_version: int, plans: Mapping[str, bytes], now: float) -> None:
        """Keep a new round and its plans: payload by device."""
        self._execute("INSERT INTO rounds (round, base_version, opened) VALUES (?, ?, ?)", (number, base_version, now))
        self.add_plans(number, plans)

    def add_plans(self, number: int, plans: Mapping[str, bytes]) -> None:
        """Keep further plans of a round; a device has one, and a second takes the place of the first."""
        for device, payload in sorted(plans.items()):
            values = (device, number, sha256(payload), payload)
            self._execute("INSERT OR REPLACE INTO plans VALUES (?, ?, ?, ?)", values)

    def extend_round(self, number: int) -> None:
        """Note that a round waits once more."""
        self._execute("UPDATE rounds SET extensions = extensions + 1 WHERE round = ?", (number,))

    def reopen_round(self, number: int) -> None:
        """Open a round anew that came to nothing, as one that waits once more: without its plans and deltas."""
        for table in ("plans", "deltas", "lost"):
            self._execute(f"DELETE FROM {table} WHERE round = ?", (number,))  # noqa: S608 - the names are ours
        self._execute("UPDATE rounds SET closed = NULL, version = NULL WHERE round = ?", (number,))
        self.extend_round(number)

    def close_round(self, number: int, version: int, now: float) -> None:
        """Note what a round made; of buffered merging, also those before it that are open."""
        values = (now, version, number, number)
        self._execute(
            "UPDATE rounds SET closed = ?, version = ? WHERE round = ? OR (round < ? AND closed IS NULL)", values
        )

    def fail_round(self, number: int, now: float) -> None:
        """Close a round that made no version."""
        self._execute("UPDATE rounds SET closed = ? WHERE round = ?", (now, number))

    def keep_round(self, row: RoundRow) -> None:
        """Keep a round that this ledger did not know of, or its end."""
        self._execute(
            "INSERT OR REPLACE INTO rounds VALUES (?, ?, ?, ?, ?, ?)",
            (row.round, row.base_version, row.opened, row.closed, row.version, row.extensions),
        )

    def rounds(self) -> list[RoundRow]:
        """Return all rounds, oldest first."""
        return self._rounds("ORDER BY round")

    def settled(self, number: int, oldest_base: int) -> int:
        """Return the last round, ``number`` at most, up to which every plan that may still be answered was.

        Args:
            number: of a round.
            oldest_base: the oldest version whose plans may still be answered.
        """
        query = (
            "SELECT MIN(plans.round) AS round FROM plans JOIN rounds ON rounds.round = plans.round "
            "WHERE rounds.base_version >= ? AND NOT EXISTS (SELECT 1 FROM deltas "
            "WHERE deltas.device = plans.device AND deltas.round = plans.round)"
        )
        first = self._rows(query, (oldest_base,))[0]["round"]
        return number if first is None else min(number, int(first) - 1)

    def rounds_from(self, base_version: int) -> list[RoundRow]:
        """Return the rounds whose plans were made from a version or a later one, oldest first."""
        return self._rounds("WHERE base_version >= ? ORDER BY round", (base_version,))

    def round(self, number: int) -> RoundRow | None:
        """Return a round."""
        return next(iter(self._rounds("WHERE round = ?", (number,))), None)

    def last_round(self) -> RoundRow | None:
        """Return the round that was opened last."""
        return next(iter(self._rounds("ORDER BY round DESC LIMIT 1")), None)

    def _rounds(self, where: str, values: Sequence[Any] = ()) -> list[RoundRow]:
        columns = "round, base_version, opened, closed, version, extensions"
        return [RoundRow(*row) for row in self._rows(f"SELECT {columns} FROM rounds {where}", values)]  # noqa: S608

    def plans(self, number: int) -> dict[str, bytes]:
        """Return the plans of a round as published, by device."""
        rows = self._rows("SELECT device, payload FROM plans WHERE round = ? ORDER BY device", (number,))
        return {row["device"]: row["payload"] for row in rows}

    def plan(self, device: str, digest: bytes) -> bytes | None:
        """Return the plan of a device with this digest."""
        rows = self._rows("SELECT payload FROM plans WHERE digest = ? AND device = ?", (digest, device))
        return bytes(rows[0]["payload"]) if rows else None
