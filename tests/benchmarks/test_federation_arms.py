"""What rivals plan and merge, without training: a device's learning is written down as a change of its values.

Two layers of width 4 (feed-forward 8), three labels; three clients with 1, 3 and 4 texts. Client 0 is slow: 1 s for a
step through both layers, 0.25 s through the top one. The others take 0.1 s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import federation
from benchmarks.federation.arms import ARMS, arm_of
from benchmarks.federation.arms.base import Device, Learned, Reach, Setup, Sizes, Work
from benchmarks.federation.arms.rival import COMMON, merged_head

SLOW = Device("lowend-phone", (Reach(1, 250.0), Reach(2, 1000.0)))
FAST = Device("linux-x86_64", (Reach(1, 50.0), Reach(2, 100.0)))
SETUP = Setup(
    sizes=Sizes(2, 4, 8, 3),
    rounds=8,
    seed=5,
    head=np.arange(15, dtype=np.float32),
    mean=np.zeros(4, np.float32),
    examples=(1, 3, 4),
    label_counts=np.array([[1, 0, 0], [1, 2, 0], [0, 0, 4]], np.float32),
    devices=(SLOW, FAST, FAST),
    seconds=10.0,
    steps=30,
    most_steps=90,
    enough_steps=20,
    rate=4e-3,
)
ALL = [0, 1, 2]
RIVALS = sorted(set(ARMS) - {"ours"})


def setup(**options: object) -> Setup:
    """Return the run with options of its arm; adapters of width 6 give LoRA of both feed-forward matrices rank 2."""
    return replace(SETUP, options={"width": 6, **options})


def taught(work: Work, change: Mapping[str, float]) -> Learned:
    """Return what a device learned if every value that it trains grew by ``change`` of its tensor."""
    after = dict(work.values)
    for name, mask in work.masks.items():
        after[name] = (work.values[name] + np.float32(change.get(name, 0.0)) * mask).astype(np.float32)
    examples = SETUP.examples[work.client] if work.client >= 0 else 8
    counts = SETUP.label_counts[work.client] if work.client >= 0 else np.array([2, 2, 4], np.float32)
    routed = np.ones((2, 8)) if work.form.gate == "topk" else None
    return Learned(work.client, work, after, examples, counts, work.steps, routed, 4.0)


@pytest.mark.parametrize("name", RIVALS)
def test_every_arm_goes_from_round_to_round(name: str) -> None:
    """Names, shapes and types of the state stay, and what is served has finite values and the form's tensors."""
    arm = arm_of(name, setup())
    state = arm.start()
    for number in (1, 2):
        works = arm.assign(state, number, ALL)
        assert all(set(work.masks) == set(work.rates) and set(work.masks) <= set(work.values) for work in works)
        after = arm.merge(state, [taught(work, dict.fromkeys(work.masks, 0.5)) for work in works])
        assert {key: (value.shape, value.dtype) for key, value in after.items()} == {
            key: (value.shape, np.float32) for key, value in state.items()
        }
        assert not works or any(not np.array_equal(after[key], state[key]) for key in after)
        state = after
    assert set(arm.sent) <= set(state)
    form, values = arm.served(state, 0 if arm.personal else None)
    assert all(np.isfinite(value).all() for value in values.values())
    assert form.kind in {"experts", "lora", "ravan", "head"}
    assert values["head"].shape == (15,)


@pytest.mark.parametrize("name", RIVALS)
def test_a_round_without_answers_changes_nothing(name: str) -> None:
    """All devices left: every array keeps its bits, but for the statistics of routers."""
    arm = arm_of(name, setup())
    state = arm.start()
    after = arm.merge(state, [])
    for key in set(state) - {"pressure"}:
        assert np.array_equal(after[key], state[key])


def test_a_slow_device_makes_as_many_steps_as_fit_its_time() -> None:
    """10 s: ten steps through both layers for client 0; 90 at most for the others, whose time has room for 100."""
    steps = [work.steps for work in arm_of("adapter", setup()).assign(arm_of("adapter", setup()).start(), 1, ALL)]
    assert steps == [10, 90, 90]
    dense = arm_of("adapter_dense", setup())
    assert [work.steps for work in dense.assign(dense.start(), 1, ALL)] == [30, 30, 30]


def test_adapters_are_averaged_by_examples() -> None:
    """Changes 1, 5 and 2 of 1, 3 and 4 texts: (1 + 15 + 8) / 8 = 3."""
    arm = arm_of("adapter", setup(head_share=0.0))
    state = arm.start()
    works = arm.assign(state, 1, ALL)
    after = arm.merge(state, [taught(work, {"shared": change}) for work, change in zip(works, (1, 5, 2), strict=True)])
    assert after["shared"] - state["shared"] == pytest.approx(np.full((2, 58), 3.0), abs=1e-5)
    assert np.array_equal(after["head"], state["head"])


def test_a_row_of_the_head_is_averaged_by_texts_of_its_label() -> None:
    """Label 0: texts 1 and 1, changes 2 and 6, mean 4; label 1: client 1 alone; label 2: client 2 alone."""
    arm = arm_of("linear_probe", setup())
    works = arm.assign(arm.start(), 1, ALL)
    learned = [taught(work, {"head": change}) for work, change in zip(works, (2, 6, 1), strict=True)]
    after = merged_head(SETUP.head, learned, 4)["head"] - SETUP.head
    assert after.tolist() == [4.0] * 4 + [6.0] * 4 + [1.0] * 4 + [4.0, 6.0, 1.0]


def test_the_head_learns_at_a_tenth_and_a_rate_of_its_own_replaces_the_runs() -> None:
    """Round 1 has the whole rate, the last a tenth."""
    arm = arm_of("adapter", setup(rate=2e-3))
    first, last = arm.assign(arm.start(), 1, [1])[0], arm.assign(arm.start(), 8, [1])[0]
    assert first.rates == pytest.approx({"shared": 2e-3, "head": 2e-4})
    assert last.rates == pytest.approx({"shared": 2e-4, "head": 2e-5})


def test_adapters_of_the_smallest_are_as_wide_as_its_bytes_allow() -> None:
    """Width b in both layers: 2 (9 b + 4) values, with the head 15 more; 720 bytes leave 200 for int8 of 4 groups."""
    small = replace(SLOW, bytes_up=720)
    run = replace(setup(width=20), devices=(small, FAST, FAST))
    # b = 9: 170 + 15 = 185 values, 3 scales: 197 bytes; (197 + 512) * 1.01 = 717. b = 10: 203 + 16 = 219: 739.
    assert arm_of("adapter_smallest", run).start()["shared"].shape == (2, 9 * 9 + 4)
    assert arm_of("adapter", run).start()["shared"].shape == (2, 9 * 20 + 4)


def test_shallow_adapters_go_as_deep_as_the_slowest_has_time_for_enough_steps() -> None:
    """Client 0 has 40 steps of the top layer, 10 of both: one layer, twice as wide, and only the top one moves."""
    arm = arm_of("adapter_shallow", setup())
    state = arm.start()
    assert state["shared"].shape == (2, 9 * 12 + 4)
    works = arm.assign(state, 1, ALL)
    assert [work.steps for work in works] == [40, 90, 90]
    assert [work.lowest_layer for work in works] == [1, 1, 1]
    after = arm.merge(state, [taught(work, {"shared": 1}) for work in works])
    assert np.array_equal(after["shared"][0], state["shared"][0])
    assert after["shared"][1] - state["shared"][1] == pytest.approx(np.ones(112), abs=1e-6)


def test_prefixes_below_shallow_adapters_last() -> None:
    """64 texts are four steps of 2 s with new prefixes, later ones take 1 s: 6 in 10 s at first, then 10."""
    slow = replace(SLOW, reaches=(Reach(1, 1000.0, 1000.0), Reach(2, 4000.0)))
    run = replace(setup(depth=1), devices=(slow, FAST, FAST), examples=(64, 3, 4))
    arm = arm_of("adapter_shallow", run)
    state = arm.start()
    first = arm.assign(state, 1, [0])[0]
    assert (first.steps, first.fresh) == (6, 1.0)
    after = arm.merge(state, [taught(first, {})])
    again = arm.assign(after, 2, [0])[0]
    assert (again.steps, again.fresh) == (10, 0.0)
    # After two steps half of the texts have one: 4 steps at 1.5 s, and four more.
    half = arm.assign(arm.merge(state, [replace(taught(first, {}), steps=2)]), 2, [0])[0]
    assert (half.steps, half.fresh) == (8, 0.5)
    # Another device, and all layers, have no prefixes to keep.
    assert arm.assign(after, 2, [1])[0].fresh == 1.0


def test_fed_adapter_trains_the_top_layer_first() -> None:
    """Eight rounds, two layers: both from half of the rounds on."""
    arm = arm_of("fed_adapter", setup())
    lowest = [arm.assign(arm.start(), number, [0])[0].lowest_layer for number in range(1, 9)]
    assert lowest == [1, 1, 1, 1, 0, 0, 0, 0]
    assert arm.assign(arm.start(), 1, [0])[0].masks["shared"].reshape(-1).tolist() == [0, 1]


def test_ranks_follow_bytes_and_the_profile() -> None:
    """Both matrices of both layers: 48 values a rank. Width 12 is rank 4; client 0 fits two, client 2 may three."""
    # Rank 2: 96 + 15 values, 2 scales: (119 + 512) * 1.01 = 638; rank 3: 159, 3 scales: 690.
    devices = (replace(SLOW, bytes_up=640), FAST, replace(FAST, profile="pixel8"))
    run = replace(setup(width=12, ranks={"pixel8": 3}), devices=devices)
    arm = arm_of("hetlora", run)
    works = arm.assign(arm.start(), 1, ALL)
    assert [int(work.masks["ffn_in_a"].sum()) // 2 for work in works] == [2, 4, 3]
    # Client 0 has the first two ranks and zeros after them.
    assert works[0].values["ffn_in_a"][:, 2:].any() is np.False_
    assert np.array_equal(works[0].values["ffn_in_a"][:, :2], works[1].values["ffn_in_a"][:, :2])
    assert arm_of("fedit_ffn", run).start()["ffn_in_a"].shape == (2, 2, 4)


def test_ffa_lora_sends_b_alone() -> None:
    """A has neither a mask nor a place among what devices fetch, and is not changed."""
    arm = arm_of("ffa_lora", setup())
    state = arm.start()
    works = arm.assign(state, 1, ALL)
    assert set(works[0].masks) == {"ffn_in_b", "ffn_out_b", "head"}
    assert "ffn_in_a" not in arm.sent
    after = arm.merge(state, [taught(work, {"ffn_in_b": 2}) for work in works])
    assert np.array_equal(after["ffn_in_a"], state["ffn_in_a"])
    # Twice the rank of the others, so as many values are trained.
    assert after["ffn_in_b"] == pytest.approx(np.full((2, 8, 4), 2.0))


def test_fed_plora_gives_all_modules_and_trains_some() -> None:
    """Rank 1 of 2 for the slow device: one module a layer, another one in some round."""
    arm = arm_of("fed_plora", setup(ranks={"lowend-phone": 1}))
    state = arm.start()
    masks = [arm.assign(state, number, [0])[0].masks["ffn_in_b"][:, 0] for number in range(1, 9)]
    assert {int(mask.sum()) for mask in masks} == {2}
    assert len({mask.tobytes() for mask in masks}) > 1
    assert arm.assign(state, 1, [0])[0].values["ffn_in_a"].all()


def test_flora_adds_the_mean_update_to_the_weight_and_draws_new_factors() -> None:
    """Change of b by 1: each device's update is the sum of the rows of a, and the mean of equal updates is that."""
    arm = arm_of("flora", setup(scale=0.5))
    state = arm.start()
    works = arm.assign(state, 1, ALL)
    after = arm.merge(state, [taught(work, {"ffn_in_b": 1}) for work in works])
    rows = works[0].values["ffn_in_a"].sum(1)
    assert after["ffn_in_w"] == pytest.approx(np.repeat(0.5 * rows[:, None], 8, axis=1), abs=1e-6)
    again = arm.assign(after, 2, [0])[0]
    assert not np.array_equal(again.values["ffn_in_a"], works[0].values["ffn_in_a"])
    # Three devices of rank 2: six ranks of 12 values, more than the 32 of the weight; of one device 24, six rows of 4.
    assert again.held is not None
    assert again.held["ffn_in_w"].sum() == 8
    alone = arm.assign(arm.merge(state, [taught(works[0], {})]), 2, [0])[0]
    assert alone.held is not None
    assert alone.held["ffn_in_w"].sum() == 6


def test_ravan_sends_cores_times_scales() -> None:
    """Cores grow by 2 and scales by 1: 2 * 2 = 4, and the scales are one again."""
    arm = arm_of("ravan", setup(heads=2, rank=1))
    state = arm.start()
    works = arm.assign(state, 1, ALL)
    after = arm.merge(state, [taught(work, {"ffn_in_h": 2, "ffn_in_s": 1}) for work in works])
    assert after["ffn_in_h"] == pytest.approx(np.full((2, 2, 1, 1), 4.0))
    assert after["ffn_in_s"].tolist() == [[1, 1], [1, 1]]


def test_local_models_stay_with_their_clients() -> None:
    """Client 1 learned 3; client 0 keeps its start; without a client there is no model."""
    arm = arm_of("local_only", setup())
    state = arm.start()
    after = arm.merge(state, [taught(arm.assign(state, 1, [1])[0], {"shared": 3})])
    assert arm.served(after, 1)[1]["shared"] - state["shared"][1] == pytest.approx(np.full((2, 58), 3.0), abs=1e-5)
    assert np.array_equal(arm.served(after, 0)[1]["shared"], state["shared"][0])
    with pytest.raises(ValueError, match="name one"):
        arm.served(after)


def test_balanced_experts_are_pushed_towards_what_is_used_less() -> None:
    """Client 1 routed all tokens of layer 0 to expert 3: use 1/2 of 1/8 + 1/2 of 4/8, and its target is below 1/8."""
    arm = arm_of("topk_balanced", setup())
    state = arm.start()
    work = arm.assign(state, 1, [1])[0]
    assert work.values["balance_target"] == pytest.approx(np.full((2, 8), 1 / 8))
    routed = np.zeros((2, 8))
    routed[0, 3], routed[1] = 8.0, 1.0
    after = arm.merge(state, [replace(taught(work, {}), routed=routed, seen=4.0)])
    assert after["use"][0].tolist() == [0.0625] * 3 + [0.5625] + [0.0625] * 4
    assert arm.assign(after, 2, [1])[0].values["balance_target"][0, 3] < 1 / 8
    assert "balance_target" not in arm_of("topk_switch", setup()).assign(state, 1, [1])[0].values


def test_options_that_an_arm_does_not_have_are_refused() -> None:
    """By name, and with those that it has; a value of another type too."""
    with pytest.raises(
        ValueError, match="no option 'heads'; known: head_share, ignore_budgets, local_prior, rate, width"
    ):
        arm_of("adapter", setup(heads=2))
    with pytest.raises(TypeError, match="option width is 'wide', expected a value like 160"):
        arm_of("adapter", setup(width="wide"))
    with pytest.raises(ValueError, match="option targets is 'all', known: qv, ffn"):
        arm_of("hetlora", setup(targets="all"))


def test_a_device_alone_starts_from_its_own_class_means() -> None:
    """Client 1 has one text of label 0 at (1, 0, 0, 0) and two of label 1 at (0, 1, 0, 0): its mean lies between.

    Its logits are 20 (f - own mean) w with w at a right angle to what is in the middle of both, whatever the mean is
    that the model takes off; a label that it never saw stays far below.
    """
    sums = np.zeros((3, 3, 4), np.float32)
    sums[:, 0, 0], sums[:, 1, 1] = 1.0, 2.0
    run = replace(setup(), class_sums=sums, mean=np.array([0.5, 0, 0, 0.5], np.float32))
    head = arm_of("local_only", run).start()["head"][1]
    rows, bias = head[:12].reshape(3, 4), head[12:]
    own = np.array([1 / 3, 2 / 3, 0, 0])
    features = np.array([[1, 0, 0, 0], [0, 1, 0, 0]])
    logits = 20 * (features - run.mean) @ rows.T + bias
    direction = np.array([1, -1, 0, 0]) / 2**0.5
    assert logits[:, 0] == pytest.approx(20 * (features - own) @ direction, abs=1e-4)
    assert logits[:, 1] == pytest.approx(20 * (features - own) @ -direction, abs=1e-4)
    assert (logits[:, 2] == -100).all()
    assert np.array_equal(arm_of("local_only", setup()).start()["head"][1], SETUP.head)


def test_the_readme_of_the_arms_has_all_of_them_with_their_options() -> None:
    """One row for each name, and the options are those that an arm says it has when it refuses another."""
    text = (Path(federation.__file__).parent / "arms" / "README.md").read_text(encoding="utf-8")
    rows = {cells[1].strip(" `"): cells[3] for line in text.splitlines() if len(cells := line.split("|")) == 5}
    assert set(ARMS) <= set(rows)
    assert f"`width` ({COMMON['width']}:" in text
    for name in RIVALS:
        with pytest.raises(ValueError, match="no option 'other'") as refused:
            arm_of(name, setup(other=1))
        own = set(str(refused.value).partition("known: ")[2].split(", ")) - set(COMMON)
        assert set(re.findall(r"`(\w+)`", rows[name])) == own


@pytest.mark.parametrize("name", sorted(set(RIVALS) - {"class_means", "local_only", "centralized"}))
def test_a_label_prior_moves_where_a_device_starts_and_no_delta(name: str) -> None:
    """Client 2 has one label of three: its bias starts above the others', and what nobody learned moves nothing."""
    arm = arm_of(name, setup(local_prior=1.0))
    state = arm.start()
    work = arm.assign(state, 1, [2])[0]
    shift = work.values["head"] - SETUP.head
    assert not shift[:12].any()
    assert shift[14] > shift[12] == shift[13]
    assert np.array_equal(arm.merge(state, [taught(work, {})])["head"], SETUP.head)
