"""Accepted deltas whose bodies the disk did not keep: each costs itself alone, and its device is asked for it again."""

from __future__ import annotations

from typing import Final

from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.merging import Merging
from broker_server.rounds.round_status import RoundStatus
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic

LOST: Final = "the accepted delta was damaged on the gateway's disk: send it again"


class LostDeltas:
    """Args: parts: shared parts of the gateway; merging: says whose bodies cannot be read."""

    def __init__(self, parts: GatewayParts, merging: Merging) -> None:
        self._ledger, self._publisher, self._events = parts.store.ledger, parts.publisher, parts.events
        self._merging = merging

    def of_round(self, number: int) -> set[str]:
        """Return whose delta of a round is lost and did not come again."""
        return {device for device, its_round, _ in self._ledger.lost() if its_round == number}

    def ask_again(self, device: str) -> None:
        """Ask a device for the bodies that it was told are accepted and that the disk did not keep."""
        for name, number, digest in self._ledger.lost():
            if name == device:
                verdict = pb.Verdict(kind=pb.DELTA, digest=digest, code=pb.BUSY, round=number, detail=LOST)
                verdict.retry_after_s = 1.0
                self._publisher.publish(Topic.VERDICT, device, [encode(verdict)])

    def take_back(self, current: RoundStatus, wall: float) -> None:
        """Take back that deltas were accepted whose body is damaged.

        Each costs itself alone: its device is asked to send it again, and the round goes on waiting for it.

        Args:
            current: status of the last round that was opened.
            wall: seconds since 1970.

        Raises:
            StorageError: when the disk refuses.
        """
        for row, what in self._merging.unreadable():
            with self._ledger.transaction():
                self._ledger.lose(row, wall)
            if current.asks(row.device, row.round):
                current.answered.discard(row.device)
            self._events.tell("lost", device=row.device, round=row.round, detail=what)
            self.ask_again(row.device)
