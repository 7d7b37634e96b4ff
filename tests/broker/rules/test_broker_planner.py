"""Who trains what: balanced, rotating, and within budgets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_server.rules.planner import (
    Assignment,
    Budget,
    Coverage,
    Reach,
    RoundRequest,
    block_bytes,
    delta_bytes,
    learning_rate,
    measured,
    plan_round,
)
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId, shared_expert

SHAPE = BankShape((0, 1, 2), 8, 2, 1, 4, 3)
NONE = Coverage()


def trainers(plans: dict[str, Assignment], layer: int) -> list[int]:
    """Return how many devices train each expert of a layer."""
    load = Counter(block.index for work in plans.values() for block in work.train if block.layer == layer)
    return [load[index] for index in range(SHAPE.experts)]


def played(slots: list[int], rounds: int) -> tuple[Counter[ExpertId], Counter[tuple[str, ExpertId]]]:
    """Return coverage after rounds in which everybody delivers."""
    total: Counter[ExpertId] = Counter()
    own: Counter[tuple[str, ExpertId]] = Counter()
    budgets = [Budget(f"d{number}", count) for number, count in enumerate(slots)]
    for number in range(1, rounds + 1):
        for device, work in plan_round(budgets, SHAPE, number, Coverage(total, own), RoundRequest()).items():
            total.update(work.train)
            own.update((device, block) for block in work.train)
    return total, own


@given(st.lists(st.integers(1, 8), min_size=1, max_size=9), st.integers(0, 50))
def test_trainers_of_all_experts_are_equal_within_one(slots: list[int], number: int) -> None:
    """Whatever the tiers, in every layer of every round."""
    plans = plan_round([Budget(f"d{i}", m) for i, m in enumerate(slots)], SHAPE, number, NONE, RoundRequest())
    for layer in SHAPE.layers:
        load = trainers(plans, layer)
        assert max(load) - min(load) <= 1
        assert sum(load) == sum(slots)


@given(st.lists(st.integers(1, 8), min_size=2, max_size=9), st.integers(0, 50))
def test_who_is_not_merged_takes_no_expert_from_the_others(slots: list[int], number: int) -> None:
    """It gets as much as its slots hold, and those who are merged cover all experts evenly without it."""
    budgets = [Budget(f"d{i}", m) for i, m in enumerate(slots)]
    plans = plan_round(budgets, SHAPE, number, Coverage(distrusted=frozenset({"d0"})), RoundRequest())
    for layer in SHAPE.layers:
        assert sum(trainers({"d0": plans["d0"]}, layer)) == slots[0]
        load = trainers({device: work for device, work in plans.items() if device != "d0"}, layer)
        assert max(load) - min(load) <= 1


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_every_expert_is_covered_over_rounds(slots: list[int]) -> None:
    """After as many rounds as the slots need to go round once, nothing is left out."""
    total, _ = played(slots, -(-SHAPE.experts // sum(slots)))
    assert all(total[ExpertId(layer, index)] >= 1 for layer in SHAPE.layers for index in range(SHAPE.experts))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 12))
def test_coverage_over_rounds_stays_even(slots: list[int], rounds: int) -> None:
    """Over rounds, too, no expert is far ahead of another."""
    total, _ = played(slots, rounds)
    counts = [total[ExpertId(0, index)] for index in range(SHAPE.experts)]
    assert max(counts) - min(counts) <= 2


def test_a_device_does_not_keep_its_experts() -> None:
    """Four devices of two slots: over eight rounds each trains every expert of a layer (fixed ones cost accuracy)."""
    _, own = played([2, 2, 2, 2], 8)
    for device in ("d0", "d1", "d2", "d3"):
        assert len({block for name, block in own if name == device and block.layer == 0 and not block.shared}) >= 6


def test_layers_get_different_experts() -> None:
    """One device of one slot does not train the same index everywhere."""
    work = plan_round([Budget("a", 1)], SHAPE, 1, NONE, RoundRequest())["a"]
    assert len({block.index for block in work.train if not block.shared}) > 1


def test_deficit_comes_first() -> None:
    """An expert that was planned but not delivered is the first choice of the next round."""
    total = {ExpertId(layer, index): 5 for layer in SHAPE.layers for index in range(8)}
    total[ExpertId(1, 6)] = 4
    work = plan_round([Budget("a", 1)], SHAPE, 9, Coverage(total), RoundRequest())["a"]
    assert ExpertId(1, 6) in work.train


def test_blocks_are_ascending_and_unique_with_shared_and_head() -> None:
    """As the wire wants them."""
    work = plan_round([Budget("a", 3)], SHAPE, 1, NONE, RoundRequest(train_head=True))["a"]
    assert list(work.train) == sorted(set(work.train))
    assert HEAD in work.train
    assert all(shared_expert(layer) in work.train for layer in SHAPE.layers)
    bare = plan_round([Budget("a", 3)], SHAPE, 1, NONE, RoundRequest(train_shared=False))["a"]
    assert len(bare.train) == 9


def expert_bytes(codec: int) -> int:
    """Return the bytes of one expert's block in a delta, from the codec's definition."""
    values = 2 * (2 + 1) * 4 + 2
    return (4 * values if codec == pb.FLOAT32 else 4 * -(-values // 64) + values) + 24


def test_block_bytes() -> None:
    """26 values: 104 bytes and a header; int8: one scale and 26 bytes."""
    assert block_bytes(SHAPE.expert_size, pb.FLOAT32) == expert_bytes(pb.FLOAT32) == 128
    assert block_bytes(SHAPE.expert_size, pb.INT8) == expert_bytes(pb.INT8) == 54


@given(st.integers(600, 6000), st.integers(1, 8), st.booleans())
def test_uplink_budget_is_kept(budget: int, slots: int, head: bool) -> None:
    """No plan makes a delta larger than the device allows."""
    request = RoundRequest(train_head=head)
    plans = plan_round([Budget("a", slots, bytes_up=budget)], SHAPE, 3, NONE, request)
    for work in plans.values():
        assert work.bytes_up <= budget
        assert work.bytes_up == delta_bytes(SHAPE, work.train, work.codec)


def test_int8_when_float32_does_not_fit() -> None:
    """The same experts in fewer bytes, if the device can write int8; else fewer experts."""
    room = 900 + 24 * 54 + 3 * 120
    able = plan_round([Budget("a", 8, room, codecs=(pb.FLOAT32, pb.INT8))], SHAPE, 1, NONE, RoundRequest())["a"]
    unable = plan_round([Budget("a", 8, room)], SHAPE, 1, NONE, RoundRequest())["a"]
    assert able.codec == pb.INT8
    assert unable.codec == pb.FLOAT32
    assert len(able.train) > len(unable.train)


def test_wished_codec_is_used_when_the_device_has_it() -> None:
    """The operator decides, the device's ability limits."""
    budgets = [Budget("a", 1, codecs=(pb.FLOAT32, pb.INT8)), Budget("b", 1)]
    plans = plan_round(budgets, SHAPE, 1, NONE, RoundRequest(codec=pb.INT8))
    assert (plans["a"].codec, plans["b"].codec) == (pb.INT8, pb.FLOAT32)


def test_budget_for_no_block_leaves_the_device_out() -> None:
    """Nothing fits: no plan rather than one that cannot be kept."""
    assert plan_round([Budget("a", 8, bytes_up=100)], SHAPE, 1, NONE, RoundRequest()) == {}


def test_small_budget_drops_the_shared_expert_before_all_experts() -> None:
    """Room for one expert block only."""
    work = plan_round([Budget("a", 8, bytes_up=720)], SHAPE, 1, NONE, RoundRequest())["a"]
    assert [block.shared for block in work.train] == [False]


def test_time_budget_cuts_steps() -> None:
    """One second, 80 % for training, 100 ms a step: 8 steps; unknown step time: as wished; never none."""

    def steps(**fields: float) -> int:
        return plan_round([Budget("a", 1, **fields)], SHAPE, 1, NONE, RoundRequest(steps=10))["a"].steps  # type: ignore[arg-type]

    assert steps(seconds=1.0, step_ms=100.0) == 8
    assert steps(seconds=1.0) == 10
    assert steps(seconds=0.01, step_ms=100.0) == 1
    assert steps(seconds=100.0, step_ms=1.0) == 10


def test_downlink_budget_makes_a_device_rest() -> None:
    """A third of the bank a round: one round in three."""
    bank = sum(4 * SHAPE.size(block) for block in SHAPE.ids())
    budget = Budget("a", 1, bytes_down=bank // 3 + 1)
    planned = [bool(plan_round([budget], SHAPE, number, NONE, RoundRequest())) for number in range(9)]
    assert sum(planned) == 3


def test_no_devices_no_plans() -> None:
    """Nothing to divide by."""
    assert plan_round([], SHAPE, 1, NONE, RoundRequest()) == {}


@pytest.mark.parametrize(("number", "rate"), [(1, 1.0), (11, 0.55), (21, 0.1), (40, 0.1)])
def test_learning_rate_falls_in_a_straight_line(number: int, rate: float) -> None:
    """From 1 in the first of 21 rounds to a tenth in the last, and no further."""
    assert learning_rate(1.0, number, 21, 0.1) == pytest.approx(rate)


def test_learning_rate_of_a_single_round_is_the_first() -> None:
    """No division by zero."""
    assert learning_rate(0.5, 1, 1, 0.1) == 0.5


# plans by depth

_SIX: Final = BankShape((0, 1, 2, 3, 4, 5), experts=4, rank=2, shared_rank=3, width=8, labels=3)
_TIMED: Final = RoundRequest(steps=10, seconds=10.0, most_steps=60, enough_steps=20)


def _deep(step_ms: float, *, examples: int = 0) -> Budget:
    reaches = (Reach(2, step_ms / 4, step_ms / 8), Reach(6, step_ms))
    return Budget("a", 4, reaches=reaches, examples=examples, batch=16)


def _layers(assignment: Assignment) -> list[int]:
    return sorted({block.layer for block in assignment.train})


@pytest.mark.parametrize(
    ("step_ms", "layers", "steps"),
    [
        (100.0, [0, 1, 2, 3, 4, 5], 60),  # 100 steps would fit
        (400.0, [0, 1, 2, 3, 4, 5], 25),
        (1000.0, [4, 5], 40),  # 10 of all layers are too few; 10,000 / 250
        (8000.0, [4, 5], 5),  # not even the top has time for 20: it makes what it can
        (90_000.0, [4, 5], 1),
    ],
)
def test_depth_and_steps_follow_from_the_time_of_a_round(step_ms: float, layers: list[int], steps: int) -> None:
    """The deepest reach with enough steps, else the shallowest; then as many steps as fit."""
    plan = plan_round([_deep(step_ms)], _SIX, 1, Coverage(), _TIMED)["a"]
    assert (_layers(plan), plan.steps, plan.layers) == (layers, steps, len(layers))


def test_prefixes_cost_their_time_in_the_first_epoch_only() -> None:
    """Later epochs find them in the cache."""
    # 160 texts are 10 steps of 250 + 125 ms; of the other 6,250 ms each step takes 250.
    plan = plan_round([_deep(1000.0, examples=160)], _SIX, 1, Coverage(), _TIMED)["a"]
    assert plan.steps == 10 + 25
    # 800 texts are an epoch of 50 steps, which is not reached: 10,000 / 375.
    assert plan_round([_deep(1000.0, examples=800)], _SIX, 1, Coverage(), _TIMED)["a"].steps == 26


def test_without_a_time_everybody_trains_all_layers_with_the_same_steps() -> None:
    """Nothing is planned by depth unless a round has a time."""
    plan = plan_round([_deep(90_000.0)], _SIX, 1, Coverage(), RoundRequest(steps=10))["a"]
    assert (_layers(plan), plan.steps) == ([0, 1, 2, 3, 4, 5], 10)


def test_a_budget_of_seconds_asks_for_less_depth_too_and_never_for_more_steps() -> None:
    """A device's own time is short in the same way."""
    slow = replace(_deep(1000.0), seconds=10.0)  # 8 s of training: 8 steps of all layers, 32 of two
    plan = plan_round([slow], _SIX, 1, Coverage(), RoundRequest(steps=20))["a"]
    assert (plan.layers, plan.steps) == (2, 20)


def test_a_device_that_never_measured_is_asked_for_all_layers() -> None:
    """Nothing can be said of its time."""
    budget = Budget("a", 4, reaches=(Reach(2), Reach(6)))
    assert plan_round([budget], _SIX, 1, Coverage(), _TIMED)["a"].layers == 6


def test_a_device_without_room_for_all_layers_trains_its_deepest() -> None:
    """Its tiers of all layers do not fit its memory."""
    budget = Budget("a", 4, reaches=(Reach(3, 10.0),))
    assert _layers(plan_round([budget], _SIX, 1, Coverage(), _TIMED)["a"]) == [3, 4, 5]


def test_a_round_for_the_top_layers_asks_nobody_for_more() -> None:
    """Who has no tier for them alone trains them in the one that it has."""
    plans = plan_round([_deep(1.0), Budget("b", 4)], _SIX, 1, Coverage(), replace(_TIMED, depth=2))
    assert [_layers(plan) for plan in plans.values()] == [[4, 5], [4, 5]]


def test_coverage_of_a_layer_is_even_among_those_who_reach_it() -> None:
    """Four of eight reach the lower layers: each expert there has one trainer, each above two."""
    budgets = [replace(_deep(1000.0 if i % 2 else 100.0), device=f"d{i}", trained_slots=1) for i in range(8)]
    plans = plan_round(budgets, _SIX, 1, Coverage(), _TIMED)
    trainers = {layer: [0] * 4 for layer in _SIX.layers}
    for plan in plans.values():
        for block in plan.train:
            if not block.shared:
                trainers[block.layer][block.index] += 1
    assert [trainers[layer] for layer in (0, 3, 4, 5)] == [[1] * 4, [1] * 4, [2] * 4, [2] * 4]


def test_a_depth_that_was_not_trained_is_as_much_slower_as_those_that_were() -> None:
    """Told 10 and 40 ms; the deeper one took 60: the upper layers are reckoned at 15, and their trunk at 6."""
    told = [Reach(2, 10.0, 4.0), Reach(6, 40.0)]
    assert measured(told, {6: 60.0}) == [Reach(2, 15.0, 6.0), Reach(6, 60.0)]
    assert measured(told, {}) == told
    assert measured([Reach(2), Reach(6)], {6: 60.0}) == [Reach(2), Reach(6, 60.0)]


@pytest.mark.parametrize(("examples", "steps"), [(20, 3), (32, 4), (2000, 60), (0, 60), (3, 1)])
def test_passes_over_its_own_examples_limit_what_time_would_allow(examples: int, steps: int) -> None:
    """Two passes in batches of 16, begun ones counted whole; a device that did not tell its examples has no limit."""
    fast = replace(_deep(1.0), examples=examples)
    request = replace(_TIMED, most_steps=60, most_epochs=2.0)
    assert plan_round([fast], _SIX, 1, Coverage(), request)["a"].steps == steps


def test_steps_that_are_asked_for_are_made() -> None:
    """Whatever passes they take."""
    request = RoundRequest(steps=20, most_epochs=2.0)
    assert plan_round([Budget("a", 1, examples=3)], SHAPE, 1, NONE, request)["a"].steps == 20
