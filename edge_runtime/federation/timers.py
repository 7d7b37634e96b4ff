"""When to send something again: named timers with a backoff, on a clock that a test may hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from edge_runtime.federation.link import backoff

FIRST_RESEND_S: Final = 5.0
LAST_RESEND_S: Final = 300.0


@dataclass
class _Timer:
    """Args: tries: made so far; due: seconds of the clock; None: not waiting."""

    tries: int = 0
    due: float | None = None


class Timers:
    """Timers by name.

    Args:
        names: of all.
        clock: seconds.
        chance: numbers in [0, 1), for jitter.
    """

    def __init__(self, names: Iterable[str], clock: Callable[[], float], chance: Callable[[], float]) -> None:
        self._timers = {name: _Timer() for name in names}
        self._clock, self._chance = clock, chance

    def again(self, name: str, after_s: float = 0.0) -> None:
        """Set a timer: ``after_s`` from now, or (0) the next step of its backoff."""
        timer = self._timers[name]
        timer.due = self._clock() + (after_s or backoff(timer.tries, FIRST_RESEND_S, LAST_RESEND_S, self._chance()))
        timer.tries += 1

    def stop(self, name: str) -> None:
        """Stop a timer and forget its tries."""
        self._timers[name] = _Timer()

    def stop_all(self) -> None:
        """Stop every timer."""
        for name in self._timers:
            self.stop(name)

    def running(self, name: str) -> bool:
        """Return whether a timer is set."""
        return self._timers[name].due is not None

    def take_due(self) -> list[str]:
        """Return the names of the timers that are due; each is told once."""
        due = [name for name, timer in self._timers.items() if timer.due is not None and self._clock() >= timer.due]
        for name in due:
            self._timers[name].due = None
        return due

    def pause(self, limit_s: float) -> float:
        """Return the seconds until the next timer, at most ``limit_s``."""
        due = [timer.due for timer in self._timers.values() if timer.due is not None]
        return max(0.0, min([limit_s, *(at - self._clock() for at in due)]))
