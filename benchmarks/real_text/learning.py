"""What the processes that train to an accuracy share: what they are told, when they test, what they print.

The clock runs while an arm computes class means and trains, not while it is tested.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.program.memory import peak_rss_mib


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read what every process takes."""
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    return parser.parse_args()


@dataclass
class Curve:
    """Accuracy on held-out text over time. Args: test: gives it; every: texts between two tests."""

    test: Callable[[], float]
    every: int
    points: list[tuple[float, int, float]] = field(default_factory=list)
    seconds: float = 0.0
    texts: int = 0

    def begin(self, prepare: Callable[[], None]) -> None:
        """Prepare on the clock, and test for the first time."""
        self._timed(prepare)
        self._point()

    def run(self, step: Callable[[], int], texts: int) -> None:
        """Make steps, which return how many texts they took, until ``texts`` were trained; test on the way."""
        while self.texts < texts:
            due = self.points[-1][1] + self.every
            while self.texts < min(due, texts):
                self._timed(lambda: self._take(step()))
            self._point()

    def tell(self, **more: float) -> int:
        """Print [seconds, texts, accuracy] of every test, and seconds, texts and memory of training; the exit code."""
        trained = {"train_seconds": self.seconds - self.points[0][0], "texts": self.texts}
        told = {"curve": self.points, **trained, "peak_rss_mib": peak_rss_mib(), **more}
        sys.stdout.write(json.dumps(told) + "\n")
        return 0

    def _take(self, texts: int) -> None:
        self.texts += texts

    def _timed(self, work: Callable[[], None]) -> None:
        started = time.perf_counter()
        work()
        self.seconds += time.perf_counter() - started

    def _point(self) -> None:
        self.points.append((round(self.seconds, 3), self.texts, self.test()))


def time_to(points: list[tuple[float, int, float]], target: float) -> float | None:
    """Return the seconds of the first test at or above an accuracy; None when there is none."""
    return next((seconds for seconds, _, accuracy in points if accuracy >= target), None)
