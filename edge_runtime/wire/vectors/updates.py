"""Cases of applying an update to a block; expected values are worked out by hand beside each case."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from edge_runtime.wire.vectors.build import INF, NAN
from edge_runtime.wire.vectors.case import Case

_MAX: Final = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]  # the largest float32; its last place is worth 2^104


def _f32(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _case(  # noqa: PLR0917 - one line for a case
    name: str, comment: str, base: Sequence[float], scales: Sequence[float], steps: Sequence[int],
    outcome: str | Sequence[float],
) -> Case:  # fmt: skip
    data, context = _f32(scales) + struct.pack(f"<{len(steps)}b", *steps), {"base": _f32(base).hex()}
    if isinstance(outcome, str):
        return Case("Update", f"refuse_{name}", data, outcome, comment, context)
    return Case("Update", f"accept_{name}", data, "ACCEPT", comment, context, {"hex": _f32(outcome).hex()})


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    yield _case("exact", "base plus scale times byte", [1, -2, 0.5], [0.25], [4, -4, 1], [2, -3, 0.75])
    base, after = [1.0] * 65, [128.0, -126.0, *[1.0] * 62, -5.0]  # 64 with scale 1, one with scale 2
    yield _case("two_groups", "each 64 values have their scale", base, [1, 2], [127, -127, *[0] * 62, -3], after)
    # 3 (1 + 2^-23) = 3 + 1.5 places of 2^-22: a tie, to the even 3 + 2^-21. The exact product would leave 3 x 2^-23.
    comment = "the product is rounded before it is added: no fused multiply-add"
    yield _case("two_roundings", comment, [-3], [1 + 2**-23], [3], [2**-21])
    comment = "a sum half way between two float32 goes to the even one: down to 1, up to 1 + 2^-22"
    yield _case("half_to_even", comment, [1, 1 + 2**-23], [2**-24], [1, 1], [1, 1 + 2**-22])
    yield _case("negative_zero", "-0.0 plus 0.0 is 0.0, bits and all", [-0.0, -0.0], [1], [0, 1], [0.0, 1.0])
    yield _case("zero_scale", "scale 0 changes nothing", [5, -7], [0], [127, -127], [5, -7])
    yield _case("largest", "up to the largest float32", [_MAX - 2**104], [2**104], [1], [_MAX])
    yield _case("none", "no values", [], [], [], [])
    yield _case("sum", "2^128 is no float32", [_MAX], [2**104], [1], "NOT_FINITE")
    yield _case("product", "the product is not finite", [1], [_MAX], [2], "NOT_FINITE")
    yield _case("nan", "NaN", [1], [NAN], [0], "NOT_FINITE")
    yield _case("infinity", "infinity times 0 is NaN", [1], [INF], [0], "NOT_FINITE")
    yield _case("negative_scale", "scales are not negative", [1], [-1], [1], "MALFORMED")
    yield _case("minus_128", "no writer makes it", [1], [1], [-128], "MALFORMED")
    yield _case("short", "an update of fewer values than the base", [1, 2], [1], [1], "WRONG_SIZE")
    yield _case("long", "an update of more values than the base", [1], [1], [1, 1], "WRONG_SIZE")
