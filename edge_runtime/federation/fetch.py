"""Blobs: which were asked for, what came of them, what to ask for next."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edge_runtime.federation.link import Link
from edge_runtime.federation.versions import Versions
from edge_runtime.wire import chunks, messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.limits import MEMBERS_LIMIT
from edge_runtime.wire.piece_files import PieceFiles
from edge_runtime.wire.resumable import ResumableBodies

WANT_LIMIT: Final = 500
"""Blobs asked for at once: their topics must fit into one SUBSCRIBE of less than a message's size."""
RELEASE_AT: Final = 16
"""Blobs that came and are still listened to, at most: one message to the broker ends as many."""
_SENDER: Final = "gateway"


class Fetcher:
    """Fetches the blocks that versions lack.

    Args:
        versions: where blobs go.
        link: to ask through.
        device: who asks.
        shape: of the bank, which bounds what is put together in memory.
        folder: of pieces that outlive this process; as much is kept of them there as in memory.
    """

    def __init__(self, versions: Versions, link: Link, device: str, shape: BankShape, folder: Path) -> None:
        self._versions, self._link, self._device = versions, link, device
        sizes = [4 * shape.size(block) for block in shape.ids()]
        most = max(*sizes, MEMBERS_LIMIT)  # a list of a round under masks comes as a blob, too
        assembler = chunks.Assembler(limit=max(2 * sum(sizes), 2 * most), body_limit=most)
        self._bodies = ResumableBodies(assembler, PieceFiles(folder))
        self._asked: set[str] = set()
        self.leaving: set[str] = set()
        """Came, or nobody wants them any more, and still listened to."""
        self.want_digest = b""
        """Of the last Want; a verdict that refuses it names this digest."""
        self.again_s = 0.0
        """When to ask for the rest if nothing more comes; 0: as timers say."""
        self._bodies.take_up(sum(sizes) + messages.MESSAGE_LIMIT, lambda sender, _chunk: sender == _SENDER)

    def wanted(self, others: Iterable[bytes]) -> list[bytes]:
        """Return the digests to fetch for the newest version and ``others`` (digests of versions), each once."""
        versions = [self._versions.newest, *(self._versions.find(digest) for digest in others)]
        lacking = [self._versions.wanted(version) for version in versions if version is not None]
        return list(dict.fromkeys(digest for digests in lacking for digest in digests))

    def ask(self, wanted: list[bytes], *, again: bool = False) -> bool:
        """Ask for what was not asked for yet; stop listening for what nobody wants any more.

        Args:
            wanted: digests.
            again: ask for all of it: of a gateway that just met this device, or when answers stayed away.

        Returns:
            Whether it asked.
        """
        names = {digest.hex() for digest in wanted}
        unwanted = self._asked - names
        if unwanted:
            self._asked -= unwanted
            self.leaving |= unwanted
            self.release()
        for _, digest in self._bodies.kept:
            if digest.hex() not in names:
                self._forget(digest)
        if again:
            self._asked.clear()
        fresh = [digest for digest in wanted if digest.hex() not in self._asked][: WANT_LIMIT - len(self._asked)]
        if not fresh:
            return False
        asked = [digest.hex() for digest in fresh]
        self._asked.update(asked)
        self.leaving.difference_update(asked)
        self.again_s = 0.0
        want = messages.encode(pb.Want(device=self._device, digests=fresh, missing=self._missing(fresh)))
        self.want_digest = sha256(want)
        self._link.request(asked, want)
        return True

    def take(self, name: str, payload: bytes) -> bool:
        """Take a chunk from the blob topic ``name``; True when it belongs to a blob that was asked for.

        Raises:
            WireError: when the bytes are no chunk, or do not fit those before.
        """
        chunk = messages.decode(pb.Chunk, payload)
        if chunk.kind != pb.BLOB or chunk.digest.hex() != name or name not in self._asked:
            return False
        before = self._bodies.unfinished(_SENDER, chunk.digest)
        if before is not None and (before.count, before.total) != (chunk.count, chunk.total):
            self._forget(chunk.digest)  # whoever sends it cuts it otherwise now
        try:
            body = self._bodies.add(_SENDER, chunk)
        except WireError:
            self._forget(chunk.digest)
            raise
        if body is not None:
            self._versions.keep(chunk.digest, body)
            self._forget(chunk.digest)
            self._asked.discard(name)
            self.leaving.add(name)
            if not self._asked or len(self.leaving) >= RELEASE_AT:
                self.release()
        return True

    @property
    def partial(self) -> bool:
        """Whether pieces of blobs are here that are not complete."""
        return self._bodies.held_bytes > 0

    def save(self) -> None:
        """Write down the pieces that came of blobs that are asked for, so that a restart asks for the rest."""
        for name in self._asked:
            self._bodies.save(_SENDER, bytes.fromhex(name))

    def release(self) -> None:
        """Stop listening for what came and what nobody wants any more."""
        if self.leaving:
            self._link.release(sorted(self.leaving))
            self.leaving.clear()

    def _missing(self, digests: list[bytes]) -> list[bytes]:
        """Return which chunks lack of each blob; nothing where all of all do."""
        bodies = [self._bodies.unfinished(_SENDER, digest) for digest in digests]
        return [body.missing if body is not None else b"" for body in bodies] if any(bodies) else []

    def _forget(self, digest: bytes) -> None:
        self._bodies.forget(_SENDER, digest)
