"""Limits against strangers, as arithmetic: how fast one may speak, and who is cut when too many wait. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final, Generic, TypeVar

BURST_S: Final = 10.0
"""Seconds for which a client may have saved up messages."""

T = TypeVar("T")


class Pace:
    """How long to wait before a client is heard again, so that it stays at ``rate`` messages a second.

    The generic cell rate algorithm (ITU-T I.371, annex A): ``due`` runs ahead of the clock by what was taken too early.
    """

    def __init__(self, rate: float) -> None:
        self._step = 1.0 / rate
        self._due = float("-inf")

    def take(self, now: float) -> float:
        """Count a message at ``now``; return the seconds to wait before the next is read, 0 within the limit."""
        self._due = max(self._due, now) + self._step
        return max(0.0, self._due - now - BURST_S)


class Waiting(Generic[T]):
    """Who is connected and not yet admitted, oldest first, by where they come from.

    Args:
        most: of all.
        most_of_one: of one source.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._sources: dict[str, dict[T, bool]] = {}  # whether one spoke, in the order of their coming
        self._count = 0

    def limit(self, most: int, most_of_one: int) -> None:
        """Have other limits for who comes from now on."""
        self._most, self._most_of_one = most, most_of_one

    def enter(self, who: T, source: str) -> T | None:
        """Note a newcomer; return who has to go for it, of its own source or of the source with the most.

        That is the oldest of those that said nothing, or the oldest when all spoke.
        """
        own = self._sources.setdefault(source, {})
        own[who] = False
        self._count += 1
        if len(own) > self._most_of_one:
            return self._goes(source)
        if self._count > self._most:
            return self._goes(max(self._sources, key=lambda one: len(self._sources[one])))
        return None

    def spoke(self, who: T, source: str) -> None:
        """Note that one said something."""
        own = self._sources.get(source, {})
        if who in own:
            own[who] = True

    def leave(self, who: T, source: str) -> None:
        """Forget one, whether it waits or not."""
        own = self._sources.get(source, {})
        if who in own:
            del own[who]
            self._count -= 1
            if not own:
                del self._sources[source]

    def _goes(self, source: str) -> T:
        own = self._sources[source]
        who = next((one for one, spoke in own.items() if not spoke), next(iter(own)))
        self.leave(who, source)
        return who


def source_of(address: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 network that one IPv6 host may choose from."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    if parsed.is_loopback:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
