"""Plans under masks: every expert that is trained has enough trainers, the same ones in every layer."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_server.rules.bundles import bundle, circles, masked_bytes, plan_bundles
from broker_server.rules.planner import Budget, Coverage, RoundRequest
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId, shared_expert

SHAPE = BankShape(layers=(0, 3), experts=4, rank=2, shared_rank=2, width=8, labels=3)
REQUEST = RoundRequest(steps=7, train_head=True)


@given(st.lists(st.integers(1, 6), max_size=12), st.integers(1, 9), st.integers(3, 5))
def test_every_expert_that_is_trained_has_enough_trainers(slots: list[int], number: int, least: int) -> None:
    """Whatever devices have room for; loads are within one of each other, and a device fills its slots if it can."""
    budgets = [Budget(f"d{place}", slot) for place, slot in enumerate(slots)]
    plans = plan_bundles(budgets, SHAPE, number, Coverage(), REQUEST, least=least, bits=12)
    assert bool(plans) == (len(slots) >= least)
    load = Counter(block for plan in plans.values() for block in plan.train if not block.shared and block != HEAD)
    for index in {block.index for block in load}:
        assert len({load[block] for block in bundle(SHAPE, index)}) == 1
    assert all(least <= count <= min(load.values()) + 1 for count in load.values())
    running = len({block.index for block in load})
    for place, slot in enumerate(slots if plans else []):
        own = {block.index for block in plans[f"d{place}"].train if block in load}
        assert len(own) == min(slot, running)
        assert {HEAD, shared_expert(0), shared_expert(3)} < set(plans[f"d{place}"].train)


def test_what_was_trained_least_runs_first() -> None:
    """Six devices of two slots: three bundles have four trainers each; the one that was trained most rests."""
    budgets = [Budget(f"d{place}", 2) for place in range(6)]
    coverage = Coverage({ExpertId(0, 1): 5, ExpertId(3, 1): 5, ExpertId(0, 0): 1})
    plans = plan_bundles(budgets, SHAPE, 1, coverage, REQUEST, least=4, bits=12)
    trained = {block for plan in plans.values() for block in plan.train}
    assert {block.index for block in trained if block.layer == 0 and not block.shared} == {0, 2, 3}
    assert plans["d0"].steps == 7
    assert plan_bundles(budgets[:3], SHAPE, 1, coverage, REQUEST, least=4, bits=12) == {}


def test_who_has_no_room_is_left_out() -> None:
    """A budget of bytes for what all train and one bundle, and one byte less."""
    always, one = [shared_expert(0), shared_expert(3), HEAD], bundle(SHAPE, 0)
    # Two shared blocks of 42 and a weight, a head of 27 and 3: 116 values of 12 bits; a bundle of two times 51.
    needed = masked_bytes(SHAPE, always, 12) + masked_bytes(SHAPE, one, 12)
    assert needed == int(174 * 1.02) + int(153 * 1.02)
    budgets = [
        Budget("poor", 4, bytes_up=needed - 1),
        Budget("just", 4, bytes_up=needed),
        *(Budget(n, 4) for n in "abc"),
    ]
    plans = plan_bundles(budgets, SHAPE, 1, Coverage(), REQUEST, least=3, bits=12)
    assert plans.keys() == {"just", "a", "b", "c"}
    assert len(plans["just"].train) == 3 + 2
    assert plans["just"].bytes_up == pytest.approx(needed, abs=2)


def test_circles_are_blocks_of_the_same_devices() -> None:
    """What all train is one, each bundle of its own devices another; bundles of the same devices are one."""
    budgets = [Budget(name, 2) for name in "abcdef"]
    plans = plan_bundles(budgets, SHAPE, 1, Coverage(), REQUEST, least=3, bits=12)
    listed = circles(plans)
    assert sum(map(len, listed.values())) == len({block for plan in plans.values() for block in plan.train})
    assert set(listed[frozenset("abcdef")]) == {HEAD, shared_expert(0), shared_expert(3)}
    for devices, blocks in listed.items():
        assert all((block in plans[name].train) == (name in devices) for block in blocks for name in plans)
    alike = plan_bundles([Budget(name, 4) for name in "abc"], SHAPE, 1, Coverage(), REQUEST, least=3, bits=12)
    assert circles(alike) == {frozenset("abc"): alike["a"].train}
