"""Cases of the messages around a round: GatewayState, Hello, Bye, Verdict, Version, Want, Offer, and of topics."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import Any, Final

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.vectors.build import DEVICE, DIGEST, FEDERATION, INF, NAN, PACKAGE, SESSION, MessageCases
from edge_runtime.wire.vectors.case import Case

_BAD_NAMES: Final = {
    "empty": "",
    "slash": "a/b",
    "wildcard_plus": "+",
    "wildcard_hash": "all#",
    "dot_first": ".hidden",
    "dash_first": "-rf",
    "too_long": "a" * 65,
    "newline": "phone\n",
    "umlaut": "küche",
    "nul": "a\0b",
    "space": "my phone",
}
_GATEWAY: Final = MessageCases(
    pb.GatewayState,
    federation_digest=FEDERATION,
    online=True,
    session=SESSION,
    version=12,
    round=7,
    rounds_planned=20,
)
_HELLO: Final = MessageCases(
    pb.Hello,
    device=DEVICE,
    federation_digest=FEDERATION,
    package_digest=PACKAGE,
    gateway_session=SESSION,
    profile="pixel8",
    runtime="native executorch 1.5.1",
    trained_slots=2,
    held_slots=8,
    batch_size=16,
    step_ms=81.5,
    examples=120,
    bytes_up_per_round=2_000_000,
    bytes_down_per_round=8_000_000,
    seconds_per_round=60.0,
    codecs=[pb.FLOAT32, pb.INT8],
    statistics_digest=DIGEST,
)
_BYE: Final = MessageCases(pb.Bye, device=DEVICE)
_VERDICT: Final = MessageCases(
    pb.Verdict, kind=pb.DELTA, digest=DIGEST, code=pb.ACCEPTED, detail="counted in round 7", round=7
)
_WANT: Final = MessageCases(pb.Want, device=DEVICE, digests=[DIGEST, PACKAGE])
_OFFER: Final = MessageCases(pb.Offer, device=DEVICE, kind=pb.DELTA, digest=DIGEST, count=7, total=820_000)


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    for cases in (_GATEWAY, _HELLO, _BYE, _VERDICT, _VERSION, _WANT, _OFFER):
        yield from cases.common()
    yield from _gateway()
    yield from _hello()
    yield from _verdict()
    yield from _version()
    yield from _want()
    yield from _offer()
    yield from _missing()
    yield from _topics()
    for name, device in _BAD_NAMES.items():
        yield _BYE.refuse(f"name_{name}", "MALFORMED", "a device name that may not stand in a topic", device=device)
    yield _BYE.accept("name_longest", "64 letters are the longest name", device="a" * 64)
    yield _BYE.accept("name_one_digit", "one digit is the shortest", device="7")
    # Written by hand: field 1 varint 1, field 2 length 3 "abc".
    meaning = {"wire_version": 1, "device": "abc"}
    yield _BYE.bytes("by_hand", "bytes written by hand from the schema", b"\x08\x01\x12\x03abc", "ACCEPT", meaning)
    yield _BYE.bytes("field_order", "fields in another order", b"\x12\x03abc\x08\x01", "ACCEPT", meaning)
    yield _BYE.bytes("field_twice", "the last of a field counts", b"\x08\x02\x12\x03abc\x08\x01", "ACCEPT", meaning)
    yield _BYE.bytes("not_utf8", "a string that is not UTF-8", b"\x08\x01\x12\x02\xc3\x28", "MALFORMED")
    padded = b"\x08\x01\x12\x03abc" + b"\xc2\x3e"
    fill = 131_072 - len(padded) - 3
    size = bytes([fill & 0x7F | 0x80, fill >> 7 & 0x7F | 0x80, fill >> 14])
    full = padded + size + bytes(fill)
    yield _BYE.bytes("largest", "131,072 bytes, most of them an unknown field", full, "ACCEPT", meaning)
    over = padded + bytes([size[0] + 1, *size[1:]]) + bytes(fill + 1)
    yield _BYE.bytes("oversize", "131,073 bytes", over, "TOO_LARGE")
    endless = b"\x08\x01\x12\x03abc" + b"\x98" * 100_001
    yield _BYE.bytes("endless_number", "a varint without an end", endless, "MALFORMED")
    groups = b"\x08\x01\x12\x03abc" + b"\x1b\x1c" * 50_000
    yield _BYE.bytes("many_fields", "100,002 fields of one byte: refused before they are parsed", groups, "TOO_LARGE")
    yield from _varints(b"\x08\x01\x12\x03abc", meaning)


def _varints(good: bytes, meaning: dict[str, Any]) -> Iterator[Case]:
    """Yield numbers that are written longer than they need to be, in fields of tomorrow; some libraries take more."""
    end = b"\x80" * 10 + b"\x00"
    fit = {
        "tag_bytes_5": ("a tag of five bytes", b"\xa8\x88\x80\x80\x00\x05"),
        "value_bytes_10": ("a value of ten bytes, with more than 64 bits", b"\x28" + b"\xff" * 9 + b"\x7f"),
        "length_bytes_5": ("a length of five bytes", b"\x2a\x81\x80\x80\x80\x00a"),
    }
    too_long = {
        "tag_bytes_6": ("a tag of six bytes", b"\xa8\x88\x80\x80\x80\x00\x05"),
        "tag_bits_33": ("a tag beyond 32 bits", b"\xa8\x88\x80\x80\x10\x05"),
        "value_bytes_11": ("a value of eleven bytes", b"\x28" + end),
        "length_bytes_6": ("a length of six bytes", b"\x2a\x81\x80\x80\x80\x80\x00a"),
    }
    for name, (comment, field) in fit.items():
        yield _BYE.bytes(name, comment, good + field, "ACCEPT", meaning)
    for name, (comment, field) in too_long.items():
        yield _BYE.bytes(name, comment, good + field, "MALFORMED")
    hello = _HELLO.message().SerializeToString() + b"\x82\x01\x0b" + end
    yield _HELLO.bytes("value_bytes_11", "a codec of eleven bytes, in a packed list", hello, "MALFORMED")


def _gateway() -> Iterator[Case]:
    yield _GATEWAY.accept("offline", "the will: the same with online unset", online=None)
    yield _GATEWAY.accept("largest_numbers", "64 bits unsigned", version=2**64 - 1, round=2**63)
    yield _GATEWAY.refuse("federation_31", "MALFORMED", "digest of 31 bytes", federation_digest=FEDERATION[:31])
    yield _GATEWAY.refuse("federation_missing", "MALFORMED", "no digest", federation_digest=None)
    yield _GATEWAY.refuse("session_15", "MALFORMED", "session of 15 bytes", session=SESSION[:15])
    yield _GATEWAY.refuse("session_missing", "MALFORMED", "no session", session=None)


def _hello() -> Iterator[Case]:
    yield _HELLO.accept(
        "least", "no measurement, no statistics, no codec", step_ms=None, statistics_digest=None, codecs=[]
    )
    yield _HELLO.accept("site", "a site that speaks for 300 devices", devices=300)
    yield _HELLO.accept("codec_of_tomorrow", "a codec that this gateway will not plan", codecs=[0, 1, 7])
    yield _HELLO.accept("text_200_bytes", "100 letters of two bytes", profile="ü" * 100)
    yield _HELLO.refuse("text_201_bytes", "MALFORMED", "counted in bytes, not letters", profile="ü" * 100 + "x")
    yield _HELLO.refuse("text_escape", "MALFORMED", "a terminal escape", runtime="native \x1b[31m")
    yield _HELLO.refuse("text_newline", "MALFORMED", "two lines", runtime="native\nexecutorch")
    yield _HELLO.refuse("text_direction", "MALFORMED", "a mark that turns text around", profile="pixel\u202e8")
    yield _HELLO.refuse("name", "MALFORMED", "a name with a slash", device="a/b")
    yield _HELLO.refuse("federation_33", "MALFORMED", "digest of 33 bytes", federation_digest=FEDERATION + b"\0")
    yield _HELLO.refuse("package_missing", "MALFORMED", "no package digest", package_digest=None)
    yield _HELLO.refuse("session_missing", "MALFORMED", "no gateway session", gateway_session=None)
    yield _HELLO.refuse("statistics_20", "MALFORMED", "a digest of 20 bytes", statistics_digest=DIGEST[:20])
    shallow, deep = pb.Reach(layers=2, step_ms=20.0, trunk_ms=9.5), pb.Reach(layers=6, step_ms=81.5)
    yield _HELLO.accept("reaches", "two depths, the upper one with a trunk", reaches=[shallow, deep])
    yield _HELLO.accept("reach_unmeasured", "nothing measured yet", reaches=[pb.Reach(layers=65_534)])
    yield _HELLO.refuse("reaches_descend", "MALFORMED", "the deeper one first", reaches=[deep, shallow])
    yield _HELLO.refuse("reaches_twice", "MALFORMED", "one depth twice", reaches=[deep, deep])
    yield _HELLO.refuse("reach_0", "MALFORMED", "no layers", reaches=[pb.Reach(step_ms=1.0)])
    yield _HELLO.refuse("reach_65535", "MALFORMED", "the head's number is no depth", reaches=[pb.Reach(layers=65_535)])
    yield _HELLO.refuse("reach_nan", "NOT_FINITE", "NaN", reaches=[pb.Reach(layers=2, step_ms=NAN)])
    yield _HELLO.refuse("reach_negative", "MALFORMED", "a negative time", reaches=[pb.Reach(layers=2, trunk_ms=-1.0)])
    many = [pb.Reach(layers=depth) for depth in range(1, 66)]
    yield _HELLO.accept("reaches_64", "as many as may be", reaches=many[:64])
    yield _HELLO.refuse("reaches_65", "MALFORMED", "one more", reaches=many)
    yield _HELLO.refuse("no_slots", "MALFORMED", "no trained slot", trained_slots=0)
    yield _HELLO.refuse("more_trained_than_held", "MALFORMED", "9 trained of 8 held", trained_slots=9)
    yield _HELLO.refuse("slots_65536", "MALFORMED", "more slots than ids", held_slots=65_536)
    yield _HELLO.refuse("batch_0", "MALFORMED", "batch of 0", batch_size=0)
    yield _HELLO.refuse("batch_65537", "MALFORMED", "batch over the limit", batch_size=65_537)
    yield _HELLO.refuse("nan_step_ms", "NOT_FINITE", "NaN", step_ms=NAN)
    yield _HELLO.refuse("infinite_seconds", "NOT_FINITE", "infinity", seconds_per_round=INF)
    yield _HELLO.refuse("negative_step_ms", "MALFORMED", "a negative time", step_ms=-1.0)


def _verdict() -> Iterator[Case]:
    hello = {"kind": pb.HELLO, "want_statistics": True, "detail": None, "round": None}
    yield _VERDICT.accept("hello", "a greeting that asks for statistics", **hello)
    yield _VERDICT.accept("busy", "to be sent again in 30 s", code=pb.BUSY, retry_after_s=30.0)
    yield _VERDICT.accept("code_of_tomorrow", "an unknown code is a final refusal", code=99)
    incomplete = {"code": pb.INCOMPLETE, "retry_after_s": 30.0}
    yield _VERDICT.accept("incomplete", "send chunks 0 and 9 of 10", missing=b"\x01\x02", **incomplete)
    yield _VERDICT.accept("incomplete_all", "send all chunks", **incomplete)
    yield _VERDICT.accept("missing_8192", "of the most chunks", missing=b"\xff" * 8192, **incomplete)
    yield _VERDICT.refuse("missing_8193", "MALFORMED", "more than there are", missing=b"\xff" * 8193, **incomplete)
    yield _VERDICT.refuse("missing_accepted", "MALFORMED", "decided, and yet incomplete", missing=b"\x01")
    yield _VERDICT.refuse("incomplete_hello", "MALFORMED", "a Hello has no chunks", kind=pb.HELLO, **incomplete)
    yield _VERDICT.refuse("incomplete_final", "MALFORMED", "no time to send them in", code=pb.INCOMPLETE)
    yield _VERDICT.refuse("no_code", "MALFORMED", "no decision", code=None)
    yield _VERDICT.refuse("negative_code", "MALFORMED", "a negative code", code=-1)
    yield _VERDICT.refuse("no_kind", "MALFORMED", "decides on nothing", kind=None)
    yield _VERDICT.refuse("kind_blob", "MALFORMED", "nobody decides on blobs", kind=pb.BLOB)
    yield _VERDICT.refuse("kind_of_tomorrow", "MALFORMED", "unknown kind", kind=9)
    yield _VERDICT.refuse("digest_0", "MALFORMED", "no digest", digest=None)
    yield _VERDICT.refuse("nan_retry", "NOT_FINITE", "NaN", retry_after_s=NAN)
    yield _VERDICT.refuse("negative_infinite_retry", "NOT_FINITE", "minus infinity", retry_after_s=-INF)
    yield _VERDICT.refuse("retry_2_days", "MALFORMED", "more than a day", retry_after_s=172_800.0)
    yield _VERDICT.refuse("detail_escape", "MALFORMED", "a terminal escape", detail="\x9b31mred")
    yield _VERDICT.refuse("detail_1001", "MALFORMED", "1,001 bytes", detail="x" * 1001)


_LISTED: Final = [(0, 0, b"a" * 32), (0, 1, b"b" * 32), (0, 65_535, b"c" * 32), (65_535, 0, b"d" * 32)]


def _blocks(*listed: tuple[int, int, bytes]) -> list[pb.Block]:
    return [pb.Block(layer=layer, index=index, digest=digest) for layer, index, digest in listed]


def _digest_of(*listed: tuple[int, int, bytes]) -> bytes:
    return hashlib.sha256(b"".join(struct.pack("<II", a, b) + digest for a, b, digest in listed)).digest()


def _updated(*updates: pb.Update) -> dict[str, Any]:
    block = pb.Block(digest=b"a" * 32, updates=updates)
    return {"blocks": [block], "digest": _digest_of((0, 0, b"a" * 32))}


_VERSION: Final = MessageCases(
    pb.Version,
    federation_digest=FEDERATION,
    version=3,
    parent=2,
    round=3,
    digest=_digest_of(*_LISTED),
    blocks=_blocks(*_LISTED),
)


def _version() -> Iterator[Case]:
    one = (0, 0, b"a" * 32)
    high = (0, 65_536, b"a" * 32)
    short = (0, 0, b"a" * 31)
    many = [(0, index, b"a" * 32) for index in range(2501)]
    yield _VERSION.accept("one_block", "a bank of one block", blocks=_blocks(one), digest=_digest_of(one))
    steps = [pb.Update(base=bytes([step]) * 32, digest=bytes([step + 100]) * 32) for step in range(9)]
    yield _VERSION.accept("updates", "a block that 8 steps lead to", **_updated(*steps[:8]))
    yield _VERSION.refuse("updates_9", "MALFORMED", "a step too many", **_updated(*steps))
    bad = {"base": pb.Update(base=b"b" * 31, digest=DIGEST), "digest": pb.Update(base=DIGEST)}
    for name, update in bad.items():
        yield _VERSION.refuse(f"update_{name}", "MALFORMED", "a digest that is none", **_updated(update))
    yield _VERSION.refuse("no_blocks", "MALFORMED", "nothing in it", blocks=[])
    unsorted = [_LISTED[1], _LISTED[0], *_LISTED[2:]]
    yield _VERSION.refuse("unsorted", "MALFORMED", "index 1 before 0", blocks=_blocks(*unsorted))
    yield _VERSION.refuse("repeated", "MALFORMED", "a block twice", blocks=_blocks(one, one))
    yield _VERSION.refuse("index_65536", "MALFORMED", "no such index", blocks=_blocks(high), digest=_digest_of(high))
    yield _VERSION.refuse("block_digest_31", "MALFORMED", "short digest", blocks=_blocks(short))
    yield _VERSION.refuse("digest_0", "MALFORMED", "no digest", digest=None)
    yield _VERSION.refuse("federation_0", "MALFORMED", "no federation digest", federation_digest=None)
    yield _VERSION.refuse("wrong_digest", "DIGEST_MISMATCH", "the digest of other blocks", digest=_digest_of(one))
    yield _VERSION.refuse("2501_blocks", "TOO_LARGE", "over the limit", blocks=_blocks(*many), digest=_digest_of(*many))


def _want() -> Iterator[Case]:
    yield _WANT.accept("2000", "the most blobs", digests=[DIGEST] * 2000)
    yield _WANT.refuse("2001", "MALFORMED", "one too many", digests=[DIGEST] * 2001)
    yield _WANT.refuse("none", "MALFORMED", "asks for nothing", digests=[])
    yield _WANT.refuse("digest_31", "MALFORMED", "a short digest", digests=[DIGEST, DIGEST[:31]])
    yield _WANT.refuse("name", "MALFORMED", "no device", device=None)
    yield _WANT.accept("missing", "all of the first, chunk 3 of the second", missing=[b"", b"\x08"])
    yield _WANT.refuse("missing_one", "MALFORMED", "for one of two", missing=[b"\x08"])
    yield _WANT.refuse("missing_8193", "MALFORMED", "more chunks than there are", missing=[b"", b"\x01" * 8193])


def _offer() -> Iterator[Case]:
    yield _OFFER.accept("statistics", "class sums in one chunk", kind=pb.STATISTICS, count=1, total=1)
    yield _OFFER.accept("largest", "64 MiB in the most chunks", count=65_536, total=64 * 1024 * 1024)
    yield _OFFER.refuse("kind_blob", "MALFORMED", "devices have no blobs", kind=pb.BLOB)
    yield _OFFER.refuse("kind_none", "MALFORMED", "no kind", kind=None)
    yield _OFFER.refuse("name", "MALFORMED", "a name with a slash", device="a/b")
    yield _OFFER.refuse("digest_31", "MALFORMED", "a short digest", digest=DIGEST[:31])
    yield _OFFER.refuse("count_0", "MALFORMED", "of no chunks", count=None)
    yield _OFFER.refuse("total_0", "MALFORMED", "an empty body", total=None)
    yield _OFFER.refuse("more_chunks_than_bytes", "MALFORMED", "a chunk would be empty", count=7, total=6)
    # Pieces of 2 bytes are 4 and pieces of 1 byte are 8: nothing is 5.
    yield _OFFER.refuse("uneven", "MALFORMED", "8 bytes are no 5 equal pieces", count=5, total=8)
    yield _OFFER.refuse("total_64_mib_1", "TOO_LARGE", "a byte over 64 MiB", total=64 * 1024 * 1024 + 1)
    yield _OFFER.refuse("total_2_64", "TOO_LARGE", "the largest lie", total=2**64 - 1)
    yield _OFFER.refuse("count_65537", "TOO_LARGE", "too many chunks", count=65_537, total=1_000_000)


def _missing() -> Iterator[Case]:
    read = {
        "all": (b"", 3, [0, 1, 2], "nothing written: all"),
        "low_bit_first": (b"\x01\x02", 10, [0, 9], "bit i mod 8 of byte i div 8"),
        "last": (b"\0\x80", 16, [15], "the last of two full bytes"),
    }
    for name, (data, count, indexes, comment) in read.items():
        yield Case("Missing", f"accept_{name}", data, "ACCEPT", comment, {"count": count}, {"indexes": indexes})
    wrong = {
        "short": (b"\x01", 9, "9 chunks need two bytes"),
        "long": (b"\x01\0", 8, "8 chunks need one byte"),
        "beyond": (b"\x08", 3, "there is no chunk 3"),
        "none": (b"\0", 3, "nothing lacks"),
    }
    for name, (data, count, comment) in wrong.items():
        yield Case("Missing", f"refuse_{name}", data, "MALFORMED", comment, {"count": count})


def _topics() -> Iterator[Case]:
    retained = {"gateway", "version", "plan"}
    alone, named = ("gateway", "version"), ("plan", "verdict", "hello", "bye", "delta", "statistics", "want", "offer")
    for topic in (*alone, *named):
        name = "" if topic in alone else DEVICE
        meaning = {"federation": "home", "topic": topic, "name": name, "retained": topic in retained}
        text = f"fl/v1/home/{topic}" + (f"/{name}" if name else "")
        yield Case("Topic", f"accept_{topic}", text.encode(), "ACCEPT", "as in SPEC.md, Topics", meaning=meaning)
    blob = {"federation": "home", "topic": "blob", "name": DIGEST.hex(), "retained": False}
    text = f"fl/v1/home/blob/{DIGEST.hex()}"
    yield Case("Topic", "accept_blob", text.encode(), "ACCEPT", "as in SPEC.md, Topics", meaning=blob)
    bad = {
        "empty": "",
        "other_root": "fl/v2/home/gateway",
        "unknown": "fl/v1/home/weights/a",
        "no_device": "fl/v1/home/delta",
        "empty_device": "fl/v1/home/delta/",
        "gateway_with_device": "fl/v1/home/gateway/a",
        "too_long": "fl/v1/home/delta/a/b",
        "slash_first": "/fl/v1/home/gateway",
        "bad_federation": "fl/v1/-home/gateway",
        "wildcard": "fl/v1/home/delta/+",
        "upper_case": "fl/v1/home/Delta/a",
        "blob_short": f"fl/v1/home/blob/{DIGEST.hex()[:-1]}",
        "blob_upper_case": f"fl/v1/home/blob/{'AB' * 32}",
    }
    for name, topic in bad.items():
        yield Case("Topic", f"refuse_{name}", topic.encode(), "MALFORMED", "none of the contract's topics")
