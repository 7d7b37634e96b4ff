"""Bodies in pieces that outlive a restart: put together in memory, and kept in files for whoever starts anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import Assembler, Unfinished
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.piece_files import PieceFiles

Key = tuple[str, bytes]
"""Sender and digest of a body."""


class ResumableBodies:
    """Unfinished bodies. Args: assembler: puts them together; files: of their pieces."""

    def __init__(self, assembler: Assembler, files: PieceFiles) -> None:
        self._assembler: Final = assembler
        self._files: Final = files
        self._kept: dict[Key, set[int]] = {}  # pieces in files

    @property
    def held_bytes(self) -> int:
        """Return the bytes of pieces that are here."""
        return self._assembler.held_bytes

    @property
    def kept(self) -> tuple[Key, ...]:
        """Return the bodies of which pieces are in files."""
        return tuple(self._kept)

    def add(self, sender: str, chunk: pb.Chunk) -> bytes | None:
        """Take a checked chunk; return the body when this completes it; its files stay until it is forgotten.

        Raises:
            WireError: as Assembler.add.
        """
        return self._assembler.add(sender, chunk)

    def unfinished(self, sender: str, digest: bytes) -> Unfinished | None:
        """Return what came of a body, if anything did."""
        return self._assembler.unfinished(sender, digest)

    def save(self, sender: str, digest: bytes) -> None:
        """Write down the pieces of a body that are not in its file yet."""
        body, kept = self.unfinished(sender, digest), self._kept.get((sender, digest), set())
        fresh = sorted(set(body.pieces) - kept) if body is not None else []
        if body is not None and fresh:
            self._files.add(sender, digest, body, fresh)
            self._kept[sender, digest] = kept | set(fresh)

    def forget(self, sender: str, digest: bytes) -> None:
        """Drop the pieces of a body, in memory and in files."""
        self._assembler.forget(sender, digest)
        if self._kept.pop((sender, digest), None) is not None:
            self._files.remove(sender, digest)

    def take_up(self, limit: int, usable: Callable[[str, pb.Chunk], bool]) -> list[Key]:
        """Read what an earlier process kept; the last piece of a body is left out, since it completes it.

        Args:
            limit: bytes of files that are read.
            usable: whether a chunk of a sender is of use here; files of others go.

        Returns:
            The bodies of which pieces are here now.
        """
        for sender, chunk in self._files.take(limit):
            if not usable(sender, chunk):
                self._files.remove(sender, chunk.digest)
                continue
            body = self.unfinished(sender, chunk.digest)
            if chunk.count - 1 <= (len(body.pieces) if body is not None else 0):
                continue
            self._kept.setdefault((sender, chunk.digest), set()).add(chunk.index)
            try:
                self.add(sender, chunk)
            except WireError:
                self.forget(sender, chunk.digest)
        for key in self.kept:
            if self.unfinished(*key) is None:  # there was no room for it
                self.forget(*key)
        return list(self.kept)
