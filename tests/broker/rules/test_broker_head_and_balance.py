"""The class-mean head and the statistics of the auxiliary loss, by hand-computed numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from broker_server.rules.aggregate import Contribution
from broker_server.rules.balance import Balance, next_balance
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.errors import BankError
from edge_runtime.wire.experts import HEAD, MEAN, BankShape, ExpertId

SHAPE = BankShape((0,), 2, 1, 0, 2, 2)


def sums(counts: list[float], rows: list[list[float]]) -> ClassSums:
    """Return class sums."""
    return ClassSums(np.array(counts, np.float64), np.array(rows, np.float64))


def test_device_sums_add_up() -> None:
    """Two devices with one class each give what one device with both gives: mean (2, 4) / 6, rows (1, -1) / sqrt 2."""
    total = ClassSums.total([sums([2, 0], [[2, 0], [0, 0]]), sums([0, 4], [[0, 0], [0, 4]])])
    assert total.counts.tolist() == [2, 4]
    blocks, s = class_mean_head(total, 20.0), math.sqrt(0.5)
    np.testing.assert_allclose(blocks[MEAN], [1 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(blocks[HEAD], [s, -s, -s, s, 0, 0], rtol=1e-6)


def test_no_statistics_is_an_error() -> None:
    """There is nothing to start a head from."""
    with pytest.raises(BankError, match="no class sums"):
        ClassSums.total([])


def used(use: dict[int, tuple[float, float]]) -> Contribution:
    """Return a contribution that tells only the use of experts of layer 0."""
    return Contribution("a", 1, 1, 0, {}, {ExpertId(0, index): value for index, value in use.items()})


def test_use_is_a_running_mean_of_use_where_available() -> None:
    """K = 1: expert 0 got 30 of 40 tokens where held, u = (.5 + .75) / 2; expert 1 got 30 of 100: (.5 + .3) / 2."""
    after = next_balance(Balance.start(SHAPE), [used({0: (30, 40), 1: (10, 40)}), used({1: (20, 60)})], top_k=1)
    np.testing.assert_allclose(after.use[0], [0.625, 0.4])


def test_chosen_experts_divide_the_tokens() -> None:
    """K = 2 of two held: every token counts twice, so full use is 40 of 2 * 40."""
    after = next_balance(Balance.start(SHAPE), [used({0: (40, 40), 1: (40, 40)})], top_k=2)
    np.testing.assert_allclose(after.use[0], [0.5, 0.5])


def test_expert_that_nobody_held_keeps_its_use() -> None:
    """No statistics, no change: bit-identical."""
    after = next_balance(Balance.start(SHAPE), [used({0: (5, 10)})], top_k=1)
    assert after.use[0] == (0.5, 0.5)
    assert next_balance(Balance.start(SHAPE), [], top_k=1).use == Balance.start(SHAPE).use


def test_pressure_follows_imbalance_within_its_limits() -> None:
    """Even use, CV 0: 0.02 * exp(-0.1). Use (1, 0): CV 1, grows by exp(0.4) and stops at 0.1."""
    even = next_balance(Balance.start(SHAPE), [], top_k=1)
    assert even.pressure == pytest.approx(0.02 * math.exp(-0.1))
    uneven = Balance({0: (1.0, 0.0)}, 0.02)
    assert next_balance(uneven, [], top_k=1).pressure == pytest.approx(0.02 * math.exp(0.4))
    assert next_balance(Balance({0: (1.0, 0.0)}, 0.1), [], top_k=1).pressure == 0.1
    assert next_balance(Balance({0: (0.0, 0.0)}, 1e-3), [], top_k=1).pressure == 1e-3


def test_opposite_imbalances_of_layers_do_not_cancel() -> None:
    """Pooled over layers the use would look even."""
    two = Balance({0: (1.0, 0.0), 1: (0.0, 1.0)}, 0.02)
    assert next_balance(two, [], top_k=1).pressure > 0.02


def test_balance_survives_json() -> None:
    """What a version keeps is what the next start reads."""
    balance = Balance({3: (0.25, 0.75)}, 0.05)
    assert Balance.from_tree(balance.to_tree()) == balance
    with pytest.raises(TypeError):
        Balance.from_tree({"use": [], "pressure": 1.0})
