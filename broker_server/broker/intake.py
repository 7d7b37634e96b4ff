"""Hands what devices say to the gateway, in order; while it has no room, each message waits where it came in.

One message of each connection waits at most, since its connection is not read meanwhile; wills have no connection left
to wait in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from broker_server.broker.link import Arrived, Sink

WILLS: Final = 4096
"""Wills that wait at once; of more nobody hears, but for the pause that every silent device comes to."""
COST: Final = 64
"""Bytes that a message takes beside its payload."""

log = logging.getLogger("broker_server.broker.intake")


class Intake:
    """The way from all connections to the gateway; used by the broker's thread only.

    Args:
        wake: runs a function in the broker's thread, called from any.
    """

    def __init__(self, wake: Callable[[Callable[[], None]], None]) -> None:
        self._wake = wake
        self._sink: Sink | None = None
        self._waiting: dict[object, tuple[Arrived, Callable[[], None]]] = {}
        self._wills = 0
        self._asked = False

    def connect(self, sink: Sink | None) -> None:
        """Hand everything to ``sink`` from now on, what waits first; with None all of it waits."""
        self._sink = sink
        self._go_on()

    def take(self, sender: object, event: Arrived, then: Callable[[], None]) -> bool:
        """Hand a message over; return whether it was taken now.

        Args:
            sender: whose one message may wait.
            event: the message.
            then: called once it was taken, where that was not now.
        """
        if self._sink is not None and not self._waiting and self._sink.offer(event, len(event.payload) + COST):
            return True
        self._waiting[sender] = (event, then)
        self._ask()
        return False

    def take_will(self, event: Arrived) -> None:
        """Hand a will over."""
        if self._wills >= WILLS:
            log.warning("a will is lost: %d wait for the gateway", self._wills)
            return
        self._wills += 1
        if self.take(object(), event, self._will_taken):
            self._will_taken()

    def forget(self, sender: object) -> None:
        """Drop a message whose connection has ended: it was not acknowledged, so its device sends it again."""
        self._waiting.pop(sender, None)

    def _will_taken(self) -> None:
        self._wills -= 1

    def _ask(self) -> None:
        if self._sink is not None and not self._asked:
            self._asked = True
            self._sink.when_room(lambda: self._wake(self._go_on))

    def _go_on(self) -> None:
        self._asked = False
        while self._waiting and self._sink is not None:
            sender = next(iter(self._waiting))
            event, then = self._waiting[sender]
            if not self._sink.offer(event, len(event.payload) + COST):
                self._ask()
                return
            del self._waiting[sender]
            then()
