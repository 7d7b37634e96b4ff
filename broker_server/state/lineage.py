"""Versions of the bank, append-only: each has a parent, the digest of every block, and the blocks by digest on disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Final

import numpy as np

from broker_server.errors import StateError
from broker_server.rules.updates import steps_back, that_fit
from broker_server.state.blobs import Blobs
from broker_server.state.ledger import Ledger
from broker_server.state.rows import VersionRow
from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import version_digest
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.limits import MESSAGE_LIMIT
from edge_runtime.wire.messages import block_digests, decode, encode
from edge_runtime.wire.signatures import TRAILER_BYTES

ONWARD: Final = ("merge", "head", "gate", "upstream")
"""Reasons of versions that were made from their parent, so that updates of that one lead to them."""


@dataclass(frozen=True)
class Origin:
    """Where a version comes from.

    Args:
        parent: the version it was made from; None for the initial bank.
        round: that made it; 0 for the initial bank and for a new head.
        contributors: deltas or devices that went into it.
        reason: "initial", "head", "merge", "rollback", "gate", or of a site "upstream".
        balance: JSON of the top-k statistics after it.
        settled: the last round of which no accepted delta can be in none of the versions up to this one, which devices
            are told: they let go of what they sent up to it. None: ``round``.
    """

    parent: int | None
    round: int
    contributors: int
    reason: str
    balance: str | None = None
    settled: int | None = None


@dataclass(frozen=True)
class Lineage:
    """Args: ledger: lists the versions; blobs: hold their blocks; federation: its digest; shape: of the bank."""

    ledger: Ledger
    blobs: Blobs
    federation: bytes
    shape: BankShape

    def write_updates(self, updates: Mapping[ExpertId, bytes]) -> dict[ExpertId, bytes]:
        """Put updates on the disk likewise, without waiting for it: they save bytes, and nothing is lost with them.

        Raises:
            StorageError: when the disk refuses.
        """
        return {block: self.blobs.put(update, flush=False) for block, update in updates.items()}

    def write_blocks(self, bank: Bank) -> dict[ExpertId, bytes]:
        """Put every block of ``bank`` on the disk, ahead of the transaction that names them; return their digests.

        Raises:
            StorageError: when the disk refuses; what was written is not written again next time.
        """
        return {block: self.blobs.put(tensors.encode(bank.block(block))) for block in self.shape.ids()}

    @property
    def sizes(self) -> list[int]:
        """Bytes of each block, in the order of a version's message."""
        return [4 * self.shape.size(block) for block in self.shape.ids()]

    def row(
        self,
        number: int,
        digests: dict[ExpertId, bytes],
        origin: Origin,
        now: float,
        *,
        updates: Mapping[ExpertId, bytes] | None = None,
        residuals: bytes = b"",
        server: str = "",
    ) -> VersionRow:
        """Return the row of a new version; the caller appends it inside its transaction.

        Args:
            number: of the version.
            digests: of its blocks.
            origin: where it comes from.
            now: seconds since 1970.
            updates: digest of each that makes a block of the parent's.
            residuals: the list of them, see residuals.py.
            server: what it notes of its merge, see moments.py.
        """
        message = pb.Version(
            federation_digest=self.federation,
            version=number,
            parent=origin.parent or 0,
            digest=version_digest(digests),
            round=origin.round if origin.settled is None else origin.settled,
            blocks=[pb.Block(layer=b.layer, index=b.index, digest=digests[b]) for b in sorted(digests)],
        )
        parent = self.ledger.version(origin.parent) if origin.parent is not None and origin.reason in ONWARD else None
        if parent is not None:
            steps = self._here(steps_back(decode(pb.Version, parent.payload), digests, updates or {}, self.shape))
            fitting = that_fit(steps, MESSAGE_LIMIT - TRAILER_BYTES - len(encode(message)))
            for block in message.blocks:
                block.updates.extend(fitting.get(ExpertId(block.layer, block.index), ()))
        return VersionRow(
            number, origin.parent, message.digest, origin.round, origin.contributors, origin.reason, now,
            encode(message), origin.balance, residuals, server,
        )  # fmt: skip

    def _here(self, steps: Mapping[ExpertId, Sequence[pb.Update]]) -> dict[ExpertId, list[pb.Update]]:
        """Return the updates up to the first that is not on the disk any more."""
        return {
            block: list(takewhile(lambda update: self.blobs.has(update.digest), updates))
            for block, updates in steps.items()
        }

    def load(self, number: int | None = None) -> tuple[VersionRow, Bank]:
        """Return a version (the newest without a number) and its bank, every digest checked.

        Raises:
            StateError: when there is no such version, or a block is missing or changed.
        """
        row = self.ledger.version(number)
        if row is None:
            msg = f"no version {number}; there are: {self.ledger.version_numbers()}"
            raise StateError(msg)
        try:
            message = decode(pb.Version, row.payload)
        except WireError as error:
            msg = f"version {row.version} was changed: its message cannot be read ({error})"
            raise StateError(msg) from error
        digests = block_digests(message)
        if version_digest(digests) != row.digest:
            msg = f"version {row.version} was changed: its blocks have another digest than the ledger says"
            raise StateError(msg)
        try:
            bytes_of = {block: self.blobs.get(digest) for block, digest in digests.items()}
        except StateError as error:
            msg = (
                f"version {row.version} is not whole: {error}; blocks of old versions are removed ([limits] "
                f"keep_versions), of newer ones broker_server verify says what is wrong"
            )
            raise StateError(msg) from error
        blocks = {block: np.frombuffer(data, "<f4").astype(np.float32) for block, data in bytes_of.items()}
        return row, Bank.from_blocks(self.shape, blocks)

    def updates(self, row: VersionRow) -> list[bytes]:
        """Return the digests of the updates that a version lists, each once."""
        blocks = decode(pb.Version, row.payload).blocks
        return list(dict.fromkeys(update.digest for block in blocks for update in block.updates))

    def without_updates(self, row: VersionRow, lost: Collection[bytes]) -> VersionRow:
        """Return a version's row whose message lists only updates before the first of each block that is ``lost``."""
        message = decode(pb.Version, row.payload)
        for block in message.blocks:
            whole = list(takewhile(lambda update: update.digest not in lost, block.updates))
            del block.updates[len(whole) :]
        return replace(row, payload=encode(message))

    def blocks(self, row: VersionRow) -> list[bytes]:
        """Return the digests of a version's blocks, in the order of its message."""
        return [block.digest for block in decode(pb.Version, row.payload).blocks]
