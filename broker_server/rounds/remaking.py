"""Versions made again: from their parent, and the deltas or class sums that they were made from, by their own rules."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from broker_server.errors import StateError
from broker_server.rounds.folding import Folding, How
from broker_server.rounds.making import Before, masked_step, next_step_of
from broker_server.rules.exact import class_sums_on_grid
from broker_server.rules.head import with_new_labels
from broker_server.rules.opened_sums import OpenedSums
from broker_server.rules.privacy import Private, merge_key, private_class_sums, sums_key
from broker_server.rules.server_rules import ServerNotes
from broker_server.rules.updates import Step
from broker_server.rules.weights import Caps, capped_sums
from broker_server.state.mask_tables import ROUND_SUMS, counting_sums, rounds_of
from broker_server.state.moments import notes_of
from broker_server.state.privacy_account import PrivacyAccount
from broker_server.state.residuals import digests_of
from broker_server.state.rows import DeltaRow, VersionRow
from broker_server.state.store import Store
from broker_server.state.version_tables import GATE
from edge_runtime.wire import tensors
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import HEAD

MERGES: Final = 4096
"""The last merges, whose numbers are remembered: more of them behind the bank, a version is older than any limit."""
CAPS: Final = "caps"
"""Setting of the state directory: JSON, what one device might weigh, as [first version, multiple, share, norm]."""


class Remaking:
    """Makes versions again. Args: store: opened state; folding: reads deltas."""

    def __init__(self, store: Store, folding: Folding) -> None:
        self._store, self._folding = store, folding
        self._architecture = store.manifest.architecture

    def rederived(self, row: VersionRow) -> Step | None:
        """Return a version from its parent and what it was made from; None when something of it is gone.

        Raises:
            StateError: when a delta, or a block or residual of the parent, is damaged.
        """
        if row.parent is None:
            return None
        if row.reason == GATE:  # it has the files of its parent: what is damaged of one is of the other
            step = self.whole(row.parent)
            return step if _is(step, row) else None
        parent, base = self._store.lineage.load(row.parent)
        if row.reason == "merge":
            steps = self._merged_again(parent, base, row)
        elif row.reason == "head":
            before = Before(base, moments=self._store.moments.whole(parent))
            steps = [Step(bank, moments=before.with_bank(bank).moments) for bank in self._heads_again(base, row)]
        else:
            steps = [Step(base)]
        return next((step for step in steps if _is(step, row)), None)

    def whole(self, number: int) -> Step:
        """Return a version with its residuals and moments, made again if something of it is damaged.

        Raises:
            StateError: when that cannot be.
        """
        try:
            row, bank = self._store.lineage.load(number)
            before = Before.load(self._store, row, bank)
            return Step(bank, before.residuals, moments=before.moments)
        except StateError:
            damaged = self._store.ledger.version(number)
            step = self.rederived(damaged) if damaged is not None else None
            if step is None:
                raise
            return step

    def _merged_again(self, parent: VersionRow, base: Bank, row: VersionRow) -> list[Step]:
        """Return what a merge can have made: its version as merged, or in steps of int8."""
        merges = [version for version in self._store.ledger.steps()[-MERGES:] if version < row.version]
        before, notes = Before.load(self._store, parent, base), notes_of(row)
        if notes.masked:
            opened, how = OpenedSums.decode(self._store.spool.read(notes.masked)), How(Caps(0.0, 1.0, 0.0), notes.rules)
            return [masked_step(opened, before, replace(how, rounded=rounded)) for rounded in (False, True)]
        rows = [one for one in self._store.ledger.merged_into(row.version) if one.device not in notes.distrusted]
        how = How(caps_of(self._store, row.version), notes.rules, private=self._private_again(rows, notes))
        return [next_step_of(self._folding, rows, merges, before, one)[0] for one in (how, replace(how, rounded=True))]

    def _private_again(self, rows: Sequence[DeltaRow], notes: ServerNotes) -> Private | None:
        """Return what was promised of a merge; None: nothing.

        Raises:
            StateError: when the seed of its noise is lost.
        """
        privacy = notes.rules.privacy
        if privacy is None:
            return None
        key = merge_key(self._account().seed, (row.digest for row in rows), notes.planned, privacy)
        return Private(privacy, notes.planned, key)

    def _account(self) -> PrivacyAccount:
        account = PrivacyAccount.read(self._store.folder)
        if account is None:
            msg = f"PRIVACY in {self._store.folder} is missing: without its seed the noise of a version is lost"
            raise StateError(msg)
        return account

    def _heads_again(self, base: Bank, row: VersionRow) -> list[Bank]:
        """Return what a new head on ``base`` can be: all of it made from class sums, or the rows of new labels only."""
        labels, scale = self._architecture.bank_shape.labels, self._architecture.logit_scale
        banks = []
        for sums in [self._sums_again(row), *self._masked_sums()]:
            if sums is not None:
                blocks = class_mean_head(sums, scale)
                rows = {HEAD: with_new_labels(base.head, blocks[HEAD], labels, scale)}
                banks += [base.replace(blocks), base.replace(rows)]
        return banks

    def _masked_sums(self) -> list[ClassSums]:
        """Return what the class sums of rounds under masks came to, after each of these rounds."""
        every = [f"{ROUND_SUMS}{number}" for number in rounds_of(self._store.ledger.statistics_digests())]
        return [ClassSums.total(parts(self._store, every[: count + 1])) for count in range(len(every))]

    def _sums_again(self, row: VersionRow) -> ClassSums | None:
        privacy = notes_of(row).rules.privacy
        here = counting_sums(self._store.ledger.statistics_digests(), masked=False)
        if privacy is None:
            caps, exact = caps_of(self._store, row.version), notes_of(row).rules.exact
            return total_of(parts(self._store, here), caps, exact=exact) if here else None
        account = self._account()
        released = {device: bytes.fromhex(digest) for device, digest in account.sums.items()}
        if not released or not released.items() <= here.items():
            return None
        key = sums_key(account.seed, released.values(), privacy)
        return private_class_sums(parts(self._store, released), privacy, key)


def newest(store: Store, rederived: Callable[[VersionRow], Step | None]) -> tuple[VersionRow, Bank]:
    """Load the newest version; one with a damaged block is made again from its parent.

    Args:
        store: opened state.
        rederived: makes a version again.

    Raises:
        StateError: when that cannot be, and the operator did not accept the loss.
    """
    try:
        return store.lineage.load()
    except StateError as error:
        row = store.ledger.version()
        if row is None:
            raise
        what = str(error).partition(";")[0]
        with contextlib.suppress(StateError):
            step = rederived(row)
            if step is not None:
                store.lineage.write_blocks(step.bank)
                store.notes.append(f"{what}; made again from version {row.parent}")
                return row, step.bank
        if not store.accept_loss:
            msg = (
                f"{what}, and it cannot be made again; put a backup in its place with broker_server restore, or go "
                "on with the newest version that is whole and accept the loss"
            )
            raise StateError(msg).about("accept_loss") from error
        fallen = store.fall_back(row.version, row.created)
        store.notes.append(f"version {row.version} is lost; version {fallen.version} is version {fallen.parent}")
        return store.lineage.load()


def parts(store: Store, devices: Collection[str]) -> list[ClassSums]:
    """Return the class sums of some devices, by name: float32, or of a site float64."""
    listed = store.ledger.statistics()
    of_sites = 8 * store.lineage.shape.labels

    def read(counts: bytes, sums: bytes) -> ClassSums:
        if len(counts) != of_sites:
            return ClassSums.from_bytes(counts, sums)
        wide = np.frombuffer(counts, "<f8").astype(np.float64)
        return ClassSums(wide, np.frombuffer(sums, "<f8").astype(np.float64).reshape(len(wide), -1))

    return [read(counts, sums) for device, counts, sums in listed if device in devices]


def total_of(listed: Sequence[ClassSums], caps: Caps, *, exact: bool) -> ClassSums:
    """Return class sums, added up: those of devices capped, those of sites as they are.

    Args:
        listed: float32 of devices, float64 of sites.
        caps: what one device may weigh.
        exact: so that their order does not matter.
    """
    sites = [one for one in listed if one.counts.dtype == np.float64]
    capped = capped_sums([one for one in listed if one.counts.dtype != np.float64], caps)
    return ClassSums.total([*(map(class_sums_on_grid, capped) if exact else capped), *sites])


def caps_told(store: Store) -> list[list[float]]:
    """Read CAPS, oldest first."""
    told: list[list[float]] = json.loads(store.ledger.get(CAPS) or "[]")
    return told


def caps_of(store: Store, version: int) -> Caps:
    """Return what one device might weigh when a version was made; before there were caps, anything."""
    told = [entry for entry in caps_told(store) if entry[0] <= version]
    return Caps(*told[-1][1:]) if told else Caps(0.0, 1.0, 0.0)


def _is(step: Step, row: VersionRow) -> bool:
    """Return whether a version that was made again is a row's; beside the bank it may have more than the row names."""
    if step.bank.digest() != row.digest:
        return False
    residuals = {block: sha256(tensors.encode(values)) for block, values in step.residuals.items()}
    moments = {block: sha256(tensors.encode(values)) for block, values in step.moments.items()}
    return digests_of(row).items() <= residuals.items() and notes_of(row).moments.items() <= moments.items()
