"""Which version of the bank is here, what is missing of another, and banks put together from blobs.

The package's own bank counts as a store: a block that did not change since the export is never downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_runtime.store import Record, Store
from edge_runtime.wire import messages, tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.errors import BankError, WireError
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.tensors import Array

CURRENT = "current"


class Versions:
    """Versions of a federation's bank on this device.

    Args:
        store: where blobs and messages are kept.
        package: whose bank is version 0.

    Raises:
        BankError: when the versions in the store are of another federation, with other labels or in another order.
    """

    def __init__(self, store: Store, package: Package) -> None:
        self._store = store
        self._architecture = package.manifest.architecture
        self._shape = self._architecture.bank_shape
        self._federation = self._architecture.digest()
        self._initial = package.bank()
        self._own = {digest: block for block, digest in self._initial.digests().items()}
        self._lacking: dict[bytes, dict[bytes, None]] = {}
        """What each version that was asked about lacks; kept here because every blob that comes asks again."""
        record = store.recall(CURRENT)
        head = record.head if record is not None else {}
        self.newest = self._recall(head.get("newest", ""))
        self._complete = self._recall(head.get("complete", ""))
        self._useless: pb.Version | None = None
        """All of it is here, and it is no bank."""

    def _recall(self, digest: str) -> pb.Version | None:
        message = self._store.version(bytes.fromhex(digest)) if digest else None
        version = messages.decode(pb.Version, message) if message is not None else None
        if version is not None and version.federation_digest != self._federation:
            came, own = version.federation_digest.hex()[:12], self._federation.hex()[:12]
            raise BankError(
                f"the state directory {self._store.folder} holds versions of federation {came}…, this package is of"
                f" {own}…: labels or their order, backbone or initial bank differ; use a package of that federation"
            )
        return version

    def _remember(self) -> None:
        head = {"newest": self.newest, "complete": self._complete}
        self._store.write(CURRENT, Record({name: version.digest.hex() for name, version in head.items() if version}))

    def announce(self, payload: bytes) -> pb.Version:
        """Take a Version message; it becomes the newest, whatever its number (an operator may roll back).

        Raises:
            WireError: MALFORMED, WRONG_FEDERATION, DIGEST_MISMATCH, or blocks that are not this bank's.
        """
        version = messages.decode(pb.Version, payload)
        if version.federation_digest != self._federation:
            raise WireError(pb.WRONG_FEDERATION, "a version of another federation")
        if messages.ids(version.blocks) != self._shape.ids():
            raise WireError(pb.MALFORMED, f"a version of {len(version.blocks)} blocks that are not this bank's")
        self._store.put_version(version.digest, payload)
        self.newest = version
        self._lacking.clear()
        self._remember()
        return version

    def adopt_newest(self, others: Iterable[bytes]) -> bool:
        """When the newest version is complete, make it the one to predict with and remove what is no longer needed.

        Args:
            others: digests of versions to keep as well.

        Returns:
            Whether the newest became complete now.

        Raises:
            BankError: once, when all of it is here and it is no bank; the version before stays.
        """
        if self.newest is None or self.newest in (self._complete, self._useless) or self.missing(self.newest):
            return False
        if not self._usable(self.newest):
            return False
        self._complete = self.newest
        self._remember()
        kept = [self.newest, *(version for digest in others if (version := self.find(digest)) is not None)]
        blobs = {block.digest for version in kept for block in version.blocks}
        self._store.keep_only([version.digest for version in kept], blobs)
        self._lacking.clear()
        return True

    def _usable(self, version: pb.Version) -> bool:
        """Return whether every block can be read, one at a time; what was here before is let go only then."""
        try:
            return all(
                self._block(block, digest) is not None for block, digest in messages.block_digests(version).items()
            )
        except BankError:
            self._useless = version
            raise

    def find(self, digest: bytes) -> pb.Version | None:
        """Return the version with this digest, if its message is here."""
        if self.newest is not None and self.newest.digest == digest:
            return self.newest
        message = self._store.version(digest)
        return messages.decode(pb.Version, message) if message is not None else None

    def missing(self, version: pb.Version) -> list[bytes]:
        """Return the digests of the blocks that must be fetched, each once."""
        if version.digest not in self._lacking:
            others = [block.digest for block in version.blocks if block.digest not in self._own]
            lacking = dict.fromkeys(digest for digest in others if not self._store.has_blob(digest))
            self._lacking[version.digest] = lacking
        return list(self._lacking[version.digest])

    def keep(self, digest: bytes, data: bytes) -> None:
        """Keep a block's bytes that came from the gateway."""
        self._store.put_blob(digest, data)
        for lacking in self._lacking.values():
            lacking.pop(digest, None)

    def bank(self, version: pb.Version) -> Bank | None:
        """Return the bank of a version, every block checked against its digest; None when one lacks or is damaged.

        Raises:
            BankError: when a block is what its digest says and yet no block of this bank.
        """
        blocks: dict[ExpertId, Array] = {}
        for block, digest in messages.block_digests(version).items():
            values = self._block(block, digest)
            if values is None:
                return None
            blocks[block] = values
        return Bank.from_blocks(self._shape, blocks)

    def _block(self, block: ExpertId, digest: bytes) -> Array | None:
        if digest in self._own:
            return self._initial.block(self._own[digest])
        data = self._store.blob(digest)
        if data is None:  # lost or damaged since it was seen
            self._lacking.clear()
            return None
        try:
            return tensors.decode(data, self._shape.size(block))
        except WireError as error:  # the right digest of wrong values: no copy of it can be run
            raise BankError(f"block {block} of the gateway's version cannot be used: {error.detail}") from error

    def latest_bank(self) -> tuple[Bank, int]:
        """Return the newest complete bank and its version; the package's own is version 0."""
        bank = self.bank(self._complete) if self._complete is not None else None
        if bank is None or self._complete is None:
            return self._initial, 0
        return bank, self._complete.version
