"""What belongs to the newest version beside its blocks, whole at a start: residuals, moments, the updates it lists.

None of it is worth refusing a start. What is lost is made again from the version's parent, and what cannot be is no
longer named: the next merge goes on without these residuals and moments, and devices fetch these blocks whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from broker_server.errors import StateError
from broker_server.rules.updates import Step
from broker_server.state.moments import notes_of
from broker_server.state.residuals import digests_of
from broker_server.state.rows import VersionRow
from broker_server.state.store import Store
from edge_runtime.wire.text import counted


def mended(store: Store, row: VersionRow, rederived: Callable[[VersionRow], Step | None]) -> VersionRow:
    """Return the newest version's row, with nothing in it that is lost.

    Args:
        store: opened state; one that is only read stays as it is.
        row: of the newest version.
        rederived: makes a version again.

    Raises:
        StorageError: when the disk refuses.
    """
    lost = _lost(store, row)
    if not lost or store.lock is None:
        return row
    with contextlib.suppress(StateError):
        step = rederived(row)
        if step is not None:
            store.lineage.write_updates(step.updates)
            store.residuals.write(step.residuals)
            store.moments.write(step.moments)
    left = _lost(store, row)
    if lost != left:
        store.notes.append(f"damaged: {_named(lost - left)}; made again from version {row.parent}")
    if left:
        residuals = store.residuals.write(store.residuals.whole(row))
        server = replace(notes_of(row), moments=store.moments.write(store.moments.whole(row))).text()
        row = replace(store.lineage.without_updates(row, left), residuals=residuals, server=server)
        store.mend_version(row)
        store.notes.append(
            f"lost: {_named(left)}; the next merge goes on without these residuals and moments, devices fetch these "
            "blocks whole"
        )
    return row


def _lost(store: Store, row: VersionRow) -> set[bytes]:
    """Return the digests of the residuals, moments and updates that cannot be read."""
    residuals = {digest for digest in digests_of(row).values() if store.residuals.blobs.read(digest) is None}
    moments = {digest for digest in notes_of(row).moments.values() if store.moments.blobs.read(digest) is None}
    return residuals | moments | {digest for digest in store.lineage.updates(row) if store.blobs.read(digest) is None}


def _named(digests: set[bytes]) -> str:
    names = [digest.hex()[:12] for digest in sorted(digests)]
    return f"{counted(len(names), 'file')} of residuals, moments and updates ({', '.join(names[:3])})"
