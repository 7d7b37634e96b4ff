"""What the ledger keeps by version: its row, and what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from broker_server.state.database import Database
from broker_server.state.rows import VersionRow

ROLLED_BACK: Final = "rollback"
"""The reason of a version that has the bank of an earlier one, its parent."""
UPSTREAM: Final = "upstream"
"""Reason of a site's version, which came from the gateway above."""
MERGED: Final = f"reason IN ('merge', '{UPSTREAM}') AND round > 0"
"""Which versions have deltas in them: of a round, merged here or, of a site, above."""
STEPS: Final = ("merge", ROLLED_BACK, UPSTREAM)
"""Reasons of versions from which on a delta that was trained before is stale; not a merge that was not served."""
GATE: Final = "gate"
"""Reason of a version that follows a merge that was not served, and has the bank of the version before that."""

_UNSERVED: Final = (
    "SELECT version - 1 FROM versions WHERE reason = 'gate' "
    "UNION SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'held' AND value <> ''"
)
LAST_MERGES: Final = (
    "SELECT MAX(version) FROM versions WHERE reason = 'merge' UNION "  # noqa: S608 - the clauses are ours
    f"SELECT MAX(version) FROM versions WHERE reason = 'merge' AND version NOT IN ({_UNSERVED})"
)
"""The newest merge, and the newest that devices have: what is needed to make both again stays."""


class VersionTables(Database):
    """Versions and evaluations."""

    def append_version(self, row: VersionRow) -> None:
        """Keep a version."""
        self._execute(
            "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.version, row.parent, row.digest, row.round, row.contributors, row.reason, row.created,
                row.payload, row.balance, row.residuals, row.server,
            ),
        )  # fmt: skip

    def mend_version(self, row: VersionRow) -> None:
        """Put a version's row in place of a damaged one."""
        self._execute("DELETE FROM versions WHERE version = ?", (row.version,))
        self.append_version(row)

    def versions(self) -> list[VersionRow]:
        """Return all versions, oldest first."""
        return self._versions("ORDER BY version")

    def first_versions(self) -> list[VersionRow]:
        """Return the versions up to the first that was merged, oldest first."""
        first = f"(SELECT MIN(version) FROM versions WHERE {MERGED})"  # noqa: S608 - the clause is ours
        return self._versions(f"WHERE version <= COALESCE({first}, version) ORDER BY version")

    def newest_versions(self, count: int) -> list[VersionRow]:
        """Return the last versions, oldest first. Args: count: at most."""
        return self._versions("ORDER BY version DESC LIMIT ?", (count,))[::-1]

    def newest_merge(self) -> VersionRow | None:
        """Return the newest version that was merged from deltas, here or at the gateway above."""
        return next(iter(self._versions(f"WHERE {MERGED} ORDER BY version DESC LIMIT 1")), None)

    def first_version_since(self, number: int) -> int:
        """Return the first version that a round made, of this round and those after it; 0 when there is none."""
        rows = self._rows("SELECT MIN(version) AS version FROM versions WHERE round > 0 AND round >= ?", (number,))
        return int(rows[0]["version"] or 0)

    def version_numbers(self) -> str:
        """Return the numbers of the last versions, for people."""
        numbers = [row["version"] for row in self._rows("SELECT version FROM versions ORDER BY version DESC LIMIT 20")]
        earlier = "earlier ones, " if len(numbers) == 20 and numbers[-1] > 0 else ""
        return earlier + (", ".join(str(number) for number in reversed(numbers)) or "none yet")

    def merges(self) -> int:
        """Return how many versions that are kept were merged from deltas."""
        return int(self._rows("SELECT COUNT(*) AS number FROM versions WHERE reason = 'merge'")[0]["number"])

    def steps(self) -> list[int]:
        """Return the versions from which on a delta that was trained before is staler by one, ascending."""
        unserved = "SELECT version - 1 FROM versions WHERE reason = ?"
        where = f"reason IN ({', '.join('?' * len(STEPS))}) AND version NOT IN ({unserved})"
        rows = self._rows(f"SELECT version FROM versions WHERE {where} ORDER BY version", (*STEPS, GATE))  # noqa: S608
        return [int(row["version"]) for row in rows]

    def newest_balance(self) -> str | None:
        """Return the newest statistics of the auxiliary loss, as JSON; None before any."""
        rows = self._rows("SELECT balance FROM versions WHERE balance <> '' ORDER BY version DESC LIMIT 1")
        return str(rows[0]["balance"]) if rows else None

    def _versions(self, where: str, values: Sequence[Any] = ()) -> list[VersionRow]:
        return [VersionRow(*row) for row in self._rows(f"SELECT * FROM versions {where}", values)]  # noqa: S608

    def version(self, number: int | None = None) -> VersionRow | None:
        """Return a version, or the newest."""
        if number is None:
            rows = self._rows("SELECT * FROM versions ORDER BY version DESC LIMIT 1")
        else:
            rows = self._rows("SELECT * FROM versions WHERE version = ?", (number,))
        return VersionRow(*rows[0]) if rows else None

    def version_with(self, digest: bytes, among: int) -> VersionRow | None:
        """Return the newest version with a digest; None when there is none. Args: among: so many of the last ones."""
        where = "WHERE version IN (SELECT version FROM versions ORDER BY version DESC LIMIT ?) AND digest = ?"
        return next(iter(self._versions(f"{where} ORDER BY version DESC LIMIT 1", (among, digest))), None)

    def version_before(self, number: int) -> VersionRow | None:
        """Return the newest version before a number; None when there is none."""
        return next(iter(self._versions("WHERE version < ? ORDER BY version DESC LIMIT 1", (number,))), None)

    def residual_rows(self) -> list[VersionRow]:
        """Return the versions whose residuals are kept: parents of LAST_MERGES, to make these again, and these."""
        statement = (
            f"SELECT * FROM versions WHERE version IN ({LAST_MERGES}) "  # noqa: S608 - the clauses are ours
            f"OR version IN (SELECT parent FROM versions WHERE version IN ({LAST_MERGES})) ORDER BY version"
        )
        return [VersionRow(*row) for row in self._rows(statement)]

    # evaluations

    def keep_evaluation(self, version: int, data: str, figures: tuple[float, float, int], now: float) -> None:
        """Keep (accuracy, macro-F1, examples) of a version on a data file."""
        self._execute("INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?, ?, ?)", (version, data, *figures, now))

    def keep_text_evaluation(self, version: int, data: str, figures: tuple[float, int], now: float) -> None:
        """Keep (mean loss of a token, tokens) of a version on a file of text."""
        self._execute("INSERT OR REPLACE INTO text_evaluations VALUES (?, ?, ?, ?, ?)", (version, data, *figures, now))

    def text_evaluations(self) -> list[dict[str, Any]]:
        """Return what was measured of texts, by version."""
        return [dict(row) for row in self._rows("SELECT * FROM text_evaluations ORDER BY version, data")]

    def evaluations(self) -> list[dict[str, Any]]:
        """Return what was measured of labels, by version."""
        return [dict(row) for row in self._rows("SELECT * FROM evaluations ORDER BY version, data")]

    def accuracies(self, data: str) -> dict[int, float]:
        """Return the accuracy on a data file by version, of those that were measured on it."""
        rows = self._rows("SELECT version, accuracy FROM evaluations WHERE data = ?", (data,))
        return {row["version"]: row["accuracy"] for row in rows}

    def losses(self, data: str) -> dict[int, float]:
        """Return the mean loss of a token on a file of text by version, of those that were measured on it."""
        rows = self._rows("SELECT version, loss FROM text_evaluations WHERE data = ?", (data,))
        return {row["version"]: row["loss"] for row in rows}
