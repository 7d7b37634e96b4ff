"""The newest version of the bank, and the two ways to the next: a round's deltas, and class sums of devices.

A new version is in the ledger, in one transaction with what it was made from, before anything here changes.
"""

from __future__ import annotations

import dataclasses
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from broker_server.engine.engine import Engine
from broker_server.errors import StateError
from broker_server.rounds.directions import judged
from broker_server.rounds.folding import Folding, How
from broker_server.rounds.making import Before, MaskedSums, masked_step, next_step_of
from broker_server.rounds.mending import mended
from broker_server.rounds.privacy_budget import PrivacyBudget
from broker_server.rounds.remaking import CAPS, MERGES, Remaking, caps_of, caps_told, newest, parts, total_of
from broker_server.rules.balance import Balance, next_balance
from broker_server.rules.capping import Limited
from broker_server.rules.head import absent_labels, with_new_labels
from broker_server.rules.privacy import Private, private_class_sums
from broker_server.rules.robust import UsualNorms
from broker_server.rules.server_rules import PLAIN, ServerNotes, ServerRules
from broker_server.rules.updates import Step
from broker_server.rules.weights import Caps
from broker_server.state.gate_tables import HELD
from broker_server.state.lineage import Origin
from broker_server.state.mask_tables import counting_sums, rounds_of
from broker_server.state.moments import notes_of
from broker_server.state.rows import DeltaRow, VersionRow
from broker_server.state.settings_table import HEAD_SUMS, ROLLBACK
from broker_server.state.store import Store
from broker_server.state.version_tables import GATE, ROLLED_BACK
from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.experts import HEAD, MEAN, ExpertId
from edge_runtime.wire.messages import decode, ids
from edge_runtime.wire.tensors import Array


@dataclass(frozen=True)
class Merged:
    """A version that was merged.

    Args:
        version: its number.
        rows: its deltas.
        distrusted: of these, the ones that are not in its bank: updates of their devices point away from the others'.
        trainers: how many devices trained each expert of the bank, without those.
        limited: who reached a limit, and which.
        revoked: deltas that were left out, because the operator removed their device after they were accepted.
    """

    version: int
    rows: Sequence[DeltaRow]
    trainers: Mapping[ExpertId, int]
    limited: Sequence[Limited] = ()
    revoked: Sequence[DeltaRow] = ()
    distrusted: Sequence[DeltaRow] = ()


class Merging:
    """The bank of a federation.

    Args:
        store: opened state.
        train_head: whether devices train the head; class means are then its start only.
        caps: what one device may weigh.
        rounded: whether versions go down in steps of int8.
        rules: how deltas become a version beyond their weighted mean.
        budget: of private merging, whose rules are among these.
        engine: merges; None: this process.
        masked_sums: whether the head is made of class sums that rounds under masks opened, not of single devices'.

    ``row`` and ``bank`` are the newest version: as devices have it, or while it waits for its decision, will have it.
    ``rederived`` makes a version again.
    """

    def __init__(
        self,
        store: Store,
        *,
        train_head: bool,
        caps: Caps,
        rounded: bool = False,
        rules: ServerRules = PLAIN,
        budget: PrivacyBudget | None = None,
        engine: Engine | None = None,
        masked_sums: bool = False,
    ) -> None:
        self._masked_sums = masked_sums
        self._store, self._train_head, self._caps = store, train_head, caps
        self._how, self.budget = How(caps, rules, rounded), budget
        self._architecture = store.manifest.architecture
        self._topk = self._architecture.gate == "topk"
        top_k = self._architecture.top_k
        self._folding = Folding(store, topk=self._topk, top_k=top_k, engine=engine)
        self._merges = store.ledger.steps()[-MERGES:]
        # In this process, whichever engine makes new versions: the bytes are the same.
        self._remaking = Remaking(store, Folding(store, topk=self._topk, top_k=top_k))
        self.rederived = self._remaking.rederived
        self.row, bank = newest(store, self.rederived)
        self.row = mended(store, self.row, self.rederived)
        residuals, moments = store.residuals.whole(self.row), store.moments.whole(self.row)
        self._before = Before(bank, residuals, moments, notes_of(self.row).norms)
        self._listed: VersionRow | None = None
        self._blocks: dict[bytes, ExpertId] = {}  # of the version that is listed, by digest
        store.blobs.sources.insert(0, self._block)
        tree, shape = store.ledger.newest_balance(), self._architecture.bank_shape
        self._balance = Balance.from_tree(json.loads(tree)) if tree else Balance.start(shape)
        self._head_sums = _digests(store.ledger.get(HEAD_SUMS))

    @property
    def bank(self) -> Bank:
        """The newest version's bank."""
        return self._before.bank

    def _noted_caps(self, version: int) -> dict[str, str]:
        """Return the setting that says what counted for a version, so that it can be made again whatever changes."""
        if caps_of(self._store, version) == self._caps:
            return {}
        told = [entry for entry in caps_told(self._store) if entry[0] < version]
        return {CAPS: json.dumps([*told, [version, *dataclasses.astuple(self._caps)]])}

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
        """Return how many merges the bank is ahead of a version, MERGES at most; a new head does not count."""
        return len(self._merges) - bisect_right(self._merges, base_version)

    def oldest_base(self, max_staleness: int) -> int:
        """Return the oldest version that is at most so many merges behind the bank."""
        return self._merges[-max_staleness - 1] if len(self._merges) > max_staleness else 0

    def merge(
        self,
        number: int,
        wall: float,
        *,
        hold: bool = False,
        settled: int | None = None,
        settings: Mapping[str, str] | None = None,
        masked: MaskedSums | None = None,
    ) -> Merged:
        """Fold what was accepted into the next version, which ends round ``number``.

        Args:
            number: of the round.
            wall: seconds since 1970.
            hold: the version waits for a decision before devices get it.
            settled: as in Origin.
            settings: of the state directory that change with it.
            masked: what the round's deltas under masks add up to; None: it does not go under masks.

        Raises:
            BodyError: when a delta is damaged or gone; nothing is changed.
            StorageError: when the disk refuses; nothing is changed.
        """
        ledger = self._store.ledger
        if masked is not None:
            return self._merge_masked(masked, number, wall, hold=hold, settled=settled)
        waiting, removed = ledger.waiting(), set(ledger.revoked_devices())
        rows = [row for row in waiting if row.device not in removed]
        revoked = [row for row in waiting if row.device in removed]
        judgement = judged(self._folding, rows, ledger.trust(), self._how.server.robust, self.row.version + 1)
        private = self.budget.private(number, rows) if self.budget is not None else None
        how = dataclasses.replace(self._how, private=private)
        step, folded = next_step_of(self._folding, judgement.heard, self._merges, self._before, how)
        if self.budget is not None and private is not None:
            self.budget.count_merge(private, len({row.device for row in rows}))
        balance = self._balance
        if self._topk:
            balance = next_balance(balance, folded.capped, top_k=self._architecture.top_k)
        tree = json.dumps(balance.to_tree()) if self._topk else None
        origin = Origin(self.row.version, number, len(judgement.heard), "merge", tree, settled)
        notes = dataclasses.replace(self._notes(folded.norms, private), distrusted=judgement.distrusted)
        version = self._written(step, origin, wall, notes)
        with ledger.transaction():
            ledger.leave_out(revoked, wall)
        noted = self._noted_caps(version.version) | ({HELD: str(version.version)} if hold else {})
        self._store.add_version(version, rows, wall, noted | dict(settings or {}), judgement.trust)
        self.row, self._balance = version, balance
        self._before = Before(step.bank, step.residuals, step.moments, folded.norms)
        self._merges = [*self._merges[-MERGES + 1 :], version.version]
        self._folding.merged()
        unheard = [row for row in rows if row.device in judgement.distrusted]
        trainers = self._trainers(folded.devices)
        return Merged(version.version, rows, trainers, folded.limited, revoked, unheard)

    def _merge_masked(self, masked: MaskedSums, number: int, wall: float, *, hold: bool, settled: int | None) -> Merged:
        """Make the next version of sums that were opened; blocks whose sums were not keep their bits."""
        blocks = masked.sums.blocks
        waiting = (row for row in self._store.ledger.waiting() if row.round == number)
        rows = [dataclasses.replace(row, blocks=tuple(one for one in row.blocks if one in blocks)) for row in waiting]
        step = masked_step(masked.sums, self._before, self._how)
        origin = Origin(self.row.version, number, len(rows), "merge", None, settled)
        notes = dataclasses.replace(self._notes(self._before.norms), masked=masked.digest)
        version = self._written(step, origin, wall, notes)
        noted = self._noted_caps(version.version) | ({HELD: str(version.version)} if hold else {})
        self._store.add_version(version, rows, wall, noted)
        self.row = version
        self._before = Before(step.bank, step.residuals, step.moments, self._before.norms)
        self._merges = [*self._merges[-MERGES + 1 :], version.version]
        self._folding.merged()
        return Merged(version.version, rows, self._trainers({block: one.devices for block, one in blocks.items()}))

    def _trainers(self, devices: Mapping[ExpertId, int]) -> dict[ExpertId, int]:
        shape = self._architecture.bank_shape
        experts = [ExpertId(layer, index) for layer in shape.layers for index in range(shape.experts)]
        return {expert: devices.get(expert, 0) for expert in experts}

    def _notes(self, norms: UsualNorms, private: Private | None = None) -> ServerNotes:
        """Return what a version notes; without its moments. Args: private: of a private merge."""
        planned = private.planned if private is not None else {}
        releases = tuple(sorted(self.budget.account.releases.items())) if self.budget is not None else ()
        return ServerNotes(self._how.server, norms, planned=planned, releases=releases)

    def _written(self, step: Step, origin: Origin, wall: float, notes: ServerNotes) -> VersionRow:
        """Write the blocks, updates, residuals and moments of the next version; return its row."""
        store, number = self._store, self.row.version + 1
        blocks, updates = store.lineage.write_blocks(step.bank), store.lineage.write_updates(step.updates)
        residuals = store.residuals.write(step.residuals)
        server = dataclasses.replace(notes, moments=store.moments.write(step.moments)).text()
        return store.lineage.row(number, blocks, origin, wall, updates=updates, residuals=residuals, server=server)

    def accepted(self, digest: bytes, delta: pb.Delta) -> None:
        """Take note of an accepted delta. Args: digest: of its body; delta: without values."""
        if not delta.masked:  # what is under masks is summed, not folded
            self._folding.accepted(digest, delta)

    def merged(self) -> None:
        """Take note that what waited is part of something."""
        self._folding.merged()

    def unreadable(self) -> list[tuple[DeltaRow, str]]:
        """Return the deltas that wait and whose body is damaged or gone, and what is wrong with it."""
        return self._folding.unreadable()

    def roll_back(self, number: int, wall: float) -> None:
        """Make the bank of an earlier version the next version; a head from class sums is made anew after it.

        Args:
            number: of the earlier version.
            wall: seconds since 1970.

        Raises:
            StateError: when it is not there any more, or not whole.
            StorageError: when the disk refuses; nothing is changed.
        """
        old, bank = self._store.lineage.load(number)
        balance = self._balance_of(old)
        tree = json.dumps(balance.to_tree()) if self._topk else None
        origin = Origin(old.version, 0, 0, ROLLED_BACK, tree)
        norms = notes_of(old).norms  # those of later versions are smaller, and would cut what trains from this one
        server = self._notes(norms).text()
        blocks = self._store.lineage.write_blocks(bank)
        version = self._store.lineage.row(self.row.version + 1, blocks, origin, wall, server=server)
        # With other sums than any: those of a device that was revoked since must leave the head.
        self._store.add_version(version, (), wall, {ROLLBACK: "", HEAD_SUMS: "{}"})
        self.row, self._balance, self._head_sums = version, balance, {}
        self._before = Before(bank, norms=norms)
        self._merges = [*self._merges[-MERGES + 1 :], version.version]

    def take_back(self, wall: float) -> None:
        """Make the version before a merge that is not served the next one, as it was, with what int8 had left out.

        Its deltas are part of the merge and count for nothing; what was trained from the version before is not stale.

        Args:
            wall: seconds since 1970.

        Raises:
            StateError: when the version before is damaged, and cannot be made again.
            StorageError: when the disk refuses; nothing is changed.
        """
        merged, store = self.row, self._store
        before = store.ledger.version(merged.parent) if merged.parent is not None else None
        if before is None:
            msg = f"version {merged.version} was made from version {merged.parent}, which the ledger does not know"
            raise StateError(msg)
        step = self._remaking.whole(before.version)
        bank, residuals, moments = step.bank, step.residuals, step.moments
        notes, balance = notes_of(before), self._balance_of(before)
        tree = json.dumps(balance.to_tree()) if self._topk else None
        # Devices let go of the deltas that the merge has, as if it had been announced.
        origin = Origin(before.version, merged.round, 0, GATE, tree, decode(pb.Version, merged.payload).round)
        blocks, left = store.lineage.write_blocks(bank), store.residuals.write(residuals)
        server = dataclasses.replace(self._notes(notes.norms), moments=store.moments.write(moments)).text()
        version = store.lineage.row(merged.version + 1, blocks, origin, wall, residuals=left, server=server)
        store.add_version(version, (), wall, {HELD: ""})
        self.row, self._balance = version, balance
        self._before = Before(bank, residuals, moments, notes.norms)
        self._merges = [number for number in self._merges if number != merged.version]

    def _balance_of(self, row: VersionRow) -> Balance:
        """Return the statistics as of a version: its own, or those of the nearest version before it."""
        at: VersionRow | None = row
        while at is not None and at.balance is None:
            at = self._store.ledger.version(at.parent) if at.parent is not None else None
        if at is None or at.balance is None:
            return Balance.start(self._architecture.bank_shape)
        return Balance.from_tree(json.loads(at.balance))

    def head_has(self, hello: pb.Hello) -> bool:
        """Return whether the head was made with the sums of the data that a device has now."""
        asked = self.budget is None and hello.statistics_digest  # private sums are released once, without latecomers
        return not asked or self._head_sums.get(hello.device) == hello.statistics_digest

    def refresh_head(self, wall: float) -> int | None:
        """Make the head anew when class sums came; of a head that devices train, only the rows of new labels.

        Returns:
            How many labels lost their last example, or None when the bank is as it was.

        Raises:
            StorageError: when the disk refuses; nothing is changed.
        """
        ledger, labels = self._store.ledger, self._architecture.bank_shape.labels
        scale = self._architecture.logit_scale
        digests = counting_sums(ledger.statistics_digests(), masked=self._masked_sums)
        if self.budget is not None:
            digests = self.budget.head_digests(digests, self._head_sums)
        if digests == self._head_sums or self._lost_sums(digests):
            return None
        if self.budget is not None:
            self.budget.count_sums(digests)
        # Without any sums left (their devices were revoked) it is that of version 0 again, which favours no label.
        sums = self._sums(digests) if digests else None
        blocks = class_mean_head(sums, scale) if sums is not None else self._blank_head()
        if self._train_head and ledger.get(HEAD_SUMS) is not None:
            blocks = {HEAD: with_new_labels(self.bank.head, blocks[HEAD], labels, scale)}
        bank = self.bank.replace(blocks)
        lost = absent_labels(bank.head, labels, scale) & ~absent_labels(self.bank.head, labels, scale)
        labels_lost = int(lost.sum()) if self._head_sums else 0  # the initial head knows of no examples
        givers = ledger.class_sum_givers()
        devices = sum(len(givers.get(number, ())) for number in rounds_of(digests)) or len(digests)
        origin = Origin(self.row.version, 0, devices, "head")
        before = self._before.with_bank(bank)
        version = self._written(Step(bank, moments=before.moments), origin, wall, self._notes(before.norms))
        changed = version.digest != self.row.digest
        made_from = json.dumps({device: digest.hex() for device, digest in digests.items()})
        if changed:
            self._store.add_version(version, (), wall, {HEAD_SUMS: made_from} | self._noted_caps(version.version))
        else:
            with ledger.transaction():
                ledger.put(HEAD_SUMS, made_from)
        self._head_sums = digests
        if not changed:
            return None
        self.row, self._before = version, before
        return labels_lost

    def _lost_sums(self, digests: Mapping[str, bytes]) -> bool:
        """Return whether nothing is new but that sums are gone: with a ledger, since nobody was revoked.

        Their devices are asked for them again, and then the head is what it was.
        """
        gone = set(self._head_sums) - set(digests)
        new = any(self._head_sums.get(device) != digest for device, digest in digests.items())
        return bool(gone) and not new and not gone & set(self._store.ledger.revoked_devices())

    def _blank_head(self) -> dict[ExpertId, Array]:
        return {HEAD: np.zeros_like(self.bank.head), MEAN: np.zeros_like(self.bank.mean)}

    def _sums(self, digests: Mapping[str, bytes]) -> ClassSums | None:
        """Return the class sums of devices, with noise where that is promised; None when nothing stands out of it."""
        listed = parts(self._store, digests)
        if self.budget is None:
            return total_of(listed, self._caps, exact=self._how.server.exact)
        return private_class_sums(listed, self.budget.privacy, self.budget.sums_key(digests))


def _digests(setting: str | None) -> dict[str, bytes]:
    """Read HEAD_SUMS; a state directory of before it was JSON names no digests, and its head is made again."""
    if setting is None or not setting.startswith("{"):
        return {}
    return {device: bytes.fromhex(digest) for device, digest in json.loads(setting).items()}
