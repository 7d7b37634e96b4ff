"""What a running gateway keeps of its history: bounded, whatever it lives through; first old files go, then rows.

Versions that are kept (``Store.kept``) need the rows of their deltas, since a start compares them with their files; a
plan needs to be known for as long as its delta may still count; and which deltas were part of a merge needs to be known
until no body of theirs can be left in the spool, or it would count again. What is older than all of that goes. Of
rounds and versions, which are small, ``keep_rounds`` stay for people to look at.

At a site, versions come from above: they count as merges of their round, which may be one that the site had no part in.
What is older than a round that it may still open stays, and so does the version that it serves.

Rows are removed a little at a time. A delta that went is never taken from the spool again: PRUNED says up to which
round, in the same transaction.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Final

from broker_server.errors import StorageError
from broker_server.journal import JOURNAL
from broker_server.state.files import write_durably
from broker_server.state.ledger import Ledger
from broker_server.state.rows import LEFT_OUT, VersionRow
from broker_server.state.settings_table import PRUNED
from broker_server.state.store import Store
from broker_server.state.version_tables import MERGED, UPSTREAM

ROWS: Final = 1000
"""Of each table, removed in one transaction."""
PAGES: Final = 1000
"""Of the database's file, given back at once."""
_LATER: Final = f"version < ? AND version > (SELECT MIN(version) FROM versions WHERE {MERGED})"  # noqa: S608 - ours
"""The first versions stay, up to the first that was merged: what was gained is told against class means alone."""
JOURNAL_EVERY: Final = 100
"""Versions between two looks at the journal, which may grow by so many lines beyond ``keep_rounds``."""


@dataclass(frozen=True)
class Bounds:
    """What stays.

    Args:
        round: the first whose plans and verdicts stay.
        version: the first whose deltas' rows stay.
        history_round: the first round that stays.
        history_version: the first version that stays; those up to the first merge stay as well.
    """

    round: int = 0
    version: int = 0
    history_round: int = 0
    history_version: int = 0


def bounds(store: Store, keep_rounds: int, oldest_base: int) -> Bounds:
    """Return what stays.

    Args:
        store: opened state.
        keep_rounds: the last rounds that people may look at; 0: all.
        oldest_base: the oldest version whose plans may still be answered.
    """
    ledger, last = store.ledger, store.ledger.last_round()
    merge = ledger.newest_merge()
    if store.keep_versions == 0 or merge is None:
        return Bounds()
    newest = last.round if last is not None else 0  # of a site whose devices never came
    kept = [row for row in store.kept() if row.version > 0]
    merges = [row for row in kept if row.reason in ("merge", UPSTREAM) and row.round > 0]
    # With a buffer a merge has plans of many rounds: whoever answers one too late is told just that.
    parents = [row.parent for row in merges if row.parent is not None]
    needed = [newest, merge.round, *(row.round for row in merges)]
    needed += [row.round for row in ledger.rounds_from(min([oldest_base, *parents]))[:1]]
    first = min(*needed, ledger.oldest_waiting() or newest)
    since = ledger.first_version_since(first)
    # A site notes its deltas by the base of their plan: with a buffer above, by an older version than their round's.
    version = min(kept[0].version, since, ledger.first_version_with(first) or since)
    if keep_rounds == 0:
        return Bounds(first, version)
    history = min(first, newest - keep_rounds + 1)
    # Versions go on coming to a site that has no part in their rounds.
    seen = merge.round - keep_rounds + 1 if merge.round > newest else history
    needed = [kept[0].version, merge.parent or 0, oldest_base, ledger.first_version_since(seen)]
    if store.manifest.architecture.gate == "topk":
        needed += [_with_balance(ledger, row) for row in kept]
    return Bounds(first, version, history, min(needed))


def _with_balance(ledger: Ledger, row: VersionRow) -> int:
    """Return the version that has the statistics of the auxiliary loss as of ``row``: what a rollback to it reads."""
    at: VersionRow | None = row
    while at is not None and at.balance is None and at.parent is not None:
        row, at = at, ledger.version(at.parent)
    return at.version if at is not None else row.version


class Retention:
    """Removes what is too old. Args: store: opened state; keep_rounds: as in bounds."""

    def __init__(self, store: Store, keep_rounds: int) -> None:
        self._store, self._keep_rounds = store, keep_rounds
        self._oldest_base: int | None = None
        self._bounds: Bounds | None = None
        self._versions = 0

    def due(self, oldest_base: int) -> None:
        """Look again at the next step: there is a new version. Args: oldest_base: as in bounds."""
        self._oldest_base = oldest_base

    def step(self) -> None:
        """Remove a little of what is too old, if anything is; on a full disk, after the next version."""
        if self._oldest_base is not None:
            if not self._store.tidy():
                return  # a version's rows go after its file: a start puts those that lack into the ledger again
            self._bounds = self._looked(self._oldest_base)
            self._oldest_base = None
        if self._bounds is None:
            return
        try:
            if not self._prune(self._bounds):
                self._bounds = None
                self._store.ledger.give_back(PAGES)
        except StorageError:
            self._bounds = None

    def _looked(self, oldest_base: int) -> Bounds | None:
        if self._keep_rounds and self._versions % JOURNAL_EVERY == 0:
            _shorten(self._store, self._keep_rounds)
        self._versions += 1
        keep = bounds(self._store, self._keep_rounds, oldest_base)
        return keep if max(keep.round, keep.history_version) > 1 else None

    def _prune(self, keep: Bounds) -> bool:
        """Remove up to ROWS rows of each table; return whether there may be more."""
        ledger = self._store.ledger
        rows = [
            ("deltas", "version > 0 AND version < ?", keep.version),
            ("deltas", f"version = {LEFT_OUT} AND round < ?", keep.round),
            ("plans", "round < ?", keep.round),
            ("verdicts", "round < ?", keep.round),
            ("evaluations", _LATER, keep.history_version),
            ("text_evaluations", _LATER, keep.history_version),
            ("gate", "version < ?", keep.history_version),
            ("rounds", "round < ?", keep.history_round),
            ("mask_rounds", "round < ?", keep.history_round),
            ("versions", _LATER, keep.history_version),
        ]
        with ledger.transaction():
            ledger.put(PRUNED, str(max(keep.round, ledger.pruned)))
            gone = [ledger.prune(table, where, (value,), ROWS) for table, where, value in rows]
        return max(gone) == ROWS


def _shorten(store: Store, keep: int) -> None:
    """Leave the last lines of the journal, when it has become longer; a disk that refuses leaves all of it."""
    path = store.folder / JOURNAL
    with contextlib.suppress(OSError, StorageError):
        lines = path.read_bytes().splitlines(keepends=True)
        if len(lines) > keep + JOURNAL_EVERY // 2:
            write_durably(path, b"".join(lines[-keep:]))
