"""Cases of what is trained: Plan, Delta, ClassStatistics."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.vectors.build import DEVICE, DIGEST, FEDERATION, INF, NAN, MessageCases
from edge_runtime.wire.vectors.case import Case


def _refs(*listed: tuple[int, int]) -> list[pb.ExpertRef]:
    return [pb.ExpertRef(layer=layer, index=index) for layer, index in listed]


def _experts(*listed: tuple[int, int], values: bytes = b"\0" * 8) -> list[pb.ExpertDelta]:
    return [pb.ExpertDelta(layer=layer, index=index, values=values) for layer, index in listed]


def _uses(*listed: tuple[int, int, float, float]) -> list[pb.ExpertUse]:
    return [pb.ExpertUse(layer=layer, index=index, routed=routed, seen=seen) for layer, index, routed, seen in listed]


_PLAN: Final = MessageCases(
    pb.Plan,
    device=DEVICE,
    round=7,
    base_version=12,
    version_digest=DIGEST,
    train=_refs((0, 3), (0, 65_535), (5, 0), (65_535, 0)),
    steps=10,
    learning_rate=0.004,
    shared_learning_rate=0.004,
    head_learning_rate=0.0,
    weight_decay=0.0,
    seed=2**64 - 1,
    deadline_s=90.0,
    codec=pb.INT8,
)
_DELTA: Final = MessageCases(
    pb.Delta,
    device=DEVICE,
    plan_digest=DIGEST,
    round=7,
    base_version=12,
    examples=120,
    codec=pb.FLOAT32,
    experts=_experts((0, 3), (5, 0)),
    loss_first=1.5,
    loss_last=0.25,
    step_ms=81.5,
    steps=10,
)
_STATISTICS: Final = MessageCases(
    pb.ClassStatistics,
    device=DEVICE,
    federation_digest=FEDERATION,
    width=3,
    counts=struct.pack("<2f", 4, 1),
    sums=struct.pack("<6f", 1, -2, 0.5, 0, 0.25, -1),
)


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    for cases in (_PLAN, _DELTA, _STATISTICS):
        yield from cases.common()
    yield from _plans()
    for cases, field, listed in ((_PLAN, "train", _refs), (_DELTA, "experts", _experts)):
        yield from _lists(cases, field, listed)
    yield from _deltas()
    yield from _statistics()


def _plans() -> Iterator[Case]:
    use = [pb.LayerUse(layer=0, use=[0.5, 1.0]), pb.LayerUse(layer=5, use=[0.0, 0.125])]
    layer_9 = b"\x7a\x0c\x08\x89" + b"\x80" * 9 + b"\x00"
    inside = _PLAN.message().SerializeToString() + layer_9
    yield _PLAN.bytes("value_bytes_11", "a layer of eleven bytes, in a nested message", inside, "MALFORMED")
    yield _PLAN.accept("topk", "with server statistics", use=use, balance_pressure=0.5)
    yield _PLAN.accept("trained_head", "a head that is trained", head_learning_rate=0.5)
    yield _PLAN.accept("most_steps", "the limit", steps=1_000_000)
    yield _PLAN.refuse("no_steps", "MALFORMED", "0 steps", steps=None)
    yield _PLAN.refuse("too_many_steps", "MALFORMED", "over the limit", steps=1_000_001)
    yield _PLAN.refuse("name", "MALFORMED", "a name that is no topic word", device="a+")
    yield _PLAN.refuse("digest_16", "MALFORMED", "a digest of 16 bytes", version_digest=DIGEST[:16])
    yield _PLAN.refuse("codec_2", "UNSUPPORTED_CODEC", "a codec of tomorrow", codec=2)
    yield _PLAN.refuse("nan_rate", "NOT_FINITE", "NaN", learning_rate=NAN)
    yield _PLAN.refuse("infinite_shared_rate", "NOT_FINITE", "infinity", shared_learning_rate=INF)
    yield _PLAN.refuse("nan_head_rate", "NOT_FINITE", "NaN", head_learning_rate=NAN)
    yield _PLAN.refuse("nan_decay", "NOT_FINITE", "NaN", weight_decay=NAN)
    yield _PLAN.refuse("nan_deadline", "NOT_FINITE", "NaN", deadline_s=NAN)
    yield _PLAN.refuse("negative_rate", "MALFORMED", "would climb", learning_rate=-0.1)
    yield _PLAN.refuse("rate_11", "MALFORMED", "over 10", learning_rate=11.0)
    yield _PLAN.refuse("negative_deadline", "MALFORMED", "in the past", deadline_s=-1.0)
    yield _PLAN.refuse("pressure_2", "MALFORMED", "over 1", balance_pressure=2.0)
    yield _PLAN.refuse("use_unsorted", "MALFORMED", "layers 5, 0", use=use[::-1])
    yield _PLAN.refuse("use_repeated", "MALFORMED", "a layer twice", use=[use[0], use[0]])
    yield _PLAN.refuse("use_layer_65535", "MALFORMED", "no layer", use=[pb.LayerUse(layer=65_535)])
    yield _PLAN.refuse("use_over_1", "MALFORMED", "a share above 1", use=[pb.LayerUse(use=[1.5])])
    yield _PLAN.refuse("use_nan", "NOT_FINITE", "NaN", use=[pb.LayerUse(use=[NAN])])


def _lists(cases: MessageCases, field: str, listed: Any) -> Iterator[Case]:  # noqa: ANN401 - a constructor of either list
    def refuse(name: str, comment: str, *ids: tuple[int, int], expect: str = "MALFORMED") -> Case:
        return cases.refuse(name, expect, comment, **{field: listed(*ids)})

    yield refuse("no_experts", "nothing is trained")
    yield refuse("unsorted_layers", "layer 5 before 0", (5, 0), (0, 3))
    yield refuse("unsorted_indices", "index 3 before 1", (0, 3), (0, 1))
    yield refuse("repeated", "an expert twice", (0, 3), (0, 3))
    yield refuse("layer_65536", "no such layer", (65_536, 0))
    yield refuse("index_65536", "no such index", (0, 65_536))
    yield refuse("mean", "the feature mean is not trained", (0, 3), (65_535, 1))
    yield refuse("reserved", "a block that is not defined", (65_535, 65_535))
    yield refuse("2501_experts", "over the limit", *((0, index) for index in range(2501)), expect="TOO_LARGE")


def _deltas() -> Iterator[Case]:
    yield _DELTA.accept("topk", "with uses", use=_uses((0, 3, 10.5, 64.0), (5, 0, 0.0, 0.0)))
    yield _DELTA.accept("head", "with a trained head", experts=_experts((65_535, 0)), label_counts=[2.0, 0.0, 1.5])
    yield _DELTA.accept("int8", "another codec", codec=pb.INT8, experts=_experts((0, 3), values=b"\0\0\0\x3f\x7f"))
    yield _DELTA.accept("negative_loss", "a loss may be negative", loss_last=-0.5)
    yield _DELTA.accept(
        "values_unread", "the length is admission's, who knows the bank", experts=_experts((0, 0), values=b"")
    )
    large = _DELTA.accept(
        "200_kb", "a body over 131,072 bytes", experts=_experts((0, 3), values=b"\0\0\x80\x3f" * 50_000)
    )
    yield large
    small = {"context": {"limit": 100}, "expect": "TOO_LARGE", "meaning": None, "name": "refuse_over_limit"}
    yield Case(**{**vars(_DELTA.accept("x", "a gateway's own limit of 100 bytes")), **small})
    bomb = b"\x08\x01" + b"\x42\x00" * 100_000
    yield _DELTA.bytes("bomb", "200 KB of empty experts, 100,001 fields: refused before parsing", bomb, "TOO_LARGE")
    yield _DELTA.refuse("name", "MALFORMED", "no device", device=None)
    yield _DELTA.refuse("plan_digest_0", "MALFORMED", "no plan", plan_digest=None)
    yield _DELTA.refuse("codec_2", "UNSUPPORTED_CODEC", "a codec of tomorrow", codec=2)
    yield _DELTA.refuse("no_examples", "NO_EXAMPLES", "no weight in the mean", examples=None)
    yield _DELTA.refuse("nan_loss_first", "NOT_FINITE", "diverged from the start", loss_first=NAN)
    yield _DELTA.refuse("nan_loss_last", "NOT_FINITE", "diverged", loss_last=NAN)
    yield _DELTA.refuse("infinite_step_ms", "NOT_FINITE", "infinity", step_ms=INF)
    yield _DELTA.refuse("negative_step_ms", "MALFORMED", "a negative time", step_ms=-1.0)
    yield _DELTA.refuse("use_unsorted", "MALFORMED", "unsorted uses", use=_uses((5, 0, 1, 2), (0, 3, 1, 2)))
    yield _DELTA.refuse("use_repeated", "MALFORMED", "a use twice", use=_uses((0, 3, 1, 2), (0, 3, 1, 2)))
    yield _DELTA.refuse("use_over_seen", "MALFORMED", "more tokens than seen", use=_uses((0, 3, 3, 2)))
    yield _DELTA.refuse("use_nan", "NOT_FINITE", "NaN", use=_uses((0, 3, NAN, 2)))
    yield _DELTA.refuse("use_infinite", "NOT_FINITE", "infinity", use=_uses((0, 3, 1, INF)))
    yield _DELTA.refuse("use_negative", "MALFORMED", "fewer than none", use=_uses((0, 3, -1, 2)))
    yield _DELTA.refuse("label_count_negative", "MALFORMED", "fewer than none", label_counts=[1.0, -1.0])
    many = [0.0] * 65_536
    yield _DELTA.refuse("65536_label_counts", "TOO_LARGE", "more labels than a bank can have", label_counts=many)
    yield _DELTA.refuse("label_count_nan", "NOT_FINITE", "NaN", label_counts=[NAN])


def _statistics() -> Iterator[Case]:
    yield _STATISTICS.accept("no_example", "a label without examples", counts=struct.pack("<2f", 0, 0))
    yield _STATISTICS.refuse("name", "MALFORMED", "a bad name", device="..")
    yield _STATISTICS.refuse("federation_0", "MALFORMED", "no federation", federation_digest=None)
    yield _STATISTICS.refuse("width_0", "MALFORMED", "no width", width=None)
    yield _STATISTICS.refuse("no_labels", "MALFORMED", "no counts", counts=None, sums=None)
    yield _STATISTICS.refuse("counts_7_bytes", "WRONG_SIZE", "not whole floats", counts=b"\0" * 7, sums=b"\0" * 12)
    yield _STATISTICS.refuse("sums_short", "WRONG_SIZE", "one value short", sums=b"\0" * 20)
    yield _STATISTICS.refuse("width_huge", "WRONG_SIZE", "a width that lies", width=2**32 - 1)
    yield _STATISTICS.refuse("counts_nan", "NOT_FINITE", "NaN", counts=struct.pack("<2f", 1, NAN))
    yield _STATISTICS.refuse("sums_infinite", "NOT_FINITE", "infinity", sums=struct.pack("<6f", 0, 0, INF, 0, 0, 0))
    yield _STATISTICS.refuse("counts_negative", "MALFORMED", "fewer than none", counts=struct.pack("<2f", 1, -1))
