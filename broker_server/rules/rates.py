"""How often something may happen: a bucket of tokens that fills at a steady rate. No clock: the time comes in."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

NAMES_REMEMBERED = 4096


@dataclass
class Bucket:
    """Lets so many things happen at once, and then so many a second.

    Args:
        capacity: tokens at most, and at the start; 0 lets everything happen.
        per_s: tokens that come each second.
    """

    capacity: float
    per_s: float
    level: float = -1.0
    at: float = 0.0

    def take(self, now: float) -> bool:
        """Take a token; return whether there was one. Args: now: monotonic seconds."""
        if not self.capacity:
            return True
        filled = self.capacity if self.level < 0 else self.level + max(0.0, now - self.at) * self.per_s
        self.level, self.at = min(self.capacity, filled), now
        if self.level < 1.0:
            return False
        self.level -= 1.0
        return True

    def wait_s(self) -> float:
        """Return how long after the last try there is a token."""
        return max(0.0, 1.0 - self.level) / self.per_s if self.capacity and self.per_s else 0.0


class Buckets:
    """One bucket for each name, of which those used last are remembered. Args: as Bucket."""

    def __init__(self, capacity: float, per_s: float) -> None:
        self._capacity, self._per_s = capacity, per_s
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, name: str, now: float) -> bool:
        """Take a token of a name; return whether there was one."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._capacity, self._per_s)
        self._buckets.move_to_end(name)
        if len(self._buckets) > NAMES_REMEMBERED:
            self._buckets.popitem(last=False)
        return bucket.take(now)
