"""What the gateway announces to devices: the version, each one's plan, and what the gateway is doing. All retained."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.state.rows import VersionRow
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic


class Announcer:
    """Announces, and remembers who has a plan whose delta may still come.

    Args:
        parts: shared parts of the gateway.
        session: 16 random bytes of this start.

    ``outstanding`` has the base version of each such plan, by device.
    """

    def __init__(self, parts: GatewayParts, session: bytes) -> None:
        self._publisher, self._roster, self._ledger = parts.publisher, parts.roster, parts.store.ledger
        self._federation, self._rounds = parts.store.lineage.federation, parts.config.rounds
        self._session = session
        self.outstanding: dict[str, int] = {}

    def remember(self, oldest_base: int) -> None:
        """Note, at a start, which plans have no delta yet. Args: oldest_base: of those that may still be answered."""
        for past in self._ledger.rounds_from(oldest_base):
            answered = {row.device for row in self._ledger.deltas(past.round)}
            for device in self._ledger.plans(past.round):
                self.outstanding.pop(device, None)
                if device not in answered:
                    self.outstanding[device] = past.base_version

    def version(self, row: VersionRow) -> None:
        """Publish the newest version."""
        self._publisher.publish(Topic.VERSION, "", [row.payload])
        for device in self._roster.here():
            self._roster.count(device, down=len(row.payload))

    def plans(self, plans: Mapping[str, bytes], base_version: int) -> None:
        """Publish plans: payload by device."""
        for device, payload in sorted(plans.items()):
            self._publisher.publish(Topic.PLAN, device, [payload])
            self._roster.count(device, down=len(payload))
            self.outstanding[device] = base_version

    def plans_again(self, plans: Mapping[str, bytes]) -> None:
        """Publish plans once more: payload by device."""
        for device, payload in sorted(plans.items()):
            self._publisher.publish(Topic.PLAN, device, [payload])

    def withdraw(self, devices: Iterable[str]) -> None:
        """Take the plans of devices back."""
        for device in devices:
            self._publisher.publish(Topic.PLAN, device, [b""])
            self.outstanding.pop(device, None)

    def too_late(self, planned: Collection[str], age: Callable[[int], int], limit: int) -> list[str]:
        """Return who has an older plan whose delta would come too late to count.

        Args:
            planned: devices that have a newer one.
            age: merges since a base version.
            limit: the largest age that is taken.
        """
        return [device for device, base in self.outstanding.items() if device not in planned and age(base) > limit]

    def again(self, row: VersionRow, plans: Mapping[str, bytes], devices: Iterable[str]) -> None:
        """Publish what a broker may not have: after a start, and when the broker was away.

        Args:
            row: the newest version.
            plans: that hold, by device; all others without a delta to come are taken back.
            devices: every device of the federation.
        """
        self._publisher.publish(Topic.VERSION, "", [row.payload])
        for device in sorted(devices):
            if device in plans:
                self._publisher.publish(Topic.PLAN, device, [plans[device]])
            elif device not in self.outstanding:
                # What an external broker still holds is done or too old; a late delta may yet come for the others.
                self._publisher.publish(Topic.PLAN, device, [b""])

    def state(self, state: pb.GatewayState) -> None:
        """Publish what the gateway is doing."""
        self._publisher.publish(Topic.GATEWAY, "", [encode(state)])

    def gateway_state(self, version: int, number: int, *, online: bool, finished: bool) -> pb.GatewayState:
        """Return the message that says what the gateway is doing. Args: number: of the last round that was opened."""
        return pb.GatewayState(
            federation_digest=self._federation,
            online=online,
            session=self._session,
            version=version,
            round=number,
            rounds_planned=self._rounds,
            finished=finished,
        )
