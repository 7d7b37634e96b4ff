"""Which tiers a profile gets: what is asked for, what fits, what is left out and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import ModelShape
from export.errors import BudgetError
from export.planning.cost_model import Sizes, storage_mb
from export.planning.profiles import DeviceProfile, load_profile
from export.planning.tiers import Choice, TierRequest, choose
from export.source.families import BackboneSizes

MINILM = Sizes(
    BackboneSizes(384, 6, 1536, 12, 12, 32, 512, 30522),
    ModelShape(BankShape((0, 1, 2, 3, 4, 5), 8, 8, 8, 384, 20)),
)
PIXEL = load_profile("pixel8")
BOARD = load_profile("raspberrypi5")


def sizes(choice: Choice) -> list[tuple[int, int, int, int]]:
    """Return (m, f, S, B) of each tier."""
    return [(plan.shape.trained, plan.shape.frozen, plan.shape.sequence, plan.shape.batch) for plan in choice.tiers]


def with_budget(profile: DeviceProfile, **budget: float) -> DeviceProfile:
    """Return a profile with another budget."""
    return replace(profile, budget=replace(profile.budget, **budget))


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (TierRequest(), [(4, 4, 64, 16), (4, 4, 32, 16)]),  # nothing fixed: any plan can go on at half the length
        (TierRequest(slots=(2,)), [(2, 6, 64, 16), (2, 6, 32, 16)]),
        (TierRequest(lengths=(64,)), [(4, 4, 64, 16), (2, 6, 64, 16)]),
        (TierRequest(slots=(4,), lengths=(64,)), [(4, 4, 64, 16)]),  # everything fixed: that
        (TierRequest(lengths=(12,), slots=(1,), hold_all=False), [(1, 0, 12, 16)]),
        (TierRequest(most=1), [(4, 4, 64, 16)]),
        (TierRequest(pairs=((1, 32), (4, 16))), [(1, 7, 32, 16), (4, 4, 16, 16)]),
        (
            TierRequest(slots=(1, 2, 4), lengths=(32, 64), batch=8),
            [(4, 4, 64, 8), (2, 6, 64, 8), (1, 7, 64, 8), (4, 4, 32, 8), (2, 6, 32, 8), (1, 7, 32, 8)],
        ),
    ],
)
def test_the_tiers_of_a_wish(asked: TierRequest, wanted: list[tuple[int, int, int, int]]) -> None:
    """Longest texts first, then most slots; what is left open comes with a smaller tier to step down to."""
    assert sizes(choose(MINILM, asked, PIXEL)) == wanted


def test_asked_tiers_without_room_are_left_out_with_the_numbers() -> None:
    """Eight trained slots send 1.48 MB a round, a Pixel's budget is 1.2 MB; the other tiers are made."""
    choice = choose(MINILM, TierRequest(slots=(1, 8), lengths=(64,)), PIXEL)
    assert sizes(choice)[0] == (1, 7, 64, 16)
    assert choice.left_out == ("8 trained slot(s) with batch 16 x 64 needs upload 1.486 of 1.2 MB a round",)


def test_half_the_memory_yields_a_smaller_tier() -> None:
    """A Pixel of 512 MiB holds 24 texts at once, one of 256 MiB holds 12 of them; both have a smaller tier below."""
    whole = choose(MINILM, TierRequest(batch=24), PIXEL)
    half = choose(MINILM, TierRequest(batch=24), with_budget(PIXEL, memory_mib=PIXEL.budget.memory_mib / 2))
    assert whole.tiers[0].cost.memory_mib > PIXEL.budget.memory_mib / 2 > half.tiers[0].cost.memory_mib
    assert [plan.shape.micro_batches for plan in (*whole.tiers, *half.tiers)] == [1, 1, 2, 2]
    assert half.tiers[1].cost.memory_mib < half.tiers[0].cost.memory_mib


def test_half_of_too_little_is_refused_with_the_numbers() -> None:
    """The smallest candidate, what it needs and what there is, and what to do."""
    with pytest.raises(BudgetError) as caught:
        choose(MINILM, TierRequest(), with_budget(PIXEL, memory_mib=PIXEL.budget.memory_mib / 4))
    text = str(caught.value)
    assert "even 1 trained slot(s) with batch 4 x 64, recompute layers with 4 micro-batches of 1, needs memory" in text
    assert "of 128 MiB" in text
    assert "lower --rank, --layers, --seq-len or --batch-size, or raise the profile's budget" in text


def test_all_tiers_together_fit_the_storage() -> None:
    """Six tiers share one set of weights; the last is left out when its graph has no room, the first never."""
    asked = TierRequest(slots=(1, 2, 4), lengths=(32, 64), batch=8)
    everything = choose(MINILM, asked, PIXEL)
    needed = everything.tiers[0].cost.storage_mb
    assert needed == storage_mb(MINILM, [plan.shape for plan in everything.tiers])
    assert {plan.cost.storage_mb for plan in everything.tiers} == {needed}
    fewer = choose(MINILM, asked, with_budget(PIXEL, storage_mb=needed - 0.1))
    assert sizes(fewer) == sizes(everything)[:5]
    assert fewer.left_out == (
        f"1 trained slot(s) with batch 8 x 32: all tiers need storage {needed:.4g} of {needed - 0.1:.4g} MB",
    )
    one = choose(MINILM, asked, with_budget(PIXEL, storage_mb=storage_mb(MINILM, [everything.tiers[0].shape])))
    assert len(one.tiers) == 1


def test_a_tier_adds_less_than_a_megabyte() -> None:
    """Its graph; the weights are there already."""
    asked = TierRequest(slots=(1, 2, 4, 8), lengths=(32, 64), batch=8)
    tiers = [plan.shape for plan in choose(MINILM, asked, BOARD).tiers]
    assert len(tiers) == 8
    assert storage_mb(MINILM, tiers[:2]) - storage_mb(MINILM, tiers[:1]) < 1
    assert storage_mb(MINILM, tiers) <= 40


def test_routed_experts_keep_slots_for_the_chosen() -> None:
    """Where a device holds only what it trains, top-2 routing leaves no tier of one slot."""
    asked = TierRequest(lengths=(64,), hold_all=False, fewest=2)
    small = with_budget(PIXEL, bytes_up=500_000)
    assert sizes(choose(MINILM, asked, small)) == [(2, 0, 64, 16)]
    assert choose(MINILM, replace(asked, fewest=1), small).tiers[1].shape.trained == 1
