"""How fast a device says it steps at each depth."""

from __future__ import annotations

from dataclasses import replace

import toy

from edge_runtime.training.pace import Pace, Stretch, pace_of, reaches
from edge_runtime.wire.manifest import Cost, Tier


def cost(step_ms: float, trunk_ms: float = 0.0) -> Cost:
    """Return what a tier costs."""
    return Cost(50.0, step_ms, 1.0, 1000, 1000, trunk_ms)


def tier(name: str, layers: int, rows: int, step_ms: float, trunk_ms: float, *, slots: int = 2) -> Tier:
    """Return a tier with what export predicted of it."""
    predicted = cost(step_ms, trunk_ms)
    return replace(toy.TIERS[1], method=name, layers=layers, rows=rows, predicted=predicted, trained_slots=slots)


DEEP, HALF = tier("deep", 6, 8, 200.0, 0.0), tier("half", 6, 4, 110.0, 0.0)
TOP, TOP_HALF = tier("top", 2, 8, 40.0, 60.0), tier("top_half", 2, 4, 22.0, 32.0)
ALL = (DEEP, HALF, TOP, TOP_HALF)


def test_nothing_measured_is_what_export_predicted() -> None:
    """By depth, the tier with most rows of each."""
    assert reaches(ALL, DEEP, {}) == {2: Pace(40.0, 60.0), 6: Pace(200.0, 0.0)}


def test_a_depth_that_was_never_tried_is_scaled_by_one_that_was() -> None:
    """600 ms where 200 were predicted: three times as slow in the top layers, trunk and all, until measured there."""
    assert reaches(ALL, DEEP, {"deep": Pace(600.0)}) == {2: Pace(120.0, 180.0), 6: Pace(600.0)}
    both = {"deep": Pace(600.0), "top": Pace(50.0, 90.0)}
    assert reaches(ALL, DEEP, both) == {2: Pace(50.0, 90.0), 6: Pace(600.0)}
    # 44 of 22 ms is twice, 48 of 32 ms of the trunk half as much again; there is no trunk below all layers
    assert reaches(ALL, DEEP, {"top_half": Pace(44.0, 48.0)}) == {2: Pace(80.0, 90.0), 6: Pace(400.0, 0.0)}


def test_a_step_that_is_too_quick_to_be_predicted_is_told_as_export_measured_it() -> None:
    """0.0 ms predicted, 0.4 measured there: half of what a deeper one of 0.8 takes, which is 2 ms here."""

    def quick(one: Tier, step_ms: float) -> Tier:
        return replace(one, predicted=replace(one.predicted, step_ms=0.0, trunk_ms=0.0), measured=cost(step_ms))

    tiers = (quick(DEEP, 0.8), quick(TOP, 0.4))
    assert reaches(tiers, tiers[0], {}) == {2: Pace(0.4), 6: Pace(0.8)}
    assert reaches(tiers, tiers[0], {"deep": Pace(2.0)}) == {2: Pace(1.0), 6: Pace(2.0)}


def test_the_nearest_tier_is_the_measure() -> None:
    """Of the same depth before others, however they differ in rows."""
    paces = {"deep": Pace(200.0), "top_half": Pace(44.0, 64.0)}
    assert pace_of(TOP, ALL, paces) == Pace(80.0, 120.0)
    assert pace_of(HALF, ALL, paces) == Pace(110.0)


def test_a_depth_without_all_the_slots_that_are_offered_is_not_told() -> None:
    """A plan of two experts a layer would not fit its one slot; a device with the top tier alone tells that alone."""
    narrow = tier("narrow", 2, 8, 30.0, 60.0, slots=1)
    assert reaches((DEEP, narrow), DEEP, {}) == {6: Pace(200.0)}
    assert reaches((TOP, TOP_HALF), TOP, {}) == {2: Pace(40.0, 60.0)}


def test_a_pace_is_the_median_step_and_a_trunk_for_its_texts() -> None:
    """Three steps with nine texts are three to a step, of 4 ms each in the trunk; a first step that loads is one."""
    stretch = Stretch()
    assert stretch.pace(4.0) is None
    for bare_ms, texts in ((900.0, 4), (30.0, 3), (32.0, 2)):
        stretch.add(bare_ms, texts)
    assert stretch.pace(4.0) == Pace(32.0, 12.0)
