"""Settings of the state directory: what the ledger keeps as one value by its name."""

from __future__ import annotations

from typing import Final

from broker_server.state.database import Database

HEAD_SUMS: Final = "head_statistics"
"""Setting of the state directory: JSON, digest in hex of the class sums that the head was made from, by device."""
ROLLBACK: Final = "rollback"
"""Setting of the state directory: the version whose bank the operator wants as the next one; empty: none."""
GATEWAY: Final = "gateway"
"""Setting of the state directory: JSON, what the last start of a gateway was told (gateway_facts.py)."""
ENGINE: Final = "engine"
"""Setting of the state directory: JSON, {"kind": of the engine that merges, "shards": how each is}."""
FAILED_ROUNDS: Final = "failed_rounds"
"""Setting of the state directory: how many rounds under masks made no version."""
SITE_PLAN: Final = "site_plan"
"""Setting of the state directory: JSON, of a site: the plan from above that its last round was opened for."""
UPSTREAM_LOOK: Final = "upstream"
"""Setting of the state directory: JSON, of a site: how things stand with the gateway above."""
SITE_BASE: Final = "site_base"
"""Setting of the state directory: of a site: the version that it serves although newer ones are here; empty: none."""
PRUNED: Final = "pruned"
"""Setting of the state directory: rows of deltas and plans of rounds before this one may be gone."""


class SettingsTable(Database):
    """The settings, by name."""

    def get(self, key: str) -> str | None:
        """Return a setting of this state directory."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0]["value"]) if rows else None

    def put(self, key: str, value: str) -> None:
        """Keep a setting; one that is kept already costs no write."""
        if self.get(key) == value:
            return
        self._execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @property
    def pruned(self) -> int:
        """The round before which rows of deltas and plans may be gone; 0: none are."""
        return int(self.get(PRUNED) or 0)

    @property
    def site_base(self) -> int:
        """The version that a site serves although newer ones are here, whose blocks stay; 0: none."""
        return int(self.get(SITE_BASE) or 0)
