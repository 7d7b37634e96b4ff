"""Who masks with whom: each member of a circle with k others, nearest to it in a random order taken round.

Such a ring with its k/2 next neighbours on both sides is a Harary graph (Harary, PNAS 48(7), 1962): it hangs together
until k/2 members in a row are gone. With few members it is complete. How many neighbours are enough: Bell et al., CCS
2020, section 3; here each bound is summed up, not estimated. Axes: n members of a circle, k neighbours of each, t
shares that give a secret back.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from edge_runtime.wire.errors import SecureError

LEAST_MEMBERS: Final = 3
"""Of a circle that is opened: of two, each would know the other's delta."""
LEAST_NEIGHBOURS: Final = 16
"""Of a member, where there are so many others."""
MOST_MEMBERS: Final = 4096
"""Of a list."""
_SECURITY_BITS: Final = 40
_RECOVERY_BITS: Final = 20


def least_for(members: int) -> int:
    """Return from how many survivors on a circle may be opened: LEAST_MEMBERS, and more than half of its members."""
    return max(LEAST_MEMBERS, members // 2 + 1)


@dataclass(frozen=True)
class Sizes:
    """How a circle masks. Args: neighbours: k; threshold: t of the k + 1 holders of a secret, neighbours and itself."""

    neighbours: int
    threshold: int

    def check(self, members: int) -> None:
        """Refuse what is not safe in a circle of n members.

        Raises:
            SecureError: unless all others are neighbours or an even number of them, at least LEAST_NEIGHBOURS, and
                more than half of the holders are needed.
        """
        some = LEAST_NEIGHBOURS <= self.neighbours < members and self.neighbours % 2 == 0
        if not (some or self.neighbours == members - 1):
            msg = f"{self.neighbours} neighbours in a circle of {members}: expected all, or an even number from 16 on"
            raise SecureError(msg)
        if not self.neighbours + 1 < 2 * self.threshold <= 2 * (self.neighbours + 1):
            msg = f"a threshold of {self.threshold} of {self.neighbours + 1} holders: expected more than half of them"
            raise SecureError(msg)


def in_order(digests: Iterable[bytes]) -> list[bytes]:
    """Return digests of keys in the order of a list: by SHA-256 of the digest of all, then their own.

    It follows from all keys, so that nobody can choose whose neighbour a device is by choosing a key late.
    """
    every = sorted(set(digests))
    seed = hashlib.sha256(b"".join(every)).digest()
    return sorted(every, key=lambda digest: hashlib.sha256(seed + digest).digest())


def neighbours(place: int, members: int, count: int) -> list[int]:
    """Return the places of a member's neighbours, ascending. Args: place: its own, from 0; count: k."""
    if count == members - 1:
        return [other for other in range(members) if other != place]
    steps = range(1, count // 2 + 1)
    return sorted({(place + side * step) % members for step in steps for side in (-1, 1)})


@lru_cache(256)
def sizes_for(members: int, everyone: int, dropout: float, colluding: float) -> Sizes:
    """Return the fewest neighbours that do for a circle; all, where no number of them does.

    A share of the round's N members drops out or colludes, whichever circles they are in: of a small circle it may be
    more. With D = floor(dropout N), G = floor(colluding N), t = floor((k + 1) / 2) + 1 and hypergeometric counts of
    marked ones among a member's k neighbours:

    - n prod_{i < k/2} (D + G - i) / (N - i) <= 2^-40: no k/2 members in a row drop out or collude;
    - n P[colluding >= t] <= 2^-40;
    - n P[dropped out > k - t] <= 2^-20: else a secret is not recovered, and the circle's round is lost.

    Args:
        members: n, of the circle.
        everyone: N, of the round; n or more.
        dropout: share of N that may drop out.
        colluding: share of N that may tell the gateway all that they know.
    """
    gone, told = int(dropout * everyone), int(colluding * everyone)
    for count in range(LEAST_NEIGHBOURS, members - 1, 2):
        threshold = (count + 1) // 2 + 1
        if (
            members * _in_a_row(everyone, min(everyone, gone + told), count // 2) <= 2.0**-_SECURITY_BITS
            and members * _tail(everyone - 1, told, count, threshold) <= 2.0**-_SECURITY_BITS
            and members * _tail(everyone - 1, gone, count, count - threshold + 1) <= 2.0**-_RECOVERY_BITS
        ):
            return Sizes(count, threshold)
    return Sizes(members - 1, members // 2 + 1)


def _in_a_row(members: int, marked: int, length: int) -> float:
    """Return the probability that ``length`` given members are all marked."""
    if length > marked:
        return 0.0
    return math.prod((marked - place) / (members - place) for place in range(length))


def _tail(members: int, marked: int, drawn: int, least: int) -> float:
    """Return the probability that ``least`` or more of ``drawn`` are marked."""
    every = math.comb(members, drawn)
    ways = sum(
        math.comb(marked, count) * math.comb(members - marked, drawn - count)
        for count in range(least, min(marked, drawn) + 1)
    )
    return ways / every
