"""Blocks of versions by digest: one file each, little-endian float32, as they travel. A file proves itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from broker_server.errors import StateError
from broker_server.state.files import write_durably
from edge_runtime.wire.digests import sha256


@dataclass(frozen=True)
class Blobs:
    """Args: folder: where they lie, in subfolders by the first two hex digits."""

    folder: Path

    def put(self, data: bytes) -> bytes:
        """Keep ``data``; return its digest. A block that is there already is not written again.

        Raises:
            StorageError: when the disk refuses.
        """
        digest = sha256(data)
        if not self.has(digest):
            write_durably(self._path(digest), data)
        return digest

    def has(self, digest: bytes) -> bool:
        """Return whether a block is here."""
        return self._path(digest).exists()

    def get(self, digest: bytes) -> bytes:
        """Return a block.

        Raises:
            StateError: when it is missing or was changed.
        """
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except OSError as error:
            msg = f"block {digest.hex()[:12]} cannot be read from {path}: {error.strerror}; restore the state directory"
            raise StateError(msg) from error
        if sha256(data) != digest:
            msg = f"block file {path} was changed: its bytes have another digest than its name; restore it"
            raise StateError(msg)
        return data

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self.folder / name[:2] / name[2:]
