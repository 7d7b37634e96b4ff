"""Server optimizers and steps taken out of the mean, by hand-computed numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from broker_server.rules.aggregate import Contribution, Sums, close, combine, fold, merge
from broker_server.rules.server_optimizer import Moments, ServerOptimizer, optimized
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId

SHAPE = BankShape((0,), 2, 1, 1, 2, 2)  # an expert has 4 + 1 + 4 values, the head 6
A, B = ExpertId(0, 0), ExpertId(0, 1)


def said(value: float, block: ExpertId = A, examples: int = 1, steps: int = 1) -> Contribution:
    """Return a contribution that moves a whole block by one value."""
    delta = {block: np.full(SHAPE.size(block), value, np.float32)}
    return Contribution("d", 1, examples, 0, delta, steps=steps)


def sums(*updates: Contribution, normalized: bool = False) -> Sums:
    """Return folded contributions."""
    folded = Sums()
    for one in updates:
        fold(folded, one, SHAPE, topk=False, normalized=normalized)
    return folded


def rounds(optimizer: ServerOptimizer, *means: float) -> tuple[list[float], Moments]:
    """Return what block A is after each of some rounds, from 0, and the moments at the end."""
    bank, moments = Bank.zeros(SHAPE), dict[ExpertId, np.ndarray]()
    after = []
    for mean in means:
        steps, moments = optimized(sums(said(mean)), moments, optimizer)
        bank = close(bank, steps)
        assert len(set(bank.block(A).tolist())) == 1
        after.append(float(bank.block(A)[0]))
    return after, moments


def test_none_changes_no_bit_and_a_rate_scales_the_mean() -> None:
    """The very sums come back; at a rate of a half +2 becomes +1."""
    folded = sums(said(2.0))
    assert optimized(folded, {}, ServerOptimizer())[0] is folded
    assert rounds(ServerOptimizer(rate=0.5), 2.0) == ([1.0], {})


def test_momentum_adds_up_what_went_before() -> None:
    """m: 1, then 0.5 * 1 + 2 = 2.5, then 1.25; the values 1, 3.5, 4.75."""
    after, moments = rounds(ServerOptimizer("momentum", beta1=0.5), 1.0, 2.0, 0.0)
    assert after == [1.0, 3.5, 4.75]
    assert moments[A].shape == (1, SHAPE.size(A))
    assert moments[A][0, 0] == 1.25


def test_adam_divides_by_the_root_of_the_squares_of_the_mean() -> None:
    """b1 = b2 = 1/2, tau = 1: m 1, v (1 + 4) / 2 = 2.5; then m 0.5 * 1 + 0.5 * 4 = 2.5, v (2.5 + 16) / 2 = 9.25."""
    optimizer = ServerOptimizer("adam", 1.0, 0.5, 0.5, 1.0)
    after, moments = rounds(optimizer, 2.0, 4.0)
    first = 1 / (math.sqrt(2.5) + 1)
    assert after == pytest.approx([first, first + 2.5 / (math.sqrt(9.25) + 1)], rel=1e-6)
    assert moments[A][:, 0].tolist() == [2.5, 9.25]


def test_yogi_moves_its_squares_by_at_most_the_new_square() -> None:
    """At tau = 1 v starts at 1: with D = 2, v = 1 + 0.5 * 4 = 3; with D = 1, v = 3 - 0.5 * 1 = 2.5, Adam 2."""
    _, moments = rounds(ServerOptimizer("yogi", 1.0, 0.5, 0.5, 1.0), 2.0, 1.0)
    assert moments[A][:, 0].tolist() == [1.0, 2.5]


def test_usual_rates() -> None:
    """Adam's first step with the usual rate: 0.01 * 0.1 D / (sqrt(0.01 D^2 + 0.99e-6) + 0.001), D = 1."""
    after, _ = rounds(ServerOptimizer("adam"), 1.0)
    assert after == pytest.approx([0.01 * 0.1 / (math.sqrt(0.01 + 0.99e-6) + 0.001)], rel=1e-6)


def test_an_expert_that_nobody_trained_keeps_its_bits_and_its_moments() -> None:
    """It does not drift along its momentum; the other one goes on."""
    optimizer = ServerOptimizer("momentum", beta1=0.5)
    bank = Bank.zeros(SHAPE)
    steps, moments = optimized(sums(said(1.0), said(1.0, B)), {}, optimizer)
    bank = close(bank, steps)
    steps, after = optimized(sums(said(0.0, B)), moments, optimizer)
    later = close(bank, steps)
    assert later.block(A).tobytes() == bank.block(A).tobytes()
    assert after[A] is moments[A]
    assert (float(later.block(B)[0]), float(after[B][0, 0])) == (1.5, 0.5)


def test_a_heads_row_without_weight_keeps_its_bits_and_its_moments() -> None:
    """Moments go value by value: only row 0 and its bias have examples in the second round."""
    optimizer = ServerOptimizer("momentum", beta1=0.5)
    both = replace(said(1.0, HEAD), label_counts=(1.0, 1.0))
    steps, moments = optimized(sums(both), {}, optimizer)
    bank = close(Bank.zeros(SHAPE), steps)
    steps, moments = optimized(sums(replace(both, label_counts=(1.0, 0.0))), moments, optimizer)
    assert close(bank, steps).head.tolist() == [2.5, 2.5, 1, 1, 2.5, 1]
    assert moments[HEAD][0].tolist() == [1.5, 1.5, 1, 1, 1.5, 1]


def test_moments_of_another_optimizer_begin_anew() -> None:
    """Adam has two arrays where momentum had one."""
    _, moments = rounds(ServerOptimizer("momentum"), 1.0)
    _, after = optimized(sums(said(2.0)), moments, ServerOptimizer("adam", 1.0, 0.5, 0.5, 1.0))
    assert after[A][:, 0].tolist() == [1.0, 2.5]
    assert optimized(sums(said(2.0)), after, ServerOptimizer())[1] == {}


def test_a_huge_update_leaves_finite_moments() -> None:
    """Its square is beyond float32."""
    after, moments = rounds(ServerOptimizer("yogi", 1.0), 3e38, 3e38)
    assert np.isfinite(moments[A]).all()
    assert np.isfinite(after).all()


def test_normalized_steps_weigh_devices_by_their_examples_alone() -> None:
    """10 steps moved 10 (n = 3), 30 steps moved 90 (n = 1): 1 and 3 a step, 1.5 in the mean, times 15 steps: 22.5.

    The plain mean, (30 + 90) / 4 = 30, leans to who made more steps.
    """
    few, many = said(10.0, examples=3, steps=10), said(90.0, steps=30)
    assert merge(Bank.zeros(SHAPE), [few, many], topk=False, normalized=True).block(A)[0] == 22.5
    assert merge(Bank.zeros(SHAPE), [few, many], topk=False).block(A)[0] == 30
    parts = combine([sums(few, normalized=True), sums(many, normalized=True)])
    assert close(Bank.zeros(SHAPE), parts).block(A)[0] == 22.5


def test_normalized_head_rows_have_steps_of_those_who_have_the_label() -> None:
    """Row 0: both devices, as above with counts 3 and 1. Row 1: only the second, whose update is taken as it is."""
    few = replace(said(10.0, HEAD, 3, 10), label_counts=(3.0, 0.0))
    many = replace(said(90.0, HEAD, 1, 30), label_counts=(1.0, 4.0))
    head = merge(Bank.zeros(SHAPE), [few, many], topk=False, normalized=True).head
    assert head.tolist() == [22.5, 22.5, 90, 90, 22.5, 90]


def test_equal_steps_change_nothing() -> None:
    """To rounding: dividing and multiplying by 7 is no exact thing."""
    updates = [said(value, examples=n, steps=7) for n, value in ((2, 1.0), (3, -0.3))]
    plain, normalized = (merge(Bank.zeros(SHAPE), updates, topk=False, normalized=n) for n in (False, True))
    assert normalized.block(A) == pytest.approx(plain.block(A), rel=1e-6)
