"""How many token places a step has: said by hand, counted in texts, or half of what its texts could fill. Pure.

Axes: B texts of a step at most, R rows, S places of a row, N = R * S.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_runtime.wire.fill import Fill
from export.planning.text_lengths import TextLengths


@dataclass(frozen=True)
class RowChoice:
    """What says how many rows a tier has.

    Args:
        tokens: N by hand, one tier each; a row is never cut, so R = N / S rounded up.
        texts: whose lengths say S and R; None where there are none to count.
        windows: each of the B texts fills a row, as a language model's windows do.
    """

    tokens: tuple[int, ...] = ()
    texts: TextLengths | None = None
    windows: bool = False

    @property
    def halves(self) -> bool:
        """Whether half the rows are a tier to step down to."""
        return not self.tokens and not self.windows

    def suiting_length(self, most: int) -> int:
        """Return S, where it was left open and may be ``most``."""
        return self.texts.suiting_length(most) if self.texts and not self.windows else most

    def rows(self, sequence: int, batch: int) -> tuple[int, ...]:
        """Return R of each tier, most first; never more rows than texts."""
        if self.windows:
            return (batch,)
        if self.tokens:
            rows = {min(batch, -(-count // sequence)) for count in self.tokens}
            return tuple(sorted(rows, reverse=True))
        return (self.texts.fewest_rows(sequence, batch) if self.texts else -(-batch // 2),)

    def fill(self, sequence: int, rows: int, batch: int) -> Fill | None:
        """Return how full the steps of a tier will be; None where nobody knows."""
        return self.texts.fill(sequence, rows, batch) if self.texts else None


HALF: Final = RowChoice()
"""Without texts: half as many rows as texts, which is right where a text fills half a row in the mean."""
