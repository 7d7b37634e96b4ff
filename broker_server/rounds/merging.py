"""The newest version of the bank, and the two ways to the next: a round's deltas, and class sums of devices.

A new version is in the ledger, in one transaction with what it was made from, before anything here changes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from broker_server.errors import StateError
from broker_server.rules.admission import read_contribution
from broker_server.rules.aggregate import Contribution, Sums, close, fold
from broker_server.rules.balance import Balance, next_balance
from broker_server.rules.head import absent_labels, with_new_labels
from broker_server.state.ledger import HEAD_SUMS, DeltaRow, VersionRow
from broker_server.state.lineage import Origin
from broker_server.state.store import Store
from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.messages import decode, ids


@dataclass(frozen=True)
class Merged:
    """A version that was merged. Args: rows: its deltas; trainers: how many devices trained each expert of the bank."""

    version: int
    rows: Sequence[DeltaRow]
    trainers: Mapping[ExpertId, int]


class Merging:
    """The bank of a federation.

    Args:
        store: opened state.
        train_head: whether devices train the head; class means are then its start only.

    ``row`` and ``bank`` are the newest version.
    """

    def __init__(self, store: Store, *, train_head: bool) -> None:
        self._store, self._train_head = store, train_head
        self._architecture = store.manifest.architecture
        self._topk = self._architecture.gate == "topk"
        self._merges = [row.version for row in store.ledger.versions() if row.reason == "merge"]
        self.row, self.bank = self._newest()
        self._listed: VersionRow | None = None
        self._blocks: dict[bytes, ExpertId] = {}  # of the version that is listed, by digest
        store.blobs.sources.insert(0, self._block)
        versions = store.ledger.versions()
        trees = [row.balance for row in versions if row.balance]
        self._balance = (
            Balance.from_tree(json.loads(trees[-1])) if trees else Balance.start(self._architecture.bank_shape)
        )
        self._head_sums = _digests(store.ledger.get(HEAD_SUMS))

    def _newest(self) -> tuple[VersionRow, Bank]:
        """Load the newest version; one with a damaged block is made again from its parent.

        Raises:
            StateError: when that cannot be, and the operator did not accept the loss.
        """
        store = self._store
        try:
            return store.lineage.load()
        except StateError as error:
            row = store.ledger.version()
            if row is None:
                raise
            what = str(error).partition(";")[0]
            with contextlib.suppress(StateError):
                bank = self.made_again(row)
                if bank is not None:
                    store.lineage.write_blocks(bank)
                    store.notes.append(f"{what}; made again from version {row.parent}")
                    return row, bank
            if not store.accept_loss:
                msg = (
                    f"{what}, and it cannot be made again; put a backup in its place with broker_server restore, or go "
                    "on with the newest version that is whole: broker_server run --accept-loss"
                )
                raise StateError(msg) from error
            fallen = store.fall_back(row.version, row.created)
            store.notes.append(f"version {row.version} is lost; version {fallen.version} is version {fallen.parent}")
            return store.lineage.load()

    def made_again(self, row: VersionRow) -> Bank | None:
        """Return the bank of a version from its parent and what it was made from; None when something of it is gone.

        Raises:
            StateError: when a delta or a block of the parent is damaged.
        """
        if row.parent is None:
            return None
        base = self._store.lineage.load(row.parent)[1]
        if row.reason == "merge":
            banks = [self._merged_again(base, row)]
        else:
            banks = self._heads_again(base) if row.reason == "head" else [base]
        return next((bank for bank in banks if bank.digest() == row.digest), None)

    def _merged_again(self, base: Bank, row: VersionRow) -> Bank:
        before = [version for version in self._merges if version < row.version]
        sums = Sums()
        for update in self._contributions(self._store.ledger.merged_into(row.version), before):
            fold(sums, update, self._architecture.bank_shape, topk=self._topk)
        return close(base, sums)

    def _heads_again(self, base: Bank) -> list[Bank]:
        """Return what a new head on ``base`` can be: all of it made from class sums, or the rows of new labels only."""
        if not self._store.ledger.statistics_digests():
            return []
        blocks = class_mean_head(self._class_sums(), self._architecture.logit_scale)
        labels, scale = self._architecture.bank_shape.labels, self._architecture.logit_scale
        rows = {HEAD: with_new_labels(base.head, blocks[HEAD], labels, scale)}
        return [base.replace(blocks), base.replace(rows)]

    def _block(self, digest: bytes) -> bytes | None:
        """Return a block of the newest version from memory."""
        if self._listed is not self.row:
            message = decode(pb.Version, self.row.payload)
            digests = (block.digest for block in message.blocks)
            self._listed, self._blocks = self.row, dict(zip(digests, ids(message.blocks), strict=True))
        block = self._blocks.get(digest)
        return None if block is None else tensors.encode(self.bank.block(block))

    @property
    def balance(self) -> Balance | None:
        """The statistics of the auxiliary loss; None without a top-k gate."""
        return self._balance if self._topk else None

    def age(self, base_version: int) -> int:
        """Return how many merges the bank is ahead of a version; a new head does not count."""
        return sum(version > base_version for version in self._merges)

    def merge(self, number: int, wall: float) -> Merged:
        """Fold what was accepted into the next version, which ends round ``number``. Args: wall: seconds since 1970.

        Raises:
            StorageError: when the disk refuses; nothing is changed.
        """
        ledger = self._store.ledger
        rows = ledger.waiting()
        sums, light = Sums(), []
        for update in self._contributions(rows):
            fold(sums, update, self._architecture.bank_shape, topk=self._topk)
            light.append(dataclasses.replace(update, deltas={}))
        bank, balance = close(self.bank, sums), self._balance
        if self._topk:
            balance = next_balance(balance, light, top_k=self._architecture.top_k)
        tree = json.dumps(balance.to_tree()) if self._topk else None
        origin = Origin(self.row.version, number, len(rows), "merge", tree)
        version = self._store.lineage.row(self.row.version + 1, self._store.lineage.write_blocks(bank), origin, wall)
        self._store.add_version(version, rows, wall)
        self.row, self.bank, self._balance = version, bank, balance
        self._merges.append(version.version)
        self._store.tidy()
        shape = self._architecture.bank_shape
        experts = [ExpertId(layer, index) for layer in shape.layers for index in range(shape.experts)]
        return Merged(version.version, rows, {expert: sums.devices.get(expert, 0) for expert in experts})

    def unreadable(self) -> list[tuple[DeltaRow, str]]:
        """Return the deltas that wait and whose body is damaged or gone, and what is wrong with it."""
        damaged = []
        for row in self._store.ledger.waiting():
            try:
                self._store.spool.read(row.digest)
            except StateError as error:
                damaged.append((row, str(error)))
        return damaged

    def _contributions(self, rows: Sequence[DeltaRow], merges: Sequence[int] | None = None) -> Iterator[Contribution]:
        """Read deltas. Args: merges: versions that were merges when they were folded; None: as of now."""
        merges = self._merges if merges is None else merges
        for row in rows:
            delta = decode(pb.Delta, self._store.spool.read(row.digest))
            age = sum(version > delta.base_version for version in merges)
            yield read_contribution(delta, self._architecture.bank_shape, age)

    def head_has(self, hello: pb.Hello) -> bool:
        """Return whether the head was made with the sums of the data that a device has now."""
        return not hello.statistics_digest or self._head_sums.get(hello.device) == hello.statistics_digest

    def refresh_head(self, wall: float) -> int | None:
        """Make the head anew when class sums came; of a head that devices train, only the rows of new labels.

        Returns:
            How many labels lost their last example, or None when the bank is as it was.

        Raises:
            StorageError: when the disk refuses; nothing is changed.
        """
        ledger, labels = self._store.ledger, self._architecture.bank_shape.labels
        scale = self._architecture.logit_scale
        digests = ledger.statistics_digests()
        if digests == self._head_sums:
            return None
        blocks = class_mean_head(self._class_sums(), scale)
        if self._train_head and ledger.get(HEAD_SUMS) is not None:
            blocks = {HEAD: with_new_labels(self.bank.head, blocks[HEAD], labels, scale)}
        bank = self.bank.replace(blocks)
        lost = absent_labels(bank.head, labels, scale) & ~absent_labels(self.bank.head, labels, scale)
        labels_lost = int(lost.sum()) if self._head_sums else 0  # the initial head knows of no examples
        origin = Origin(self.row.version, 0, len(digests), "head")
        version = self._store.lineage.row(self.row.version + 1, self._store.lineage.write_blocks(bank), origin, wall)
        changed = version.digest != self.row.digest
        made_from = json.dumps({device: digest.hex() for device, digest in digests.items()})
        if changed:
            self._store.add_version(version, (), wall, {HEAD_SUMS: made_from})
        else:
            with ledger.transaction():
                ledger.put(HEAD_SUMS, made_from)
        self._head_sums = digests
        if not changed:
            return None
        self.row, self.bank = version, bank
        return labels_lost

    def _class_sums(self) -> ClassSums:
        statistics = self._store.ledger.statistics()
        return ClassSums.total(ClassSums.from_bytes(counts, sums) for _, counts, sums in statistics)


def _digests(setting: str | None) -> dict[str, bytes]:
    """Read HEAD_SUMS; a state directory of before it was JSON names no digests, and its head is made again."""
    if setting is None or not setting.startswith("{"):
        return {}
    return {device: bytes.fromhex(digest) for device, digest in json.loads(setting).items()}
