"""Which tiers a profile gets: what is asked for, what fits, what is left out and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import ModelShape
from export.errors import BudgetError
from export.planning.cost_model import storage_mb
from export.planning.profiles import DeviceProfile, load_profile
from export.planning.row_choice import RowChoice
from export.planning.sizes import Sizes
from export.planning.text_lengths import TextLengths
from export.planning.tiers import Choice, TierRequest, choose
from export.source.families import BackboneSizes

MINILM = Sizes(
    BackboneSizes(384, 6, 1536, 12, 12, 32, 512, 30522),
    ModelShape(BankShape((0, 1, 2, 3, 4, 5), 8, 8, 8, 384, 20)),
)
PIXEL = load_profile("pixel8")
BOARD = load_profile("raspberrypi5")


def sizes(choice: Choice) -> list[tuple[int, int, int, int]]:
    """Return (m, f, S, R) of each tier."""
    return [(plan.shape.trained, plan.shape.frozen, plan.shape.sequence, plan.shape.rows) for plan in choice.tiers]


def with_budget(profile: DeviceProfile, **budget: float) -> DeviceProfile:
    """Return a profile with another budget."""
    return replace(profile, budget=replace(profile.budget, **budget))


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (TierRequest(), [(4, 4, 64, 8), (4, 4, 64, 4)]),  # nothing fixed: any plan can go on in half the rows
        (TierRequest(slots=(2,)), [(2, 6, 64, 8), (2, 6, 64, 4)]),
        (TierRequest(lengths=(64,)), [(4, 4, 64, 8), (4, 4, 64, 4)]),
        (TierRequest(suiting=24), [(4, 4, 24, 8), (4, 4, 24, 4)]),
        (TierRequest(slots=(4,), lengths=(64,)), [(4, 4, 64, 8)]),  # everything fixed: that
        (TierRequest(lengths=(12,), slots=(1,), hold_all=False), [(1, 0, 12, 8)]),
        (TierRequest(most=1), [(4, 4, 64, 8)]),
        (TierRequest(wishes=((1, 32, 0), (4, 16, 0))), [(1, 7, 32, 8), (4, 4, 16, 8)]),
        (
            TierRequest(slots=(1, 2, 4), lengths=(32, 64), batch=8),
            [(4, 4, 64, 4), (2, 6, 64, 4), (1, 7, 64, 4), (4, 4, 32, 4), (2, 6, 32, 4), (1, 7, 32, 4)],
        ),
        # Several capacities are a tier each, most rows first; a row is whole, and no step has more rows than texts.
        (TierRequest(slots=(4,), row_choice=RowChoice((128, 250, 512))), [(4, 4, 64, 8), (4, 4, 64, 4), (4, 4, 64, 2)]),
        (
            TierRequest(slots=(4,), lengths=(32, 64), row_choice=RowChoice((1024, 256))),
            [(4, 4, 64, 16), (4, 4, 64, 4), (4, 4, 32, 16), (4, 4, 32, 8)],
        ),
        # One capacity by hand stays; the length is halved, or the slots where the length is named, too.
        (TierRequest(row_choice=RowChoice((256,))), [(4, 4, 64, 4), (4, 4, 32, 4)]),
        (TierRequest(lengths=(64,), row_choice=RowChoice((64,))), [(4, 4, 64, 1), (2, 6, 64, 1)]),
        # A row of 64 takes eight texts of 8 tokens, which is too few of 16; two rows take them all.
        (TierRequest(row_choice=RowChoice(texts=TextLengths((8,) * 15))), [(4, 4, 64, 2), (4, 4, 64, 1)]),
        # One row cannot be halved: its length is.
        (TierRequest(row_choice=RowChoice(texts=TextLengths((4,) * 15))), [(4, 4, 64, 1), (4, 4, 32, 1)]),
        # A window fills a row; half the rows would change how many make a step.
        (TierRequest(row_choice=RowChoice(windows=True)), [(4, 4, 64, 16), (4, 4, 32, 16)]),
    ],
)
def test_the_tiers_of_a_wish(asked: TierRequest, wanted: list[tuple[int, int, int, int]]) -> None:
    """Longest texts first, then most slots, then most rows; what is left open comes with a smaller tier."""
    choice = choose(MINILM, asked, PIXEL)
    assert sizes(choice) == wanted
    assert {plan.shape.batch for plan in choice.tiers} == {asked.batch}


def depths(choice: Choice) -> list[tuple[int, int, int]]:
    """Return (m, S, k) of each tier, 0 for all layers."""
    return [(plan.shape.trained, plan.shape.sequence, plan.shape.layers) for plan in choice.tiers]


def test_tiers_of_fewer_layers_come_behind_those_of_all() -> None:
    """Whatever their slots and lengths; deeper ones first."""
    asked = TierRequest(wishes=((4, 64, 2), (1, 32, 0), (4, 64, 4), (4, 32, 2)))
    assert depths(choose(MINILM, asked, PIXEL)) == [(1, 32, 0), (4, 64, 4), (4, 64, 2), (4, 32, 2)]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (TierRequest(shallow=2), [(4, 64, 0), (4, 64, 0), (4, 64, 2)]),  # behind the one of half the rows
        (TierRequest(shallow=6), [(4, 64, 0), (4, 64, 0)]),  # six layers are all
        (TierRequest(shallow=2, most=2), [(4, 64, 0), (4, 64, 0)]),
        (TierRequest(shallow=2, slots=(4,), lengths=(64,)), [(4, 64, 0)]),
        (TierRequest(shallow=2, wishes=((4, 64, 0),)), [(4, 64, 0)]),
    ],
)
def test_what_is_left_open_comes_with_a_tier_of_the_upper_layers(
    asked: TierRequest, wanted: list[tuple[int, int, int]]
) -> None:
    """Of two layers, the slots and the rows of the first; none where the user named the tiers."""
    choice = choose(MINILM, asked, PIXEL)
    assert depths(choice) == wanted
    first, last = choice.tiers[0], choice.tiers[-1]
    assert not last.shape.layers or last.shape.rows == first.shape.rows
    assert not last.shape.layers or last.cost.step_ms < 0.4 * first.cost.step_ms


def test_asked_tiers_without_room_are_left_out_with_the_numbers() -> None:
    """Eight trained slots send 1.48 MB a round, a Pixel's budget is 1.2 MB; the other tiers are made."""
    choice = choose(MINILM, TierRequest(slots=(1, 8), lengths=(64,)), PIXEL)
    assert sizes(choice)[0] == (1, 7, 64, 8)
    assert choice.left_out == (
        "8 trained slot(s) with 16 texts in 8 rows of 64 tokens needs upload 1.486 of 1.2 MB a round",
    )


def test_half_the_memory_yields_a_smaller_tier() -> None:
    """A Pixel of 512 MiB holds 24 rows at once, one of 256 MiB holds 12 of them; both have a smaller tier below."""
    whole = choose(MINILM, TierRequest(batch=48), PIXEL)
    half = choose(MINILM, TierRequest(batch=48), with_budget(PIXEL, memory_mib=PIXEL.budget.memory_mib / 2))
    assert whole.tiers[0].cost.memory_mib > PIXEL.budget.memory_mib / 2 > half.tiers[0].cost.memory_mib
    assert [plan.shape.micro_batches for plan in (*whole.tiers, *half.tiers)] == [1, 1, 2, 2]
    assert half.tiers[1].cost.memory_mib < half.tiers[0].cost.memory_mib


def test_half_of_too_little_is_refused_with_the_numbers() -> None:
    """The smallest candidate, what it needs and what there is, and what to do."""
    with pytest.raises(BudgetError) as caught:
        choose(MINILM, TierRequest(), with_budget(PIXEL, memory_mib=PIXEL.budget.memory_mib / 4))
    text = str(caught.value)
    assert "even 1 trained slot(s) with 4 texts in 2 rows of 64 tokens, recompute light with 2 micro-batches" in text
    assert "of 128 MiB" in text
    assert "lower rank, layers, seq_len, tokens or batch_size, or raise the profile's budget" in text


def test_all_tiers_together_fit_the_storage() -> None:
    """Six tiers share one set of weights; the last is left out when its graph has no room, the first never."""
    asked = TierRequest(slots=(1, 2, 4), lengths=(32, 64), batch=8)
    everything = choose(MINILM, asked, PIXEL)
    needed = everything.tiers[0].cost.storage_mb
    assert needed == storage_mb(MINILM, [plan.shape for plan in everything.tiers])
    assert {plan.cost.storage_mb for plan in everything.tiers} == {needed}
    fewer = choose(MINILM, asked, with_budget(PIXEL, storage_mb=needed - 0.1))
    assert sizes(fewer) == sizes(everything)[:5]
    smallest = "1 trained slot(s) with 8 texts in 4 rows of 32 tokens"
    assert fewer.left_out == (f"{smallest}: all tiers need storage {needed:.4g} of {needed - 0.1:.4g} MB",)
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
    assert sizes(choose(MINILM, asked, small)) == [(2, 0, 64, 8), (2, 0, 64, 4)]
    named = replace(asked, row_choice=RowChoice((512,)))
    assert sizes(choose(MINILM, named, small)) == [(2, 0, 64, 8)]
    assert sizes(choose(MINILM, replace(named, fewest=1), small)) == [(2, 0, 64, 8), (1, 0, 64, 8)]
