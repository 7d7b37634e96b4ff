"""What the parts of a running gateway share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from broker_server.config import GatewayConfig
from broker_server.events import Events
from broker_server.rounds.roster import Roster
from broker_server.state.store import Store
from edge_runtime.wire.topics import Topic


class Publisher(Protocol):
    """A way to the devices."""

    def publish(self, topic: Topic, name: str, payloads: Iterable[bytes]) -> None:
        """Send payloads on a topic; ``name`` is the device, the blob, or empty."""
        ...


@dataclass(frozen=True)
class GatewayParts:
    """Args: config: settings; store: opened state; roster: who is here; publisher; events: told what happens."""

    config: GatewayConfig
    store: Store
    roster: Roster
    publisher: Publisher
    events: Events
