"""Bodies larger than a message travel in chunks, and are put together again in any order, from any mixture.

Every chunk but the last carries the same number of bytes, so a chunk's place follows from its index alone. A body is
hashed while it arrives, each byte once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.checks import piece_size
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import MalformedMessage, WireError
from edge_runtime.wire.limits import BODY_LIMIT, CHUNKS_LIMIT, MESSAGE_LIMIT
from edge_runtime.wire.messages import encode

PAYLOAD: Final = MESSAGE_LIMIT - 1024
"""Bytes of body in a chunk; the rest of the message is its header, with room to spare."""
_BODY_COST: Final = 1024
_PIECE_COST: Final = 128
# What Python keeps beside the bytes; charged, so that a flood of tiny pieces is bounded like one of large pieces.


@dataclass(frozen=True)
class Cut:
    """A body as it is cut into chunks.

    Args:
        body: its bytes.
        kind: of the body.
        digest: over the body.
        piece: bytes of it in each chunk but the last.
    """

    body: bytes
    kind: pb.Kind
    digest: bytes
    piece: int

    @classmethod
    def of(cls, body: bytes, kind: pb.Kind, payload: int = PAYLOAD) -> Self:
        """Cut a body.

        Args:
            body: 1 to BODY_LIMIT bytes.
            kind: of the body.
            payload: bytes of it in each chunk, 1 to PAYLOAD.

        Raises:
            WireError: MALFORMED for an empty body, TOO_LARGE for one over the limits.
        """
        if not body:
            msg = "an empty body cannot be sent"
            raise MalformedMessage(msg)
        cut = cls(body, kind, sha256(body), min(payload, PAYLOAD))
        if len(body) > BODY_LIMIT or cut.count > CHUNKS_LIMIT:
            detail = f"body of {len(body)} bytes in {cut.count} chunks, limits {BODY_LIMIT} and {CHUNKS_LIMIT}"
            raise WireError(pb.TOO_LARGE, detail)
        return cut

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return -(-len(self.body) // self.piece)

    def chunk(self, index: int) -> bytes:
        """Return an encoded chunk."""
        part = self.body[index * self.piece : (index + 1) * self.piece]
        total = len(self.body)
        return encode(
            pb.Chunk(kind=self.kind, digest=self.digest, index=index, count=self.count, total=total, payload=part)
        )


def split(body: bytes, kind: pb.Kind, payload: int = PAYLOAD) -> Iterator[bytes]:
    """Yield the encoded chunks of ``body``, in order. Args and Raises, with the first chunk asked for: as Cut.of."""
    cut = Cut.of(body, kind, payload)
    yield from map(cut.chunk, range(cut.count))


def missing_chunks(missing: bytes, count: int) -> tuple[int, ...]:
    """Read which chunks of a body lack. Args: missing: as a Verdict or a Want has it; count: chunks of the body.

    Returns:
        Their indexes, ascending; all of them when ``missing`` is empty.

    Raises:
        MalformedMessage: when it is of another number of chunks, or names none.
    """
    if not missing:
        return tuple(range(count))
    bits = int.from_bytes(missing, "little")
    if len(missing) != -(-count // 8) or bits >> count or not bits:
        msg = f"{len(missing)} bytes do not say which of {count} chunks lack"
        raise MalformedMessage(msg)
    return tuple(index for index in range(count) if bits >> index & 1)


def missing_bytes(indexes: Iterable[int], count: int) -> bytes:
    """Write which of ``count`` chunks lack, at least one; nothing when it is all of them."""
    bits = sum(1 << index for index in set(indexes))
    return b"" if bits == (1 << count) - 1 else bits.to_bytes(-(-count // 8), "little")


_Shape = tuple[int, int, pb.Kind, int]  # count, total, kind, bytes of a full piece


@dataclass(frozen=True)
class Unfinished:
    """What came of a body so far. Args: count: of its chunks; total: its bytes; kind; pieces: bytes by index."""

    count: int
    total: int
    kind: pb.Kind
    pieces: Mapping[int, bytes]

    @property
    def missing(self) -> bytes:
        """Which chunks lack, as a Verdict or a Want says it."""
        return missing_bytes(set(range(self.count)) - set(self.pieces), self.count)


@dataclass
class _Partial:
    shape: _Shape
    pieces: dict[int, bytes] = field(default_factory=dict)
    cost: int = _BODY_COST
    hashed: int = 0  # pieces from the first on
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def put(self, index: int, payload: bytes) -> None:
        """Keep a piece; hash as far as there is no gap."""
        self.pieces[index] = payload
        while self.hashed in self.pieces:
            self.hash.update(self.pieces[self.hashed])
            self.hashed += 1


class Assembler:
    """Puts bodies together. What it keeps is bounded by what was received, not by what a chunk announces.

    Room is made by dropping whole unfinished bodies, the one that waited longest first: of the sender itself when it
    is over its share, else of the sender that holds most. So nobody can push another's body out by sending little, and
    a dropped body is sent again, since no verdict came for it.

    Args:
        limit: bytes of all unfinished bodies together.
        body_limit: bytes of one body.
        sender_limit: bytes of one sender's unfinished bodies together; half of ``limit`` by default.
    """

    def __init__(
        self, limit: int = 4 * BODY_LIMIT, body_limit: int = BODY_LIMIT, sender_limit: int | None = None
    ) -> None:
        self._limit = limit
        self._body_limit = body_limit
        self._sender_limit = limit // 2 if sender_limit is None else sender_limit
        self._partial: dict[str, OrderedDict[bytes, _Partial]] = {}
        self._held: dict[str, int] = {}
        self._total = 0

    @property
    def held_bytes(self) -> int:
        """Return the bytes kept for unfinished bodies, their bookkeeping included."""
        return self._total

    def add(self, sender: str, chunk: pb.Chunk) -> bytes | None:
        """Take a checked chunk of ``sender``; return the body when this chunk completes it.

        Raises:
            WireError: TOO_LARGE, MALFORMED (chunks that contradict each other) or DIGEST_MISMATCH; after the last two
                the body's chunks are forgotten.
        """
        if chunk.total > self._body_limit:
            raise WireError(pb.TOO_LARGE, f"body of {chunk.total} bytes, limit {self._body_limit}")
        shape = (chunk.count, chunk.total, chunk.kind, piece_size(chunk))
        partial = self._place(sender, chunk, shape)
        if len(partial.pieces) < chunk.count:
            self._make_room(sender)
            return None
        self._drop(sender, chunk.digest)
        if partial.hash.digest() != chunk.digest:
            msg = f"{chunk.total} bytes do not have the digest {chunk.digest.hex()[:12]}"
            raise WireError(pb.DIGEST_MISMATCH, msg)
        return b"".join(partial.pieces[index] for index in range(chunk.count))

    def unfinished(self, sender: str, digest: bytes) -> Unfinished | None:
        """Return what came of a body so far; None when nothing is kept of it."""
        partial = self._partial[sender].get(digest) if sender in self._partial else None
        if partial is None:
            return None
        count, total, kind, _ = partial.shape
        return Unfinished(count, total, kind, partial.pieces)

    def forget(self, sender: str, digest: bytes | None = None) -> None:
        """Drop an unfinished body of ``sender``, if it is there; without ``digest`` all of them."""
        bodies = self._partial.get(sender, OrderedDict[bytes, _Partial]())
        for one in list(bodies) if digest is None else [digest]:
            if one in bodies:
                self._drop(sender, one)

    def _place(self, sender: str, chunk: pb.Chunk, shape: _Shape) -> _Partial:
        bodies = self._partial.setdefault(sender, OrderedDict())
        partial = bodies.get(chunk.digest)
        if partial is None:
            partial = bodies[chunk.digest] = _Partial(shape)
            self._charge(sender, partial.cost)
        earlier = partial.pieces.get(chunk.index)
        if partial.shape != shape or (earlier is not None and earlier != chunk.payload):
            self._drop(sender, chunk.digest)
            msg = f"chunk {chunk.index} of {chunk.count} contradicts the chunks before it"
            raise MalformedMessage(msg)
        if earlier is None:
            partial.put(chunk.index, chunk.payload)
            cost = len(chunk.payload) + _PIECE_COST
            partial.cost += cost
            self._charge(sender, cost)
        bodies.move_to_end(chunk.digest)
        return partial

    def _make_room(self, sender: str) -> None:
        """Drop what is over the limits, but never the only body of ``sender``: it is the one that is arriving."""
        while self._held[sender] > self._sender_limit and len(self._partial[sender]) > 1:
            self._drop(sender, next(iter(self._partial[sender])))
        while self._total > self._limit:
            largest = max(self._held, key=self._held.__getitem__)
            if largest == sender and len(self._partial[sender]) == 1:
                others = [name for name in self._held if name != sender]
                if not others:
                    return
                largest = max(others, key=self._held.__getitem__)
            self._drop(largest, next(iter(self._partial[largest])))

    def _charge(self, sender: str, cost: int) -> None:
        self._held[sender] = self._held.get(sender, 0) + cost
        self._total += cost

    def _drop(self, sender: str, digest: bytes) -> None:
        bodies = self._partial[sender]
        self._charge(sender, -bodies.pop(digest).cost)
        if not bodies:
            del self._partial[sender], self._held[sender]
