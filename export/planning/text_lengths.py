"""Sizes that suit texts: how long a row, how many rows, and how full steps of them will be. Pure.

Axes: B texts of a step at most, R rows, S places of a row, N = R * S; a text has n tokens, of which S are taken.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge_runtime.wire.fill import Fill, fill_of
from edge_runtime.wire.order import epoch_order
from edge_runtime.wire.packing import Capacity, holds

SHORTEST: Final = 16
"""S at least."""
MULTIPLE: Final = 8
"""S is one of this: row tiles that kernels like."""
_MOST: Final = 4096
"""Texts of which packing is tried: of ten times as many it says the same to a percent, and takes ten times as long."""


@dataclass(frozen=True)
class TextLengths:
    """Tokens of the texts that devices will learn from. Args: tokens: n of each, in the order of their file."""

    tokens: tuple[int, ...]

    def longer(self, sequence: int) -> int:
        """Return how many texts have more than ``sequence`` tokens, and are cut."""
        return sum(count > sequence for count in self.tokens)

    def mean(self, sequence: int) -> float:
        """Return the mean tokens of a text that is cut at ``sequence``."""
        return sum(min(count, sequence) for count in self.tokens) / len(self.tokens)

    def suiting_length(self, most: int) -> int:
        """Return the smallest multiple of 8 that holds 999 of 1,000 texts, from 16 to ``most``.

        Rows that would cut 10 of 1,000 cost the same: in longer ones texts find more room beside each other.
        """
        ranked = sorted(self.tokens)
        percentile = ranked[(999 * len(ranked) + 999) // 1000 - 1]
        return min(most, max(SHORTEST, MULTIPLE * -(-percentile // MULTIPLE)))

    def fewest_rows(self, sequence: int, batch: int) -> int:
        """Return the fewest rows that hold the texts (``packing.holds``): steps take nine tenths of ``batch`` texts."""
        return _fewest_rows(self.tokens, sequence, batch)

    def fill(self, sequence: int, rows: int, batch: int) -> Fill:
        """Return how full steps will be."""
        return _fill(self.tokens, sequence, rows, batch)


@functools.cache
def _fewest_rows(tokens: tuple[int, ...], sequence: int, batch: int) -> int:
    texts = _shuffled(tokens, sequence)
    most_steps = 10 * -(-len(texts) // batch) // 9
    fewest = max(1, -(-sum(texts) // (sequence * most_steps)))  # fewer rows have not the places for all tokens
    return next((rows for rows in range(fewest, batch) if holds(texts, Capacity(rows, sequence, batch))), batch)


@functools.cache
def _fill(tokens: tuple[int, ...], sequence: int, rows: int, batch: int) -> Fill:
    return fill_of(_shuffled(tokens, sequence), Capacity(rows, sequence, batch))


def _shuffled(tokens: Sequence[int], sequence: int) -> list[int]:
    """Return the lengths of texts as a device meets them, cut: epochs laid end to end, 4,096 texts in all."""
    texts: list[int] = []
    for epoch in range(-(-_MOST // len(tokens))):
        texts += [min(tokens[place], sequence) for place in epoch_order(0, epoch, len(tokens))]
    return texts[:_MOST]
