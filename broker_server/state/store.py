"""The state directory: one gateway at a time, one federation for good.

lock            held while a gateway runs (flock: gone with its process)
HEAD            the newest version that may have been announced, see announced.py
ROUND           the last round that was opened and its plans, see open_round.py
ledger.sqlite3  see schema.py
versions/       what each kept version puts into the ledger, see version_files.py
blobs/          blocks of versions by digest, and updates that lead to them
residuals/      what int8 left out of blocks, see residuals.py
moments/        of the gateway's optimizer, see moments.py
spool/          accepted deltas that are not yet part of a version, and those of the newest merge
PRIVACY         what was released with noise, see privacy_account.py
journal.jsonl   one line for each round
reserve         space that a start on a full disk gives back, so that SQLite has room for its log

A version is written in this order: its blocks, its file, HEAD, the ledger's transaction; only then is it announced. A
start brings the four together again (repair.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final

from broker_server.errors import StateError, StorageError
from broker_server.state.announced import Announced
from broker_server.state.blobs import Blobs, Source
from broker_server.state.copy_lock import removing
from broker_server.state.files import make_folder, tighten
from broker_server.state.folder_lock import lock_folder
from broker_server.state.kept_manifest import check_federation, kept_manifest
from broker_server.state.ledger import NAME, Ledger
from broker_server.state.ledger_opening import open_ledger
from broker_server.state.ledger_watch import LedgerWatch
from broker_server.state.lineage import Lineage, Origin
from broker_server.state.moments import MomentFiles, notes_of, without_moments
from broker_server.state.open_round import OpenRound
from broker_server.state.residuals import Residuals
from broker_server.state.rows import DeltaRow, TrustRow, VersionRow
from broker_server.state.spool import Spool
from broker_server.state.starting import begin
from broker_server.state.version_files import VersionFiles, VersionRecord
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import block_list
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.manifest import Manifest, Package
from edge_runtime.wire.messages import block_digests, decode

KEEP_VERSIONS: Final = 50


@dataclass(frozen=True)
class Store:
    """An opened state directory.

    Args:
        folder: where it is.
        manifest: of the package that it was started with first.
        ledger, blobs, residuals, moments, spool, versions: what is kept.
        lineage: of the versions.
        lock: held by this process; None when it is open for reading.
        keep_versions: the newest versions whose blocks stay; 0: all.
        accept_loss: whether the operator said to go on without what is lost.
        notes: what a start repaired, for people.
    """

    folder: Path
    manifest: Manifest
    ledger: Ledger
    blobs: Blobs
    residuals: Residuals
    moments: MomentFiles
    spool: Spool
    lineage: Lineage
    versions: VersionFiles
    lock: IO[str] | None
    keep_versions: int = KEEP_VERSIONS
    accept_loss: bool = False
    notes: list[str] = field(default_factory=list)
    watch: LedgerWatch = field(init=False)
    """What is asked of the ledger with every message."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "watch", LedgerWatch(self.ledger))

    @classmethod
    def open(
        cls,
        folder: Path,
        package: Package,
        now: float,
        *,
        keep_versions: int = KEEP_VERSIONS,
        accept_loss: bool = False,
    ) -> Store:
        """Take the directory for this process; a new one starts with the package's initial bank as version 0.

        Args:
            folder: of the state.
            package: of the federation.
            now: seconds since 1970.
            keep_versions: the newest versions whose blocks stay; 0: all.
            accept_loss: go on without announced versions that nothing holds any more, instead of refusing.

        Raises:
            StateError: when another gateway holds it, it belongs to another federation or a newer gateway, or what
                was announced is lost.
            StorageError: when the disk refuses.
        """
        try:
            make_folder(folder)
            lock = lock_folder(folder)
        except OSError as error:
            msg = f"cannot use state directory {folder}: {error.strerror}; choose another"
            raise StateError(msg).about("state") from error
        try:
            loose = tighten(folder)
            more = f" and {len(loose) - 1} more" if len(loose) > 1 else ""
            notes = [f"others had rights to {loose[0]}{more}: they are taken away"] if loose else []
            ledger = open_ledger(folder, notes, accept_loss=accept_loss)
            check_federation(ledger, folder, package, notes)
            store = cls._with(folder, ledger, package.manifest, lock)
            store = replace(store, keep_versions=keep_versions, accept_loss=accept_loss, notes=notes)
            begin(store, package, now)
        except BaseException:
            lock.close()
            raise
        return store

    @classmethod
    def open_read_only(cls, folder: Path) -> Store:
        """Open for reading, also while a gateway runs.

        Raises:
            StateError: when there is no state.
        """
        ledger = Ledger(folder / NAME, read_only=True)
        return cls._with(folder, ledger, kept_manifest(ledger, folder), None)

    @classmethod
    def open_to_restore(cls, folder: Path) -> Store:
        """Open a copy that no gateway has yet, for writing.

        Raises:
            StateError: when it is no state.
        """
        ledger = Ledger(folder / NAME)
        return cls._with(folder, ledger, kept_manifest(ledger, folder), None)

    @classmethod
    def _with(cls, folder: Path, ledger: Ledger, manifest: Manifest, lock: IO[str] | None) -> Store:
        blobs = Blobs(folder / "blobs")
        shape = manifest.architecture.bank_shape
        lineage = Lineage(ledger, blobs, manifest.architecture.digest(), shape)
        residuals = Residuals(Blobs(folder / "residuals"), shape)
        moments = MomentFiles(Blobs(folder / "moments"), shape)
        spool, versions = Spool(folder / "spool"), VersionFiles(folder / "versions")
        return cls(folder, manifest, ledger, blobs, residuals, moments, spool, lineage, versions, lock)

    def copies(self) -> Source:
        """Return what looks a block up in the copies of banks, which are read when the first is asked for."""
        blocks: dict[bytes, bytes] | None = None

        def look(digest: bytes) -> bytes | None:
            nonlocal blocks
            if blocks is None:
                blocks = self.versions.blocks(self.lineage.sizes)
            return blocks.get(digest)

        return look

    def block_list(self, digest: bytes) -> bytes | None:
        """Return the list of blocks of a version, a blob of whose digest a device asks that missed its announcement.

        None: the digest is of no version whose blocks stay.
        """
        row = self.ledger.version_with(digest, self.keep_versions or KEEP_VERSIONS)
        if row is None:
            return None
        with contextlib.suppress(WireError):
            return block_list(block_digests(decode(pb.Version, row.payload)))
        return None

    def add_version(
        self,
        row: VersionRow,
        deltas: Sequence[DeltaRow],
        now: float,
        settings: Mapping[str, str] | None = None,
        trust: Sequence[TrustRow] = (),
    ) -> None:
        """Keep a version whose blocks are on the disk; it may be announced after this.

        Args:
            row: of the version.
            deltas: that it was merged from; of a merge, they end its round.
            now: seconds since 1970.
            settings: of the state directory that change with it.
            trust: of devices, that changes with it.

        Raises:
            StorageError: when the disk refuses; the ledger is as it was, and the same call may be made again.
        """
        # Read again rather than handed over: a copy of what is there, not of what should be.
        self.keep_bank(row)
        self.versions.keep(VersionRecord(row, tuple(deltas), settings or {}, tuple(trust)))
        last, newest = self.ledger.last_round(), self.ledger.version()
        head = newest if newest is not None and newest.version > row.version else row  # a site may pass versions over
        Announced(head.version, head.digest, last.round if last else 0).write(self.folder)
        with self.ledger.transaction():
            self.ledger.append_version(row)
            self.ledger.fold(deltas, row.version, notes_of(row).distrusted)
            self.ledger.keep_trust(trust)
            if row.reason == "merge":
                self.ledger.close_round(row.round, row.version, now)
            for key, value in (settings or {}).items():
                self.ledger.put(key, value)
        self.ledger.checkpoint()

    def keep_bank(self, row: VersionRow) -> None:
        """Write the copy of a version's bank from its blocks.

        Raises:
            StateError: when a block is damaged or missing.
            StorageError: when the disk refuses.
        """
        self.versions.keep_bank(row.version, [self.blobs.get(digest) for digest in self.lineage.blocks(row)])

    def mend_version(self, row: VersionRow) -> None:
        """Put a version's row in place of the one that is there, in its file and then in the ledger.

        Raises:
            StorageError: when the disk refuses.
        """
        with contextlib.suppress(StateError):
            before = self.versions.read(row.version) or VersionRecord(row)
            deltas = tuple(self.ledger.merged_into(row.version))
            self.versions.keep(replace(before, row=row, deltas=deltas))
        with self.ledger.transaction():
            self.ledger.mend_version(row)

    def note_round(self) -> None:
        """Note outside of the ledger that the last round's plans may go out; a full disk costs the note only."""
        newest, row = self.ledger.version(), self.ledger.last_round()
        if newest is None or row is None:
            return
        plans = self.ledger.plans(row.round)
        with contextlib.suppress(StorageError):
            OpenRound(row.round, row.base_version, row.opened, row.extensions, plans).write(self.folder)
            Announced(newest.version, newest.digest, row.round).write(self.folder)
        self.ledger.checkpoint()

    def fall_back(self, announced: int, now: float) -> VersionRow:
        """Make the newest version that is whole the next one; numbers that were announced are not used again.

        Args:
            announced: the newest number that devices may have heard of.
            now: seconds since 1970.

        Raises:
            StateError: when no version is whole.
        """
        unserved = self.ledger.unserved()
        for old in reversed(self.kept()):
            if old.version in unserved:
                continue
            try:
                bank = self.lineage.load(old.version)[1]
            except StateError:
                continue
            row = self.lineage.row(
                max(announced, old.version) + 1,
                bank.digests(),
                Origin(old.version, 0, 0, "rollback", old.balance),
                now,
                server=without_moments(old),
            )
            self.add_version(row, (), now)
            return row
        msg = f"no version in {self.folder} is whole; broker_server restore puts a backup in its place"
        raise StateError(msg)

    def kept(self) -> list[VersionRow]:
        """Return the versions whose blocks stay, oldest first: version 0, what a site serves, and the newest."""
        if self.keep_versions == 0:
            return self.ledger.versions()
        newest = self.ledger.newest_versions(self.keep_versions)
        older = [self.ledger.version(number) for number in sorted({0, self.ledger.site_base})]
        return [*(row for row in older if row is not None and row not in newest), *newest]

    def tidy(self) -> bool:
        """Remove what nothing names any more: blocks and files of old versions, deltas of older merges.

        Of updates those of the last two versions stay: a device that asks may not have heard of the last one yet.

        Returns:
            Whether that was done: nothing is removed while somebody copies the directory.
        """
        with removing(self.folder) as alone:
            if alone:
                self._sweep()
        return alone

    def _sweep(self) -> None:
        kept = self.kept()
        # While a version waits for its decision, what devices have is the one before it. A version's file goes before
        # its blocks: wherever this is ended, each file that is left has its blocks.
        self.versions.sweep((row.version for row in kept), copies=1 if self.ledger.held() is None else 2)
        wanted = {digest for row in kept for digest in self.lineage.blocks(row)}
        self.blobs.sweep(wanted.union(*(self.lineage.updates(row) for row in kept[-2:])))
        self.residuals.sweep(self.ledger.residual_rows())
        self.moments.sweep([*self.ledger.residual_rows(), *self.ledger.newest_versions(1)])
        self.spool.sweep([*(row.digest for row in self.ledger.spooled()), *self.ledger.mask_sums()])

    def tell_alive(self) -> None:
        """Note for ``broker_server status`` that the gateway is alive: the time of the lock's file."""
        if self.lock is not None and not self.lock.closed:
            with contextlib.suppress(OSError):
                os.utime(self.lock.fileno())

    def close(self) -> None:
        """Let the directory go."""
        self.tell_alive()
        self.ledger.close()
        if self.lock is not None:
            self.lock.close()
