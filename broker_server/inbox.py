"""What waits for the thread that decides: events in the order in which they came, bounded by number and by bytes.

Whoever brings an event may wait for room (``put``), leave it (``offer``), or stop reading its source until it is called
(``when_room``). So a flood fills the buffers of those who send it, not the gateway's memory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

BYTES_LIMIT: Final = 64 * 1024 * 1024
LENGTH_LIMIT: Final = 4096
TAKEN_BYTES: Final = 16 * 1024 * 1024
TAKEN_LENGTH: Final = 1024
"""What one ``take`` returns at most; between two the clock is looked at."""


class Inbox(Generic[T]):
    """Events from any thread to one.

    An event larger than ``limit`` is taken when nothing else waits: it could never come otherwise.

    Args:
        limit: bytes that wait at most.
        length: events that wait at most.
    """

    def __init__(self, limit: int = BYTES_LIMIT, length: int = LENGTH_LIMIT) -> None:
        self._limit, self._length = limit, length
        self._events: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._lock = threading.Lock()
        self._arrived, self._left = threading.Condition(self._lock), threading.Condition(self._lock)
        self._waiting: list[Callable[[], None]] = []

    @property
    def held_bytes(self) -> int:
        """Return the bytes of the events that wait."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: T, size: int = 0) -> bool:
        """Add an event, waiting for room; return whether it was added: not once the inbox is closed."""
        with self._lock:
            self._left.wait_for(lambda: self._closed or self._room(size))
            return self._add(event, size)

    def offer(self, event: T, size: int = 0) -> bool:
        """Add an event if there is room now; return whether it was added."""
        with self._lock:
            return self._room(size) and self._add(event, size)

    def push(self, event: T, size: int = 0) -> bool:
        """Add an event whether or not there is room: the result of work whose bytes are bounded elsewhere."""
        with self._lock:
            return self._add(event, size)

    def when_room(self, call: Callable[[], None]) -> None:
        """Call once, as soon as half of it is free: now, or from the thread that takes; never once it is closed.

        Half, so that who waits is not woken for each event that leaves.

        Args:
            call: must not block; whom it wakes calls ``offer``, and waits again if others were faster.
        """
        with self._lock:
            now = not self._closed and self._half_free()
            if not now:
                self._waiting.append(call)
        if now:
            call()

    def take(self, timeout: float) -> list[T]:
        """Return what waits, oldest first, TAKEN_LENGTH events or about TAKEN_BYTES at most.

        Args:
            timeout: seconds to wait for the first event; after it the list is empty.
        """
        with self._lock:
            self._arrived.wait_for(lambda: self._closed or self._events, timeout)
            taken = self._some()
            calls = self._wake()
        for call in calls:
            call()
        return taken

    def close(self) -> None:
        """Take no more; who waits for room goes on."""
        with self._lock:
            self._closed = True
            self._arrived.notify_all()
            self._left.notify_all()

    def _room(self, size: int) -> bool:
        return not self._events or (len(self._events) < self._length and self._bytes + size <= self._limit)

    def _half_free(self) -> bool:
        return 2 * len(self._events) <= self._length and 2 * self._bytes <= self._limit

    def _add(self, event: T, size: int) -> bool:
        if self._closed:
            return False
        self._events.append((event, size))
        self._bytes += size
        self._arrived.notify()
        return True

    def _some(self) -> list[T]:
        events: list[T] = []
        taken_bytes = 0
        while self._events and len(events) < TAKEN_LENGTH and taken_bytes < TAKEN_BYTES:
            event, size = self._events.popleft()
            events.append(event)
            taken_bytes += size
        self._bytes -= taken_bytes
        return events

    def _wake(self) -> list[Callable[[], None]]:
        """Wake those who wait in ``put``; return whom to call, outside the lock."""
        self._left.notify_all()
        if self._closed or not self._half_free():
            return []
        calls, self._waiting = self._waiting, []
        return calls
