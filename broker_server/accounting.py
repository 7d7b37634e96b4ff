"""What releases with Gaussian noise cost, by the kept library dp-accounting; imported only where [privacy] is on.

Renyi accounting (Mironov, arXiv 1702.07476): an upper bound, 5 to 10 % above the exact cost of Gaussian releases, in a
fraction of a millisecond, where the library's exact accounting takes seconds. No amplification by sampling is counted:
devices take part whenever they are there, and whoever joins may be in every merge.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Final

from broker_server.errors import UsageError

MOST_MERGES: Final = 10_000_000
MISSING: Final = "privacy.enabled needs dp-accounting, which is not installed: pip install 'edge-experts[privacy]'"
Releases = Iterable[tuple[float, int]]
"""(noise multiplier, how often)."""


def check_installed() -> None:
    """Refuse to begin without the library.

    Raises:
        UsageError: when it is not installed.
    """
    if find_spec("dp_accounting") is None:
        raise UsageError(MISSING)


def spent(releases: Releases, delta: float) -> float:
    """Return epsilon after some releases. Args: releases: so far; delta: of (epsilon, delta)."""
    from dp_accounting import GaussianDpEvent, SelfComposedDpEvent  # noqa: PLC0415 - seconds to import
    from dp_accounting.rdp import RdpAccountant  # noqa: PLC0415

    accountant = RdpAccountant()
    for noise, times in releases:
        if times:
            accountant.compose(SelfComposedDpEvent(GaussianDpEvent(noise), times))
    return float(accountant.get_epsilon(delta))


def merges_left(releases: Releases, noise: float, epsilon: float, delta: float) -> int:
    """Return how many more merges the budget has room for, MOST_MERGES or a little more at most.

    Args:
        releases: so far.
        noise: multiplier of those to come.
        epsilon: the budget.
        delta: of (epsilon, delta).
    """
    before = list(releases)

    def fits(merges: int) -> bool:
        return spent([*before, (noise, merges)], delta) <= epsilon

    most, too_many = 0, 1
    while too_many < MOST_MERGES and fits(too_many):
        most, too_many = too_many, 2 * too_many
    while too_many - most > 1:
        middle = (most + too_many) // 2
        most, too_many = (middle, too_many) if fits(middle) else (most, middle)
    return most
