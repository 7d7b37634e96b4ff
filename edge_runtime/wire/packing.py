"""Which texts a call takes, and where they stand in its rows: SPEC.md, "Packing". The same in every language.

Axes: R rows of S places, B texts at most. Texts are short and their lengths differ, so a row holds several of them, one
behind the other, and next to nothing of a step is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Capacity:
    """What a call has room for.

    Args:
        rows: R.
        sequence: S; a longer text is cut.
        batch: B.
    """

    rows: int
    sequence: int
    batch: int


@dataclass(frozen=True)
class Stand:
    """Where a text stands. Args: row: from 0; first: its first place in the row; count: its tokens."""

    row: int
    first: int
    count: int


def pack(lengths: Sequence[int], capacity: Capacity) -> list[Stand]:
    """Return where the next texts stand: of as many of them, in their order, as fit; at least of one.

    The first k texts fit when first-fit decreasing places them (Johnson, 1973): the longest first, equal ones in order,
    each in the first row that has room. The largest such k is taken.

    Args:
        lengths: tokens of the texts that come next; those beyond B are not looked at. 0 is a text without a token.
        capacity: of the call.
    """
    lengths = [min(length, capacity.sequence) for length in lengths[: capacity.batch]]
    for count in range(len(lengths), 0, -1):
        stands = _placed(lengths[:count], capacity)
        if stands is not None:
            return stands
    return []


def _placed(lengths: Sequence[int], capacity: Capacity) -> list[Stand] | None:
    """Return where texts stand, in their order; None when not all of them have a place."""
    if sum(lengths) > capacity.rows * capacity.sequence:
        return None
    taken = [0] * capacity.rows
    stands: dict[int, Stand] = {}
    for text in sorted(range(len(lengths)), key=lambda text: -lengths[text]):
        count = lengths[text]
        row = next((row for row, used in enumerate(taken) if used + count <= capacity.sequence), None)
        if row is None:
            return None
        stands[text] = Stand(row, taken[row], count)
        taken[row] += count
    return [stands[text] for text in range(len(lengths))]


def steps(lengths: Sequence[int], capacity: Capacity) -> list[int]:
    """Return how many texts each step takes when all of ``lengths`` are packed, one step after the other."""
    taken: list[int] = []
    start = 0
    while start < len(lengths):
        taken.append(len(pack(lengths[start : start + capacity.batch], capacity)))
        start += taken[-1]
    return taken


def holds(lengths: Sequence[int], capacity: Capacity) -> bool:
    """Return whether steps are nearly full of texts: 9/10 of the texts a step that unlimited rows would take."""
    return 9 * len(steps(lengths, capacity)) <= 10 * -(-len(lengths) // capacity.batch)
