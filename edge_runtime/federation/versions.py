"""Which version of the bank is here, what is missing of another, and banks put together from blobs.

The package's own bank counts as a store: a block that did not change since the export is never downloaded, and one
that did may come as updates of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edge_runtime.federation.lacking import Way, ways_to, whole
from edge_runtime.store import Record, Store
from edge_runtime.wire import messages, tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import read_block_list, sha256
from edge_runtime.wire.errors import BankError, WireError
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.tensors import Array
from edge_runtime.wire.updates import apply_update

CURRENT = "current"
PATIENCE: Final = 3
"""Requests in a row without an answer, after which blocks are fetched whole: an update may be lost at the gateway."""


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
        self._lacking: dict[bytes, dict[bytes, Way]] = {}
        """How each block comes that a version lacks, by both digests; kept because every blob that comes asks again."""
        self._distrusted: set[bytes] = set()
        """Blocks that their updates did not lead to."""
        self._unanswered = 0
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
        for way in (way for version in kept for way in self._ways(version).values()):
            blobs.update((way.base, *way.updates))
        self._store.keep_only([version.digest for version in kept], blobs)
        self._lacking.clear()
        self._distrusted.clear()
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

    def knows(self, digest: bytes, number: int) -> bool:
        """Return whether a version's message is here, or its list of blocks is, which is made one of.

        Args:
            digest: of the version, as a plan names it; its list of blocks is asked for as a blob of this digest.
            number: of the version.
        """
        if self.find(digest) is not None:
            return True
        data = self._store.blob(digest)
        try:
            listed = read_block_list(data) if data is not None else {}
        except WireError:
            return False
        if tuple(listed) != self._shape.ids():
            return False
        blocks = [pb.Block(layer=block.layer, index=block.index, digest=listed[block]) for block in listed]
        message = pb.Version(
            federation_digest=self._federation, version=number, parent=max(0, number - 1), digest=digest, blocks=blocks
        )
        self._store.put_version(digest, messages.encode(message))
        return True

    def missing(self, version: pb.Version) -> list[bytes]:
        """Return the digests of the blocks that lack, each once."""
        return list(self._ways(version))

    def wanted(self, version: pb.Version) -> list[bytes]:
        """Return the digests of the updates and blocks that must be fetched, each once."""
        return list(dict.fromkeys(digest for way in self._ways(version).values() for digest in way.awaited))

    def keep(self, digest: bytes, data: bytes) -> None:
        """Keep the bytes of a block, or of an update, that came from the gateway."""
        self._store.put_blob(digest, data)
        self._unanswered = 0
        for ways in self._lacking.values():
            ways.pop(digest, None)
        ready: dict[bytes, Way] = {}
        for way in self._open():
            if digest in way.awaited:
                del way.awaited[digest]
                if not way.awaited:
                    ready[way.digest] = way
        for way in ready.values():
            self._take_up(way)

    def unanswered(self) -> None:
        """Note that nothing came of what was asked for; before long, blocks are fetched whole."""
        self._unanswered += 1
        if self._unanswered >= PATIENCE:
            for way in self._open():
                self._fetch_whole(way)

    def _ways(self, version: pb.Version) -> dict[bytes, Way]:
        if version.digest not in self._lacking:
            ways = self._lacking[version.digest] = ways_to(version, self._shape, self._here, self._distrusted)
            for way in [way for way in ways.values() if not way.awaited]:  # its updates came for another version
                self._take_up(way)
        return self._lacking[version.digest]

    def _open(self) -> list[Way]:
        return [way for ways in self._lacking.values() for way in ways.values()]

    def _here(self, digest: bytes) -> bool:
        return digest in self._own or self._store.has_blob(digest)

    def _take_up(self, way: Way) -> None:
        """Make a block of its base, now that every update is here; one that they do not lead to is fetched whole."""
        data = self._applied(way)
        if data is None or sha256(data) != way.digest:
            self._distrusted.add(way.digest)
            self._fetch_whole(way)
            return
        self._store.put_blob(way.digest, data)
        for ways in self._lacking.values():
            ways.pop(way.digest, None)

    def _applied(self, way: Way) -> bytes | None:
        """Return what updates make of their base; None when one of them is lost or damaged, or cannot be applied."""
        steps = [self._bytes(digest) for digest in (way.base, *way.updates)]
        if any(step is None for step in steps):
            return None
        base, *updates = (step for step in steps if step is not None)
        try:
            values = tensors.decode(base, self._shape.size(way.block))
            for update in updates:
                values = apply_update(values, update)
        except WireError:
            return None
        return tensors.encode(values)

    def _fetch_whole(self, way: Way) -> None:
        for ways in self._lacking.values():
            if way.digest in ways:
                ways[way.digest] = whole(way.block, way.digest)

    def _bytes(self, digest: bytes) -> bytes | None:
        if digest in self._own:
            return tensors.encode(self._initial.block(self._own[digest]))
        return self._store.blob(digest)

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
        return self.received() or (self._initial, 0)

    def received(self) -> tuple[Bank, int] | None:
        """Return the newest bank that came whole and its version; None when none did, or it was lost since."""
        bank = self.bank(self._complete) if self._complete is not None else None
        return (bank, self._complete.version) if bank is not None and self._complete is not None else None
