"""Cutting, noise and the account of differential privacy, by hand-computed numbers and the closed formula."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from broker_server import accounting
from broker_server.accounting import check_installed, merges_left, spent
from broker_server.errors import UsageError
from broker_server.rules.aggregate import Contribution, Sums, close, fold
from broker_server.rules.encoded_block import EncodedBlock
from broker_server.rules.privacy import (
    GRID,
    Privacy,
    cut_whole,
    gaussians,
    merge_key,
    noise_to_signal,
    norm_left,
    private_class_sums,
    private_sums,
    sums_key,
)
from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId

SHAPE = BankShape((0,), 2, 1, 1, 2, 2)  # an expert has 4 + 1 + 4 values, the head 6
A, B = ExpertId(0, 0), ExpertId(0, 1)
KEY = bytes(32)


def test_a_whole_update_is_cut_over_all_of_its_blocks_and_counts_like_any_other() -> None:
    """Nine values of 1 and nine of -1: length sqrt(18) = 3 sqrt(2), cut to sqrt(2): a third of each."""
    ones = np.ones(9, np.float32)
    came = EncodedBlock(tensors.encode(-ones, pb.INT8), 9, pb.INT8)
    update = Contribution("d", 3, 500, 2, {A: ones, B: came}, {A: (1.0, 2.0)}, (9.0, 1.0), 30)
    cut = cut_whole(update, math.sqrt(2))
    assert np.asarray(cut.deltas[A]) == pytest.approx(1 / 3)
    assert isinstance(cut.deltas[B], EncodedBlock)
    assert cut.deltas[B].values() == pytest.approx(-1 / 3, rel=1e-6)
    assert (cut.device, cut.round, cut.examples, cut.staleness, cut.use, cut.label_counts) == ("d", 3, 1.0, 0, {}, ())
    assert cut_whole(update, 5.0).deltas[A] is ones


def test_sums_are_divided_by_who_was_planned_and_every_planned_block_gets_noise() -> None:
    """Two sent 1 and 3 for A, planned for four: (4 + noise) / 4. Nobody sent B: noise alone. The head stays."""
    sums = Sums()
    for value in (1.0, 3.0):
        fold(sums, Contribution("d", 1, 1, 0, {A: np.full(9, value, np.float32)}), SHAPE, topk=False)
    privacy = Privacy(clip=0.5, noise=2.0)
    noisy = private_sums(sums, {A: 4, B: 1}, privacy, KEY, SHAPE)
    after = close(Bank.zeros(SHAPE), noisy)
    noise = {block: gaussians(KEY, f"0.{block.index}", 9) for block in (A, B)}  # its deviation is 2 * 0.5
    assert after.block(A) == pytest.approx((4 + noise[A]) / 4, abs=1e-6)
    assert after.block(B) == pytest.approx(noise[B], abs=1e-6)
    assert not after.head.any()
    assert noisy.devices == {A: 2}


def test_sums_and_noise_are_whole_multiples_of_a_grid() -> None:
    """The last bits of a noisy sum say nothing of the sum."""
    sums = Sums({A: np.full(9, math.pi)}, {A: np.ones(1)}, {A: 1})
    noisy = private_sums(sums, {A: 1}, Privacy(clip=0.25, noise=1.5), KEY, SHAPE).deltas[A]
    steps = noisy / (GRID * 1.5 * 0.25)
    assert (steps == np.rint(steps)).all()
    assert noisy - gaussians(KEY, "0.0", 9) * 0.375 == pytest.approx(math.pi, abs=GRID)


def test_noise_is_normal_and_follows_from_key_and_name_alone() -> None:
    """Moments of 200,001 numbers, whose mean deviates by 0.002; pieces do not repeat."""
    drawn = gaussians(KEY, "a", 200_001)
    assert abs(drawn.mean()) < 0.01
    assert drawn.std() == pytest.approx(1, abs=0.01)
    assert (drawn**4).mean() == pytest.approx(3, abs=0.1)
    assert np.abs(drawn).max() < 6.5
    assert len(np.unique(drawn)) > 190_000
    assert (gaussians(KEY, "b", 9) != gaussians(KEY, "a", 9)).all()
    assert (gaussians(bytes(31) + b"1", "a", 9) != gaussians(KEY, "a", 9)).all()


def test_noise_is_the_transform_of_box_and_muller_of_a_stream() -> None:
    """Four numbers of 53 bits for three: the first two give lengths, the others angles."""
    stream = hashlib.shake_256(KEY + b"a 0").digest(32)
    lengths, angles = (
        [int.from_bytes(stream[8 * n : 8 * n + 8], "little") / 2**64 for n in places] for places in ((0, 1), (2, 3))
    )
    radius = [math.sqrt(-2 * math.log(1 - length)) for length in lengths]
    turns = [2 * math.pi * angle for angle in angles]
    expected = [radius[0] * math.cos(turns[0]), radius[1] * math.cos(turns[1]), radius[0] * math.sin(turns[0])]
    assert gaussians(KEY, "a", 3) == pytest.approx(expected, abs=GRID)


def test_a_key_is_that_of_what_was_merged() -> None:
    """The same deltas in any order have the same noise; another delta, plan or promise has another."""
    privacy, deltas, planned = Privacy(1.0, 2.0, 3.0), [b"x" * 32, b"y" * 32], {A: 2}
    key = merge_key(b"seed", deltas, planned, privacy)
    assert merge_key(b"seed", deltas[::-1], planned, privacy) == key
    others = [
        merge_key(b"deed", deltas, planned, privacy),
        merge_key(b"seed", deltas[:1], planned, privacy),
        merge_key(b"seed", deltas, {A: 3}, privacy),
        merge_key(b"seed", deltas, planned, Privacy(1.0, 2.5, 3.0)),
        sums_key(b"seed", deltas, privacy),
    ]
    assert len({key, *others}) == 6


def test_the_grid_leaves_less_norm_for_more_values() -> None:
    """Of a million values at z = 1: 1000 * 2^-24 = 6e-5 less, and 1e-6 for float32."""
    assert norm_left(Privacy(2.0, 1.0), 1_000_000) == pytest.approx(2 * (1 - 1e-6 - 1000 / 2**24), rel=1e-12)
    with pytest.raises(ValueError, match="noise 1e\\+06 on 1000000 values needs a finer grid"):
        norm_left(Privacy(1.0, 1e6), 1_000_000)


def test_class_sums_are_cut_to_one_and_labels_below_the_noise_are_nobodys() -> None:
    """1,000 devices with 3 examples of label 0 and sum (4, 0): counts and sums 3, 4 are 5 long, cut to 0.6 and 0.8.

    So label 0 has 600 and (800, 0) with noise of 1; label 1, which nobody has, has noise alone, below 3.
    """
    part = ClassSums(np.array([3.0, 0.0], np.float32), np.array([[4.0, 0.0], [0.0, 0.0]], np.float32))
    noisy = private_class_sums([part] * 1000, Privacy(9.0, 9.0, 1.0), KEY)
    assert noisy is not None
    assert noisy.counts == pytest.approx([600, 0], abs=5)
    assert noisy.sums[0] == pytest.approx([800, 0], abs=5)
    assert noisy.counts[1] == 0
    assert not noisy.sums[1].any()
    assert private_class_sums([part], Privacy(9.0, 9.0, 1.0), KEY) is None


def test_noise_to_signal() -> None:
    """A million values, z = 0.5, 50 devices: 0.5 * 1000 / 50."""
    assert noise_to_signal(0.5, 1_000_000, 50) == 10


def exact(noise: float, times: int, delta: float) -> float:
    """Return epsilon of composed Gaussian releases (Balle and Wang, arXiv 1805.06530, theorem 8; mu = sqrt(T) / z)."""
    mu = math.sqrt(times) / noise

    def normal(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    low, high = 0.0, 200.0
    for _ in range(100):
        middle = (low + high) / 2
        over = normal(mu / 2 - middle / mu) - math.exp(middle) * normal(-mu / 2 - middle / mu) > delta
        low, high = (middle, high) if over else (low, middle)
    return high


@pytest.mark.parametrize(("noise", "times"), [(1.0, 1), (1.0, 10), (4.0, 100), (8.0, 1000)])
def test_the_account_is_a_little_above_the_exact_cost(noise: float, times: int) -> None:
    """The library's Renyi bound against the closed formula."""
    pytest.importorskip("dp_accounting", reason="the extra [privacy] is not installed")
    assert exact(noise, times, 1e-5) <= spent([(noise, times)], 1e-5) <= 1.1 * exact(noise, times, 1e-5)


def test_releases_of_other_noise_add_up_and_the_budget_has_an_end() -> None:
    """1 / z^2 adds up: one release at z = 1 is four at z = 2; as many merges fit as cost no more than the budget."""
    pytest.importorskip("dp_accounting", reason="the extra [privacy] is not installed")
    assert spent([(1.0, 1)], 1e-5) == pytest.approx(spent([(2.0, 4)], 1e-5))
    assert spent([(2.0, 2), (1.0, 0), (math.sqrt(2), 1)], 1e-5) == pytest.approx(spent([(1.0, 1)], 1e-5))
    left = merges_left([(1.0, 1)], 2.0, 8.0, 1e-5)
    assert spent([(1.0, 1), (2.0, left)], 1e-5) <= 8.0 < spent([(1.0, 1), (2.0, left + 1)], 1e-5)
    assert merges_left([(0.1, 1)], 2.0, 8.0, 1e-5) == 0


def test_without_the_library_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to install it."""
    monkeypatch.setattr(accounting, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'edge-experts\[privacy\]'"):
        check_installed()


def test_head_rows_of_private_merging_count_alike() -> None:
    """Label counts are a device's data: both rows get the sum over all who were planned."""
    update = cut_whole(Contribution("d", 1, 5, 0, {HEAD: np.full(6, 0.5, np.float32)}, {}, (5.0, 0.0)), norm=100.0)
    sums = Sums()
    fold(sums, update, SHAPE, topk=False)
    assert sums.deltas[HEAD].tolist() == [0.5] * 6
