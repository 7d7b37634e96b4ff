"""What a start of a gateway writes into its state directory: version 0 of a new one, what repair.py puts right."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from broker_server.errors import StateError, StorageError
from broker_server.state import repair
from broker_server.state.lineage import Origin
from edge_runtime.wire import tensors
from edge_runtime.wire.manifest import Package

if TYPE_CHECKING:
    from broker_server.state.store import Store


def begin(store: Store, package: Package, now: float) -> None:
    """Make version 0 of a new state directory, repair an old one, and remove what nothing names any more.

    Args:
        store: opened and locked.
        package: of its federation; blocks of its bank that are damaged on the disk are read from it.
        now: seconds since 1970.

    Raises:
        StateError: when the package's bank is not what its manifest says, or what was announced is lost.
        StorageError: when the disk refuses.
    """
    initial = package.bank()
    own = {digest: tensors.encode(initial.block(block)) for block, digest in initial.digests().items()}
    store.blobs.sources.extend((own.get, store.block_list, store.copies()))
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
