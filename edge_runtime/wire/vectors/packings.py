"""Cases of packing: which texts a call takes, and where they stand. Every place was worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from edge_runtime.wire.vectors.case import Case

_Places = list[list[int]]
_CASES: Final[dict[str, tuple[str, tuple[list[int], int, int, int], _Places, list[int], bool]]] = {
    # lengths, R, S, B; then row, first place and tokens of each text that is taken; texts of each step; whether it
    # holds.
    "one": ("one text", ([3], 1, 8, 4), [[0, 0, 3]], [1], True),
    "none": ("no text", ([], 1, 8, 4), [], [], True),
    "row": (
        "the longest stands first, equal ones in order",
        ([2, 3, 1, 2], 1, 8, 4),
        [[0, 3, 2], [0, 0, 3], [0, 7, 1], [0, 5, 2]],
        [4],
        True,
    ),
    "first_fit": (
        "5 and 3 fill a row; 4 and 4 another",
        ([4, 5, 3, 4], 2, 8, 4),
        [[1, 0, 4], [0, 0, 5], [0, 5, 3], [1, 4, 4]],
        [4],
        True,
    ),
    "rows_full": (
        "the third text does not fit and begins the next step",
        ([5, 6, 4, 2], 2, 8, 4),
        [[1, 0, 5], [0, 0, 6]],
        [2, 2],
        False,
    ),
    "batch_full": ("at most B texts", ([1] * 5, 1, 8, 3), [[0, 0, 1], [0, 1, 1], [0, 2, 1]], [3, 2], True),
    "cut": ("a text of more than S tokens has a row for itself", ([99, 1], 2, 8, 2), [[0, 0, 8], [1, 0, 1]], [2], True),
    "no_token": (
        "a text without a token takes no place",
        ([0, 8, 0], 1, 8, 3),
        [[0, 8, 0], [0, 0, 8], [0, 8, 0]],
        [3],
        True,
    ),
    "largest_count": (
        "two of 6, 5, 5 have room, whatever comes behind them",
        ([6, 5, 5, 1], 2, 8, 4),
        [[0, 0, 6], [1, 0, 5]],
        [2, 2],
        False,
    ),
    # 9 steps of 1 text are 10 ceil(9 / 1) / 9 at most: 9 * 10 <= 10 * 9.
    "holds_at_the_edge": (
        "ten steps where nine would do still hold: 9 * 10 <= 10 * 9",
        ([4] * 16 + [8, 8], 1, 8, 2),
        [[0, 0, 4], [0, 4, 4]],
        [2] * 8 + [1, 1],
        True,
    ),
    "holds_not": (
        "four steps where three would do",
        ([4, 4, 8, 4, 4, 4], 1, 8, 2),
        [[0, 0, 4], [0, 4, 4]],
        [2, 1, 2, 1],
        False,
    ),
}


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    for name, (comment, (lengths, rows, sequence, batch), stands, steps, holds) in _CASES.items():
        context: dict[str, Any] = {"lengths": lengths, "rows": rows, "sequence": sequence, "batch": batch}
        meaning = {"stands": stands, "steps": steps, "holds": holds}
        yield Case("Packing", f"accept_{name}", b"", "ACCEPT", comment, context, meaning)
