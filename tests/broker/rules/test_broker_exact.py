"""Exact sums: equal bits for every order, sharding and tree of sites, beside a slow reference in whole numbers."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_server.rules.aggregate import Contribution, Sums, closed
from broker_server.rules.capping import cap
from broker_server.rules.exact import class_sums_on_grid, products_on_grid, size_of, steps_on_grid, weights_on_grid
from broker_server.rules.exact_folding import ByStaleness, combined, discounted, fold_exact
from broker_server.rules.weights import Caps
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId, shared_expert
from edge_runtime.wire.grids import LIMIT, PRODUCT_LIMIT

SHAPE = BankShape((0, 2), 3, 1, 1, 2, 2)
TRAINED = [*[ExpertId(layer, index) for layer in (0, 2) for index in range(3)], shared_expert(0), HEAD]


def contribution(seed: int, number: int, *, topk: bool = False) -> Contribution:
    """Return one device's delta: some blocks, some of them late; of very different sizes, so that floats round."""
    rng = np.random.default_rng((seed, number))
    blocks = sorted(block for block in TRAINED if rng.random() < 0.7) or [HEAD]
    scale = 10.0 ** rng.integers(-4, 1)
    deltas = {block: rng.normal(0, scale, SHAPE.size(block)).astype(np.float32) for block in blocks}
    use = {one: (3.0 + number, 40.0) for one in blocks if topk and one != HEAD and not one.shared}
    stale = {block: int(rng.integers(0, 3)) for block in blocks}
    counts = (float(rng.integers(0, 9)), float(rng.integers(0, 9)))
    examples, steps = float(rng.integers(1, 900)), int(rng.integers(1, 60))
    return Contribution(f"d{number}", 1, examples, 0, deltas, use, counts, steps, stale)


def digest(sums: Sums) -> str:
    """Return a digest of the blocks that sums make of a bank of tenths."""
    base = Bank.from_blocks(SHAPE, {one: np.full(SHAPE.size(one), 0.1, np.float32) for one in SHAPE.ids()})
    after = base.replace(closed(base.block, sums))
    return after.digest().hex() + sha256(repr(sorted(sums.devices.items())).encode()).hex()


def tree_of(updates: list[Contribution], chance: random.Random, **rules: Any) -> ByStaleness:
    """Fold contributions through a random tree of sites, each in a random order."""
    updates = chance.sample(updates, len(updates))
    if len(updates) < 3 or chance.random() < 0.2:
        sums = ByStaleness()
        for one in updates:
            fold_exact(sums, [one], SHAPE, **rules)
        return sums
    cuts = sorted(chance.sample(range(1, len(updates)), chance.randint(1, min(4, len(updates) - 1))))
    parts = [updates[start:end] for start, end in zip([0, *cuts], [*cuts, len(updates)], strict=True)]
    return combined([tree_of(part, chance, **rules) for part in parts])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.booleans(), st.booleans())
def test_every_tree_and_order_comes_to_the_same_bits(seed: int, count: int, topk: bool, normalized: bool) -> None:
    """Late deltas among them; blocks may be folded by whoever has them."""
    updates = [contribution(seed, number, topk=topk) for number in range(count)]
    rules: dict[str, Any] = {"topk": topk, "normalized": normalized}
    together = ByStaleness()
    fold_exact(together, updates, SHAPE, **rules, shares=3)
    expected = digest(discounted(together))
    chance = random.Random(seed)
    for _ in range(3):
        assert digest(discounted(tree_of(updates, chance, **rules))) == expected
    turned = ByStaleness()
    fold_exact(turned, updates[::-1], SHAPE, **rules)
    assert digest(discounted(turned)) == expected


def test_sums_are_those_of_whole_numbers() -> None:
    """The same sums, added up as fractions, each product rounded once to a multiple of 2^-24."""
    updates = [replace(contribution(7, number), stale={}) for number in range(9)]
    sums = ByStaleness()
    fold_exact(sums, updates, SHAPE, topk=False)
    block = ExpertId(0, 1)
    holders = [one for one in updates if block in one.deltas]
    assert len(holders) > 3
    for place in range(SHAPE.size(block)):
        whole = [round(Fraction(one.examples) * Fraction(float(one.deltas[block][place])) * 2**24) for one in holders]
        assert Fraction(float(sums[0].deltas[block][place])) == Fraction(sum(whole), 2**24)
    assert sums[0].weights[block].tolist() == [sum(one.examples for one in holders)]
    size = sum(max(one.examples / 16, float(np.abs(one.deltas[block] * one.examples).max())) for one in holders)
    assert sums[0].sizes[block] == pytest.approx(size)


def test_a_late_delta_counts_less_by_one_factor() -> None:
    """Weight 4, three merges late, says +5: 2 * 5 beside 2 * 1: the mean is 3."""
    block = ExpertId(0, 0)
    fresh = Contribution("a", 1, 2, 0, {block: np.full(SHAPE.size(block), 1.0, np.float32)})
    late = Contribution("b", 1, 4, 3, {block: np.full(SHAPE.size(block), 5.0, np.float32)})
    sums = ByStaleness()
    fold_exact(sums, [late, fresh], SHAPE, topk=False)
    assert sorted(sums) == [0, 3]
    total = discounted(sums)
    assert (total.deltas[block] / total.weights[block]).tolist() == [3.0] * SHAPE.size(block)


def test_a_product_beyond_its_limit_counts_as_the_limit() -> None:
    """A rule that looks at one product alone; NaN does not come here, since no delta has one."""
    assert products_on_grid(np.array([1e30, -1e30, 3.0, 2.0**-25, 3 * 2.0**-25])).tolist() == [
        PRODUCT_LIMIT, -PRODUCT_LIMIT, 3.0, 0.0, 2.0**-23,
    ]  # fmt: skip
    assert weights_on_grid(np.array([1e9, 1.5 * 2.0**-20])).tolist() == [2.0**17, 2.0**-19]
    assert steps_on_grid(np.array([1e12, 0.3])).tolist() == [2.0**29, 77 / 256]
    worst = size_of(PRODUCT_LIMIT, np.array([2.0**17]), np.array([2.0**29]))
    assert worst == PRODUCT_LIMIT
    assert 65_536 * worst == LIMIT  # so fewer of the worst never make a sum that rounds


def test_a_block_whose_sums_might_round_is_not_moved() -> None:
    """Whoever added what first: the sizes say it, and they add up alike in any order."""
    block, other = ExpertId(0, 0), ExpertId(0, 1)
    one = Sums({block: np.ones(2), other: np.ones(2)}, {block: np.ones(1), other: np.ones(1)}, {block: 1, other: 1})
    big, small = replace(one, sizes={block: LIMIT - 1, other: 1.0}), replace(one, sizes={block: 1.0, other: 1.0})
    assert list(discounted(combined([{0: big}, {0: small}])).deltas) == [other]
    assert list(discounted({0: replace(one, sizes={block: LIMIT, other: 1.0}), 1: small}).deltas) == [other]
    assert list(discounted({0: big}).deltas) == [block, other]


def test_class_sums_stand_on_a_grid_of_their_own() -> None:
    """A device that claims more than anybody can have keeps its means and counts as the limit."""
    part = class_sums_on_grid(ClassSums(np.array([3, 1], np.float32), np.array([[0.1, 0], [0, 1]], np.float32)))
    assert part.counts.tolist() == [3.0, 1.0]
    assert part.sums[0, 0] == np.rint(np.float64(np.float32(0.1)) * 2**20) / 2**20
    liar = class_sums_on_grid(ClassSums(np.array([2.0**20, 0], np.float32), np.full((2, 2), 2.0**20, np.float32)))
    assert liar.counts.tolist() == [2.0**17, 0.0]
    assert liar.sums[0].tolist() == [2.0**17] * 2


def test_a_cap_that_no_other_device_moves() -> None:
    """900 examples count as 100, with label counts likewise, and it is told; 50 stay 50, however many others come."""
    caps = Caps(0.0, 1.0, 0.0, 100.0)
    big = Contribution("big", 1, 900, 0, {}, label_counts=(450.0, 450.0))
    small = Contribution("small", 1, 50, 0, {}, label_counts=(50.0, 0.0))
    for listed in ([big, small], [big], [small, big, replace(big, device="other")]):
        capped, limited = cap(listed, caps, 0)
        by_device = {one.device: (one.examples, one.label_counts) for one in capped}
        assert by_device["big"] == (100.0, (50.0, 50.0))
        assert by_device.get("small", (50.0, (50.0, 0.0))) == (50.0, (50.0, 0.0))
        assert [(one.device, one.came, one.counted) for one in limited if one.device == "big"] == [("big", 900, 100)]
