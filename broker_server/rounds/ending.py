"""When a gateway whose rounds are done may leave, and what it says then."""

from __future__ import annotations

from broker_server.rounds.conductor import Conductor
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.measuring import Measuring
from broker_server.rounds.reception import Reception
from broker_server.rules.round import State


class Ending:
    """Args: parts: shared parts of the gateway; conductor: of the rounds; reception, measuring: that must be done."""

    def __init__(self, parts: GatewayParts, conductor: Conductor, reception: Reception, measuring: Measuring) -> None:
        self._config, self._ledger, self._roster = parts.config, parts.store.ledger, parts.roster
        self._events = parts.events
        self._conductor, self._reception, self._measuring = conductor, reception, measuring
        self._finished_at: float | None = None

    def over(self, now: float) -> bool:
        """Tell whether to leave: all rounds done, and every registered device came for the last version and went.

        After a restart devices come back one by one, so who has not come yet is waited for, ``linger_s`` at most.

        Args:
            now: monotonic seconds.
        """
        if self._conductor.state is not State.FINISHED or self._config.keep_serving:
            return False
        if self._finished_at is None:
            self._finished_at = now
        if self._measuring.pending:
            return False
        waited = now - self._finished_at
        registered = {row["device"] for row in self._ledger.devices()}
        all_went = not self._roster.here() and registered <= set(self._roster.members)
        return waited >= self._config.linger_s or (waited >= 1.0 and all_went)

    def tell(self, wall: float) -> None:
        """Say that it is done, and what it took. Args: wall: seconds since 1970."""
        self._reception.write_traffic(wall)
        devices = {
            row["device"]: {"bytes_up": row["bytes_up"], "bytes_down": row["bytes_down"]}
            for row in self._ledger.devices()
        }
        self._events.tell(
            "finished", version=self._conductor.row.version, rounds=self._conductor.done, devices=devices,
            bytes_up=sum(row["bytes_up"] for row in devices.values()),
            bytes_down=sum(row["bytes_down"] for row in devices.values()),
        )  # fmt: skip
