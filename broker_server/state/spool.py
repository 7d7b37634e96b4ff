"""Accepted deltas until the merge after theirs: written and synced before the device is told so.

The deltas of the newest merge stay, so that the version can be made again from its parent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from broker_server.errors import StateError
from broker_server.state.files import write_durably
from edge_runtime.wire.digests import sha256

_SUFFIX = ".delta"


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

    def read(self, digest: bytes, *, compare: bool = True) -> bytes:
        """Return a body.

        Args:
            digest: of the body.
            compare: whether its bytes are compared with it; False for who did so a moment ago.

        Raises:
            StateError: when it is missing or was changed.
        """
        path = self._path(digest)
        try:
            body = path.read_bytes()
        except OSError as error:
            msg = f"accepted delta {path} cannot be read: {error.strerror}"
            raise StateError(msg) from error
        if compare and sha256(body) != digest:
            msg = f"accepted delta {path} was changed: {len(body)} bytes with another digest than its name"
            raise StateError(msg)
        return body

    def bodies(self, besides: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
        """Return (digest, body) of every whole body but those of the digests ``besides``, by digest."""
        listed = {self._path(digest).name for digest in besides}
        bodies = []
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")) if self.folder.is_dir() else ():
            if path.name in listed:
                continue
            with contextlib.suppress(OSError, ValueError, StateError):
                digest = bytes.fromhex(path.name.removesuffix(_SUFFIX))
                bodies.append((digest, self.read(digest)))
        return bodies

    def sweep(self, wanted: Iterable[bytes]) -> int:
        """Delete every body but those wanted, and halves that a kill left; return how many files went."""
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
        return self.folder / f"{digest.hex()}{_SUFFIX}"
