"""The state directory: one gateway at a time, one federation for good.

lock            held while a gateway runs (flock: gone with its process)
ledger.sqlite3  see schema.py
blobs/          blocks of versions by digest
spool/          accepted deltas that are not yet part of a version
journal.jsonl   one line for each round
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from broker_server.errors import StateError
from broker_server.state.blobs import Blobs
from broker_server.state.ledger import NAME, Ledger
from broker_server.state.lineage import Lineage, Origin
from broker_server.state.spool import Spool
from edge_runtime.wire.manifest import Architecture, Manifest, Package
from edge_runtime.wire.strict_json import plain_tree

SCHEMA = "1"


@dataclass(frozen=True)
class Store:
    """An opened state directory. Args: manifest: of the package that it was started with first."""

    folder: Path
    manifest: Manifest
    ledger: Ledger
    blobs: Blobs
    spool: Spool
    lineage: Lineage
    lock: IO[str] | None

    @classmethod
    def open(cls, folder: Path, package: Package, now: float) -> Store:
        """Take the directory for this process; a new one starts with the package's initial bank as version 0.

        Raises:
            StateError: when another gateway holds it, or it belongs to another federation.
            StorageError: when the disk refuses.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = _lock(folder)
        except OSError as error:
            msg = f"cannot use state directory {folder}: {error.strerror}; choose another with --state"
            raise StateError(msg) from error
        try:
            ledger = Ledger(folder / NAME)
            _same_federation(ledger, folder, package)
            store = cls._with(folder, ledger, package.manifest, lock)
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
        manifest = ledger.get("manifest")
        if manifest is None:
            msg = f"{folder} holds no federation yet: start a gateway with broker_server run"
            raise StateError(msg)
        return cls._with(folder, ledger, Manifest.from_json(manifest.encode(), str(ledger.path)), None)

    @classmethod
    def _with(cls, folder: Path, ledger: Ledger, manifest: Manifest, lock: IO[str] | None) -> Store:
        blobs = Blobs(folder / "blobs")
        lineage = Lineage(ledger, blobs, manifest.architecture.digest(), manifest.architecture.bank_shape)
        return cls(folder, manifest, ledger, blobs, Spool(folder / "spool"), lineage, lock)

    def close(self) -> None:
        """Let the directory go."""
        self.ledger.close()
        if self.lock is not None:
            self.lock.close()


def _same_federation(ledger: Ledger, folder: Path, package: Package) -> None:
    before = ledger.get("manifest")
    if before is None:
        return
    old = Manifest.from_json(before.encode(), str(ledger.path)).architecture
    new = package.manifest.architecture
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
    if store.ledger.version() is None:
        architecture = package.manifest.architecture
        bank = package.bank()
        digests = store.lineage.write_blocks(bank)
        row = store.lineage.row(0, digests, Origin(None, 0, 0, "initial"), now)
        if row.digest.hex() != architecture.bank_digest:
            came, want = row.digest.hex()[:12], architecture.bank_digest[:12]
            msg = f"the package's bank has version digest {came}, its manifest says {want}; export the package again"
            raise StateError(msg)
        with store.ledger.transaction():
            store.ledger.put("manifest", package.manifest.to_json().decode())
            store.ledger.put("schema", SCHEMA)
            store.ledger.append_version(row)
    store.ledger.put("package", str(package.folder.resolve()))
    store.ledger.leave()
    store.spool.sweep(row.digest for row in store.ledger.waiting())


def _lock(folder: Path) -> IO[str]:
    lock = (folder / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        msg = (
            f"state directory {folder} is in use by another gateway (process {holder}); "
            "stop it, or choose another directory with --state"
        )
        raise StateError(msg) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
