"""Predictions by hand, choices, and refusals with numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import ModelShape
from export.errors import BudgetError
from export.planning.cost_model import excesses, predict, round_bytes, step_seconds, storage_bytes, storage_mb
from export.planning.memory_plan import Fixed
from export.planning.profiles import DeviceProfile, load_profile, profile_names
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
"""SmolLM2-135M: three queries share a key, the feed-forward is gated, the language head is the embedding table."""
TOP = replace(MINILM, model=ModelShape(replace(MINILM.bank, layers=(4, 5))))
"""The same with its two topmost layers adapted."""
REQUEST = TierRequest(lengths=(64,))


def test_bytes_of_a_round_are_the_blocks() -> None:
    """P = 2*9*384+8 = 6920 and Ps = 17*384+8 = 6536 values; 6 layers, 4 trained slots, float32."""
    up, down = round_bytes(MINILM, 4)
    assert up == 4 * 6 * (4 * 6920 + 6536)
    assert down == 4 * (6 * (8 * 6920 + 6536) + 20 * 385 + 384)


def test_storage_counts_each_frozen_weight_for_both_directions() -> None:
    """1,769,472 weights in a layer, one byte each: 6 layers forward, all but the lowest adapted one backward.

    The table has 384 bytes and a scale for a word.
    """
    graphs = 6 * (75_000 + 25_000) + 700_000
    assert storage_bytes(MINILM) == 11 * 1_769_472 + 30522 * 388 + MINILM.bank.nbytes + graphs
    more = storage_bytes(MINILM, tiers=2, inferences=3) - storage_bytes(MINILM)
    assert more == 6 * (75_000 + 2 * 25_000)  # graphs alone
    assert storage_bytes(TOP, trunks=3) - storage_bytes(TOP) == 3 * 5 * 25_000  # each has five of six layers
    assert storage_bytes(MINILM) - storage_bytes(TOP) == 4 * 1_769_472 + MINILM.bank.nbytes - TOP.bank.nbytes


def test_shared_keys_gates_and_the_language_head_are_counted() -> None:
    """q, o: 576 x 576; k, v: 576 x 192; feed-forward: 3 x 576 x 1536. With the table, the 134.5 M that SmolLM has."""
    assert SMOLLM.frozen_weights == 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536 == 3_538_944
    assert 30 * SMOLLM.frozen_weights + SMOLLM.language_weights == 134_479_872
    graphs = 30 * (75_000 + 25_000) + 700_000
    tied = 59 * 3_538_944 + 2 * 49152 * 576 + 49152 * 580 + SMOLLM.bank.nbytes + graphs
    assert storage_bytes(SMOLLM) == tied
    assert storage_bytes(replace(SMOLLM, backbone=replace(SMOLLM.backbone, tied=False))) == tied + 49152 * 576
    assert SMOLLM.bank.nbytes == 4 * 30 * (4 * (2 * 9 * 576 + 8) + 17 * 576 + 8)  # neither head nor mean


def test_a_language_model_that_does_not_fit_is_refused_with_numbers() -> None:
    """SmolLM in int8 is 306 MB on flash; a phone gives 64."""
    with pytest.raises(BudgetError, match=r"nothing fits; even .* needs .*storage 306 of 64 MB"):
        choose(SMOLLM, REQUEST, load_profile("pixel8"))


def test_a_step_above_a_cached_prefix_runs_one_layer_both_ways_and_a_round_still_pays_for_new_texts() -> None:
    """Two of six layers: 11 passes of a layer's frozen GEMMs become 2, and the trunk has 5 forward; sums by hand.

    Half of the trunk's places may be empty, so the tokens of 4 rows are computed there in 8.
    """
    profile = load_profile("pixel8")
    pace = replace(profile.compute, int8_gmac_s=1.0, fp32_gmac_s=1e9, memory_gb_s=1e9)
    slow = replace(profile, compute=pace, budget=replace(profile.budget, round_seconds=1e9))
    tier = TierShape(4, 4, 64, 4, 16)
    cut = predict(replace(TOP, cut=True), tier, slow)
    layer_ms = 1e3 * 4 * 64 * 1_769_472 / 1e9
    assert cut.step_ms == pytest.approx(2 * layer_ms, abs=0.1)
    assert cut.trunk_ms == pytest.approx(5 * 2 * layer_ms, abs=0.1)
    steps = profile.defaults.steps_per_round
    between = steps * (cut.step_ms + cut.trunk_ms / 2) / 1e3
    assert [phrase.split()[0] for phrase in excesses(cut, _with(slow, round_seconds=between))] == ["time"]
    whole = predict(TOP, tier, slow)
    assert whole.trunk_ms == 0
    beside = 4 * 8 * 64 * (2 * 1536 + 6 * 384 + 2 * 12 * 64)  # what passes through the trunk for eight texts
    packed = 2 * 5 * 1_769_472  # trunks of 16, 32 and 64 tokens each pack the five layers' weights for themselves
    assert cut.memory_mib - whole.memory_mib == pytest.approx((beside + packed) / 2**20, abs=0.1)


def test_a_tier_of_the_upper_layers_costs_what_a_package_of_those_costs_and_the_experts_below() -> None:
    """Two of six layers: the step of `last:2`; its trunk runs eight experts in each of four layers more, two products.

    Each has 8 * 9 + 2 * 8 + 1 columns. In memory they stand twice, beside the bank that is larger.
    """
    profile = load_profile("pixel8")
    pace = replace(profile.compute, int8_gmac_s=1e9, fp32_gmac_s=1.0, memory_gb_s=1e9)
    slow = replace(profile, compute=pace)
    tier = TierShape(4, 4, 64, 4, 16)
    top, upper = replace(TOP, cut=True), MINILM.at_depth(2)
    depth, alone = predict(MINILM, replace(tier, layers=2), slow), predict(top, tier, slow)
    assert depth == predict(upper, tier, slow)
    assert (depth.step_ms, depth.bytes_up) == (alone.step_ms, alone.bytes_up)
    products = 2 * 8 * 64 * (8 * 9 + 2 * 8 + 1) * 384 * 4
    assert depth.trunk_ms - alone.trunk_ms == pytest.approx(1e3 * products / 1e9, abs=0.1)
    lower = 4 * 4 * (8 * 6920 + 6536)  # float32, four layers
    assert depth.memory_mib - alone.memory_mib == pytest.approx(4 * lower / 2**20, abs=0.1)


def test_a_tier_of_the_upper_layers_adds_its_graph_to_a_package_and_its_trunks() -> None:
    """A step of two layers, and trunks of 16, 32 and 64 tokens through five; the weights are there already."""
    tier = TierShape(4, 4, 64, 8, 16)
    more = storage_mb(MINILM, [tier, replace(tier, layers=2)]) - storage_mb(MINILM, [tier])
    assert more == pytest.approx((2 * 75_000 + 3 * 5 * 25_000) / 1e6, abs=0.1)


def test_4_bits_take_nine_sixteenths_of_a_byte_for_each_linear_weight() -> None:
    """Half a byte, and two bytes of scale for 32 weights; the table stays int8. Slower by half in the frozen GEMMs."""
    four, profile = replace(MINILM, quantize=Quantization.INT4), load_profile("pixel8")
    tier = TierShape(4, 4, 64, 16, 16)
    assert storage_bytes(MINILM) - storage_bytes(four) == 11 * 1_769_472 * 7 / 16
    frozen = 11 * 16 * 64 * 1_769_472 / (profile.compute.int8_gmac_s * 1e9)
    assert step_seconds(four, tier, profile) - step_seconds(MINILM, tier, profile) == pytest.approx(0.5 * frozen)


def test_the_shipped_profiles_get_the_tiers_of_the_demo() -> None:
    """Three sizes of device train 4, 2 and 8 experts at a time with the default backbone."""
    chosen = {name: choose(MINILM, REQUEST, load_profile(name)).tiers[0].shape for name in profile_names()}
    assert {name: (tier.trained, tier.frozen) for name, tier in chosen.items()} == {
        "pixel8": (4, 4),
        "lowend-phone": (2, 6),
        "raspberrypi5": (8, 0),
        "linux-x86_64": (8, 0),
    }
    assert {tier.batch for tier in chosen.values()} == {16}


def _with(profile: DeviceProfile, **budget: float) -> DeviceProfile:
    return replace(profile, budget=replace(profile.budget, **budget))


def test_half_the_memory_gives_a_smaller_batch() -> None:
    """Where the memory plan is fixed, slots come first: the batch is halved before a slot is taken away."""
    profile = load_profile("pixel8")
    plain = replace(REQUEST, memory=Fixed("none", 1))
    first = choose(MINILM, plain, _with(profile, memory_mib=190)).tiers[0]
    assert (first.shape.trained, first.shape.batch, first.shape.rows) == (4, 8, 4)
    assert first.cost.memory_mib <= 190


def test_a_fixed_batch_is_refused_instead_of_made_smaller() -> None:
    """What the user fixed stays; the refusal has the numbers of memory needed and there."""
    request = replace(REQUEST, slots=(4,), fixed_batch=True)
    with pytest.raises(BudgetError, match=r"16 texts in 8 rows of 64 tokens, .*memory 1\d\d(\.\d)? of 100 MiB"):
        choose(MINILM, request, _with(load_profile("pixel8"), memory_mib=100))


def test_nothing_fits_names_every_exceeded_budget() -> None:
    """Storage, upload and time are named with both numbers, and what to do."""
    tight = _with(load_profile("pixel8"), storage_mb=10, bytes_up=1000, round_seconds=0.01)
    with pytest.raises(BudgetError) as caught:
        choose(MINILM, REQUEST, tight)
    text = str(caught.value)
    assert "storage 34.7 of 10 MB" in text
    assert "of 10 MB" in text
    assert "of 0.001 MB a round" in text
    assert "of 0.01 s a round" in text
    assert "lower rank" in text


@pytest.mark.parametrize(
    "bigger",
    [TierShape(4, 4, 64, 16, 16), TierShape(4, 4, 128, 8, 16), TierShape(8, 4, 64, 8, 16)],
    ids=["rows", "sequence", "slots"],
)
def test_more_work_costs_more(bigger: TierShape) -> None:
    """Memory and time grow with rows, length and slots; texts in the same places cost nothing."""
    profile = load_profile("pixel8")
    small = predict(MINILM, TierShape(4, 4, 64, 8, 16), profile)
    assert predict(MINILM, TierShape(4, 4, 64, 8, 32), profile) == small
    large = predict(MINILM, bigger, profile)
    assert large.memory_mib > small.memory_mib
    assert large.step_ms > small.step_ms


def test_float32_costs_more_than_int8() -> None:
    """Without quantization the package is about four times larger and a step slower."""
    profile = load_profile("linux-x86_64")
    tier = TierShape(4, 4, 64, 16, 16)
    one, other = predict(MINILM, tier, profile), predict(replace(MINILM, quantize=Quantization.NONE), tier, profile)
    assert other.storage_mb > 3 * one.storage_mb
    assert other.step_ms > one.step_ms
    assert excesses(other, load_profile("pixel8"))
