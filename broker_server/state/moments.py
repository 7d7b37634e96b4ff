"""Moments of the gateway's optimizer by digest: of each block one file, [1 or 2, P] little-endian float32.

A version's row names those after it (``rules/server_rules.py``). As with residuals, the next merge needs those of the
newest version, those of the newest merge's parent make that merge again, and no device can ask for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from broker_server.errors import StateError
from broker_server.rules.server_rules import ServerNotes
from broker_server.state.blobs import Blobs
from broker_server.state.rows import VersionRow
from edge_runtime.wire import tensors
from edge_runtime.wire.errors import BankError, WireError
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.tensors import Array


def notes_of(row: VersionRow) -> ServerNotes:
    """Return what a version's row notes of its merge.

    Raises:
        StateError: when that is damaged.
    """
    try:
        return ServerNotes.read(row.server)
    except ValueError as error:
        msg = f"version {row.version} was changed: {error}"
        raise StateError(msg) from error


def without_moments(row: VersionRow) -> str:
    """Return what a version that is brought back notes: the rules and what was spent, and nothing of its merge."""
    return replace(notes_of(row), moments={}, planned={}, distrusted=()).text()


@dataclass(frozen=True)
class MomentFiles:
    """Args: blobs: hold them; shape: of the bank."""

    blobs: Blobs
    shape: BankShape

    def write(self, moments: Mapping[ExpertId, Array]) -> dict[ExpertId, bytes]:
        """Put moments on the disk, ahead of the transaction that names them; return their digests.

        Raises:
            StorageError: when the disk refuses.
        """
        return {block: self.blobs.put(tensors.encode(values.reshape(-1))) for block, values in moments.items()}

    def load(self, row: VersionRow) -> dict[ExpertId, Array]:
        """Return the moments after a version, every digest checked.

        Raises:
            StateError: when one is missing or changed.
        """
        moments = self.whole(row)
        lost = [f"{block.layer}.{block.index}" for block in notes_of(row).moments if block not in moments]
        if lost:
            msg = f"version {row.version} is not whole: {len(lost)} moments of it are missing or changed ({lost[0]})"
            raise StateError(msg)
        return moments

    def sweep(self, rows: Iterable[VersionRow]) -> None:
        """Delete all but the moments of ``rows``."""
        self.blobs.sweep([digest for row in rows for digest in notes_of(row).moments.values()])

    def whole(self, row: VersionRow) -> dict[ExpertId, Array]:
        """Return those moments of a version that are here and whole."""
        read: dict[ExpertId, Array] = {}
        for block, digest in notes_of(row).moments.items():
            data = self.blobs.read(digest)
            if data is not None:
                try:
                    size = self.shape.size(block)
                    read[block] = tensors.decode(data, len(data) // 4).reshape(-1, size)
                except (WireError, BankError, ValueError):
                    continue
        return read
