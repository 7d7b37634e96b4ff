"""Whose body comes next: a queue of offers, and grants bounded by the bytes of the bodies that they are for. Pure.

Turns go by arrival, one for each device and kind. Whoever let a grant lapse stands PENALTY places further back next
time. Devices without an accepted delta hold at most half of the room together, so that names which cost nothing cannot
keep those out that do work. A chunk that nobody offered counts as an offer that is granted at once, or not at all.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.checks import BODIES

KINDS: Final = BODIES
LEASE_S: Final = 20.0
"""How long a grant holds, from the last chunk that came."""
PENALTY: Final = 1000
LAPSES_LIMIT: Final = 10
WAITING_LIMIT: Final = 20_000
NAMES_LIMIT: Final = 20_000
RATE_S: Final = 10.0
"""Over about how long the rate of bodies is measured."""
SLOWEST: Final = 65_536.0
"""Bytes a second that are reckoned with at least."""
RETRY_LEAST_S: Final = 5.0
RETRY_MOST_S: Final = 300.0

Key = tuple[str, pb.Kind]


@dataclass(frozen=True)
class Offer:
    """A body that a device has. Args: kind; digest; count: of its chunks; total: its bytes."""

    device: str
    kind: pb.Kind
    digest: bytes
    count: int
    total: int

    @property
    def key(self) -> Key:
        """What there is one turn for."""
        return self.device, self.kind


@dataclass
class _Waiting:
    offer: Offer
    place: int


@dataclass
class _Grant:
    offer: Offer
    until: float
    new: bool  # no body of the device came before


class Offers:
    """The queue and the grants.

    Args:
        room: bytes of the bodies that are granted at a time; a larger one is granted when it is alone.
        chance: numbers in [0, 1), for jitter.
        proven: whether a device, by its name, had a delta accepted at some time.
    """

    def __init__(self, room: int, chance: Callable[[], float], proven: Callable[[str], bool]) -> None:
        self._room, self._chance, self._proven = room, chance, proven
        self._waiting: dict[Key, _Waiting] = {}
        self._queues: tuple[list[tuple[int, Key]], list[tuple[int, Key]]] = ([], [])
        """Places of devices that are new (1) and of the others (0); what is no longer waiting is passed over."""
        self._grants: dict[Key, _Grant] = {}
        self._leases: OrderedDict[Key, None] = OrderedDict()  # those that end first come first
        self._lapses: OrderedDict[str, int] = OrderedDict()
        self._places = 0
        self.granted_bytes = self.waiting_bytes = self._new_bytes = 0
        self._recent_bytes, self._recent_at = 0.0, 0.0

    @property
    def waiting(self) -> int:
        """Return how many offers wait."""
        return len(self._waiting)

    def ask(self, offer: Offer) -> bool:
        """Take an offer: it waits for its turn, unless it has one; return False where there is no place to wait.

        Args:
            offer: one that the same device made before for another body of the kind goes.
        """
        grant = self._grants.get(offer.key)
        if grant is not None:
            if grant.offer == offer:
                return True
            self._lapse(offer.key)
        before = self._waiting.get(offer.key)
        if before is not None:
            self.waiting_bytes += offer.total - before.offer.total
            before.offer = offer
            return True
        if len(self._waiting) >= WAITING_LIMIT:
            return False
        self._places += 1
        place = self._places + PENALTY * min(self._lapses.get(offer.device, 0), LAPSES_LIMIT)
        self._waiting[offer.key] = _Waiting(offer, place)
        self._sweep()
        heapq.heappush(self._queues[self._is_new(offer.device)], (place, offer.key))
        self.waiting_bytes += offer.total
        return True

    def grant_due(self, now: float) -> list[Offer]:
        """End the grants whose lease is over; return the offers whose turn came, which are granted now."""
        while self._leases and self._grants[next(iter(self._leases))].until <= now:
            self._lapse(next(iter(self._leases)))
        return list(self._next_grants(now))

    def holds(self, offer: Offer) -> bool:
        """Return whether just this offer is granted."""
        grant = self._grants.get(offer.key)
        return grant is not None and grant.offer == offer

    def granted(self, device: str, kind: pb.Kind) -> Offer | None:
        """Return what a device may send."""
        grant = self._grants.get((device, kind))
        return grant.offer if grant is not None else None

    def came(self, offer: Offer, now: float) -> bool:
        """Note that a chunk of a body comes; return whether there is room for it.

        Args:
            offer: what the chunk says of its body.
            now: monotonic seconds.
        """
        grant = self._grants.get(offer.key)
        if grant is None or grant.offer.digest != offer.digest:
            if self._waiting or not self._fits(offer):
                return False
            if grant is not None:
                self._lapse(offer.key)
            self._grant(offer, now)
        else:
            grant.until = now + LEASE_S
            self._leases.move_to_end(offer.key)
        return True

    def done(self, device: str, digest: bytes, now: float, *, accepted: bool) -> None:
        """Note that a body was decided, whether it was granted or waits: it needs no room any more.

        Args:
            device: that sent it.
            digest: of the body.
            now: monotonic seconds.
            accepted: whether it was a delta that was accepted: its device does work.
        """
        for key in ((device, kind) for kind in KINDS):
            grant, waiting = self._grants.get(key), self._waiting.get(key)
            if grant is not None and grant.offer.digest == digest:
                self._recent_bytes, self._recent_at = self._recent(now) + self._let_go(key).total, now
            if waiting is not None and waiting.offer.digest == digest:
                self._drop(key)
        if accepted:
            self._lapses.pop(device, None)

    def forget(self, device: str) -> None:
        """Let a device's offers and grants go: it left."""
        for key in ((device, kind) for kind in KINDS):
            if key in self._waiting:
                self._drop(key)
            if key in self._grants:
                self._let_go(key)

    def retry_after_s(self, now: float) -> float:
        """Return when a device should offer again that hears nothing: twice as long as the queue should take, about."""
        rate = max(SLOWEST, self._recent(now) / RATE_S)
        wait_s = 2.0 * (self.waiting_bytes + self.granted_bytes) / rate
        return min(RETRY_MOST_S, max(RETRY_LEAST_S, wait_s)) * (0.75 + 0.5 * self._chance())

    def _recent(self, now: float) -> float:
        return self._recent_bytes * math.exp(-max(0.0, now - self._recent_at) / RATE_S)

    def _is_new(self, device: str) -> bool:
        return not self._proven(device)

    def _fits(self, offer: Offer) -> bool:
        if self._is_new(offer.device) and self._new_bytes and self._new_bytes + offer.total > self._room // 2:
            return False
        return not self._grants or self.granted_bytes + offer.total <= self._room

    def _next_grants(self, now: float) -> Iterator[Offer]:
        blocked: set[bool] = set()
        while heads := [(*place, new) for new in (False, True) if new not in blocked and (place := self._head(new))]:
            _, key, new = min(heads)
            offer = self._waiting[key].offer
            if not self._fits(offer):
                if not new or self.granted_bytes + offer.total > self._room:
                    return  # nobody overtakes who waits for room, or large bodies would never come
                blocked.add(new)
                continue
            self._drop(key)
            heapq.heappop(self._queues[new])
            self._grant(offer, now)
            yield offer

    def _head(self, new: bool) -> tuple[int, Key] | None:
        queue = self._queues[new]
        while queue:
            place, key = queue[0]
            if self._waits(key, place):
                return queue[0]
            heapq.heappop(queue)
        return None

    def _sweep(self) -> None:
        """Forget places that nobody waits at any more, now and then: only those at the front go by themselves."""
        if sum(map(len, self._queues)) <= 2 * len(self._waiting) + 64:
            return
        for queue in self._queues:
            queue[:] = [(place, key) for place, key in queue if self._waits(key, place)]
            heapq.heapify(queue)

    def _waits(self, key: Key, place: int) -> bool:
        waiting = self._waiting.get(key)
        return waiting is not None and waiting.place == place

    def _grant(self, offer: Offer, now: float) -> None:
        new = self._is_new(offer.device)
        self._grants[offer.key] = _Grant(offer, now + LEASE_S, new)
        self._leases[offer.key] = None
        self._charge(offer.total, new=new)

    def _lapse(self, key: Key) -> None:
        """Let a grant go that brought no body."""
        device = self._let_go(key).device
        self._lapses[device] = self._lapses.get(device, 0) + 1
        self._lapses.move_to_end(device)
        if len(self._lapses) > NAMES_LIMIT:
            self._lapses.popitem(last=False)

    def _let_go(self, key: Key) -> Offer:
        grant = self._grants.pop(key)
        del self._leases[key]
        self._charge(-grant.offer.total, new=grant.new)
        return grant.offer

    def _charge(self, size: int, *, new: bool) -> None:
        self.granted_bytes += size
        self._new_bytes += size if new else 0

    def _drop(self, key: Key) -> None:
        self.waiting_bytes -= self._waiting.pop(key).offer.total
