"""Secrets of 32 bytes in shares of 32 bytes: t of them give it back, fewer say nothing (Shamir, CACM 22(11), 1979).

Numbers of the field modulo 2^256 - 189, the largest prime of 256 bits; as bytes they are little-endian. The share of
holder x (from 1) is the value at x of a polynomial of degree t - 1 whose value at 0 is the secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Final

from edge_runtime.wire.errors import SecureError

PRIME: Final = 2**256 - 189
ELEMENT_BYTES: Final = 32


def element(data: bytes) -> bytes:
    """Return 32 bytes as a number of the field: of random ones all but 189 of 2^256 stay as they are."""
    return _bytes(int.from_bytes(data, "little") % PRIME)


def split(secret: bytes, coefficients: Sequence[bytes], holders: Sequence[int]) -> dict[int, bytes]:
    """Return the share of each holder.

    Args:
        secret: an element.
        coefficients: t - 1 of them, 32 random bytes each, that nobody else knows.
        holders: their numbers, 1 or more, unique.

    Raises:
        SecureError: for a secret that is no element, or holders that are none.
    """
    powers = [_number(secret), *(int.from_bytes(one, "little") % PRIME for one in coefficients)]
    _check_holders(holders)
    shares = {}
    for holder in holders:
        value = 0
        for factor in reversed(powers):  # Horner's rule
            value = (value * holder + factor) % PRIME
        shares[holder] = _bytes(value)
    return shares


def join(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """Return the secret.

    Args:
        shares: by holder; those beyond the threshold must lie on the polynomial of the first.
        threshold: t.

    Raises:
        SecureError: for fewer shares than that, for bytes that are no share, and for shares that do not fit together.
    """
    if len(shares) < threshold:
        msg = f"{len(shares)} shares of a secret, {threshold} are needed"
        raise SecureError(msg)
    _check_holders([*shares])
    holders = sorted(shares)
    values = {holder: _number(shares[holder]) for holder in holders}
    first, rest = tuple(holders[:threshold]), holders[threshold:]
    for holder in rest:
        if _value_at(holder, first, values) != values[holder]:
            msg = f"the share of holder {holder} does not fit with {threshold} others: one of them is wrong"
            raise SecureError(msg)
    return _bytes(_value_at(0, first, values))


def _value_at(place: int, holders: tuple[int, ...], values: Mapping[int, int]) -> int:
    weights = _lagrange(place, holders)
    return sum(weight * values[holder] for weight, holder in zip(weights, holders, strict=True)) % PRIME


@lru_cache(4096)
def _lagrange(place: int, holders: tuple[int, ...]) -> tuple[int, ...]:
    """Return what each holder's value counts at a place; neighbours in a row have many holders in common."""
    weights = []
    for holder in holders:
        # Of small integers, which are multiplied much faster than numbers of the field.
        above = prod(place - other for other in holders if other != holder)
        below = prod(holder - other for other in holders if other != holder)
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)


def _check_holders(holders: Sequence[int]) -> None:
    if len(set(holders)) != len(holders) or any(holder < 1 for holder in holders):
        msg = f"holders are numbered from 1, each once, got {sorted(holders)[:8]}"
        raise SecureError(msg)


def _number(data: bytes) -> int:
    value = int.from_bytes(data, "little")
    if len(data) != ELEMENT_BYTES or value >= PRIME:
        msg = f"{len(data)} bytes are no number of the field, expected 32 below 2^256 - 189"
        raise SecureError(msg)
    return value


def _bytes(value: int) -> bytes:
    return value.to_bytes(ELEMENT_BYTES, "little")
