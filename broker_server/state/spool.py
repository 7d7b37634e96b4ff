"""Accepted deltas until they are part of a version: written and synced before the device is told so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from broker_server.errors import StateError
from broker_server.state.files import write_durably
from edge_runtime.wire.digests import sha256


@dataclass(frozen=True)
class Spool:
    """Args: folder: one file for each delta, named by its digest."""

    folder: Path

    def keep(self, digest: bytes, body: bytes) -> None:
        """Write a body durably.

        Raises:
            StorageError: when the disk refuses.
        """
        write_durably(self._path(digest), body)

    def read(self, digest: bytes) -> bytes:
        """Return a body.

        Raises:
            StateError: when it is missing or was changed.
        """
        path = self._path(digest)
        try:
            body = path.read_bytes()
        except OSError as error:
            msg = f"accepted delta {path} cannot be read: {error.strerror}; restore the state directory"
            raise StateError(msg) from error
        if sha256(body) != digest:
            msg = f"accepted delta {path} was changed; restore the state directory"
            raise StateError(msg)
        return body

    def sweep(self, wanted: Iterable[bytes]) -> int:
        """Delete every body but those wanted (folded ones, and halves that a kill left); return how many went."""
        keep = {self._path(digest).name for digest in wanted}
        gone = 0
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in keep:
                    with contextlib.suppress(OSError):
                        path.unlink()
                        gone += 1
        return gone

    def _path(self, digest: bytes) -> Path:
        return self.folder / f"{digest.hex()}.delta"
