"""The gateway's connection to the broker in its own process: no socket, no client, nothing that can break."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.link import LinkEvent, Sink, Up
from edge_runtime.wire.topics import RETAINED, Address, Topic


class LocalLink:
    """Publishes and receives. A killed gateway takes its broker along, so there is no will.

    Args:
        broker: started.
        federation: whose topics.
        inbox: takes what devices say; while it has no room, they wait.
        post: takes Up.
    """

    def __init__(
        self, broker: EmbeddedBroker, federation: str, inbox: Sink, post: Callable[[LinkEvent], object]
    ) -> None:
        self._broker, self._federation, self._inbox, self._post = broker, federation, inbox, post

    def start(self) -> None:
        """Take what devices say from now on; Up comes before it."""
        self._post(Up())
        self._broker.connect(self._inbox)

    def publish(self, topic: Topic, name: str, payloads: Iterable[bytes]) -> None:
        """Send messages."""
        address = str(Address(self._federation, topic, name))
        for payload in payloads:
            self._broker.publish(address, payload, retain=topic in RETAINED)

    def flush(self, seconds: float) -> bool:
        """Wait until the broker has everything; return whether it has."""
        return self._broker.flush(seconds)

    def stop(self, seconds: float = 5.0) -> None:
        """Send what waits; the broker ends by itself."""
        self._broker.flush(seconds)
