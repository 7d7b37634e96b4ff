"""Noise that devices add before masking: discrete Gaussian, drawn exactly, so that a sum of integers stays one.

P[x] is proportional to exp(-x^2 / (2 V)) at integers x, V the variance that a plan names, an integer. Sampled by
rejection from a discrete Laplace distribution (Canonne, Kamath and Steinke, arXiv 2004.00010, algorithms 1 to 3), all
values at once and in integers alone: no float is rounded, so no value is likelier than it should be. Random bits are a
stream of AES-256 in counter mode under a secret seed. Axes: n values. How long drawing takes depends on what is drawn;
nobody but the device sees that.

A sum over devices is nearly of that kind. What it promises is bounded by Kairouz, Liu and Steinke (arXiv 2102.06387,
theorem 1).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.secure.fixed_point import Integers

SEED_BYTES: Final = 32
TAIL: Final = 12
"""Standard deviations of a sum's noise that rings have room for: beyond it is less than exp(-72) of it."""
LEAST_VARIANCE: Final = 16
"""Below that a sum of discrete Gaussians is not as good as one."""
MOST_VARIANCE: Final = 1 << 25
"""So that no product here is beyond 63 bits."""
_PIECE: Final = 1 << 16
"""Values that are tried at once."""
_FAR: Final = 1 << 31
"""From there on squares are beyond 63 bits, and Python's own integers are taken; once in exp(64) values."""

Flags = npt.NDArray[np.bool_]


class Stream:
    """Random integers that follow from a seed. Args: seed: 32 secret bytes, for this noise alone."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            msg = f"a seed of {len(seed)} bytes, expected {SEED_BYTES}"
            raise SecureError(msg)
        self._cipher = Cipher(AES256(seed), CTR(bytes(16))).encryptor()

    def below(self, most: int, count: int) -> Integers:
        """Return integers from 0 to ``most`` - 1, each as likely, [n]. Args: most: up to 2^62."""
        if most & (most - 1) == 0:
            return (self._words(count) & np.uint64(most - 1)).astype(np.int64)
        whole = np.uint64((1 << 64) - (1 << 64) % most)  # what is above would make small results likelier
        words = self._words(count)
        while (again := np.flatnonzero(words >= whole)).size:
            words[again] = self._words(again.size)
        return (words % np.uint64(most)).astype(np.int64)

    def _words(self, count: int) -> npt.NDArray[np.uint64]:
        return np.frombuffer(self._cipher.update(bytes(8 * count)), "<u8").astype(np.uint64)


def discrete_gaussian(seed: bytes, variance: int, count: int) -> Integers:
    """Return ``count`` integers of noise.

    Args:
        seed: 32 secret bytes, for this noise alone.
        variance: V, of the distribution before it is taken at integers alone.
        count: n.

    Raises:
        SecureError: for another seed, or a variance below 1 or above MOST_VARIANCE.
    """
    if not 1 <= variance <= MOST_VARIANCE:
        msg = f"noise of variance {variance}, expected 1 to {MOST_VARIANCE}"
        raise SecureError(msg)
    stream, scale = Stream(seed), math.isqrt(variance) + 1
    result, filled = np.empty(count, np.int64), 0
    while filled < count:
        tried = _laplace(stream, scale, min(_PIECE, 4 * (count - filled) + 16))
        accepted = tried[_accepted(stream, tried, variance, scale)][: count - filled]
        result[filled : filled + accepted.size] = accepted
        filled += accepted.size
    return result


def _accepted(stream: Stream, tried: Integers, variance: int, scale: int) -> Flags:
    """Return which Laplace values to take, each with chance exp(-(|y| t - V)^2 / (2 V t^2))."""
    below = 2 * variance * scale * scale
    away = np.abs(np.abs(tried) * scale - variance)
    near = away < _FAR
    squares = np.where(near, away, 0) ** 2
    whole, rest = np.divmod(squares, below)
    for place in np.flatnonzero(~near):
        whole[place], rest[place] = divmod(int(away[place]) ** 2, below)
    return _all_of(stream, whole) & _exponential(stream, rest, below)


def _laplace(stream: Stream, scale: int, tries: int) -> Integers:
    """Return integers with P[y] proportional to exp(-|y| / t), fewer than ``tries``. Args: scale: t."""
    parts = stream.below(scale, tries)
    parts = parts[_exponential(stream, parts, scale)]
    values = parts + scale * _run(stream, parts.size)
    negative = stream.below(2, values.size) == 1
    kept = ~(negative & (values == 0))
    signed: Integers = np.where(negative, -values, values)[kept]
    return signed


def _run(stream: Stream, count: int) -> Integers:
    """Return how often in a row exp(-1) came, [n]."""
    lengths, alive = np.zeros(count, np.int64), np.arange(count)
    while alive.size:
        alive = alive[_exponential(stream, np.ones(alive.size, np.int64), 1)]
        lengths[alive] += 1
    return lengths


def _all_of(stream: Stream, times: Integers) -> Flags:
    """Return with chance exp(-times) True, [n]."""
    result = np.ones(times.size, np.bool_)
    done, alive = 0, np.flatnonzero(times > 0)
    while alive.size:
        came = _exponential(stream, np.ones(alive.size, np.int64), 1)
        result[alive[~came]] = False
        done, alive = done + 1, alive[came]
        alive = alive[times[alive] > done]
    return result


def _exponential(stream: Stream, above: npt.NDArray[Any], below: int) -> Flags:
    """Return with chance exp(-above/below) True, [n]. Args: above: from 0 to ``below``.

    Coins of chance (above/below)/k, k = 1, 2, ..., until one fails; the first that fails has an odd number that often.
    """
    odd, number, alive = np.ones(above.size, np.bool_), 1, np.arange(above.size)
    while alive.size:
        came = (stream.below(below, alive.size) < above[alive]) & (stream.below(number, alive.size) == 0)
        alive, number = alive[came], number + 1
        odd[alive] = number % 2 == 1
    return odd


def most_of_sum(devices: int, limit: int, variance: int) -> int:
    """Return how large a sum under masks gets, whatever is in it; 0 variance: without noise.

    Args:
        devices: n.
        limit: R, of an integer without noise.
        variance: V, of one device's noise.
    """
    return devices * limit + (TAIL * (math.isqrt(devices * variance) + 1) if variance else 0)


def multiplier(noise_multiplier: float, variance: int, devices: int, values: int) -> float:
    """Return the noise multiplier of the Gaussian release that a sum under masks is no worse than.

    The release is eps^2/2-concentrated with eps = 1/z + tau sqrt(D) and tau = 10 sum_j exp(-2 pi^2 V j/(j+1)), j from 1
    to n - 1; a Gaussian of multiplier 1/eps is so, too.

    Args:
        noise_multiplier: z, of the least noise that a sum has.
        variance: V, of one device's noise.
        devices: n, whose noise is in every sum; 1 or more.
        values: D.
    """
    tau = 10 * math.fsum(math.exp(-2 * math.pi**2 * variance * j / (j + 1)) for j in range(1, devices))
    return 1 / (1 / noise_multiplier + tau * math.sqrt(values)) if tau else noise_multiplier
