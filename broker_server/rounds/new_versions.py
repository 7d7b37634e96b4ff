"""What follows from a new version, and those without a round: new class sums in the head, and a rollback."""

from __future__ import annotations

import contextlib
from typing import TypeVar

from broker_server.errors import StateError, StorageError
from broker_server.rounds.announcer import Announcer
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.merging import Merging
from broker_server.rounds.privacy_budget import budget_of
from broker_server.rules.gate import Decision
from broker_server.rules.server_rules import ServerRules
from broker_server.rules.weights import Caps
from broker_server.secure_config import MASKED
from broker_server.state.retention import Retention
from broker_server.state.settings_table import ROLLBACK

M = TypeVar("M", bound=Merging)


def merging_of(parts: GatewayParts, kind: type[M]) -> M:
    """Return what merges by the settings of a gateway. Args: parts: shared parts of it; kind: Merging, or a site's."""
    limits, train = parts.config.limits, parts.config.train
    caps = Caps(limits.weight_multiple, limits.weight_share, limits.norm_clip, limits.most_examples)
    budget = budget_of(parts.config, parts.store)
    server = ServerRules.of(parts.config.server, parts.config.robust, budget.privacy if budget else None)
    return kind(
        parts.store,
        train_head=train.head_share > 0,
        caps=caps,
        rounded=train.codec_down == "int8",
        rules=server,
        budget=budget,
        engine=parts.engine,
        masked_sums=parts.config.secure.enabled and parts.config.secure.class_sums == MASKED,
    )


class NewVersions:
    """Args: parts: shared parts of the gateway; merging: makes versions; announcer: tells devices of them."""

    def __init__(self, parts: GatewayParts, merging: Merging, announcer: Announcer) -> None:
        self._store, self._events = parts.store, parts.events
        self._max_staleness = parts.config.round.max_staleness
        self._merging, self._announcer = merging, announcer
        self._retention = Retention(parts.store, parts.config.limits.keep_rounds)

    def announce(self) -> None:
        """Publish the newest version; what has become too old is due to go."""
        self._announcer.version(self._merging.row)
        self._retention.due(self._merging.oldest_base(self._max_staleness))

    def settled(self, number: int) -> int:
        """Return up to which round devices may let go of what they sent once a version of round ``number`` is there.

        What comes later, of whichever round, is in the next version: until then its device keeps it, since a disk may
        lose it.
        """
        return self._store.ledger.settled(number, self._merging.oldest_base(self._max_staleness))

    def remove_old(self) -> None:
        """Remove a little of what is due to go, if anything is."""
        self._retention.step()

    def refresh_head(self, wall: float) -> None:
        """Make a version whose head has the class sums of all devices, when they changed. Args: wall: s since 1970.

        Raises:
            StorageError: when the disk refuses.
        """
        labels_lost = self._merging.refresh_head(wall)
        if labels_lost is None:
            return
        self.announce()
        row = self._merging.row
        self._events.tell(
            "version", reason="head", version=row.version, devices=row.contributors, labels_lost=labels_lost
        )

    def carry_out(self, decision: Decision, wall: float) -> bool:
        """Write a decision down; then serve the version that waited, or the one before it again.

        Args:
            decision: of the gate.
            wall: seconds since 1970.

        Returns:
            Whether that could be: the version before may be damaged.

        Raises:
            StorageError: when the disk refuses.
        """
        with self._store.ledger.transaction():
            self._store.ledger.decide_version(decision, wall)
        if decision.served:
            self.announce()
            return True
        return self._take_back(wall)

    def _take_back(self, wall: float) -> bool:
        try:
            self._merging.take_back(wall)
        except StateError as error:
            self._events.tell("damaged", detail=str(error))
            return False
        row = self._merging.row
        with contextlib.suppress(StorageError), self._store.ledger.transaction():
            self._store.ledger.copy_measurements(row.version, row.parent or 0)
        self.announce()
        return True

    @property
    def rollback_asked(self) -> bool:
        """Whether the operator wants an earlier version back."""
        return bool(self._store.watch.rollback())

    def roll_back(self, wall: float) -> bool:
        """Go back to an earlier version when the operator asked for it; return whether there is a new version.

        Args:
            wall: seconds since 1970.

        Raises:
            StorageError: when the disk refuses.
        """
        asked = self._store.watch.rollback()
        if not asked:
            return False
        try:
            self._merging.roll_back(int(asked), wall)
        except StateError as error:
            with self._store.ledger.transaction():
                self._store.ledger.put(ROLLBACK, "")
            self._events.tell("damaged", detail=str(error))
            return False
        self.announce()
        return True
