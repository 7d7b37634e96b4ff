"""The budget of [privacy]: each release is counted on the disk before anybody can see it, and none goes beyond it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from broker_server.accounting import check_installed, merges_left, spent
from broker_server.config import GatewayConfig
from broker_server.errors import StateError, UsageError
from broker_server.privacy_config import PrivacyTable
from broker_server.rules.privacy import Privacy, Private, merge_key, noise_to_signal, sums_key
from broker_server.state.moments import notes_of
from broker_server.state.privacy_account import PrivacyAccount
from broker_server.state.rows import DeltaRow
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.messages import decode, ids


class PrivacyBudget:
    """What a federation's versions may tell of its devices.

    Args:
        store: opened state.
        table: settings.
        topk: whether the federation's gates choose experts: what they chose goes to all devices without noise.
        trains_head: whether devices train the head.

    Raises:
        UsageError: when the settings cannot be kept to.
    """

    def __init__(self, store: Store, table: PrivacyTable, *, topk: bool, trains_head: bool) -> None:
        check_installed()
        self.privacy = Privacy(table.clip, table.noise, table.class_noise)
        self._store, self._table = store, table
        self._check(topk=topk, trains_head=trains_head)
        self.account = self._opened()
        if self.account.told and self._telling(self.account, self._ratio) != self.account.told:
            self._write(self.account, self._ratio)  # the budget is another one now
        if not self.account.releases and self.merges_left < 1:
            first = spent([(table.noise, 1), (table.class_noise, int(table.class_noise > 0))], table.delta)
            msg = (
                f"one merge with privacy.noise {table.noise:g} costs epsilon {first:.3g} at delta {table.delta:g}, the "
                f"budget privacy.epsilon is {table.epsilon:g}: more noise, or a larger budget"
            )
            raise UsageError(msg)

    def _check(self, *, topk: bool, trains_head: bool) -> None:
        row = self._store.ledger.version()
        labels = self._store.lineage.shape.labels
        if topk:
            raise UsageError(
                "privacy.enabled with a top-k gate: how often experts were chosen goes into plans without noise; "
                "export a package with soft gates"
            )
        if labels and not trains_head and not self.privacy.class_noise:
            raise UsageError(
                "privacy.enabled without class sums and with a head that is not trained: nothing could be learned; set "
                "train.head_share above 0, or privacy.class_noise"
            )
        if row is not None and row.version > 0 and notes_of(row).rules.privacy is None:
            raise UsageError(
                f"version {row.version} in {self._store.folder} was made without [privacy], so nothing can be promised "
                "of it; begin in a new state directory"
            ).about("state")

    def _opened(self) -> PrivacyAccount:
        """Return the account; one that is lost begins anew with what the newest version notes, and one merge more."""
        try:
            account = PrivacyAccount.read(self._store.folder)
        except StateError as error:
            self._store.notes.append(str(error))
            account = None
        if account is None:
            row = self._store.ledger.version()
            known = dict(notes_of(row).releases) if row is not None else {}
            if row is not None and notes_of(row).rules.privacy is not None:
                known[self.privacy.noise] = known.get(self.privacy.noise, 0) + 1
                self._store.notes.append(
                    f"PRIVACY is lost: what was spent is taken from version {row.version}, and one merge more; noise "
                    "has a new seed, and that version cannot be made again"
                )
            account = PrivacyAccount.new(known)
            if self._store.lock is not None:
                account.write(self._store.folder)
        return account

    @property
    def _ratio(self) -> float:
        return float(self.account.told.get("noise_to_signal", 0.0))

    @property
    def _releases(self) -> list[tuple[float, int]]:
        return sorted(self.account.releases.items())

    @property
    def merges_left(self) -> int:
        """How many more merges there is room for, once class sums are out that are to come."""
        table, to_come = self._table, self.privacy.class_noise > 0 and not self.account.sums
        before = [*self._releases, (table.class_noise, int(to_come))]
        return merges_left(before, table.noise, table.epsilon, table.delta)

    @property
    def over(self) -> bool:
        """Whether one more merge would be beyond the budget."""
        return spent([*self._releases, (self._table.noise, 1)], self._table.delta) > self._table.epsilon

    def private(self, number: int, rows: Sequence[DeltaRow]) -> Private:
        """Return what is promised of a merge, and what its noise follows from. Args: number: of the round."""
        planned: dict[ExpertId, int] = {}
        for payload in self._store.ledger.plans(number).values():
            for block in ids(decode(pb.Plan, payload).train):
                planned[block] = planned.get(block, 0) + 1
        key = merge_key(self.account.seed, (row.digest for row in rows), planned, self.privacy)
        return Private(self.privacy, planned, key)

    def count_merge(self, private: Private, devices: int) -> None:
        """Count a merge, before its version is written. Args: private: of it; devices: that it was made from.

        Raises:
            StorageError: when the disk refuses; nothing was counted.
        """
        account = self.account.with_release(self.privacy.noise, private.key)
        values = sum(self._store.lineage.shape.size(block) for block in private.planned)
        self._write(account, noise_to_signal(self.privacy.noise, values, devices))

    def room_for(self, noise: float, key: bytes) -> bool:
        """Return whether the budget has room for a merge, or has counted it. Args: as ``count_masked``."""
        if self.account.last == key:
            return True
        return noise > 0 and spent([*self._releases, (noise, 1)], self._table.delta) <= self._table.epsilon

    def count_masked(self, noise: float, key: bytes, values: int, devices: int) -> None:
        """Count a round under masks, before anybody is told to open its sums; once, however often it is asked for.

        Args:
            noise: multiplier of the Gaussian release that its sums are no worse than.
            key: of its list of members, which is opened once at most.
            values: that get noise.
            devices: whose updates are in the sums.

        Raises:
            StorageError: when the disk refuses; nothing was counted.
        """
        if self.account.last != key:
            self._write(self.account.with_release(noise, key), noise_to_signal(noise, values, devices))

    def counted(self, key: bytes) -> bool:
        """Return whether the last release is that of a list of members."""
        return self.account.last == key

    def sums_key(self, digests: Mapping[str, bytes]) -> bytes:
        """Return what the noise of class sums follows from. Args: digests: of each device's."""
        return sums_key(self.account.seed, digests.values(), self.privacy)

    def count_sums(self, digests: Mapping[str, bytes]) -> None:
        """Count the release of class sums, before the head that is made from them; those that are out cost no more.

        Args:
            digests: of each device's.

        Raises:
            StorageError: when the disk refuses.
        """
        if self.account.sums:
            return
        account = self.account.with_release(self.privacy.class_noise, self.sums_key(digests))
        sums = {device: digest.hex() for device, digest in digests.items()}
        self._write(replace(account, sums=sums), self._ratio)

    def head_digests(self, here: dict[str, bytes], made_from: dict[str, bytes]) -> dict[str, bytes]:
        """Return the class sums that the head is to be made from: those of its one release, and no others.

        Args:
            here: digests of those that the gateway has, by device.
            made_from: that the present head was made from.
        """
        if not self.privacy.class_noise:
            return made_from
        released = {device: bytes.fromhex(digest) for device, digest in self.account.sums.items()}
        if not released:
            after = spent([*self._releases, (self.privacy.class_noise, 1)], self._table.delta)
            return here if after <= self._table.epsilon else made_from
        return released if released.items() <= here.items() else made_from

    def takes_sums(self, hello: pb.Hello) -> bool:
        """Return whether a device's class sums are asked for: until they were released, then only those again."""
        if not self.privacy.class_noise:
            return False
        released = self.account.sums
        return not released or released.get(hello.device) == hello.statistics_digest.hex()

    def telling(self, devices: int) -> dict[str, Any]:
        """Return what there is to tell: of the last merge, or before any of one to come. Args: devices: of a round."""
        if self.account.told:
            return dict(self.account.told)
        shape = self._store.lineage.shape
        values = shape.nbytes // 4 - shape.mean_size
        return self._telling(self.account, noise_to_signal(self.privacy.noise, values, devices))

    def _write(self, account: PrivacyAccount, ratio: float) -> None:
        account = replace(account, told=self._telling(account, ratio))
        account.write(self._store.folder)
        self.account = account

    def _telling(self, account: PrivacyAccount, ratio: float) -> dict[str, Any]:
        table = self._table
        releases = sorted(account.releases.items())
        return {
            "epsilon": round(spent(releases, table.delta), 4) if releases else 0.0,
            "budget": table.epsilon,
            "delta": table.delta,
            "releases": sum(account.releases.values()),
            "left": merges_left(releases, table.noise, table.epsilon, table.delta),
            "noise_to_signal": round(ratio, 3),
        }


def budget_of(config: GatewayConfig, store: Store) -> PrivacyBudget | None:
    """Return the budget that settings say; None where nothing is promised. Raises: as PrivacyBudget."""
    if not config.privacy.enabled:
        return None
    topk = store.manifest.architecture.gate == "topk"
    return PrivacyBudget(store, config.privacy, topk=topk, trains_head=config.train.head_share > 0)
