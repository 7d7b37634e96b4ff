"""Settings chosen on texts that are held back from the training set. Pure."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from benchmarks.quantization.texts import Row

HELD_BACK: Final = 0.1
"""Share of the training texts that settings are chosen on."""


@dataclass(frozen=True)
class Rate:
    """Learning rates at the first step. Args: body: of adapters; head: of the head, None: as the arm does by itself."""

    body: float
    head: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``BODY`` or ``BODY:HEAD``.

        Raises:
            ValueError: when one is no number, or the first is not above 0, or the second below 0.
        """
        body, _, head = text.partition(":")
        rate = cls(float(body), float(head) if head else None)
        if not rate.body > 0 or (rate.head is not None and not rate.head >= 0):
            raise ValueError(f"rate {text}: expected a number above 0, or two joined by a colon")
        return rate

    def __str__(self) -> str:
        """Return what ``parse`` reads."""
        return f"{self.body:g}" if self.head is None else f"{self.body:g}:{self.head:g}"


def hold_back(rows: Sequence[Row], seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Return the texts to learn from and those held back, both in the order of ``rows``."""
    count = max(1, round(HELD_BACK * len(rows)))
    held = set(random.Random(seed).sample(range(len(rows)), count))  # noqa: S311 - no secret
    kept = [row for number, row in enumerate(rows) if number not in held]
    return kept, [rows[number] for number in sorted(held)]


def best(accuracies: Mapping[str, float]) -> str:
    """Return the setting of the highest accuracy; of equals the first."""
    return max(accuracies, key=lambda setting: accuracies[setting])


def at_edge(accuracies: Mapping[str, float]) -> bool:
    """Return whether the best is the lowest or highest of the settings tried: one beyond it may be better.

    Settings are rates or numbers; a head's rate says nothing here. A single one was not chosen.
    """
    bodies = [Rate.parse(setting).body for setting in accuracies]
    return len(bodies) > 1 and Rate.parse(best(accuracies)).body in (min(bodies), max(bodies))


def digest(rows: Sequence[Row]) -> str:
    """Return what tells these texts and labels from others, in hexadecimal."""
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
