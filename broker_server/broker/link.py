"""What connects a gateway and its broker, in one process or across a network: what it tells, and what it can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from edge_runtime.wire.topics import Topic


@dataclass(frozen=True)
class Up:
    """The broker took the connection and the subscriptions."""


@dataclass(frozen=True)
class Down:
    """The connection went, or cannot be made; it is tried again by itself."""

    reason: str


@dataclass(frozen=True)
class Arrived:
    """A message from a device."""

    topic: str
    payload: bytes


LinkEvent = Up | Down | Arrived


class Sink(Protocol):
    """Where what devices say goes: the inbox of the thread that decides."""

    def offer(self, event: Arrived, size: int) -> bool:
        """Take an event of ``size`` bytes if there is room; return whether it was taken. Never blocks."""
        ...

    def when_room(self, call: Callable[[], None]) -> None:
        """Call once there is room, from any thread."""
        ...


class GatewayLink(Protocol):
    """A gateway's connection to its broker."""

    def start(self) -> None:
        """Begin to connect; Up or Down follow."""
        ...

    def publish(self, topic: Topic, name: str, payloads: Iterable[bytes]) -> None:
        """Send messages; while the broker is away they wait."""
        ...

    def flush(self, seconds: float) -> bool:
        """Wait until the broker has everything; return whether it has."""
        ...

    def stop(self, seconds: float) -> None:
        """Send what waits, then leave."""
        ...
