"""Cases of what a site sends: PartialSum, PartialStatistics."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.vectors.build import DIGEST, FEDERATION, INF, NAN, MessageCases
from edge_runtime.wire.vectors.case import Case


def _doubles(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def _block(layer: int = 0, index: int = 3, **changes: Any) -> pb.BlockSum:  # noqa: ANN401 - fields of any type
    """Return two deltas of 3 and 5 examples: +0.5 and -0.25 at the first value, nothing and 2^-24 at the second."""
    fields: dict[str, Any] = {
        "values": _doubles(3 * 0.5 - 5 * 0.25, 2.0**-24),
        "weights": _doubles(8.0),
        "devices": 2,
        "size": int((1.5 + 1.25) * 2**24),
    } | changes
    return pb.BlockSum(layer=layer, index=index, **fields)


_SUM: Final = MessageCases(
    pb.PartialSum,
    device="north",
    plan_digest=DIGEST,
    round=7,
    base_version=12,
    devices=2,
    blocks=[_block(), _block(5, 0)],
    examples=8,
    loss_first=1.5,
    loss_last=0.25,
    step_ms=81.5,
    most_examples=500,
)
_STATISTICS: Final = MessageCases(
    pb.PartialStatistics,
    device="north",
    federation_digest=FEDERATION,
    width=3,
    devices=2,
    counts=_doubles(4, 1),
    sums=_doubles(1, -2, 0.5, 0, 0.25, -(2.0**-20)),
)


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    yield from _SUM.common()
    yield from _sums()
    yield from _blocks()
    yield from _STATISTICS.common()
    yield from _statistics()


def _sums() -> Iterator[Case]:
    yield _SUM.accept("negative_loss", "a loss may be negative", loss_last=-0.5)
    yield _SUM.accept("any_examples", "no limit on what a delta counts for", most_examples=None)
    yield _SUM.refuse("name", "MALFORMED", "no site", device=None)
    yield _SUM.refuse("plan_digest_0", "MALFORMED", "no plan", plan_digest=None)
    yield _SUM.refuse("no_devices", "MALFORMED", "of nobody", devices=None)
    yield _SUM.refuse("65536_devices", "MALFORMED", "more than add up exactly", devices=65_536)
    yield _SUM.refuse("no_blocks", "MALFORMED", "of nothing", blocks=None)
    yield _SUM.refuse("unsorted", "MALFORMED", "layer 5 before 0", blocks=[_block(5, 0), _block()])
    yield _SUM.refuse("repeated", "MALFORMED", "a block twice", blocks=[_block(), _block()])
    yield _SUM.refuse("mean", "MALFORMED", "the feature mean is not trained", blocks=[_block(65_535, 1)])
    yield _SUM.refuse("nan_loss_first", "NOT_FINITE", "diverged from the start", loss_first=NAN)
    yield _SUM.refuse("nan_loss_last", "NOT_FINITE", "diverged", loss_last=NAN)
    yield _SUM.refuse("infinite_step_ms", "NOT_FINITE", "infinity", step_ms=INF)
    yield _SUM.refuse("negative_step_ms", "MALFORMED", "a negative time", step_ms=-1.0)
    apart = [_block(steps=_doubles(80.0)), _block(5, 0)]
    yield _SUM.refuse("steps_of_some", "MALFORMED", "steps taken out of one block alone", blocks=apart)
    # A Delta says its codec in field 7, which is no list of blocks.
    delta = pb.Delta(
        wire_version=1, device="north", plan_digest=DIGEST, round=7, base_version=12, examples=1, codec=pb.INT8
    )
    yield _SUM.bytes("a_delta", "what a device sends", delta.SerializeToString(), "MALFORMED")


def _blocks() -> Iterator[Case]:
    def accept(name: str, comment: str, **changes: Any) -> Case:  # noqa: ANN401
        return _SUM.accept(name, comment, blocks=[_block(**changes)])

    def refuse(name: str, comment: str, expect: str = "MALFORMED", **changes: Any) -> Case:  # noqa: ANN401
        return _SUM.refuse(name, expect, comment, blocks=[_block(**changes)])

    head = {"layer": 65_535, "index": 0, "weights": _doubles(8.0, 0.0), "values": _doubles(0.25, 0.0)}
    yield accept("head", "a weight for each value; a label that nobody has", **head)
    yield accept("steps", "steps taken out", steps=_doubles(80.00390625))
    yield accept("largest", "two products at their limit", values=_doubles(2.0**14, 0), size=2**38)
    yield refuse("largest_and_more", "beyond what two deltas can be", size=2**38 + 1)
    yield refuse("block_of_nobody", "no delta has it", devices=0)
    yield refuse("block_of_more", "of more deltas than the sum", devices=3)
    yield refuse("no_values", "an empty block", values=b"")
    yield refuse("values_7_bytes", "not whole doubles", "WRONG_SIZE", values=b"\0" * 7)
    yield refuse("weights_3", "neither one nor as many", "WRONG_SIZE", weights=_doubles(8, 8, 8))
    yield refuse("no_weights", "no weight", "WRONG_SIZE", weights=b"")
    yield refuse("steps_2", "more steps than weights", "WRONG_SIZE", steps=_doubles(8, 8))
    yield refuse("value_nan", "NaN", "NOT_FINITE", values=_doubles(NAN, 0))
    yield refuse("weight_infinite", "infinity", "NOT_FINITE", weights=_doubles(INF))
    yield refuse("steps_nan", "NaN", "NOT_FINITE", steps=_doubles(NAN))
    yield refuse("value_beside_the_grid", "half a unit", values=_doubles(2.0**-25, 0))
    yield refuse("value_huge", "on every grid, and beyond 2^53 units", values=_doubles(2.0**300, 0))
    yield refuse("weight_beside_the_grid", "half a unit", weights=_doubles(8 + 2.0**-21))
    yield refuse("steps_beside_the_grid", "half a unit", steps=_doubles(80 + 2.0**-9))
    yield refuse("value_above_size", "sizes are at least the values", values=_doubles(2.75 + 2.0**-24, 0))
    yield refuse("value_below_minus_size", "likewise", values=_doubles(-2.75 - 2.0**-24, 0))
    yield refuse("weight_above_size", "16 times 2.75 is the most", weights=_doubles(44.5))
    yield refuse("steps_above_size", "65,536 times 2.75 is the most", steps=_doubles(2.75 * 2**16 + 1))
    yield refuse("weight_below_devices", "each of two deltas has an example", weights=_doubles(1.5))
    yield refuse("weight_negative", "fewer than none", weights=_doubles(-8))
    yield refuse("steps_negative", "fewer than none", steps=_doubles(-80))
    yield refuse("value_without_weight", "from nobody", weights=_doubles(8, 0))


def _statistics() -> Iterator[Case]:
    yield _STATISTICS.accept("no_example", "labels without examples", counts=_doubles(0, 0))
    yield _STATISTICS.accept("most", "the most that two devices can have", counts=_doubles(2.0**18, 0))
    yield _STATISTICS.refuse("more", "MALFORMED", "and one more", counts=_doubles(2.0**18, 1))
    yield _STATISTICS.refuse("name", "MALFORMED", "a bad name", device="..")
    yield _STATISTICS.refuse("federation_0", "MALFORMED", "no federation", federation_digest=None)
    yield _STATISTICS.refuse("no_devices", "MALFORMED", "of nobody", devices=None)
    yield _STATISTICS.refuse("width_0", "MALFORMED", "no width", width=None)
    yield _STATISTICS.refuse("no_labels", "MALFORMED", "no counts", counts=None, sums=None)
    yield _STATISTICS.refuse("counts_15_bytes", "WRONG_SIZE", "not whole doubles", counts=b"\0" * 15)
    yield _STATISTICS.refuse("sums_short", "WRONG_SIZE", "one value short", sums=b"\0" * 40)
    yield _STATISTICS.refuse("width_huge", "WRONG_SIZE", "a width that lies", width=2**32 - 1)
    yield _STATISTICS.refuse("counts_nan", "NOT_FINITE", "NaN", counts=_doubles(1, NAN))
    yield _STATISTICS.refuse("sums_infinite", "NOT_FINITE", "infinity", sums=_doubles(0, 0, INF, 0, 0, 0))
    yield _STATISTICS.refuse("counts_negative", "MALFORMED", "fewer than none", counts=_doubles(1, -1))
    yield _STATISTICS.refuse("sums_beside_the_grid", "MALFORMED", "half a unit", sums=_doubles(0, 0, 2.0**-21, 0, 0, 0))
