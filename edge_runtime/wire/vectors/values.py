"""Cases of values and digests; expected figures are worked out by hand beside each case."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from edge_runtime.wire.vectors.build import INF, NAN
from edge_runtime.wire.vectors.case import Case

_FLOAT32: Final = 0
_INT8: Final = 1
_MAX: Final = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]  # the largest float32
_LEAST: Final = struct.unpack("<f", b"\x01\0\0\0")[0]  # the smallest above 0


def f32(*values: float) -> bytes:
    """Return little-endian float32."""
    return struct.pack(f"<{len(values)}f", *values)


def floats(data: bytes) -> list[float]:
    """Return what ``f32`` made bytes of, as float32 has it."""
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def _int8(scales: Sequence[float], quanta: Sequence[int]) -> bytes:
    return f32(*scales) + struct.pack(f"<{len(quanta)}b", *quanta)


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    yield from _read_float32()
    yield from _read_int8()
    yield from _written()
    yield from _digests()
    yield from _orders()


def _read(  # noqa: PLR0917 - one line for a case
    name: str, comment: str, data: bytes, codec: int, count: int, outcome: str | Sequence[float]
) -> Case:
    context = {"codec": codec, "count": count}
    if isinstance(outcome, str):
        return Case("Values", f"refuse_{name}", data, outcome, comment, context)
    return Case("Values", f"accept_{name}", data, "ACCEPT", comment, context, {"values": list(outcome)})


def _read_float32() -> Iterator[Case]:
    exact = [1.0, -2.5, 0.0, _LEAST, _MAX]
    yield _read("float32", "exact", f32(*exact), _FLOAT32, 5, exact)
    yield _read("float32_none", "no values", b"", _FLOAT32, 0, [])
    by_hand = b"\0\0\x80\x3f\0\0\0\xc0"
    yield _read(
        "float32_by_hand", "1.0 is 3F800000, -2.0 is C0000000, low byte first", by_hand, _FLOAT32, 2, [1.0, -2.0]
    )
    yield _read("float32_short", "three bytes short", f32(1, 2)[:5], _FLOAT32, 2, "WRONG_SIZE")
    yield _read("float32_long", "a value too many", f32(1, 2, 3), _FLOAT32, 2, "WRONG_SIZE")
    yield _read("float32_empty", "nothing", b"", _FLOAT32, 2, "WRONG_SIZE")
    yield _read("float32_nan", "NaN", f32(1, NAN), _FLOAT32, 2, "NOT_FINITE")
    yield _read("float32_infinity", "infinity", f32(INF, 1), _FLOAT32, 2, "NOT_FINITE")
    yield _read("float32_minus_infinity", "minus infinity", f32(1, -INF), _FLOAT32, 2, "NOT_FINITE")
    yield _read("codec_2", "unknown", f32(1, 2), 2, 2, "UNSUPPORTED_CODEC")
    yield _read("codec_negative", "unknown", f32(1, 2), -1, 2, "UNSUPPORTED_CODEC")


def _read_int8() -> Iterator[Case]:
    # 65 values are two groups: 64 with scale 0.5, one with scale 2.
    quanta = [127, -127, 1, 0, *[2] * 60, -3]
    meaning = [63.5, -63.5, 0.5, 0.0, *[1.0] * 60, -6.0]
    yield _read("int8_two_groups", "65 values", _int8([0.5, 2.0], quanta), _INT8, 65, meaning)
    yield _read("int8_one", "one value: 0.25 times -4", _int8([0.25], [-4]), _INT8, 1, [-1.0])
    yield _read("int8_zero_scale", "scale 0", _int8([0.0], [5, -5]), _INT8, 2, [0.0, -0.0])
    yield _read("int8_none", "no values", b"", _INT8, 0, [])
    yield _read("int8_short", "one byte short", _int8([1.0], [1]), _INT8, 2, "WRONG_SIZE")
    yield _read("int8_scale_missing", "65 values need two scales", _int8([1.0], [1] * 65), _INT8, 65, "WRONG_SIZE")
    yield _read("int8_as_float32", "float32 values under the int8 codec", f32(1, 2), _INT8, 2, "WRONG_SIZE")
    yield _read("int8_nan_scale", "NaN", _int8([NAN], [0]), _INT8, 1, "NOT_FINITE")
    yield _read("int8_infinite_scale", "infinity times 0 is NaN", _int8([INF], [0]), _INT8, 1, "NOT_FINITE")
    yield _read("int8_overflow", "the product is not finite", _int8([_MAX], [2]), _INT8, 1, "NOT_FINITE")
    yield _read("int8_negative_scale", "scales are not negative", _int8([-1.0], [1]), _INT8, 1, "MALFORMED")
    yield _read("int8_minus_128", "no writer makes it", _int8([1.0], [-128]), _INT8, 1, "MALFORMED")


def _write(name: str, comment: str, values: Sequence[float], codec: int, outcome: bytes | str) -> Case:
    if isinstance(outcome, str):
        return Case("Encode", f"refuse_{name}", f32(*values), outcome, comment, {"codec": codec})
    meaning = {"hex": outcome.hex()}
    return Case("Encode", f"accept_{name}", f32(*values), "ACCEPT", comment, {"codec": codec}, meaning)


def _written() -> Iterator[Case]:
    yield _write("float32", "as it is", [1.0, -2.0], _FLOAT32, b"\0\0\x80\x3f\0\0\0\xc0")
    yield _write("int8_scale_1", "max 127, so scale 1", [127, -3, 0], _INT8, _int8([1.0], [127, -3, 0]))
    halves = [254.0, 1.0, 3.0, 5.0, -1.0, -3.0, -5.0]  # scale 2: 0.5, 1.5, 2.5 to the even neighbour
    yield _write(
        "int8_half_to_even", "0.5 is 0, 1.5 is 2, 2.5 is 2", halves, _INT8, _int8([2.0], [127, 0, 2, 2, 0, -2, -2])
    )
    two = [127.0, *[0.0] * 63, -63.5]  # the second group has max 63.5, scale 0.5
    yield _write(
        "int8_two_groups", "each 64 values have their scale", two, _INT8, _int8([1.0, 0.5], [127, *[0] * 63, -127])
    )
    yield _write("int8_zeros", "scale 0, bytes 0", [0.0, -0.0], _INT8, _int8([0.0], [0, 0]))
    yield _write("int8_none", "no values", [], _INT8, b"")
    # The smallest float32 over 127 rounds to 0.
    yield _write("int8_denormal", "a scale that rounds to 0", [_LEAST], _INT8, _int8([0.0], [0]))
    # Max / 127 is 0x7C010204 by division; 127 times it is infinite, so one step below is taken.
    largest = bytes.fromhex("0302017c")[:4]
    yield _write("int8_largest", "the scale whose product with 127 is finite", [_MAX], _INT8, largest + b"\x7f")
    yield _write(
        "int8_third",
        "1/3 of 1: scale 1/127 in float32, 127/3 = 42.33 is 42",
        [1.0, 1 / 3],
        _INT8,
        _int8([1 / 127], [127, 42]),
    )
    yield _write("float32_nan", "NaN", [NAN], _FLOAT32, "NOT_FINITE")
    yield _write("int8_infinity", "infinity", [INF, 1.0], _INT8, "NOT_FINITE")
    yield _write("codec_9", "unknown", [1.0], 9, "UNSUPPORTED_CODEC")


def _digests() -> Iterator[Case]:
    data = f32(1.0, -2.0)
    digest = {"digest": hashlib.sha256(b"\0\0\x80\x3f\0\0\0\xc0").hexdigest()}
    yield Case("BlockDigest", "accept_float32", data, "ACCEPT", "over the bytes", {"codec": 0, "count": 2}, digest)
    same = _int8([2 / 127], [64, -127])  # not exact: the digest is that of what was decoded
    decoded = f32(*(struct.unpack("<f", f32(2 / 127))[0] * byte for byte in (64, -127)))
    digest = {"digest": hashlib.sha256(decoded).hexdigest()}
    comment = "over the decoded float32, not over the int8 bytes"
    yield Case("BlockDigest", "accept_int8", same, "ACCEPT", comment, {"codec": 1, "count": 2}, digest)
    # The known answer of SHA-256 over no bytes.
    empty = {"digest": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
    yield Case("VersionDigest", "accept_none", b"", "ACCEPT", "no block", meaning=empty)
    a, b, c = (
        struct.pack("<II", layer, index) + bytes([fill]) * 32
        for layer, index, fill in ((0, 255, 1), (0, 256, 2), (1, 0, 3))
    )
    version = {"digest": hashlib.sha256(a + b + c).hexdigest()}
    comment = "sorted as numbers (255 before 256), not as the bytes that they are written in"
    yield Case("VersionDigest", "accept_unsorted", c + b + a, "ACCEPT", comment, meaning=version)


def _splitmix(state: int) -> int:
    """Return splitmix64 as it is published, in whole numbers; of 0 it is E220A8397B1DCDAF."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def _orders() -> Iterator[Case]:
    named = {
        "none": (0, 0, 0, "no example"),
        "one": (5, 3, 1, "one example"),
        "seed_0": (0, 0, 10, "the first epoch of seed 0"),
        "epoch_1": (0, 1, 10, "the next epoch has another order"),
        "seed_largest": (2**64 - 1, 2, 40, "the sum goes round past 64 bits"),
        "negative_as_signed": (2**63, 0, 33, "keys are compared as unsigned numbers"),
    }
    for name, (seed, epoch, count, comment) in named.items():
        start = _splitmix(seed) + _splitmix(epoch)
        order = sorted(range(count), key=lambda place, start=start: _splitmix((start + place) % 2**64))  # type: ignore[misc]
        context = {"seed": str(seed), "epoch": epoch, "count": count}
        yield Case("EpochOrder", f"accept_{name}", b"", "ACCEPT", comment, context, {"order": order})
