"""How much noise plans ask devices for, and what a sum with it promises."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from broker_server.rules.mask_noise import RoundNoise, least_of, promised, round_noise
from broker_server.rules.masked_sums import BlockSum, mean_of
from broker_server.rules.privacy import Privacy
from broker_server.secure_config import Secure
from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.secure.fixed_point import Scale
from edge_runtime.wire.secure.noise import LEAST_VARIANCE, MOST_VARIANCE, discrete_gaussian, most_of_sum
from edge_runtime.wire.secure.terms import Terms

SHAPE = BankShape(layers=(1,), experts=2, rank=1, shared_rank=0, width=2, labels=3)
SECURE = Secure(enabled=True, dropouts=0.3, colluding=0.1)


def terms_of(noise: RoundNoise) -> Terms:
    """Return terms of two circles with noise."""
    circles = {number: (ExpertId(1, number),) for number in noise.circles}
    variances = {number: one.variance for number, one in noise.circles.items()}
    least = {number: one.least for number, one in noise.circles.items()}
    return Terms(circles, noise.limit, 1, 1.0, {"expert": noise.step}, {"expert": 1.0}, noise.norm, variances, least)


@pytest.mark.parametrize("clip", [0.01, 1.0, 300.0])
@pytest.mark.parametrize("multiple", [0.01, 1.0, 64.0])
@pytest.mark.parametrize("move", [1e-4, 0.3])
def test_the_least_sum_has_the_noise_that_is_promised_without_what_colluding_devices_know(
    clip: float, multiple: float, move: float
) -> None:
    """Ten devices, one of them colluding: of 10 and 3 in a circle 7 and 3 stay, of which 6 and 2 tell nobody."""
    noise = round_noise({0: 10, 1: 3}, 10, move, SECURE, Privacy(clip, multiple))
    for number, least, silent in ((0, 7, 6), (1, 3, 2)):
        one = noise.circles[number]
        assert one.least == least
        assert one.variance * silent >= Fraction(multiple) ** 2 * noise.norm**2
        assert LEAST_VARIANCE <= one.variance <= MOST_VARIANCE
    assert 1 <= noise.limit <= noise.norm <= clip / noise.step
    assert multiple <= promised(terms_of(noise), 10, 0.1, SHAPE)
    assert promised(terms_of(noise), 100, 0.1, SHAPE) < multiple  # ten may collude: one is left


def test_where_all_others_collude_a_devices_own_noise_is_enough() -> None:
    """Of forty devices four collude, so of a circle of three nobody else's noise may hide it."""
    noise = round_noise({0: 40, 1: 3}, 40, 0.3, SECURE, Privacy(1.0, 2.0))
    assert noise.circles[1].variance >= (2 * noise.norm) ** 2
    assert noise.circles[0].variance == math.ceil(Fraction((2 * noise.norm) ** 2, 28 - 4))


def test_a_circle_is_opened_from_more_than_half_on_whoever_may_leave() -> None:
    """At least three, more than half, and all but the share that may leave."""
    assert [least_of(size, 0.3) for size in (3, 5, 10)] == [3, 4, 7]
    assert least_of(10, 0.49) == 6


def test_sums_with_noise_are_checked_against_what_noise_can_reach() -> None:
    """Twelve deviations of room, and not one step more; without noise told, none."""
    scale = Scale(0.5, 100)
    drawn = discrete_gaussian(bytes(32), 10_000, 200)
    block = BlockSum(scale, 200, 1, 10.0, 10_000)
    mean, _ = mean_of(np.append(drawn, 3), block, 3)
    assert mean[0] == drawn[0] * 0.5 / 3
    with pytest.raises(SecureError):
        mean_of(np.append(drawn, 3), BlockSum(scale, 200, 1, 10.0), 3)
    lied = drawn.copy()
    lied[0] = most_of_sum(3, 100, 10_000) + 1
    with pytest.raises(SecureError, match="beyond"):
        mean_of(np.append(lied, 3), block, 3)
    with pytest.raises(SecureError, match="norm"):
        mean_of(np.append(drawn * 4, 3), block, 3)
