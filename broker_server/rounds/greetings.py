"""Hellos and byes: how many are heard, and their way to the ledger, which a flood of them must not keep busy.

The first of a second is written at once, those that follow together in the next. What is lost by a kill in between
comes again: a gateway that starts anew is greeted anew.
"""

from __future__ import annotations

import contextlib
from typing import Final

from broker_server.errors import StorageError
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rules.rates import Bucket, Buckets
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError

FLUSH_S: Final = 1.0
ANSWERS_PER_S: Final = 20.0
"""To names beyond the limit of new ones: each may be said once only, so no memory of names bounds the answers."""
HOUR_S: Final = 3600.0


class Greetings:
    """Bounds greetings, and writes them down. Args: parts: shared parts of the gateway."""

    def __init__(self, parts: GatewayParts) -> None:
        self._ledger, self._roster, self._limits = parts.store.ledger, parts.roster, parts.config.limits
        limits = parts.config.limits
        self._names = Buckets(limits.hellos_per_minute, limits.hellos_per_minute / 60.0)
        # Who has a certificate of the authority is no stranger, however many there are.
        new = 0.0 if parts.config.certified else float(limits.new_names_per_hour)
        self._new = Bucket(new, new / HOUR_S)
        self._answers = Bucket(ANSWERS_PER_S, ANSWERS_PER_S)
        self._hellos: dict[str, pb.Hello] = {}
        self._left: set[str] = set()
        self._may_leave = 0  # so many, before names are forgotten; to count them costs as much as there are names
        self._written_at = -FLUSH_S

    def check_rate(self, device: str, now: float) -> None:
        """Refuse a Hello of a name that greets too often; what it says is not looked at.

        Raises:
            WireError: BUSY.
        """
        if not self._names.take(device, now):
            self._roster.hit(device, "hellos_per_minute")
            raise WireError(pb.BUSY, f"more than {self._limits.hellos_per_minute} Hellos in a minute")

    def check_new(self, device: str, now: float) -> None:
        """Refuse a name that nobody heard of before, when there were too many.

        Raises:
            WireError: BUSY.
        """
        if self._roster.joined(device) or self._ledger.registered(device) or self._new.take(now):
            return
        self._roster.hit("", "new_names_per_hour")
        raise WireError(pb.BUSY, f"more than {self._limits.new_names_per_hour} new names in an hour")

    def may_answer(self, now: float) -> bool:
        """Return whether another name that is not known gets an answer."""
        return self._answers.take(now)

    def hello(self, hello: pb.Hello, now: float, wall: float) -> None:
        """Keep a Hello that was accepted.

        Args:
            hello: of the device.
            now: monotonic seconds.
            wall: seconds since 1970.

        Raises:
            StorageError: when the disk refuses.
        """
        self._left.discard(hello.device)
        self._hellos[hello.device] = hello
        self._roster.unwritten.add(hello.device)
        try:
            self._flush_in_time(now, wall)
        except StorageError:
            del self._hellos[hello.device]
            self._roster.unwritten.discard(hello.device)
            raise

    def bye(self, device: str, now: float, wall: float) -> None:
        """Keep that a device left; it is written later when the disk refuses. Args and Raises: as hello."""
        self._left.add(device)
        self._flush_in_time(now, wall)

    def flush_due(self, now: float, wall: float) -> None:
        """Write what waits, a second after what was written last; on a full disk, later. Args: as hello."""
        if self._hellos or self._left:
            with contextlib.suppress(StorageError):
                self._flush_in_time(now, wall)

    def _flush_in_time(self, now: float, wall: float) -> None:
        if now - self._written_at >= FLUSH_S:
            self.flush(wall)
            self._written_at = now

    def flush(self, wall: float) -> None:
        """Write what waits. Args: wall: seconds since 1970.

        Raises:
            StorageError: when the disk refuses; it is written later.
        """
        with self._ledger.transaction():
            for hello in self._hellos.values():
                self._ledger.greet(hello, wall)
            for device in sorted(self._left):
                self._ledger.leave(device)
            gone, may_leave = list[str](), self._may_leave - len(self._left)
            if self._hellos and may_leave <= 0:
                gone, may_leave = self._ledger.forget_idle(self._limits.idle_names)
        self._may_leave = may_leave
        self._roster.forget(gone)
        self._roster.unwritten.clear()
        self._hellos.clear()
        self._left.clear()
