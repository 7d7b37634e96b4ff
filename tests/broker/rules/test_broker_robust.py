"""Robust merging by hand-computed numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from broker_server.rules import robust
from broker_server.rules.aggregate import Contribution, close
from broker_server.rules.encoded_block import EncodedBlock
from broker_server.rules.robust import Robust, UsualNorms, robust_sums
from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId

SHAPE = BankShape((0,), 2, 1, 1, 2, 2)  # an expert has 4 + 1 + 4 values, the head 6
A, B = ExpertId(0, 0), ExpertId(0, 1)


def said(*values: float, block: ExpertId = A, weights: Sequence[float] = ()) -> list[Contribution]:
    """Return one contribution for each value, which moves the whole block by it."""
    of = weights or [1.0] * len(values)
    return [
        Contribution(f"d{n}", 1, weight, 0, {block: np.full(SHAPE.size(block), value, np.float32)})
        for n, (value, weight) in enumerate(zip(values, of, strict=True))
    ]


def merged(updates: list[Contribution], rules: Robust | None = None, *, normalized: bool = False) -> Bank:
    """Return what the updates make of a bank of zeros."""
    return close(Bank.zeros(SHAPE), robust_sums(updates, SHAPE, rules or Robust(), topk=False, normalized=normalized))


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ((4,), (7,), 2),  # one holder: half, as if a second had said 0
        ((4, 8), (3, 1), 5 * 2 / 3),  # their mean (3 * 4 + 8) / 4, two thirds of it
        ((1, 100, 2), (1, 9, 1), 2),  # the middle one, whatever the liar weighs
        ((3, 1, 5, -100), (1, 1, 3, 1), 2),  # of -100, 1, 3, 5 the two in the middle
        ((1, 2, 3, 5, 100), (1, 1, 2, 1, 9), 3.25),  # without 1 and 100: (2 + 2 * 3 + 5) / 4
        ((1, 2, 3, 4, 5, 6, 7, 8, -9, 99), (1,) * 10, 4.5),  # two of each side go: 3 + ... + 6 and 2 and 7: 27 / 6
    ],
)
def test_the_rule_follows_the_number_of_holders(
    values: tuple[float, ...], weights: tuple[float, ...], expected: float
) -> None:
    """Trimmed from five on, a median of three and four, shrunk below."""
    block = merged(said(*values, weights=weights)).block(A)
    assert block.tolist() == pytest.approx([expected] * SHAPE.size(A), rel=1e-6)


def test_a_turned_and_a_huge_update_of_ten_move_nothing_far() -> None:
    """Two liars of ten: every value stays within what honest devices said."""
    honest = [0.9, 1.0, 1.1, 1.2, 0.8, 1.0, 1.05, 0.95]
    block = merged(said(*honest, -1.0, 100.0)).block(A)
    assert ((block >= min(honest)) & (block <= max(honest))).all()


def test_each_block_has_its_own_holders_and_what_nobody_trained_keeps_its_bits() -> None:
    """Three hold A, one holds B, nobody the head."""
    updates = [*said(1, 2, 9), *said(4, block=B)]
    start = Bank.zeros(SHAPE).replace({HEAD: np.full(SHAPE.size(HEAD), -0.0, np.float32)})
    sums = robust_sums(updates, SHAPE, Robust(), topk=False)
    after = close(start, sums)
    assert (float(after.block(A)[0]), float(after.block(B)[0])) == (2, 2)
    assert after.head.tobytes() == start.head.tobytes()
    assert sums.devices == {A: 3, B: 1}


def test_a_heads_row_has_those_who_have_its_label() -> None:
    """Row 0: three devices, the median of 1, 2 and 9. Row 1: one, half of 2. A row of nobody stays as it is."""
    counts = [(1.0, 0.0), (1.0, 2.0), (1.0, 0.0)]
    updates = [replace(one, label_counts=c) for one, c in zip(said(1, 2, 9, block=HEAD), counts, strict=True)]
    assert merged(updates).head.tolist() == [2, 2, 1, 1, 2, 1]
    assert merged(updates[::2]).head.tolist() == pytest.approx([5 * 2 / 3] * 2 + [0, 0, 5 * 2 / 3, 0], rel=1e-6)


def test_pieces_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large blocks are sorted piece by piece, of int8 as it came and in the order of its groups."""
    shape = BankShape((0,), 1, 8, 0, 48, 0)
    rng = np.random.default_rng(1)
    size = shape.size(A)
    updates = [
        Contribution(
            f"d{n}",
            1,
            1 + n,
            0,
            {A: EncodedBlock(tensors.encode(rng.normal(size=size).astype(np.float32), code), size, code)},
        )
        for n, code in enumerate([pb.INT8, pb.FLOAT32] * 3)
    ]
    whole = robust_sums(updates, shape, Robust(), topk=False)
    monkeypatch.setattr(robust, "STACK_BYTES", 1)
    assert robust_sums(updates, shape, Robust(), topk=False).deltas[A].tobytes() == whole.deltas[A].tobytes()
    assert size > robust.GROUP


def test_steps_are_taken_out_before_values_are_compared() -> None:
    """10, 20 and 30 steps moved 10, 60 and 30: 1, 3 and 1 a step. The median 1, times 20 steps, is 20."""
    updates = [replace(one, steps=steps) for one, steps in zip(said(10, 60, 30), (10, 20, 30), strict=True)]
    assert merged(updates, normalized=True).block(A)[0] == 20


def test_usual_norms_are_the_median_of_the_last_rounds_medians() -> None:
    """Two devices say nothing of what is usual; a round full of liars moves it by one place of eight."""
    usual = UsualNorms().after([{"expert": 1.0}, {"expert": 9.0}])
    assert usual.limits(1.5) == {}
    for norm in (1.0, 2.0, 3.0):
        usual = usual.after([{"expert": norm}] * 3)
    assert usual.limits(1.5) == {"expert": 3.0}
    assert usual.after([{"expert": 1e9}] * 3).limits(1.0) == {"expert": 2.5}
    assert usual.limits(0) == {}
    for _ in range(robust.REMEMBERED):
        usual = usual.after([{"expert": 5.0, "head": 1.0}] * 3)
    assert usual.medians == {"expert": (5.0,) * 8, "head": (1.0,) * 8}
