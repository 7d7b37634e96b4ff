"""What a gateway takes from devices: Hello, deltas, class statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Final

import numpy as np

from broker_server.rules.admission import (
    DeltaContext,
    Identity,
    admit,
    check_hello,
    check_statistics,
    read_contribution,
)
from broker_server.rules.aggregate import merge
from broker_server.rules.capping import cap
from broker_server.rules.norms import kind_of
from broker_server.rules.weights import Caps, capped_sums
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId, shared_expert
from edge_runtime.wire.messages import decode, encode, refs
from edge_runtime.wire.tensors import encode as encode_values
from tests.fuzz.proto_mutator import mutator_of
from tests.fuzz.target import Target, decided, need
from tests.fuzz.vectors import seeds_of

SHAPE: Final = BankShape((0, 1), 4, 1, 1, 4, 3)
FEDERATION: Final = b"f" * 32
_BLOCKS: Final = (ExpertId(0, 1), shared_expert(1), HEAD)


@cache
def _plan() -> pb.Plan:
    plan = pb.Plan(
        device="a", round=3, base_version=5, version_digest=b"v" * 32, train=refs(_BLOCKS), steps=10,
        learning_rate=0.01, shared_learning_rate=0.01, head_learning_rate=0.001, deadline_s=60.0,
    )  # fmt: skip
    encode(plan)
    return plan


def _context() -> DeltaContext:
    return DeltaContext(Identity("a", joined=True), _plan(), None, 1, 2, SHAPE, {"expert": 0.5})


def _admission(data: bytes) -> str:
    return decided(partial(_admit, data), WireError)


def _admit(data: bytes) -> None:
    delta = decode(pb.Delta, data)
    accepted = admit(delta, sha256(data), _context())
    need(set(accepted.contribution.deltas) <= set(_BLOCKS), "a block that is not planned was taken")
    need(all(math.isfinite(norm) for norm in accepted.norms.values()), "a norm that is not finite was taken")
    need(set(accepted.norms) == {kind_of(block) for block in accepted.contribution.deltas}, "norms of other kinds")
    again = read_contribution(delta, SHAPE, 1, delta.examples)
    need(again.examples == accepted.contribution.examples, "the spool tells another")
    honest = [replace(accepted.contribution, device=name, examples=10) for name in "bcd"]
    for top_k in (0, 2):
        capped, _ = cap([accepted.contribution, *honest], Caps(), top_k)
        total = sum(one.examples for one in capped)
        need(capped[0].examples <= 0.5 * total + 1e-9, f"one device of four has {capped[0].examples} of {total}")
        merged = merge(Bank.zeros(SHAPE), capped, topk=bool(top_k))
        need(all(np.isfinite(merged.block(block)).all() for block in SHAPE.ids()), "a merged bank is not finite")


def _seeds_of_deltas() -> Iterator[bytes]:
    for codec in (pb.FLOAT32, pb.INT8):
        experts = [
            pb.ExpertDelta(
                layer=block.layer,
                index=block.index,
                values=encode_values(np.full(SHAPE.size(block), 0.001, np.float32), codec),
            )
            for block in _BLOCKS
        ]
        delta = pb.Delta(
            device="a", plan_digest=sha256(encode(_plan())), round=3, base_version=5, examples=10, codec=codec,
            experts=experts, loss_first=1.0, loss_last=0.5, step_ms=3.0, steps=10, label_counts=[4.0, 6.0, 0.0],
            use=[pb.ExpertUse(layer=0, index=1, routed=3.0, seen=9.0)],
        )  # fmt: skip
        yield encode(delta)
    yield from seeds_of("Delta")


def _statistics(data: bytes) -> str:
    return decided(partial(_take_statistics, data), WireError)


def _take_statistics(data: bytes) -> None:
    statistics = decode(pb.ClassStatistics, data)
    check_statistics(statistics, Identity("a", joined=True), FEDERATION, SHAPE, 2**32 - 1)
    sums = ClassSums.from_bytes(statistics.counts, statistics.sums)
    need(sums.counts.shape == (3,) and sums.sums.shape == (3, 4), "sums of another shape")
    honest = ClassSums(np.full(3, 5, np.float32), np.eye(3, 4, dtype=np.float32))
    parts = capped_sums([sums, honest, honest, honest], Caps())
    share = parts[0].counts / np.sum([part.counts for part in parts], axis=0)
    need(bool((share <= 0.5 + 1e-9).all()), f"one device of four has {share} of the labels")
    for total in (sums, ClassSums.total([sums, sums]), ClassSums.total(parts)):
        blocks = class_mean_head(total, 20.0)
        need(all(np.isfinite(block).all() for block in blocks.values()), "a head that is not finite")


def _seeds_of_statistics() -> Iterator[bytes]:
    counts = np.array([4, 6, 0], np.float32)
    sums = np.outer(counts, np.full(4, 0.4)).astype(np.float32)
    yield ClassSums(counts, sums).message("a", FEDERATION)
    for factor in (1e8, 1e30, 5e37):
        yield ClassSums(counts * np.float32(factor), sums * np.float32(factor)).message("a", FEDERATION)
    yield from seeds_of("ClassStatistics")


def _hello(data: bytes) -> str:
    return decided(partial(_greet, data), WireError)


def _greet(data: bytes) -> None:
    hello = decode(pb.Hello, data)
    check_hello(hello, Identity("a", joined=False), FEDERATION, "a federation")
    need(hello.device == "a", "another device was greeted")


def _seeds_of_hellos() -> Iterator[bytes]:
    hello = pb.Hello(
        device="a", federation_digest=FEDERATION, package_digest=b"p" * 32, gateway_session=b"s" * 16, profile="tiny",
        runtime="numpy", trained_slots=2, held_slots=4, batch_size=2, examples=10, codecs=[pb.FLOAT32, pb.INT8],
    )  # fmt: skip
    yield encode(hello)
    yield from seeds_of("Hello")


def targets() -> list[Target]:
    """Return the targets of this module."""
    return [
        Target("admission", _admission, _seeds_of_deltas, mutator_of(pb.Delta)),
        Target("statistics", _statistics, _seeds_of_statistics, mutator_of(pb.ClassStatistics)),
        Target("hello", _hello, _seeds_of_hellos, mutator_of(pb.Hello)),
    ]
