"""Residuals of versions: what int8 left out of each block, by digest, one file each, little-endian float32.

The next merge needs those of the newest version. Those of the newest merge's parent are kept to make that merge again.
They lie apart from blocks, so that no device can ask for one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from broker_server.errors import StateError
from broker_server.state.blobs import Blobs
from broker_server.state.rows import VersionRow
from edge_runtime.wire import tensors
from edge_runtime.wire.errors import BankError, WireError
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.tensors import Array

_ENTRY: Final = struct.Struct("<II32s")  # layer, index, digest


def listed(digests: Mapping[ExpertId, bytes]) -> bytes:
    """Return residuals as a version's row names them: (layer u32, index u32, digest), ascending."""
    return b"".join(_ENTRY.pack(block.layer, block.index, digests[block]) for block in sorted(digests))


def digests_of(row: VersionRow) -> dict[ExpertId, bytes]:
    """Return the digest of each residual of a version, in the order listed.

    Raises:
        StateError: when the row's list is damaged.
    """
    try:
        entries = list(_ENTRY.iter_unpack(row.residuals))
    except struct.error as error:
        msg = f"version {row.version} was changed: its list of residuals has {len(row.residuals)} bytes"
        raise StateError(msg) from error
    return {ExpertId(layer, index): digest for layer, index, digest in entries}


@dataclass(frozen=True)
class Residuals:
    """Args: blobs: hold them; shape: of the bank."""

    blobs: Blobs
    shape: BankShape

    def write(self, residuals: Mapping[ExpertId, Array]) -> bytes:
        """Put residuals on the disk, ahead of the transaction that names them; return their list.

        Raises:
            StorageError: when the disk refuses.
        """
        return listed({block: self.blobs.put(tensors.encode(values)) for block, values in residuals.items()})

    def load(self, row: VersionRow) -> dict[ExpertId, Array]:
        """Return the residuals of a version, every digest checked.

        Raises:
            StateError: when one is missing or changed.
        """
        residuals = self.whole(row)
        lost = [f"{block.layer}.{block.index}" for block in digests_of(row) if block not in residuals]
        if lost:
            msg = f"version {row.version} is not whole: {len(lost)} residuals of it are missing or changed ({lost[0]})"
            raise StateError(msg)
        return residuals

    def sweep(self, rows: Iterable[VersionRow]) -> None:
        """Delete every residual but those of ``rows``."""
        self.blobs.sweep([digest for row in rows for digest in digests_of(row).values()])

    def whole(self, row: VersionRow) -> dict[ExpertId, Array]:
        """Return those residuals of a version that are here and whole."""
        read: dict[ExpertId, Array] = {}
        for block, digest in digests_of(row).items():
            data = self.blobs.read(digest)
            if data is not None:
                try:
                    read[block] = tensors.decode(data, self.shape.size(block))
                except (WireError, BankError):
                    continue
        return read
