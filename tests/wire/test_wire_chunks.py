"""Chunks: any order, twice, contradictions, and what a stranger can make us keep."""

from __future__ import annotations

import hashlib
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.wire import limits, messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import PAYLOAD, Assembler, split
from edge_runtime.wire.errors import MalformedMessage, WireError


def cut(body: bytes, size: int) -> list[pb.Chunk]:
    """Return the checked chunks of ``body``."""
    return [messages.decode(pb.Chunk, payload) for payload in split(body, pb.DELTA, size)]


def first(body: bytes, size: int) -> pb.Chunk:
    """Return the first chunk of ``body``."""
    return messages.decode(pb.Chunk, next(split(body, pb.DELTA, size)))


@given(st.binary(min_size=1, max_size=300), st.integers(1, 50), st.randoms(), st.data())
def test_bodies_come_out_of_any_order_with_duplicates(
    body: bytes, size: int, order: random.Random, data: st.DataObject
) -> None:
    """The body comes out with the first chunk that completes it, and is the same."""
    chunks = cut(body, size)
    extra = data.draw(st.lists(st.sampled_from(chunks), max_size=10))
    sent = [*chunks, *extra]
    order.shuffle(sent)
    assembler = Assembler()
    seen: set[int] = set()
    for chunk in sent:
        before = len(seen)
        seen.add(chunk.index)
        whole = assembler.add("a", chunk)
        if len(seen) == len(chunks) and before < len(chunks):
            assert whole == body
            assert assembler.held_bytes == 0
            return
        assert whole is None
    pytest.fail("the body never came")


def test_default_chunks_fit_a_payload() -> None:
    """The header of the largest body's chunk fits beside PAYLOAD bytes."""
    body = bytes(3 * PAYLOAD + 1)
    encoded = list(split(body, pb.BLOB))
    assert len(encoded) == 4
    assert all(len(payload) <= limits.MESSAGE_LIMIT for payload in encoded)
    assert len(list(split(body, pb.BLOB, payload=10 * PAYLOAD))) == 4  # never larger than a payload


def test_bodies_that_cannot_be_sent_are_refused_by_the_sender() -> None:
    """Empty, over the limit, or in too many chunks."""
    with pytest.raises(MalformedMessage):
        next(split(b"", pb.DELTA))
    with pytest.raises(WireError, match="TOO_LARGE"):
        next(split(bytes(limits.BODY_LIMIT + 1), pb.DELTA))
    with pytest.raises(WireError, match="TOO_LARGE"):
        next(split(bytes(limits.CHUNKS_LIMIT + 1), pb.DELTA, payload=1))


def test_a_body_comes_out_for_each_sender() -> None:
    """Chunks of two senders are never mixed, though the digest is the same."""
    chunks = cut(b"abcdef", 3)
    assembler = Assembler()
    assert assembler.add("a", chunks[0]) is None
    assert assembler.add("b", chunks[1]) is None
    assert assembler.add("a", chunks[1]) == b"abcdef"
    assert assembler.add("b", chunks[0]) == b"abcdef"


def test_a_forger_cannot_spoil_another_senders_body() -> None:
    """Chunks with another's digest and other bytes are the forger's own."""
    chunks = cut(b"abcdef", 3)
    forged = pb.Chunk()
    forged.CopyFrom(chunks[1])
    forged.payload = b"XXX"
    assembler = Assembler()
    assembler.add("a", chunks[0])
    assembler.add("forger", forged)
    assert assembler.add("a", chunks[1]) == b"abcdef"


@pytest.mark.parametrize("spoil", ["bytes", "digest"])
def test_after_a_refusal_the_body_can_be_sent_again(spoil: str) -> None:
    """What contradicted is forgotten with all that it contradicted."""
    chunks = cut(b"abcdef", 2)
    bad = pb.Chunk()
    bad.CopyFrom(chunks[1])
    bad.payload = b"XX"
    assembler = Assembler()
    *before, last = [chunks[1], bad] if spoil == "bytes" else [chunks[0], bad, chunks[2]]
    assert [assembler.add("a", chunk) for chunk in before] == [None] * len(before)
    with pytest.raises(WireError, match="MALFORMED" if spoil == "bytes" else "DIGEST_MISMATCH"):
        assembler.add("a", last)
    assert assembler.held_bytes == 0
    assert [assembler.add("a", chunk) for chunk in chunks] == [None, None, b"abcdef"]


def test_an_unchecked_chunk_is_checked_again() -> None:
    """The assembler does not rely on the caller for what would break it."""
    chunk = first(b"abcdef", 2)
    chunk.payload = b"abcdefgh"
    with pytest.raises(MalformedMessage):
        Assembler().add("a", chunk)
    with pytest.raises(WireError, match="TOO_LARGE"):
        Assembler(body_limit=5).add("a", first(b"abcdef", 2))


def test_announcing_is_not_receiving() -> None:
    """A thousand bodies announced with 64 MiB each cost what came: a chunk each."""
    assembler = Assembler()
    tracemalloc.start()
    try:
        for number in range(1000):
            total = limits.BODY_LIMIT
            digest = hashlib.sha256(str(number).encode()).digest()
            chunk = pb.Chunk(kind=pb.DELTA, digest=digest, index=0, count=65_536, total=total, payload=bytes(1024))
            assembler.add(f"device-{number % 7}", chunk)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used < 4_000_000
    assert used < assembler.held_bytes * 1.5


@pytest.mark.parametrize("senders", [1, 5, 5000])
def test_tiny_chunks_are_charged_with_what_they_cost(senders: int) -> None:
    """One byte of each of many bodies: memory stays near the limit, and the accounting near the truth."""
    limit = 2_000_000
    assembler = Assembler(limit=limit)
    tracemalloc.start()
    try:
        for number in range(5000):
            digest = number.to_bytes(32, "little")
            chunk = pb.Chunk(kind=pb.DELTA, digest=digest, index=0, count=2, total=2, payload=b"x")
            assembler.add(f"device-{number % senders}", chunk)
            assert assembler.held_bytes <= limit
        assert tracemalloc.get_traced_memory()[0] < 1.5 * limit
    finally:
        tracemalloc.stop()


def test_one_body_in_tiny_chunks_is_charged_with_what_it_costs() -> None:
    """65,535 chunks of two bytes: the accounting covers what Python keeps."""
    assembler = Assembler()
    digest = bytes(32)
    tracemalloc.start()
    try:
        for index in range(20_000):
            chunk = pb.Chunk(kind=pb.DELTA, digest=digest, index=index, count=65_536, total=131_072, payload=b"xy")
            assembler.add("a", chunk)
        assert tracemalloc.get_traced_memory()[0] < 1.2 * assembler.held_bytes
    finally:
        tracemalloc.stop()


def test_a_flooder_drops_its_own_bodies_first() -> None:
    """An honest body survives a sender that announces one body after the other."""
    honest = cut(bytes(3000), 1000)
    assembler = Assembler(limit=40_000)
    assembler.add("honest", honest[0])
    for number in range(500):
        assembler.add("flooder", first(number.to_bytes(4, "little") * 500, 1000))
    assert assembler.add("honest", honest[1]) is None
    assert assembler.add("honest", honest[2]) == bytes(3000)


def test_the_largest_holder_gives_way_when_all_is_full() -> None:
    """With the room used up, who holds most loses the body that waited longest."""
    assembler = Assembler(limit=10_000, sender_limit=9_000)
    small, large = cut(b"s" * 200, 100), cut(b"l" * 12_000, 6000)
    assembler.add("small", small[0])
    assembler.add("large", large[0])
    late = cut(b"t" * 4000, 2000)
    assembler.add("late", late[0])  # 1252 + 7152 + 3152 bytes are too many
    assert assembler.add("small", small[1]) == b"s" * 200
    assert assembler.add("late", late[1]) == b"t" * 4000
    assert assembler.add("large", large[1]) is None  # its first chunk is gone


def test_a_body_larger_than_the_room_still_arrives_alone() -> None:
    """The body that is arriving is never dropped for itself; others give way."""
    body = bytes(range(250)) * 40
    assembler = Assembler(limit=3000, sender_limit=2000)
    assembler.add("other", first(b"other", 2))
    bodies = [assembler.add("a", chunk) for chunk in cut(body, 1000)]
    assert bodies[-1] == body
    assert assembler.held_bytes == 0


def test_forgetting_a_sender_frees_its_room() -> None:
    """A device that left takes its unfinished bodies with it."""
    assembler = Assembler()
    assembler.add("a", first(b"abcdef", 2))
    assembler.add("b", first(b"abcdef", 2))
    held = assembler.held_bytes
    assembler.forget("a")
    assert assembler.held_bytes == held // 2
    assembler.forget("a")
    assembler.forget("b")
    assert assembler.held_bytes == 0


def test_what_came_of_a_body_says_what_lacks() -> None:
    """Chunks 0 and 2 of three: bit 1 is left; nothing is kept of a body that is complete."""
    chunks, digest = cut(b"abcdefg", 3), hashlib.sha256(b"abcdefg").digest()
    assembler = Assembler()
    assert assembler.unfinished("a", digest) is None
    assembler.add("a", chunks[2])
    assembler.add("a", chunks[0])
    body = assembler.unfinished("a", digest)
    assert body is not None
    assert (body.count, body.total, body.kind, dict(body.pieces)) == (3, 7, pb.DELTA, {0: b"abc", 2: b"g"})
    assert body.missing == b"\x02"
    assert assembler.add("a", chunks[1]) == b"abcdefg"
    assert assembler.unfinished("a", digest) is None


def test_one_body_of_a_sender_can_be_forgotten() -> None:
    """Its other body stays."""
    assembler = Assembler()
    assembler.add("a", first(b"abcdef", 2))
    assembler.add("a", first(b"ghijkl", 2))
    assembler.forget("a", hashlib.sha256(b"abcdef").digest())
    assert assembler.unfinished("a", hashlib.sha256(b"abcdef").digest()) is None
    assert assembler.unfinished("a", hashlib.sha256(b"ghijkl").digest()) is not None


def test_a_body_is_hashed_while_it_arrives() -> None:
    """When the last chunk comes, the chunks before it are hashed already; a gap waits for its chunk."""
    chunks, digest = cut(b"abcdefgh", 2), hashlib.sha256(b"abcdefgh").digest()
    assembler = Assembler()
    for index, hashed in ((0, 1), (2, 1), (1, 3)):
        assembler.add("a", chunks[index])
        assert assembler._partial["a"][digest].hashed == hashed
