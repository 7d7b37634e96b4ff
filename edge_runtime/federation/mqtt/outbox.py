"""What one connection still has to send, a few messages at a time.

At most WINDOW messages are under way at once; the rest stays an iterator, so that a slow link costs no memory. Bytes
are counted as MQTT payloads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from edge_runtime.federation.link import Traffic

WINDOW: Final = 8


class Outbox:
    """What one connection still has to send: a thread that publishes while fewer than WINDOW messages are under way.

    A thread of its own, because the client calls back with its locks held: publishing from a callback while another
    thread publishes would wait for ever.

    Args:
        publish: takes a topic and a payload, and hands them to the client.
        traffic: counts what goes out.
        window: messages under way at most.
    """

    def __init__(self, publish: Callable[[str, bytes], object], traffic: Traffic, window: int = WINDOW) -> None:
        self._publish, self._traffic, self._window = publish, traffic, window
        self._queue: deque[tuple[str, Iterator[bytes]]] = deque()
        self._changed = threading.Condition()
        self._under_way = 0
        self._closed = False
        threading.Thread(target=self._work, name="outbox", daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether something is queued or not yet acknowledged by the broker."""
        with self._changed:
            return bool(self._queue or self._under_way)

    def put(self, topic: str, payloads: Iterable[bytes]) -> None:
        """Queue messages."""
        with self._changed:
            self._queue.append((topic, iter(payloads)))
            self._changed.notify_all()

    def acknowledged(self) -> None:
        """Note that the broker took one."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Drop what is queued."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()

    def wait_empty(self, seconds: float) -> bool:
        """Wait until everything was acknowledged; return whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or not (self._queue or self._under_way), seconds)

    def _work(self) -> None:
        while (item := self._next()) is not None:
            topic, payload = item
            self._publish(topic, payload)

    def _next(self) -> tuple[str, bytes] | None:
        """Return the next message when there is room for it; None when closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._closed or (self._queue and self._under_way < self._window))
                if self._closed:
                    return None
                topic, payloads = self._queue[0]
                payload = next(payloads, None)
                if payload is None:
                    self._queue.popleft()
                    self._changed.notify_all()
                    continue
                self._under_way += 1
                self._traffic.bytes_up += len(payload)
                return topic, payload
