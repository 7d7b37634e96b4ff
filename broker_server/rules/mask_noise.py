"""Noise of a round under masks: what plans ask devices to add, and what a sum with it promises. Pure.

Each circle's sum is opened from ``least`` survivors on, and of these at most G tell the gateway what they added, so h =
max(1, least - G) devices' noise is in every sum for all others. Each adds variance V = (z B)^2 / h, B the norm of a
whole update in steps: what is left has z B at least in every coordinate, whoever leaves. Settings assume G and
``least``: ``secure.colluding`` of the planned devices, and ``secure.dropouts`` of a circle's.

s is such that the noise of one device has a deviation of 4 to 4096 steps, and is no coarser than without noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from broker_server.rules.privacy import Privacy
from broker_server.secure_config import Secure
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.mask_checks import LIMIT_MOST
from edge_runtime.wire.secure.graph import least_for
from edge_runtime.wire.secure.noise import LEAST_VARIANCE, MOST_VARIANCE, multiplier
from edge_runtime.wire.secure.terms import Terms

_LEAST_NORM: Final = 64
"""B at least: what an update has left of its direction once it is rounded."""


@dataclass(frozen=True)
class CircleNoise:
    """Of a circle. Args: variance: V, of what each device adds; least: survivors from which on it is opened."""

    variance: int
    least: int


@dataclass(frozen=True)
class RoundNoise:
    """Of a round. Args: step: s; limit: R; norm: B, of a whole update in steps; circles: by number."""

    step: float
    limit: int
    norm: int
    circles: Mapping[int, CircleNoise]


def round_noise(sizes: Mapping[int, int], everyone: int, move: float, secure: Secure, privacy: Privacy) -> RoundNoise:
    """Return what plans ask for.

    Args:
        sizes: devices that are planned for each circle, by its number.
        everyone: devices that are planned.
        move: how far a value may move in the round.
        secure: settings.
        privacy: what is promised.
    """
    least = {number: least_of(size, secure.dropouts) for number, size in sizes.items()}
    silent = {number: _silent(one, everyone, secure.colluding) for number, one in least.items()}
    length = privacy.noise * privacy.clip
    coarsest = min(
        move / secure.limit,
        length / math.sqrt(LEAST_VARIANCE * max(silent.values())),
        privacy.clip / _LEAST_NORM,
    )
    finest = length / math.sqrt(MOST_VARIANCE / 2 * min(silent.values()))
    step = float(np.float32(max(coarsest, finest)))
    norm = max(1, math.floor(privacy.clip / step))
    limit = max(1, min(norm, math.ceil(move / step), LIMIT_MOST))
    square = Fraction(privacy.noise) ** 2 * norm**2
    circles = {
        number: CircleNoise(max(LEAST_VARIANCE, math.ceil(square / silent[number])), least[number]) for number in sizes
    }
    return RoundNoise(step, limit, norm, circles)


def least_of(members: int, dropouts: float) -> int:
    """Return from how many survivors on a circle with noise is opened. Args: members: that are planned."""
    return max(least_for(members), members - math.floor(dropouts * members))


def promised(terms: Terms, everyone: int, colluding: float, shape: BankShape) -> float:
    """Return the noise multiplier of the Gaussian release that a round's sums are no worse than; 0 without noise.

    Args:
        terms: of the round, all circles.
        everyone: devices that were planned.
        colluding: share of them that may tell what they added.
        shape: of the bank.
    """
    if not terms.private:
        return 0.0
    values = sum(shape.size(block) for blocks in terms.circles.values() for block in blocks)
    multipliers = []
    for number in terms.circles:
        variance, devices = terms.variances[number], _silent(terms.least[number], everyone, colluding)
        least = math.sqrt(variance * devices) / terms.whole_norm
        multipliers.append(multiplier(least, variance, devices, values))
    return min(multipliers)


def _silent(least: int, everyone: int, colluding: float) -> int:
    """Return how many devices' noise nobody knows but themselves: h."""
    return max(1, least - math.floor(colluding * everyone))
