"""Blocks of versions by digest: one file each, little-endian float32, as they travel. A file proves itself.

A block that is missing or changed is asked of the *sources* first: whoever may still have its bytes. What has the right
digest is the block, wherever it comes from; it is written again and used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from broker_server.errors import StateError, StorageError
from broker_server.state.files import write_durably
from edge_runtime.wire.digests import sha256

Source = Callable[[bytes], bytes | None]
"""From a digest to the bytes of a block, or None; quick, because strangers may ask for anything."""


@dataclass(frozen=True)
class Blobs:
    """Args: folder: where they lie, in subfolders by the first two hex digits; sources: asked for what is damaged."""

    folder: Path
    sources: list[Source] = field(default_factory=list)

    def put(self, data: bytes, *, flush: bool = True) -> bytes:
        """Keep ``data``; return its digest. A block that is there already is not written again.

        Args:
            data: of the block.
            flush: wait for the disk.

        Raises:
            StorageError: when the disk refuses.
        """
        digest = sha256(data)
        if self.read(digest) is None:
            write_durably(self._path(digest), data, flush=flush)
        return digest

    def has(self, digest: bytes) -> bool:
        """Return whether there is a file of a block's name; reading it proves it."""
        return self._path(digest).exists()

    def offered(self, digest: bytes) -> bool:
        """Return whether a block is here, or a source has it."""
        return self.has(digest) or self._from_sources(digest) is not None

    def get(self, digest: bytes) -> bytes:
        """Return a block, from a source when its file is missing or was changed.

        Raises:
            StateError: when no source has it either.
        """
        data = self.read(digest)
        if data is not None:
            return data
        data = self._from_sources(digest)
        if data is not None:
            with contextlib.suppress(StorageError):  # the next reader asks the sources again
                write_durably(self._path(digest), data)
            return data
        path = self._path(digest)
        what = "was changed: its bytes have another digest than its name" if path.exists() else "is missing"
        raise StateError(f"block file {path} {what}")

    def read(self, digest: bytes) -> bytes | None:
        """Return a block as its file has it; None when that is missing, cannot be read or was changed."""
        try:
            data = self._path(digest).read_bytes()
        except OSError:
            return None
        return data if sha256(data) == digest else None

    def sweep(self, wanted: Iterable[bytes]) -> int:
        """Delete every block but those wanted, and halves that a kill left; return how many files went."""
        keep = {self._path(digest) for digest in wanted}
        gone = 0
        for path in self.folder.glob("*/*"):
            if path not in keep:
                with contextlib.suppress(OSError):
                    path.unlink()
                    gone += 1
        return gone

    def _from_sources(self, digest: bytes) -> bytes | None:
        copies = (source(digest) for source in self.sources)
        return next((data for data in copies if data is not None and sha256(data) == digest), None)

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self.folder / name[:2] / name[2:]
