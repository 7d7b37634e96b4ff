"""What the embedded broker has to tell, at a bounded rate: whoever knocks all day fills no disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 10.0
Tell = Callable[[str, dict[str, object]], None]
"""Takes the kind of an event and its fields; called from the broker's thread, must not wait."""


class Notices:
    """Passes on one notice of each kind and reason in ``EVERY_S`` seconds, with how often it happened since the last.

    Args:
        tell: takes them.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._last: dict[tuple[str, str], float] = {}
        self._times: Counter[tuple[str, str]] = Counter()

    def note(self, kind: str, reason: str, now: float, **fields: object) -> None:
        """Count something; tell it when the last of its kind is long enough ago.

        Args:
            kind: "refused" or "limit".
            reason: one of a few; texts that a stranger chose belong into ``fields``.
            now: seconds of a clock that only grows.
            fields: of this one time.
        """
        key = (kind, reason)
        self._times[key] += 1
        if now - self._last.get(key, float("-inf")) >= EVERY_S:
            self._last[key] = now
            self._tell(kind, {"reason": reason, "times": self._times.pop(key), **fields})
