"""How full steps were: places that no token stands in cost as much as those that one does. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_runtime.wire.packing import Capacity, steps


@dataclass(frozen=True)
class Fill:
    """What some steps took. Args: steps; texts; tokens of these; places that the steps had for tokens."""

    steps: int = 0
    texts: int = 0
    tokens: int = 0
    places: int = 0

    def __add__(self, other: Fill) -> Fill:
        return Fill(
            self.steps + other.steps,
            self.texts + other.texts,
            self.tokens + other.tokens,
            self.places + other.places,
        )

    @property
    def share(self) -> float:
        """Share of the places that hold a token, in [0, 1]."""
        return self.tokens / self.places if self.places else 0.0

    @property
    def texts_per_step(self) -> float:
        """Mean texts of a step."""
        return self.texts / self.steps if self.steps else 0.0

    def figures(self) -> dict[str, float]:
        """Return both by name, as JSON tells them."""
        return {"fill": round(self.share, 4), "texts_per_step": round(self.texts_per_step, 2)}

    def __str__(self) -> str:
        return f"{self.texts_per_step:.1f} texts a step, {self.share:.0%} of its places filled"


def fill_of(counts: Sequence[int], capacity: Capacity) -> Fill:
    """Return how full the steps are that texts of so many tokens make, in their order."""
    taken = len(steps(counts, capacity))
    tokens = sum(min(count, capacity.sequence) for count in counts)
    return Fill(taken, len(counts), tokens, taken * capacity.rows * capacity.sequence)
