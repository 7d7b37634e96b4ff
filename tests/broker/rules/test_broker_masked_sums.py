"""What a gateway takes of a sum that was opened: only what so many honest devices can add up to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from broker_server.rules.masked_sums import BlockSum, mean_of, rows_of
from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.secure.fixed_point import Scale
from edge_runtime.wire.secure.ring import Ring, bits_for

SCALE = Scale(0.01, 127, 1, 4)
BLOCK = BlockSum(SCALE, 4, 1, 1.0)


def test_the_mean_is_that_of_the_updates() -> None:
    """Weights 4 and 1 of two devices, by hand: (4 * 0.5 + 1 * -0.5) / 5, and rounding of half a step of each."""
    one, left = dataclasses.replace(SCALE, weight=4).integers(np.array([0.5, 0.25, 0, -0.5], np.float32))
    other, _ = SCALE.integers(np.array([-0.5, 0.25, 0, 0], np.float32))
    assert one.tolist() == [50, 25, 0, -50]
    assert not left.any()
    assert other.tolist() == [-12, 6, 0, 0]  # -12.5 and 6.25 steps of 4 * 0.01
    mean, weights = mean_of(np.array([*(one + other), 5]), BLOCK, 2)
    assert weights.tolist() == [5]
    assert mean == pytest.approx([38 * 0.04 / 5, 31 * 0.04 / 5, 0, -50 * 0.04 / 5])
    assert abs(mean[0] - (4 * 0.5 - 0.5) / 5) <= 0.04 / 2 / 5 + 1e-12


def test_rows_of_a_head_have_their_own_weights() -> None:
    """Two labels of two values and a bias each; a label that nobody has keeps what it is."""
    head = BlockSum(Scale(0.5, 127, 1, 2), 6, 2, 100.0)
    mean, weights = mean_of(np.array([6, 2, 0, 0, 4, 0, 2, 0]), head, 3)
    assert (mean.tolist(), weights.tolist()) == ([3.0, 1.0, 0, 0, 2.0, 0], [2, 0])
    assert rows_of(np.array([2, 7]), 6).tolist() == [2, 2, 7, 7, 2, 7]


@pytest.mark.parametrize(
    ("sums", "message"),
    [
        ([1, 2, 3, 4], "4 values of a block"),
        ([255, 0, 0, 0, 2], "beyond 2 times 127"),
        ([0, 0, 0, 0, 1], "cannot weigh"),
        ([0, 0, 0, 0, 9], "cannot weigh"),
        ([60, 60, 0, 0, 2], "norm 3.394, 2 units of 1"),
    ],
)
def test_what_honest_devices_cannot_add_up_to_is_refused(sums: list[int], message: str) -> None:
    """Values and weights beyond all their limits, and a mean longer than an honest update."""
    with pytest.raises(SecureError, match=message):
        mean_of(np.array(sums), BLOCK, 2)


def test_a_mask_that_is_left_in_a_sum_is_known() -> None:
    """Spread over the ring, some of a thousand values are always in the eighth that is free."""
    for devices in (3, 10, 100):
        ring = Ring(bits_for(devices, 127))
        words = ring.words(np.zeros(1001, np.int64))
        ring.add_mask(words, bytes(32))
        with pytest.raises(SecureError, match="a device or a share lied"):
            mean_of(ring.signed(words), BlockSum(SCALE, 1000, 1, 1e9), devices)
