"""Blobs: which were asked for, which came, what to ask for next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edge_runtime.federation.link import Link
from edge_runtime.federation.versions import Versions
from edge_runtime.wire import chunks, messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import BankShape

WANT_LIMIT: Final = 500
"""Blobs asked for at once: their topics must fit into one SUBSCRIBE of less than a message's size."""
RELEASE_AT: Final = 16
"""Blobs that came and are still listened to, at most: one message to the broker ends as many."""


class Fetcher:
    """Fetches the blocks that versions lack.

    Args:
        versions: where blobs go.
        link: to ask through.
        device: who asks.
        shape: of the bank, which bounds what is put together in memory.
    """

    def __init__(self, versions: Versions, link: Link, device: str, shape: BankShape) -> None:
        self._versions, self._link, self._device = versions, link, device
        sizes = [4 * shape.size(block) for block in shape.ids()]
        self._assembler = chunks.Assembler(limit=2 * sum(sizes), body_limit=max(sizes))
        self._asked: set[str] = set()
        self._leaving: set[str] = set()  # came, or nobody wants them any more, and still listened to
        self.want_digest = b""
        """Of the last Want; a verdict that refuses it names this digest."""

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
        unwanted = self._asked - {digest.hex() for digest in wanted}
        if unwanted:
            self._asked -= unwanted
            self._leaving |= unwanted
            self._release()
        if again:
            self._asked.clear()
        fresh = [digest for digest in wanted if digest.hex() not in self._asked][: WANT_LIMIT - len(self._asked)]
        if not fresh:
            return False
        names = [digest.hex() for digest in fresh]
        self._asked.update(names)
        self._leaving.difference_update(names)
        want = messages.encode(pb.Want(device=self._device, digests=fresh))
        self.want_digest = sha256(want)
        self._link.request(names, want)
        return True

    def take(self, name: str, payload: bytes) -> bool:
        """Take a chunk from the blob topic ``name``; True when it completed a blob that was asked for.

        Raises:
            WireError: when the bytes are no chunk, or do not fit those before.
        """
        chunk = messages.decode(pb.Chunk, payload)
        if chunk.kind != pb.BLOB or chunk.digest.hex() != name or name not in self._asked:
            return False
        body = self._assembler.add("gateway", chunk)
        if body is None:
            return False
        self._versions.keep(chunk.digest, body)
        self._asked.discard(name)
        self._leaving.add(name)
        if not self._asked or len(self._leaving) >= RELEASE_AT:
            self._release()
        return True

    def _release(self) -> None:
        self._link.release(sorted(self._leaving))
        self._leaving.clear()
