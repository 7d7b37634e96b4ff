"""The simulated clock: a heap of what happens when; what happens at one time goes in the order in which it was set."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    """Time since the start, in seconds; it stands still while something happens."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.happened = 0
        """Events so far."""
        self._set = 0

    def at(self, when: float, call: Callable[..., None], *args: object) -> None:
        """Let something happen. Args: when: no earlier than now; call: with ``args``."""
        self._set += 1
        heapq.heappush(self._events, (max(when, self.now), self._set, call, args))

    def after(self, seconds: float, call: Callable[..., None], *args: object) -> None:
        """Let something happen in a while."""
        self.at(self.now + seconds, call, *args)

    def step(self) -> bool:
        """Let the next thing happen; return False when there is none."""
        if not self._events:
            return False
        self.now, _, call, args = heapq.heappop(self._events)
        self.happened += 1
        call(*args)
        return True
