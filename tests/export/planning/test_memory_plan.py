"""Which memory plan a budget gets: sizes by hand, the fastest that fits, wishes kept, reasons with numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import ModelShape
from export.errors import BudgetError
from export.planning.cost_model import (
    kept_bytes,
    linear_bytes,
    memory_bytes,
    packed_again_bytes,
    predict,
    state_bytes,
    workspace_bytes,
)
from export.planning.memory_plan import OPEN, Fixed, candidates, cheapest, shown
from export.planning.profiles import DeviceProfile, load_profile
from export.planning.sizes import Sizes, TierShape
from export.planning.tiers import TierRequest, choose
from export.source.families import BackboneSizes

MINILM = Sizes(
    BackboneSizes(384, 6, 1536, 12, 12, 32, 512, 30522),
    ModelShape(BankShape((0, 1, 2, 3, 4, 5), 8, 8, 8, 384, 20)),
)
SMOLLM = Sizes(
    BackboneSizes(576, 30, 1536, 9, 3, 64, 512, 49152, gated=True),
    ModelShape(BankShape(tuple(range(30)), 4, 8, 8, 576, 0), vocabulary=49152),
)
TIER = TierShape(4, 4, 64, 8, 8)
WINDOW = TierShape(2, 2, 128, 1, 1)
TOKEN_BYTES = 4 * 8 * 64
"""One float32 for each of 512 places."""


def _profile(**budget: float) -> DeviceProfile:
    profile = load_profile("pixel8")
    return replace(profile, budget=replace(profile.budget, **budget))


def test_kept_bytes_by_hand() -> None:
    """Five layers of seven rows of 384, one of 1536 and 12 x 64 probabilities; two rows in the lowest; 89 units x 3."""
    assert kept_bytes(MINILM, TIER) == TOKEN_BYTES * (5 * (7 * 384 + 1536 + 768) + 2 * 384 + 6 * 3 * 89)
    light = replace(TIER, recompute="light")
    assert kept_bytes(MINILM, light) == TOKEN_BYTES * (5 * (5 * 384 + 1536) + 2 * 384)
    layers = replace(TIER, recompute="layers")
    assert kept_bytes(MINILM, layers) == TOKEN_BYTES * (5 * 384 + 2 * 384)
    assert kept_bytes(MINILM, replace(TIER, micro_batches=4)) * 4 == kept_bytes(MINILM, TIER)


def test_workspace_and_state_by_hand() -> None:
    """A layer's backward, its forward beside it where it is computed again; 64 places to look at; sums in parts."""
    assert workspace_bytes(MINILM, TIER) == TOKEN_BYTES * (2 * 1536 + 2 * 384 + 64)
    layers = replace(TIER, recompute="layers")
    assert workspace_bytes(MINILM, layers) == TOKEN_BYTES * (3 * 1536 + 12 * 384 + 768 + 64)
    values = 6 * (4 * 6920 + 6536) + 20 * 385
    assert state_bytes(MINILM, TIER) == 4 * (6 * values + 6 * 4 * 6920)
    assert state_bytes(MINILM, replace(TIER, micro_batches=2)) == 4 * (10 * values + 6 * 4 * 6920)


def test_what_a_decoder_keeps_and_a_language_head_needs_by_hand() -> None:
    """SmolLM at 1 x 128: of a gated layer four rows of 576 and two of 1536; logits and probabilities of 4,096 words."""
    kept = 4 * 128 * (29 * (4 * 576 + 2 * 1536) + 2 * 576)
    assert kept_bytes(SMOLLM, replace(WINDOW, recompute="light")) == kept
    assert workspace_bytes(SMOLLM, WINDOW) == 4 * 128 * (2 * 4096 + 3 * 576 + 128)
    few = replace(SMOLLM, model=replace(SMOLLM.model, vocabulary=100))
    assert workspace_bytes(few, WINDOW) == 4 * 128 * (2 * 1536 + 2 * 576 + 128)


def test_layers_computed_again_hold_their_weights_once_more() -> None:
    """All linears of 29 layers but 576 x 1536 are packed for the second computation: 77 MB, more than it saves."""
    layers = replace(WINDOW, recompute="layers")
    assert packed_again_bytes(SMOLLM, layers) == 29 * (3_538_944 - 576 * 1536)
    assert packed_again_bytes(SMOLLM, WINDOW) == 0
    light = replace(WINDOW, recompute="light")
    assert memory_bytes(SMOLLM, light, 0) < memory_bytes(SMOLLM, layers, 0) < memory_bytes(SMOLLM, WINDOW, 0)


def test_time_of_what_is_done_again_by_hand() -> None:
    """Layers again: all frozen GEMMs of a layer's forward but 384 x 1536; each micro-batch reads the weights again."""
    pace = replace(load_profile("pixel8").compute, int8_gmac_s=1.0, fp32_gmac_s=1e9, memory_gb_s=1e9)
    slow = replace(load_profile("pixel8"), compute=pace)
    again = predict(MINILM, replace(TIER, recompute="layers"), slow).step_ms - predict(MINILM, TIER, slow).step_ms
    assert again == pytest.approx(1e3 * 512 * 5 * (1_769_472 - 384 * 1536) / 1e9, abs=0.1)
    pace = replace(pace, int8_gmac_s=1e9, memory_gb_s=0.1)
    slow = replace(load_profile("pixel8"), compute=pace)
    again = predict(MINILM, replace(TIER, micro_batches=2), slow).step_ms - predict(MINILM, TIER, slow).step_ms
    sums = 4 * 3 * 2 * (6 * (4 * 6920 + 6536) + 20 * 385)
    assert linear_bytes(MINILM) == 11 * 1_769_472
    assert again == pytest.approx(1e3 * (11 * 1_769_472 + sums) / 0.1e9, abs=0.1)


def test_a_large_budget_gets_the_plain_plan() -> None:
    """Nothing is computed twice and no batch is cut where there is room."""
    cheapest_plan = cheapest(MINILM, TIER, OPEN, _profile(memory_mib=512))
    assert cheapest_plan is not None
    assert cheapest_plan.shape == TIER
    assert "the fastest plan fits" in cheapest_plan.why


def test_the_choice_is_the_fastest_of_all_that_fit() -> None:
    """For any budget, no other plan is both within it and faster; below the smallest, nothing fits."""
    costs = {shape: predict(MINILM, shape, _profile()) for shape in candidates(TIER, OPEN)}
    assert len(costs) == 12
    for limit in sorted({cost.memory_mib for cost in costs.values()}):
        cheapest_plan = cheapest(MINILM, TIER, OPEN, _profile(memory_mib=limit))
        assert cheapest_plan is not None
        assert not cheapest_plan.over
        fitting = [cost.step_ms for cost in costs.values() if cost.memory_mib <= limit]
        assert costs[cheapest_plan.shape].step_ms == min(fitting)
    smallest = min(cost.memory_mib for cost in costs.values())
    none = cheapest(MINILM, TIER, OPEN, _profile(memory_mib=smallest - 1))
    assert none is not None
    assert none.over
    assert predict(MINILM, none.shape, _profile()).memory_mib == smallest


def test_a_tight_budget_says_what_it_cost_and_why() -> None:
    """The reason names the plan, its memory and time, and by how much the faster one is over."""
    plain = predict(MINILM, TIER, _profile())
    cheapest_plan = cheapest(MINILM, TIER, OPEN, _profile(memory_mib=plain.memory_mib - 1))
    assert cheapest_plan is not None
    assert cheapest_plan.shape != TIER
    assert shown(cheapest_plan.shape) in cheapest_plan.why
    assert f"memory {plain.memory_mib:.4g} of {plain.memory_mib - 1:.4g} MiB" in cheapest_plan.why
    assert f"({plain.step_ms:.4g} ms)" in cheapest_plan.why


def test_a_wish_is_kept_even_where_a_faster_plan_fits() -> None:
    """What the user fixed is not weighed; what is left open is."""
    cheapest_plan = cheapest(MINILM, TIER, Fixed("layers", 4), _profile(memory_mib=512))
    assert cheapest_plan is not None
    assert (cheapest_plan.shape.recompute, cheapest_plan.shape.micro_batches) == ("layers", 4)
    assert "as asked" in cheapest_plan.why
    open_parts = cheapest(MINILM, TIER, Fixed("light"), _profile(memory_mib=512))
    assert open_parts is not None
    assert (open_parts.shape.recompute, open_parts.shape.micro_batches) == ("light", 1)


def test_micro_batches_are_whole_rows() -> None:
    """Eight rows in three parts are nine rows; a packed step of half the rows has half the bytes of each part."""
    request = TierRequest(slots=(4,), lengths=(64,), fixed_batch=True, memory=Fixed("none", 3))
    shape = choose(MINILM, request, _profile()).tiers[0].shape
    assert (shape.rows, shape.micro_batches, shape.rows_per_call, shape.batch) == (9, 3, 3, 16)
    assert kept_bytes(MINILM, replace(TIER, rows=4)) * 2 == kept_bytes(MINILM, TIER)


def test_more_micro_batches_than_texts_are_refused() -> None:
    """17 parts of a step of 16 texts: the error says so, with the numbers and what to do."""
    request = TierRequest(slots=(4,), lengths=(64,), fixed_batch=True, memory=Fixed(micro_batches=17))
    with pytest.raises(BudgetError, match=r"micro_batches 17: a step of at most 16 texts cannot .* give fewer"):
        choose(MINILM, request, _profile())


def test_plans_come_before_smaller_batches_and_fewer_slots() -> None:
    """A budget that the plain step of a tier exceeds keeps slots, length and batch, with another memory plan."""
    request = TierRequest(slots=(4,), lengths=(64,))
    plain = predict(MINILM, TierShape(4, 4, 64, 8, 16), _profile())
    first = choose(MINILM, request, _profile(memory_mib=plain.memory_mib - 1)).tiers[0]
    assert (first.shape.trained, first.shape.sequence, first.shape.batch) == (4, 64, 16)
    assert (first.shape.recompute, first.shape.micro_batches) != ("none", 1)


def test_a_step_too_short_to_tell_apart_stays_plain() -> None:
    """Of a backbone whose steps all round to the same time, nothing is computed twice for memory that is there."""
    tiny = Sizes(BackboneSizes(32, 3, 48, 4, 4, 8, 512, 100), ModelShape(BankShape((0, 1, 2), 8, 8, 8, 32, 20)))
    cheapest_plan = cheapest(tiny, TierShape(2, 1, 12, 8, 8), OPEN, _profile(memory_mib=512))
    assert cheapest_plan is not None
    assert cheapest_plan.cost.step_ms < 1
    assert (cheapest_plan.shape.recompute, cheapest_plan.shape.micro_batches) == ("none", 1)


def test_plans_in_words() -> None:
    """Each part of a plan is said, and a plain step as well."""
    assert shown(TIER) == "everything kept, one batch"
    assert shown(replace(TIER, recompute="light")) == "recompute light"
    both = replace(TIER, recompute="layers", micro_batches=4)
    assert shown(both) == "recompute layers with 4 micro-batches of 2 rows"
