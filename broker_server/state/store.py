"""The state directory: one gateway at a time, one federation for good.

lock            held while a gateway runs (flock: gone with its process)
HEAD            the newest version that may have been announced, see announced.py
ROUND           the last round that was opened and its plans, see open_round.py
ledger.sqlite3  see schema.py
versions/       what each kept version puts into the ledger, see version_files.py
blobs/          blocks of versions by digest, and updates that lead to them
residuals/      what int8 left out of blocks, see residuals.py
spool/          accepted deltas that are not yet part of a version, and those of the newest merge
journal.jsonl   one line for each round
reserve         space that a start on a full disk gives back, so that SQLite has room for its log

A version is written in this order: its blocks, its file, HEAD, the ledger's transaction; only then is it announced. A
start brings the four together again (repair.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final

from broker_server.errors import DamagedError, StateError, StorageError
from broker_server.state import repair
from broker_server.state.announced import Announced
from broker_server.state.blobs import Blobs, Source
from broker_server.state.database import ADVICE
from broker_server.state.files import PRIVATE_FILE, make_folder, tighten, write_durably
from broker_server.state.ledger import NAME, Ledger
from broker_server.state.ledger_watch import LedgerWatch
from broker_server.state.lineage import Lineage, Origin
from broker_server.state.open_round import OpenRound
from broker_server.state.residuals import Residuals
from broker_server.state.rows import DeltaRow, VersionRow
from broker_server.state.spool import Spool
from broker_server.state.version_files import VersionFiles, VersionRecord
from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import PackageError, WireError
from edge_runtime.wire.manifest import Architecture, Manifest, Package
from edge_runtime.wire.messages import decode
from edge_runtime.wire.strict_json import plain_tree

KEEP_VERSIONS: Final = 50
LOCK_WAIT_S: Final = 0.5
"""How long a start waits for the lock: whoever looks whether a gateway runs (``status``) holds it for a moment."""
RESERVE: Final = 256 * 1024
"""Bytes: of the ledger's shared memory (32 KiB) and a log of some pages, with room to spare."""


@dataclass(frozen=True)
class Store:
    """An opened state directory.

    Args:
        folder: where it is.
        manifest: of the package that it was started with first.
        ledger, blobs, residuals, spool, versions: what is kept.
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
            lock = _lock(folder)
        except OSError as error:
            msg = f"cannot use state directory {folder}: {error.strerror}; choose another with --state"
            raise StateError(msg) from error
        try:
            loose = tighten(folder)
            more = f" and {len(loose) - 1} more" if len(loose) > 1 else ""
            notes = [f"others had rights to {loose[0]}{more}: they are taken away"] if loose else []
            ledger = _ledger(folder, notes, accept_loss=accept_loss)
            _same_federation(ledger, folder, package, notes)
            store = cls._with(folder, ledger, package.manifest, lock)
            store = replace(store, keep_versions=keep_versions, accept_loss=accept_loss, notes=notes)
            _begin(store, package, now)
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
        return cls._with(folder, ledger, _manifest(ledger, folder), None)

    @classmethod
    def open_to_restore(cls, folder: Path) -> Store:
        """Open a copy that no gateway has yet, for writing.

        Raises:
            StateError: when it is no state.
        """
        ledger = Ledger(folder / NAME)
        return cls._with(folder, ledger, _manifest(ledger, folder), None)

    @classmethod
    def _with(cls, folder: Path, ledger: Ledger, manifest: Manifest, lock: IO[str] | None) -> Store:
        blobs = Blobs(folder / "blobs")
        shape = manifest.architecture.bank_shape
        lineage = Lineage(ledger, blobs, manifest.architecture.digest(), shape)
        residuals = Residuals(Blobs(folder / "residuals"), shape)
        spool, versions = Spool(folder / "spool"), VersionFiles(folder / "versions")
        return cls(folder, manifest, ledger, blobs, residuals, spool, lineage, versions, lock)

    def copies(self) -> Source:
        """Return what looks a block up in the copies of banks, which are read when the first is asked for."""
        blocks: dict[bytes, bytes] | None = None

        def look(digest: bytes) -> bytes | None:
            nonlocal blocks
            if blocks is None:
                blocks = self.versions.blocks(self.lineage.sizes)
            return blocks.get(digest)

        return look

    def add_version(
        self, row: VersionRow, deltas: Sequence[DeltaRow], now: float, settings: Mapping[str, str] | None = None
    ) -> None:
        """Keep a version whose blocks are on the disk; it may be announced after this.

        Args:
            row: of the version.
            deltas: that it was merged from; of a merge, they end its round.
            now: seconds since 1970.
            settings: of the state directory that change with it.

        Raises:
            StorageError: when the disk refuses; the ledger is as it was, and the same call may be made again.
        """
        # Read again rather than handed over: a copy of what is there, not of what should be.
        self.keep_bank(row)
        self.versions.keep(VersionRecord(row, tuple(deltas), settings or {}))
        last = self.ledger.last_round()
        Announced(row.version, row.digest, last.round if last else 0).write(self.folder)
        with self.ledger.transaction():
            self.ledger.append_version(row)
            self.ledger.fold(deltas, row.version)
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
            before = self.versions.read(row.version)
            settings = before.settings if before is not None else {}
            self.versions.keep(VersionRecord(row, tuple(self.ledger.merged_into(row.version)), settings))
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
        for old in reversed(self.kept()):
            try:
                bank = self.lineage.load(old.version)[1]
            except StateError:
                continue
            row = self.lineage.row(
                max(announced, old.version) + 1, bank.digests(), Origin(old.version, 0, 0, "rollback", old.balance), now
            )
            self.add_version(row, (), now)
            return row
        msg = f"no version in {self.folder} is whole; broker_server restore puts a backup in its place"
        raise StateError(msg)

    def kept(self) -> list[VersionRow]:
        """Return the versions whose blocks stay, oldest first: version 0 and the newest."""
        if self.keep_versions == 0:
            return self.ledger.versions()
        first, newest = self.ledger.version(0), self.ledger.newest_versions(self.keep_versions)
        return [*([first] if first is not None and first not in newest else []), *newest]

    def tidy(self) -> None:
        """Remove what nothing names any more: blocks and files of old versions, deltas of older merges.

        Of updates those of the last two versions stay: a device that asks may not have heard of the last one yet.
        """
        kept = self.kept()
        wanted = {digest for row in kept for digest in self.lineage.blocks(row)}
        self.blobs.sweep(wanted.union(*(self.lineage.updates(row) for row in kept[-2:])))
        self.residuals.sweep(self.ledger.residual_rows())
        self.versions.sweep(row.version for row in kept)
        self.spool.sweep(row.digest for row in self.ledger.spooled())

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


def _manifest(ledger: Ledger, folder: Path) -> Manifest:
    manifest = ledger.get("manifest")
    if manifest is None:
        msg = f"{folder} holds no federation yet: start a gateway with broker_server run"
        raise StateError(msg)
    try:
        return Manifest.from_json(manifest.encode(), str(ledger.path))
    except PackageError as error:
        msg = f"{ledger.path} is damaged: its manifest cannot be read; a start of the gateway writes it again"
        raise DamagedError(msg) from error


def _ledger(folder: Path, notes: list[str], *, accept_loss: bool) -> Ledger:
    """Open the ledger; a damaged one is set aside when the operator accepts the loss."""
    path = folder / NAME
    try:
        return _with_room(folder)
    except DamagedError:
        if not accept_loss:
            raise
    aside = folder / f"{NAME}.damaged-{sum(1 for _ in folder.glob(NAME + '.damaged-*')) + 1}"
    path.replace(aside)
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    notes.append(
        f"the damaged ledger is set aside as {aside.name}: devices, statistics, plans and what was revoked are lost; "
        "revoke again whom you had revoked"
    )
    return Ledger(path)


def _with_room(folder: Path) -> Ledger:
    """Open the ledger, on a full disk in the room that was reserved for that.

    Raises:
        StateError, StorageError: when it cannot be opened.
    """
    reserve = folder / "reserve"
    try:
        ledger = _sound_ledger(folder / NAME)
    except StateError as error:
        if isinstance(error, DamagedError) or not _is_full(folder):
            raise
        reserve.unlink(missing_ok=True)
        try:
            return _sound_ledger(folder / NAME)
        except StateError as again:
            msg = f"the disk of {folder} is full: not even the ledger can be opened; free some space"
            raise StorageError(msg) from again
    if not reserve.exists():
        with contextlib.suppress(StorageError):
            write_durably(reserve, bytes(RESERVE))
    return ledger


def _is_full(folder: Path) -> bool:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize < RESERVE


def _sound_ledger(path: Path) -> Ledger:
    ledger = Ledger(path)
    faults = ledger.faults()
    if faults:
        ledger.close()
        msg = f"{path} is damaged: {'; '.join(faults)[:200]}; {ADVICE}, broker_server run --accept-loss makes it anew"
        raise DamagedError(msg)
    return ledger


def _written_again(ledger: Ledger, package: Package, notes: list[str]) -> Architecture:
    """Put the package's manifest in place of a damaged one, when the versions are of its federation."""
    row, architecture = ledger.version(), package.manifest.architecture
    try:
        if row is None or decode(pb.Version, row.payload).federation_digest != architecture.digest():
            raise DamagedError(f"{ledger.path} is damaged: its manifest cannot be read; {ADVICE}")
    except WireError as error:
        raise DamagedError(f"{ledger.path} is damaged: neither manifest nor version can be read; {ADVICE}") from error
    with ledger.transaction():
        ledger.put("manifest", package.manifest.to_json().decode())
    notes.append("damaged in the ledger and written again: the manifest")
    return architecture


def _same_federation(ledger: Ledger, folder: Path, package: Package, notes: list[str]) -> None:
    before = ledger.get("manifest")
    if before is None:
        return
    new = package.manifest.architecture
    try:
        old = Manifest.from_json(before.encode(), str(ledger.path)).architecture
    except PackageError:
        old = _written_again(ledger, package, notes)
    if old.digest() != new.digest():
        msg = (
            f"package {package.folder} is of another federation than state directory {folder}: "
            f"{'; '.join(differences(old, new))}; use that package, or another directory with --state"
        )
        raise StateError(msg)


def differences(old: Architecture, new: Architecture) -> list[str]:
    """Return what differs between two federations, for people."""
    was, now = plain_tree(old), plain_tree(new)
    changes = [f"{key} {_short(was[key])} became {_short(now[key])}" for key in was if was[key] != now[key]]
    return changes or ["nothing that is named differs"]


def _short(value: object) -> str:
    if isinstance(value, dict):
        return f"{value.get('name')} ({str(value.get('digest'))[:12]})"
    if isinstance(value, list) and len(value) > 6:
        return f"[{len(value)} entries]"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _begin(store: Store, package: Package, now: float) -> None:
    initial = package.bank()
    own = {digest: tensors.encode(initial.block(block)) for block, digest in initial.digests().items()}
    store.blobs.sources.extend((own.get, store.copies()))
    if store.ledger.version() is None:
        architecture = package.manifest.architecture
        digests = store.lineage.write_blocks(initial)
        row = store.lineage.row(0, digests, Origin(None, 0, 0, "initial"), now)
        if row.digest.hex() != architecture.bank_digest:
            came, want = row.digest.hex()[:12], architecture.bank_digest[:12]
            msg = f"the package's bank has version digest {came}, its manifest says {want}; export the package again"
            raise StateError(msg)
        with store.ledger.transaction():
            store.ledger.put("manifest", package.manifest.to_json().decode())
            store.ledger.append_version(row)
    repair.take_up(store, now)
    with contextlib.suppress(StorageError):  # a full disk does not keep a gateway from serving what it has
        store.ledger.put("package", str(package.folder.resolve()))
        store.ledger.leave()
    store.tidy()


def _take(lock: IO[str], until: float) -> None:
    """Take a lock, or raise BlockingIOError. Args: until: monotonic seconds; so long it is tried again."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(LOCK_WAIT_S / 25)
        else:
            return


def _lock(folder: Path) -> IO[str]:
    lock = open(os.open(folder / "lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE), "r+")  # noqa: PTH123, SIM115
    try:
        _take(lock, time.monotonic() + LOCK_WAIT_S)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        msg = (
            f"state directory {folder} is in use by another gateway (process {holder}); "
            "stop it, or choose another directory with --state"
        )
        raise StateError(msg) from None
    with contextlib.suppress(OSError):  # who holds it is for people only
        # Past Python's buffer, which would try again when the file is closed.
        os.ftruncate(lock.fileno(), 0)
        os.pwrite(lock.fileno(), str(os.getpid()).encode(), 0)
    return lock
