"""What the ledger keeps of the gate: the version that waits to be measured, and what was decided on those before it.

HELD goes into the file of its version as well, so a start that puts the version back holds it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from broker_server.rules.gate import Decision
from broker_server.state.rows import VersionRow
from broker_server.state.settings_table import SettingsTable
from broker_server.state.version_tables import GATE, VersionTables

HELD: Final = "held"
"""Setting of the state directory: the merged version that waits for its decision, while it is the newest."""


class GateTables(SettingsTable, VersionTables):
    """Held versions and decisions."""

    def held(self) -> VersionRow | None:
        """Return the newest version while it waits for its decision: no device knows of it."""
        row = self.version()
        if row is None or self.get(HELD) != str(row.version):
            return None
        # A ledger that was put back from the versions' files has forgotten decisions: who has plans from it, has it.
        planned = self._rows("SELECT MAX(base_version) AS version FROM rounds")[0]["version"]
        return None if planned is not None and planned >= row.version else row

    def served(self) -> VersionRow | None:
        """Return the newest version that devices get."""
        held = self.held()
        return self.version(held.parent) if held is not None and held.parent is not None else self.version()

    def unserved(self) -> set[int]:
        """Return the versions that devices never got: those that were not served, and the one that waits."""
        rows = self._rows("SELECT version FROM versions WHERE reason = ?", (GATE,))
        held = self.held()
        return {row["version"] - 1 for row in rows} | ({held.version} if held is not None else set())

    def decide_version(self, decision: Decision, now: float) -> None:
        """Keep a decision; a version that is served waits no more."""
        one = decision
        values = (one.version, one.served, one.figure, one.value, one.against, one.reference, one.margin, one.detail)
        self._execute("INSERT OR REPLACE INTO gate VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, now))
        if decision.served:
            self.put(HELD, "")

    def decision(self, version: int) -> Decision | None:
        """Return what was decided on a version."""
        return next(iter(self._decisions("WHERE version = ?", (version,))), None)

    def newest_decision(self) -> Decision | None:
        """Return what was decided last."""
        return next(iter(self._decisions("ORDER BY version DESC LIMIT 1")), None)

    def decisions_between(self, first: int, last: int) -> list[Decision]:
        """Return decisions, oldest version first. Args: first, last: versions, both included."""
        return self._decisions("WHERE version BETWEEN ? AND ? ORDER BY version", (first, last))

    def _decisions(self, clause: str, values: Sequence[Any] = ()) -> list[Decision]:
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'gate'"):
            return []  # an older ledger, read as it is
        columns = "version, served, figure, value, against, reference, margin, detail"
        rows = self._rows(f"SELECT {columns} FROM gate {clause}", values)  # noqa: S608 - the clauses are ours
        return [Decision(row[0], bool(row[1]), *row[2:]) for row in rows]

    def copy_measurements(self, version: int, of: int) -> None:
        """Let a version have what was measured of another, whose bank it has."""
        for table, columns in (("evaluations", "accuracy, macro_f1, examples"), ("text_evaluations", "loss, tokens")):
            self._execute(
                f"INSERT OR IGNORE INTO {table} SELECT ?, data, {columns}, at FROM {table} WHERE version = ?",  # noqa: S608
                (version, of),
            )
