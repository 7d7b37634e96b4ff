"""What the parts of a running gateway share."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from broker_server.config import GatewayConfig
from broker_server.engine.engine import Engine
from broker_server.events import Events
from broker_server.rounds.roster import Roster
from broker_server.rounds.signer import Publisher, Signer
from broker_server.rules.admission import Identity
from broker_server.state.store import Store


@dataclass(frozen=True)
class GatewayParts:
    """What the parts share.

    Args:
        config: settings.
        store: opened state.
        roster: who is here.
        publisher: to the devices; it signs all but plans.
        events: told what happens.
        signer: for plans.
        engine: merges; None: this process.
        chance: draws cohorts and jitter; the system's own by default, so that no device can tell when it is drawn.
    """

    config: GatewayConfig
    store: Store
    roster: Roster
    publisher: Publisher
    events: Events
    signer: Signer
    engine: Engine | None = None
    chance: random.Random = field(default_factory=random.SystemRandom)

    def identity(self, device: str) -> Identity:
        """Return what is known of the device that a topic names."""
        revoked = device in self.store.watch.revoked()
        if revoked:
            self.roster.leave(device)  # nobody plans for it any more
        return Identity(device, self.roster.joined(device), revoked=revoked, site=self.config.server.site_of(device))
