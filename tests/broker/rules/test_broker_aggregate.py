"""Merging by hand-computed numbers and by law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from broker_server.rules.aggregate import Contribution, Sums, close, combine, discount, fold, merge, routed_weight
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, MEAN, BankShape, ExpertId, shared_expert

SHAPE = BankShape((0, 2), 3, 1, 1, 2, 2)
A, B, C = ExpertId(0, 0), ExpertId(0, 1), ExpertId(2, 2)


def flat(block: ExpertId, value: float) -> np.ndarray:
    """Return a block of one value."""
    return np.full(SHAPE.size(block), value, np.float32)


def base(value: float = 1.0) -> Bank:
    """Return a bank of one value."""
    return Bank.from_blocks(SHAPE, {block: flat(block, value) for block in SHAPE.ids()})


def update(device: str, examples: int, deltas: dict[ExpertId, float], staleness: int = 0) -> Contribution:
    """Return a contribution that moves whole blocks by one value."""
    return Contribution(device, 1, examples, staleness, {block: flat(block, value) for block, value in deltas.items()})


def test_mean_is_weighted_by_examples() -> None:
    """3 examples say +2, 1 example says +6: 1 + (3*2 + 1*6) / 4 = 4."""
    after = merge(base(), [update("a", 3, {A: 2.0}), update("b", 1, {A: 6.0})], topk=False)
    assert after.block(A).tolist() == [4.0] * SHAPE.size(A)


def test_expert_that_nobody_trained_is_bit_identical() -> None:
    """A round moves only what somebody trained; a negative zero stays one."""
    start = base().replace({B: flat(B, -0.0)})
    after = merge(start, [update("a", 3, {A: 2.0})], topk=False)
    for block in SHAPE.ids():
        assert (after.block(block).tobytes() == start.block(block).tobytes()) == (block != A)


def test_each_expert_is_averaged_over_its_own_trainers() -> None:
    """The device that did not train an expert does not pull on it."""
    after = merge(base(0.0), [update("a", 1, {A: 2.0, B: 4.0}), update("b", 1, {B: 8.0, C: 1.0})], topk=False)
    assert [float(after.block(block)[0]) for block in (A, B, C)] == [2.0, 6.0, 1.0]


def test_late_delta_counts_less() -> None:
    """Three merges late: weight 4 * (1+3)^-1/2 = 2 against 2: the mean of +1 and +5 is 3."""
    after = merge(base(0.0), [update("a", 2, {A: 1.0}), update("b", 4, {A: 5.0}, staleness=3)], topk=False)
    assert after.block(A)[0] == 3.0
    assert discount([2, 4], [0, 3]).tolist() == [2.0, 2.0]


def test_shared_expert_and_mean_are_averaged_like_experts() -> None:
    """Every kind of block takes part."""
    block = shared_expert(2)
    after = merge(base(0.0), [update("a", 1, {block: 2.0}), update("b", 3, {block: 6.0, MEAN: 1.0})], topk=False)
    assert after.block(block)[0] == 5.0
    assert after.block(MEAN)[0] == 1.0


def test_head_rows_are_weighted_by_label_counts() -> None:
    """Row 0: 3 examples of a say +1, 1 of b says +5: +2. Row 1: only b has examples: +5. Biases follow their rows."""
    first = replace(update("a", 10, {HEAD: 1.0}), label_counts=(3.0, 0.0))
    second = replace(update("b", 10, {HEAD: 5.0}), label_counts=(1.0, 9.0))
    head = merge(base(0.0), [first, second], topk=False).block(HEAD)
    assert head.tolist() == [2.0, 2.0, 5.0, 5.0, 2.0, 5.0]


def test_head_row_that_nobody_has_examples_of_keeps_its_bits() -> None:
    """No weight, no change."""
    one = replace(update("a", 10, {HEAD: 1.0}), label_counts=(2.0, 0.0))
    head = merge(base(7.0), [one], topk=False).block(HEAD)
    assert head.tolist() == [8.0, 8.0, 7.0, 7.0, 8.0, 7.0]


def test_topk_weights() -> None:
    """sqrt(16/64) * 16/(16+64) = 0.5 * 0.2 = 0.1; nothing seen: 0."""
    assert np.allclose(routed_weight([16, 0], [64, 0]), [0.1, 0.0])


def test_topk_router_rows_lose_their_common_shift() -> None:
    """Rows move by 1 and 5: their mean 3 goes, -2 and +2 stay; other values are not touched by that."""
    router = slice(SHAPE.rank * SHAPE.width, (SHAPE.rank + 1) * SHAPE.width)
    one = replace(update("a", 1, {A: 1.0, B: 5.0}), use={A: (64.0, 64.0), B: (64.0, 64.0)})
    after = merge(base(0.0), [one], topk=True)
    assert after.block(A)[router].tolist() == [-2.0, -2.0]
    assert after.block(B)[router].tolist() == [2.0, 2.0]
    assert after.block(A)[0] == 1.0
    assert after.block(B)[0] == 5.0


def test_topk_router_row_of_a_lone_expert_is_not_averaged() -> None:
    """Softmax over one expert trains no router: its row has no weight, the rest of the block has."""
    router = slice(SHAPE.rank * SHAPE.width, (SHAPE.rank + 1) * SHAPE.width)
    lone = replace(update("a", 1, {A: 4.0}), use={A: (64.0, 64.0)})
    pair = replace(update("b", 1, {A: 2.0, B: 2.0}), use={A: (64.0, 64.0), B: (64.0, 64.0)})
    after = merge(base(0.0), [lone, pair], topk=True)
    assert after.block(A)[router].tolist() == [0.0, 0.0]
    assert after.block(A)[0] == 3.0


def test_topk_expert_that_got_no_token_is_bit_identical() -> None:
    """Weight 0 for what was held but never used."""
    idle = replace(update("a", 5, {A: 1.0, B: 1.0}), use={A: (10.0, 10.0), B: (0.0, 10.0)})
    start = base()
    after = merge(start, [idle], topk=True)
    assert after.block(B).tobytes() == start.block(B).tobytes()
    assert after.block(A)[0] == 2.0


@st.composite
def contributions(draw: st.DrawFn) -> list[Contribution]:
    """Draw a few devices with random subsets and values, in the order of their names."""
    drawn = []
    for number in range(draw(st.integers(1, 5))):
        blocks = draw(st.sets(st.sampled_from(SHAPE.ids()), min_size=1, max_size=4))
        seed = draw(st.integers(0, 2**32 - 1))
        rng = np.random.default_rng(seed)
        deltas = {block: rng.normal(size=SHAPE.size(block)).astype(np.float32) for block in blocks}
        drawn.append(Contribution(f"d{number}", 1, draw(st.integers(1, 100)), draw(st.integers(0, 3)), deltas))
    return drawn


@given(contributions(), st.integers(0, 5))
def test_merge_of_parts_is_merge_of_the_whole(updates: list[Contribution], cut: int) -> None:
    """Sites that fold their own devices and add up give the same bank, up to rounding of float64."""
    parts = []
    for some in (updates[:cut], updates[cut:]):
        sums = Sums()
        for one in some:
            fold(sums, one, SHAPE, topk=False)
        parts.append(sums)
    together, apart = merge(base(), updates, topk=False), close(base(), combine(parts))
    for block in SHAPE.ids():
        np.testing.assert_allclose(apart.block(block), together.block(block), rtol=1e-6, atol=1e-7)


@given(contributions(), st.sets(st.sampled_from(SHAPE.ids())))
def test_shards_by_expert_are_bit_identical(updates: list[Contribution], shard: set[ExpertId]) -> None:
    """Whichever shard folds an expert, its values come out the same, byte for byte."""
    halves = []
    for keep in (shard, set(SHAPE.ids()) - shard):
        sums = Sums()
        for one in updates:
            kept = {block: values for block, values in one.deltas.items() if block in keep}
            fold(sums, replace(one, deltas=kept), SHAPE, topk=False)
        halves.append(sums)
    assert close(base(), combine(halves)).digest() == merge(base(), updates, topk=False).digest()


def test_sums_are_taken_in_the_order_given() -> None:
    """(2^60 + 1) - 2^60 is 0 in float64, (2^60 - 2^60) + 1 is 1: who comes when can be seen, so an order is fixed."""
    large, one, opposite = update("a", 1, {A: 2.0**60}), update("b", 1, {A: 1.0}), update("c", 1, {A: -(2.0**60)})
    assert merge(base(0.0), [large, one, opposite], topk=False).block(A)[0] == 0.0
    assert merge(base(0.0), [large, opposite, one], topk=False).block(A)[0] == np.float32(1 / 3)


@given(contributions())
def test_merged_values_lie_between_the_devices_values(updates: list[Contribution]) -> None:
    """A weighted mean leaves no value outside what was sent."""
    after = merge(base(0.0), updates, topk=False)
    for block in SHAPE.ids():
        sent = [one.deltas[block] for one in updates if block in one.deltas]
        if sent:
            assert (after.block(block) <= np.max(sent, axis=0) + 1e-6).all()
            assert (after.block(block) >= np.min(sent, axis=0) - 1e-6).all()
