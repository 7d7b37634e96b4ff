"""The newest version of the bank, and the two ways to the next: a round's deltas, and class sums of devices.

A new version is in the ledger, in one transaction with what it was made from, before anything here changes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from broker_server.rules.admission import read_contribution
from broker_server.rules.aggregate import Contribution, Sums, close, fold
from broker_server.rules.balance import Balance, next_balance
from broker_server.rules.head import absent_labels, with_new_labels
from broker_server.state.ledger import HEAD_SUMS, DeltaRow
from broker_server.state.lineage import Origin
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.messages import decode


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
        self.row, self.bank = store.lineage.load()
        versions = store.ledger.versions()
        self._merges = [row.version for row in versions if row.reason == "merge"]
        trees = [row.balance for row in versions if row.balance]
        self._balance = (
            Balance.from_tree(json.loads(trees[-1])) if trees else Balance.start(self._architecture.bank_shape)
        )
        self._head_sums = _digests(store.ledger.get(HEAD_SUMS))

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

    def _contributions(self, rows: Sequence[DeltaRow]) -> Iterator[Contribution]:
        for row in rows:
            delta = decode(pb.Delta, self._store.spool.read(row.digest))
            yield read_contribution(delta, self._architecture.bank_shape, self.age(delta.base_version))

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
