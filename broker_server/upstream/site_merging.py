"""The bank of a site: versions come from above as they are, and what devices send is added up in place of merged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from statistics import fmean

import numpy as np

from broker_server.errors import StateError
from broker_server.rounds.making import Before
from broker_server.rounds.merging import Merging
from broker_server.rounds.remaking import MERGES, parts, total_of
from broker_server.rules.site_sums import SUMMED, SumOrigin, sum_message
from broker_server.state.lineage import Origin
from broker_server.state.rows import DeltaRow, VersionRow
from broker_server.state.settings_table import HEAD_SUMS, SITE_BASE
from broker_server.state.version_tables import ROLLED_BACK, UPSTREAM
from broker_server.upstream.desk import Complete, Handed
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.grids import write
from edge_runtime.wire.messages import block_digests, decode, encode


def devices_of(hello: pb.Hello) -> int:
    """Return for how many devices a Hello speaks: of a site below this one, for its own."""
    return max(1, hello.devices)


def deltas_in(row: DeltaRow) -> int:
    """Return how many deltas are in what was accepted: in the sum of a site below this one, those that it added up."""
    return int(row.norms.get(SUMMED, 1))


class SiteMerging(Merging):
    """The bank of a site. Args: as Merging; its rules are those of exact sums."""

    _summed: tuple[dict[str, bytes], tuple[bytes, float, int]] = {}, (b"", 0.0, 0)
    """What class sums came to last, and whose these were: they are asked for every few seconds."""

    def adopt(self, version: Complete, wall: float, *, base: bool = False) -> bool:
        """Serve a version that came from above, with its number, round and digests.

        Args:
            version: whole.
            wall: seconds since 1970.
            base: a plan starts from it: it is served even where a newer one was.

        Returns:
            Whether another version is served now than before.

        Raises:
            StateError: when the gateway above has another version of that number.
            StorageError: when the disk refuses; nothing is changed.
        """
        row = self._store.ledger.version(version.message.version)
        if row is not None and row.digest != version.message.digest:
            msg = (
                f"the gateway above has another version {row.version} than this site: its state was lost, or "
                "this site was below another; begin with an empty state directory"
            )
            raise StateError(msg)
        behind = version.message.version < self.row.version and not base
        if behind or version.message.version == self.row.version:
            return False
        newest, number = self._store.ledger.version(), version.message.version
        with self._store.ledger.transaction():  # before its blocks are written: they stay from now on
            older = newest is not None and number < newest.version
            self._store.ledger.put(SITE_BASE, str(number) if older else "")
        if row is not None and base:
            self._store.lineage.write_blocks(version.bank)  # which may have gone since it was the newest
        self._serve(row or self._kept(version, wall), version.bank)
        return True

    def go_back(self, number: int) -> None:
        """Serve a version that is kept: the base of the round that a start finds open.

        Raises:
            StateError: when it is not here any more, or not whole.
        """
        if number != self.row.version:
            self._serve(*self._store.lineage.load(number))

    def served(self) -> Complete:
        """Return the version that is served, to be put back at the desk while an older one is."""
        return Complete(decode(pb.Version, self.row.payload), self.bank, {})

    def _serve(self, row: VersionRow, bank: Bank) -> None:
        self.row, self._before = row, Before(bank)
        self._merges = [number for number in self._store.ledger.steps()[-MERGES:] if number <= row.version]

    def _kept(self, version: Complete, wall: float) -> VersionRow:
        """Write a version down; return its row. Where versions were passed over it follows the last one before it."""
        store, message = self._store, version.message
        parent = store.ledger.version_before(message.version)
        here = block_digests(decode(pb.Version, parent.payload)) if parent is not None else {}
        blocks = store.lineage.write_blocks(version.bank)
        of_ours = {block: data for block, (base, data) in version.updates.items() if here.get(block) == base}
        updates = store.lineage.write_updates(of_ours)
        origin = Origin(parent.version if parent is not None else None, message.round, 0, UPSTREAM)
        old = store.ledger.version(message.parent)
        if parent is not None and old is not None and old.version < parent.version and old.digest == message.digest:
            origin = Origin(old.version, message.round, 0, ROLLED_BACK)  # above, from a version that was served here
        row = store.lineage.row(
            message.version, blocks, origin, wall, updates=updates, server=self._notes(self._before.norms).text()
        )
        if row.digest != message.digest:
            msg = f"version {message.version} came from above with blocks that are not its own"
            raise StateError(msg)
        store.add_version(row, (), wall)
        return row

    def refresh_head(self, wall: float) -> int | None:  # noqa: ARG002 - as Merging
        """Heads are made above: there is nothing to do."""
        return None

    def summed(self, site: str, handed: Handed, most_examples: int, rows: list[DeltaRow]) -> bytes:
        """Return what the deltas of a round add up to, as it is sent: the same for the same deltas.

        Args:
            site: its name above.
            handed: the plan from there.
            most_examples: that a delta counts for.
            rows: of the deltas, in the order of the ledger; one or more.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        origin = SumOrigin(
            site, handed.digest, handed.plan.round, handed.plan.base_version, sum(map(deltas_in, rows)),
            sum(row.examples for row in rows), fmean(row.loss_first for row in rows),
            fmean(row.loss_last for row in rows), fmean(row.step_ms for row in rows), most_examples,
        )  # fmt: skip
        return sum_message(origin, self._folding.exact_sums(rows, self._how))

    def statistics(self, site: str) -> tuple[bytes, float, int]:
        """Return a PartialStatistics of all class sums that came, how many examples it has, and of how many devices.

        The bytes are empty where there are none. Args: site: its name above.
        """
        digests = self._store.ledger.statistics_digests()
        if not digests:
            return b"", 0.0, 0
        if digests == self._summed[0]:
            return self._summed[1]
        devices = sum(devices_of(row["hello"]) for row in self._store.ledger.devices() if row["device"] in digests)
        total = total_of(parts(self._store, digests), self._caps, exact=True)
        message = pb.PartialStatistics(
            device=site,
            federation_digest=self._store.lineage.federation,
            width=total.sums.shape[1],
            devices=devices,
            counts=write(total.counts.astype(np.float64)),
            sums=write(total.sums.astype(np.float64)),
        )
        self._summed = digests, (encode(message), float(total.counts.sum()), devices)
        return self._summed[1]

    def note_sums(self, digests: Mapping[str, bytes]) -> None:
        """Note whose class sums were brought above: heads from now on know their labels.

        Raises:
            StorageError: when the disk refuses.
        """
        if digests == self._head_sums:
            return
        with self._store.ledger.transaction():
            self._store.ledger.put(HEAD_SUMS, json.dumps({device: digest.hex() for device, digest in digests.items()}))
        self._head_sums = dict(digests)
