"""Cases of chunks, and of bodies put together from them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.vectors.build import DIGEST, MessageCases
from edge_runtime.wire.vectors.case import Case

_BODY: Final = b"the quick brown expert jumps over the lazy backbone"  # 51 bytes: 5 pieces of 12, the last of 3
_MIB: Final = 1024 * 1024
_CHUNK: Final = MessageCases(
    pb.Chunk, kind=pb.DELTA, digest=hashlib.sha256(_BODY).digest(), index=1, count=5, total=51, payload=_BODY[12:24]
)


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    yield from _CHUNK.common()
    yield from _chunks()
    yield from _sequences()


def _chunks() -> Iterator[Case]:
    whole = {"index": 0, "count": 1, "payload": _BODY}
    last = {"index": 4, "payload": _BODY[48:]}
    yield _CHUNK.accept("whole", "a body of one chunk", **whole)
    yield _CHUNK.accept("last", "the shorter rest", **last)
    yield _CHUNK.accept("statistics", "another kind", kind=pb.STATISTICS)
    yield _CHUNK.accept("blob", "a third kind", kind=pb.BLOB)
    yield _CHUNK.refuse("kind_hello", "MALFORMED", "a Hello is not cut", kind=pb.HELLO)
    yield _CHUNK.refuse("kind_none", "MALFORMED", "no kind", kind=None)
    yield _CHUNK.refuse("kind_of_tomorrow", "MALFORMED", "unknown kind", kind=77)
    yield _CHUNK.refuse("digest_31", "MALFORMED", "a short digest", digest=DIGEST[:31])
    yield _CHUNK.refuse("index_5_of_5", "MALFORMED", "counted from 0", index=5)
    yield _CHUNK.refuse("count_0", "MALFORMED", "of no chunks", count=None, index=None)
    yield _CHUNK.refuse("payload_empty", "MALFORMED", "carries nothing", payload=None)
    yield _CHUNK.refuse("payload_short", "MALFORMED", "5 pieces of 10 are no 51 bytes", payload=_BODY[:10])
    yield _CHUNK.refuse(
        "payload_long", "MALFORMED", "5 pieces of 13 are over 51 bytes, the last empty", payload=_BODY[:13]
    )
    yield _CHUNK.refuse("payload_over_total", "MALFORMED", "more than the body", total=8)
    yield _CHUNK.refuse("total_0", "MALFORMED", "an empty body", total=None)
    yield _CHUNK.refuse("last_too_long", "MALFORMED", "15 bytes after four of 9", index=4, payload=_BODY[:15])
    yield _CHUNK.refuse("last_uneven", "MALFORMED", "50 bytes are no 4 equal pieces", index=4, payload=b"x")
    yield _CHUNK.refuse("whole_short", "MALFORMED", "one chunk, not the whole", index=0, count=1)
    lies = {"index": 0, "count": 65_537, "total": 65_537 * 12}
    yield _CHUNK.refuse("total_64_mib_1", "TOO_LARGE", "a byte over 64 MiB", total=64 * _MIB + 1, count=65_536)
    yield _CHUNK.refuse("total_2_64", "TOO_LARGE", "the largest lie", total=2**64 - 1)
    yield _CHUNK.refuse("count_65537", "TOO_LARGE", "too many chunks", **lies)
    yield _CHUNK.accept("count_65536", "the most chunks", index=0, count=65_536, total=65_536 * 12)


def _pieces(body: bytes, size: int, **changes: Any) -> list[pb.Chunk]:  # noqa: ANN401 - fields of a chunk
    count = -(-len(body) // size)
    fields: dict[str, Any] = {"wire_version": 1, "kind": pb.DELTA, "digest": hashlib.sha256(body).digest()}
    fields |= {"count": count, "total": len(body), **changes}
    return [pb.Chunk(**fields, index=i, payload=body[i * size : (i + 1) * size]) for i in range(count)]


def _sequence(name: str, comment: str, chunks: Sequence[pb.Chunk], outcome: str | dict[int, bytes]) -> Case:
    payloads = [chunk.SerializeToString() for chunk in chunks]
    data = b"".join(struct.pack("<I", len(payload)) + payload for payload in payloads)
    if isinstance(outcome, str):
        return Case("Chunks", f"refuse_{name}", data, outcome, comment)
    bodies = [
        {"after": after, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        for after, body in outcome.items()
    ]
    return Case("Chunks", f"accept_{name}", data, "ACCEPT", comment, meaning={"bodies": bodies})


def _sequences() -> Iterator[Case]:
    a, b, c, d, e = _pieces(_BODY, 12)
    other = _BODY.upper()
    f, g, h, i, j = _pieces(other, 12)
    yield _sequence("in_order", "five chunks", [a, b, c, d, e], {4: _BODY})
    yield _sequence("reordered", "the last first", [e, c, a, d, b], {4: _BODY})
    yield _sequence("duplicates", "chunks twice, as QoS 1 may", [a, a, b, e, e, c, b, d], {7: _BODY})
    yield _sequence("one", "a body of one chunk", _pieces(_BODY, 51), {0: _BODY})
    yield _sequence("incomplete", "four of five: no body yet", [a, b, c, e], {})
    yield _sequence("mixed", "two bodies at once", [a, f, g, b, c, h, i, d, j, e], {8: other, 9: _BODY})
    yield _sequence("again", "a body that is sent again comes out again", [a, b, c, d, e] * 2, {4: _BODY, 9: _BODY})
    for name, field, value in (("count", "count", 6), ("total", "total", 52), ("kind", "kind", pb.BLOB)):
        changed = pb.Chunk()
        changed.CopyFrom(b)
        setattr(changed, field, value)
        if name == "count":
            changed.payload = _BODY[12:22]  # fits 6 chunks of 51 bytes by itself
        yield _sequence(f"contradicting_{name}", "tells another body than the chunk before", [a, changed], "MALFORMED")
    pieces = _pieces(bytes(100), 34), _pieces(bytes(100), 40)
    mixed = [pieces[0][0], pieces[1][1]]
    yield _sequence("contradicting_size", "both fit 3 chunks of 100 bytes, but not each other", mixed, "MALFORMED")
    twice = pb.Chunk()
    twice.CopyFrom(b)
    twice.payload = b"X" * 12
    yield _sequence("contradicting_bytes", "an index twice with other bytes", [a, b, twice], "MALFORMED")
    lie = _pieces(_BODY, 12, digest=DIGEST)
    yield _sequence("digest_mismatch", "the bytes do not have the digest", lie, "DIGEST_MISMATCH")
    yield _sequence("digest_mismatch_one", "the same in one chunk", _pieces(b"x", 1, digest=DIGEST), "DIGEST_MISMATCH")
