"""Bodies larger than a message travel in chunks, and are put together again in any order, from any mixture.

Every chunk but the last carries the same number of bytes, so a chunk's place follows from its index alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import MalformedMessage, WireError
from edge_runtime.wire.messages import MESSAGE_LIMIT, encode

PAYLOAD: Final = MESSAGE_LIMIT - 1024
"""Bytes of body in a chunk; the rest of the message is its header, with room to spare."""


def split(body: bytes, kind: pb.Kind, payload: int = PAYLOAD) -> Iterator[bytes]:
    """Yield the encoded chunks of ``body`` (not empty), in order."""
    if not body:
        msg = "an empty body cannot be sent"
        raise MalformedMessage(msg)
    digest = sha256(body)
    count = -(-len(body) // payload)
    for index in range(count):
        piece = body[index * payload : (index + 1) * payload]
        chunk = pb.Chunk(kind=kind, digest=digest, index=index, count=count, total=len(body), payload=piece)
        yield encode(chunk)


@dataclass
class _Partial:
    count: int
    total: int
    kind: int
    data: bytearray
    have: set[int] = field(default_factory=set)


class Assembler:
    """Puts bodies together; memory is bounded, the body that waited longest goes first.

    Args:
        limit: bytes of all unfinished bodies together.
        body_limit: bytes of one body.
    """

    def __init__(self, limit: int = 256 * 1024 * 1024, body_limit: int = 64 * 1024 * 1024) -> None:
        self._limit = limit
        self._body_limit = body_limit
        self._partial: OrderedDict[tuple[str, bytes], _Partial] = OrderedDict()

    def add(self, sender: str, chunk: pb.Chunk) -> bytes | None:
        """Take a checked chunk of ``sender``; return the body when this chunk completes it.

        Raises:
            WireError: TOO_LARGE, MALFORMED (chunks that contradict each other) or DIGEST_MISMATCH; the body's chunks
                are then forgotten.
        """
        key = (sender, chunk.digest)
        if chunk.total > self._body_limit:
            raise WireError(pb.TOO_LARGE, f"body of {chunk.total} bytes, limit {self._body_limit}")
        partial = self._partial.get(key)
        if partial is None:
            self._make_room(chunk.total)
            partial = _Partial(chunk.count, chunk.total, chunk.kind, bytearray(chunk.total))
            self._partial[key] = partial
        try:
            self._place(partial, chunk)
        except WireError:
            del self._partial[key]
            raise
        self._partial.move_to_end(key)
        if len(partial.have) < partial.count:
            return None
        del self._partial[key]
        body = bytes(partial.data)
        if sha256(body) != chunk.digest:
            raise WireError(pb.DIGEST_MISMATCH, f"{len(body)} bytes do not have the digest {chunk.digest.hex()[:12]}")
        return body

    def forget(self, sender: str) -> None:
        """Drop the unfinished bodies of ``sender``."""
        for key in [key for key in self._partial if key[0] == sender]:
            del self._partial[key]

    def _make_room(self, total: int) -> None:
        while self._partial and sum(p.total for p in self._partial.values()) + total > self._limit:
            self._partial.popitem(last=False)

    @staticmethod
    def _place(partial: _Partial, chunk: pb.Chunk) -> None:
        if (partial.count, partial.total, partial.kind) != (chunk.count, chunk.total, chunk.kind):
            msg = f"chunk {chunk.index} tells another size than the chunks before it"
            raise MalformedMessage(msg)
        size = len(chunk.payload)
        last = chunk.index == chunk.count - 1
        start = partial.total - size if last else chunk.index * size
        # Equal pieces, then the rest: the piece size that this chunk implies must fit the count and the total.
        piece = size if not last else (start // chunk.index if chunk.index else size)
        fits = start == piece * chunk.index and (chunk.count - 1) * piece < partial.total <= chunk.count * piece
        if not fits:
            msg = f"chunk {chunk.index} of {chunk.count} has {size} bytes, which does not fit a body of {partial.total}"
            raise MalformedMessage(msg)
        partial.data[start : start + size] = chunk.payload
        partial.have.add(chunk.index)
