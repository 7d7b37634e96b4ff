"""How rivals merge, against numbers computed by hand. One layer, linears of two by two unless a test says otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.federation.arms import lora_rules, ravan_rules
from benchmarks.federation.arms.depth_rules import depth_in_round
from benchmarks.federation.arms.factors import Factors, reduced, shares, stacked


def factors(a: list[list[float]], b: list[list[float]]) -> Factors:
    """Return the factors of one layer: rows of a, rows of b."""
    return Factors(np.array([a], np.float32), np.array([b], np.float32))


SMALL = factors([[1, 0]], [[2], [0]])
"""Rank one, update [[2, 0], [0, 0]]."""
LARGE = factors([[3, 0], [0, 1]], [[0, 4], [2, 0]])
"""Rank two, update [[0, 4], [6, 0]]."""


def test_fedit_averages_both_factors_apart_and_so_misses_the_mean_of_the_updates() -> None:
    """Here a = (1 + 3 * 3) / 4 in its first place, b likewise; the product is not the mean of the products."""
    merged = lora_rules.fedit([SMALL, factors([[3, 2]], [[0], [4]])], [1, 3])
    assert merged.a.tolist() == [[[2.5, 1.5]]]
    assert merged.b.tolist() == [[[0.5], [3.0]]]
    assert merged.product()[0].tolist() == [[1.25, 0.75], [7.5, 4.5]]
    # The mean of the updates: (1 * [[2, 0], [0, 0]] + 3 * [[0, 0], [12, 8]]) / 4.
    assert lora_rules.flora([SMALL, factors([[3, 2]], [[0], [4]])], [1, 3]).product()[0].tolist() == [[0.5, 0], [9, 6]]


def test_ffa_lora_keeps_a_and_averages_b() -> None:
    """Here b = (1 * 2 + 3 * 6) / 4 = 5."""
    merged = lora_rules.ffa_lora([SMALL, factors([[1, 0]], [[6], [4]])], [1, 3])
    assert merged.a.tolist() == [[[1, 0]]]
    assert merged.b.tolist() == [[[5], [3]]]


def test_ffa_lora_refuses_devices_that_trained_a() -> None:
    """A second a means that somebody trained what is frozen."""
    with pytest.raises(ValueError, match="another a"):
        lora_rules.ffa_lora([SMALL, factors([[2, 0]], [[6], [4]])], [1, 1])


def test_hetlora_weighs_by_the_norm_of_the_update_after_padding() -> None:
    """Norms are 2 and 6 (only one entry of each update), so shares are 1/4 and 3/4; ranks that lack count as zero."""
    other = factors([[3, 0], [0, 0]], [[0, 4], [2, 0]])  # update [[0, 0], [6, 0]]
    merged = lora_rules.hetlora([SMALL, other], 2)
    assert merged.a.tolist() == [[[2.5, 0], [0, 0]]]  # 1/4 * 1 + 3/4 * 3
    assert merged.b.tolist() == [[[0.5, 3], [1.5, 0]]]  # 2/4; 3/4 * 4; 3/4 * 2
    assert merged.truncated(1).a.tolist() == [[[2.5, 0]]]


def test_hetlora_of_updates_that_are_all_zero_is_the_plain_mean() -> None:
    """In the first round a device may come back with b = 0."""
    merged = lora_rules.hetlora([factors([[1, 0]], [[0], [0]]), factors([[3, 0]], [[0], [0]])], 1)
    assert merged.a.tolist() == [[[2, 0]]]


def test_hetlora_weighs_each_layer_by_itself() -> None:
    """Layer 0: norms 1 and 3; layer 1: norms 3 and 1."""
    one = Factors(np.full((2, 1, 1), 1, np.float32), np.array([[[1]], [[3]]], np.float32))
    two = Factors(np.full((2, 1, 1), 5, np.float32), np.array([[[0.6]], [[0.2]]], np.float32))
    assert lora_rules.hetlora([one, two], 1).a.reshape(-1).tolist() == pytest.approx([4.0, 2.0])


def test_flora_stacks_to_the_exact_mean_of_the_updates() -> None:
    """(1 * [[2, 0], [0, 0]] + 3 * [[0, 4], [6, 0]]) / 4, with as many ranks as all devices together."""
    merged = lora_rules.flora([SMALL, LARGE], [1, 3])
    assert merged.rank == 3
    assert merged.product()[0].tolist() == [[0.5, 3], [4.5, 0]]


def test_flexlora_decomposes_the_mean_of_the_updates() -> None:
    """Updates diag(2, 0) and diag(4, 6) average to diag(3, 3); diag(4, 2) shows the order: singular values 4, 2."""
    square = factors([[1, 0], [0, 1]], [[4, 0], [0, 6]])
    assert lora_rules.flexlora([SMALL, square], [1, 1], 2).product()[0] == pytest.approx(np.diag([3.0, 3.0]))
    merged = lora_rules.flexlora([factors([[0, 1], [1, 0]], [[0, 4], [2, 0]])], [7], 2)
    assert np.abs(merged.a[0]) == pytest.approx(np.eye(2))
    assert np.abs(merged.b[0]) == pytest.approx(np.diag([4.0, 2.0]))
    assert merged.truncated(1).product()[0] == pytest.approx(np.diag([4.0, 0.0]))


def test_raflora_divides_a_rank_by_those_who_have_it() -> None:
    """Rank 0: (1 * diag(2, 0) + 3 * diag(4, 0)) / 4 = 3.5; rank 1: the large device alone, 6. FlexLoRA has 4.5."""
    square = factors([[1, 0], [0, 1]], [[4, 0], [0, 6]])
    before = factors([[0, 0], [0, 0]], [[0, 0], [0, 0]])
    merged = lora_rules.raflora([SMALL, square], [1, 3], before)
    assert merged.product()[0] == pytest.approx(np.diag([3.5, 6.0]))
    assert lora_rules.flexlora([SMALL, square], [1, 3], 2).product()[0] == pytest.approx(np.diag([3.5, 4.5]))


def test_raflora_keeps_ranks_that_nobody_of_the_round_has() -> None:
    """Only a small device is here: the second rank of the version before stays."""
    before = factors([[1, 0], [0, 1]], [[9, 0], [0, 5]])
    assert lora_rules.raflora([SMALL], [1], before).product()[0] == pytest.approx(np.diag([2.0, 5.0]))


def test_fed_plora_averages_a_module_over_those_who_trained_it() -> None:
    """Module 0: both, (1 * 1 + 3 * 5) / 4 = 4; module 1: the second device alone; module 2: nobody."""
    before = factors([[0, 0], [0, 0], [7, 7]], [[0, 0, 8], [0, 0, 8]])
    one = factors([[1, 0], [100, 0], [7, 7]], [[1, 100, 8], [0, 0, 8]])
    two = factors([[5, 0], [0, 2], [7, 7]], [[5, 3, 8], [4, 0, 8]])
    masks = [np.array([[True, False, False]]), np.array([[True, True, False]])]
    merged = lora_rules.fed_plora(before, [one, two], masks, [1, 3])
    assert merged.a.tolist() == [[[4, 0], [0, 2], [7, 7]]]
    assert merged.b.tolist() == [[[4, 3, 8], [3, 0, 8]]]


def test_a_device_trains_as_many_modules_in_each_layer_as_it_can() -> None:
    """Two of five in each of three layers, and not the same in all."""
    masks = lora_rules.chosen_modules(np.random.default_rng(1), 3, 5, 2)
    assert masks.sum(1).tolist() == [2, 2, 2]
    assert len({tuple(row) for row in masks.tolist()}) > 1


def test_ravan_averages_scaled_cores_over_those_who_trained_the_head() -> None:
    """Head 0: (1 * 2 * 3 + 3 * 1 * 2) / 4 = 3; head 1: the second device alone, 0.5 * 8; head 2: nobody."""
    before = np.array([0, 0, 9], np.float32).reshape(1, 3, 1, 1)
    cores = [np.array(values, np.float32).reshape(1, 3, 1, 1) for values in ([3, 50, 9], [2, 8, 9])]
    scales = [np.array([values], np.float32) for values in ([2, 7, 1], [1, 0.5, 1])]
    trained = [np.array([[True, False, False]]), np.array([[True, True, False]])]
    merged = ravan_rules.ravan(before, cores, scales, trained, [1, 3])
    assert merged.reshape(-1).tolist() == [3, 4, 9]


def test_the_bases_of_ravan_stand_at_right_angles_within_a_layer() -> None:
    """Six columns of two heads: their products are the identity; more than the width has are refused."""
    bases = ravan_rules.orthonormal_bases(np.random.default_rng(0), 2, 2, 3, 8)
    assert bases.shape == (2, 2, 8, 3)
    columns = np.moveaxis(bases, 1, 2).reshape(2, 8, 6)
    assert np.swapaxes(columns, 1, 2) @ columns == pytest.approx(np.tile(np.eye(6), (2, 1, 1)), abs=1e-6)
    with pytest.raises(ValueError, match="need 9 directions, and the width has 8"):
        ravan_rules.orthonormal_bases(np.random.default_rng(0), 1, 3, 3, 8)


def test_heads_are_chosen_by_norm_or_by_chance() -> None:
    """Norms 1, 3, 2: the two largest; by chance, two of three as well."""
    cores = np.array([1, -3, 2], np.float32).reshape(1, 3, 1, 1)
    assert ravan_rules.chosen_heads(np.random.default_rng(0), cores, 2, by_norm=True).tolist() == [[False, True, True]]
    drawn = [ravan_rules.chosen_heads(np.random.default_rng(seed), cores, 2, by_norm=False) for seed in range(9)]
    assert {int(mask.sum()) for mask in drawn} == {2}
    assert len({tuple(mask[0].tolist()) for mask in drawn}) == 3


def test_depth_grows_after_each_period_up_to_all_layers() -> None:
    """One layer for three rounds, then two more each time, never above six."""
    depths = [depth_in_round(number, 6, 1, 3, 2) for number in range(1, 13)]
    assert depths == [1, 1, 1, 3, 3, 3, 5, 5, 5, 6, 6, 6]
    with pytest.raises(ValueError, match="count from 1"):
        depth_in_round(0, 6, 1, 3, 2)


def test_a_stack_is_reduced_to_its_largest_singular_directions() -> None:
    """diag(3, 1, 2) of a stack of three, cut to two: diag(3, 0, 2); further ranks than it has are zero."""
    parts = [
        Factors(np.eye(3, dtype=np.float32)[None, i : i + 1], np.eye(3, dtype=np.float32)[None, :, i : i + 1])
        for i in range(3)
    ]
    stack = stacked(parts, [3.0, 1.0, 2.0])
    assert reduced(stack, 2).product()[0] == pytest.approx(np.diag([3.0, 0.0, 2.0]), abs=1e-6)
    wide = reduced(stack, 5)
    assert wide.rank == 5
    assert wide.product()[0] == pytest.approx(np.diag([3.0, 1.0, 2.0]), abs=1e-6)


def test_factors_that_do_not_belong_together_are_refused() -> None:
    """The ranks of a and b differ; shares need a weight that is not negative."""
    with pytest.raises(ValueError, match=r"a is \[1, 2, 2\] and b \[1, 2, 1\]"):
        factors([[1, 0], [0, 1]], [[1], [2]])
    with pytest.raises(ValueError, match="none negative"):
        shares([1, -1])


def test_the_norm_of_an_update_is_taken_without_making_it() -> None:
    """[[0, 4], [6, 0]]: the root of 16 + 36; and the product's own norm where ranks are not at right angles."""
    assert LARGE.norms().tolist() == pytest.approx([52**0.5])
    slanted = factors([[1, 2], [3, -1]], [[2, 1], [0, 5]])
    assert slanted.norms()[0] == pytest.approx(np.linalg.norm(slanted.product()[0]))
