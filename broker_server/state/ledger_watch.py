"""What is asked of the ledger with every message and every look at the table, kept in memory until a row changes.

Another process may write (revoke, restore, rollback): SQLite tells by ``PRAGMA data_version`` that it did, and a
connection counts its own changes. Both are asked at most every LOOK_S, so a message costs no query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker_server.state.ledger import Ledger
from broker_server.state.settings_table import ROLLBACK

LOOK_S: Final = 0.02


class LedgerWatch:
    """Args: ledger: of the gateway."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._looked_at = -1.0
        self._changes: tuple[int, int] | None = None
        self._revoked: frozenset[str] | None = None
        self._statistics: Mapping[str, bytes] | None = None
        self._rollback: str | None = None

    def look(self, now: float) -> None:
        """Find out whether anything changed. Args: now: monotonic seconds.

        Raises:
            StateError: when the ledger cannot be read.
        """
        if 0 <= now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        changes = self._ledger.changes()
        if changes != self._changes:
            self._changes = changes
            self._revoked = self._statistics = self._rollback = None

    def revoked(self) -> frozenset[str]:
        """Return the devices that the operator removed."""
        if self._revoked is None:
            self._revoked = frozenset(self._ledger.revoked_devices())
        return self._revoked

    def statistics_digests(self) -> Mapping[str, bytes]:
        """Return the digest of each device's statistics, without those of revoked devices."""
        if self._statistics is None:
            self._statistics = self._ledger.statistics_digests()
        return self._statistics

    def rollback(self) -> str:
        """Return the version that the operator wants back; empty: none."""
        if self._rollback is None:
            self._rollback = self._ledger.get(ROLLBACK) or ""
        return self._rollback
