"""Messages to one client: as many at once as it and its connection take; the rest waits, shared with others."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import Final

from broker_server.broker.connect_packet import Connect
from broker_server.broker.connection import Connection
from broker_server.broker.packets import publish_head

QUEUE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes that may wait for one device; beyond it the device is slow or hostile, and is cut off."""
COST: Final = 64
"""Bytes that a message takes beside its payload."""
_WINDOW: Final = 32_768
"""Messages under way at most: half of all numbers."""
_JOINED: Final = 16_384
"""Bytes of a payload that is copied, for one write instead of two."""

log = logging.getLogger("broker_server.broker.outgoing")


@dataclass(frozen=True, slots=True)
class Message:
    """What the gateway says. Args: retain: whether it is marked as retained."""

    topic: bytes
    payload: bytes
    qos: int
    retain: bool = False


class Outgoing:
    """What a client is sent. No acknowledgement is waited for but to stay within the client's receive maximum.

    Args:
        connection: to the client.
        connect: what it said of itself.
    """

    def __init__(self, connection: Connection, connect: Connect) -> None:
        self._connection = connection
        self._version, self._largest = connect.version, connect.maximum_packet
        self._window = min(connect.receive_maximum, _WINDOW)
        self._queue: deque[Message] = deque()
        self._bytes = 0
        self._last = 0
        self._under_way: set[int] = set()

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._queue

    def put(self, message: Message) -> bool:
        """Send a message now or later; return whether there is room for it."""
        if not self._queue and self._may_send(message):
            self._send(message)
            return True
        size = len(message.payload) + COST
        if self._bytes + size + self._connection.unsent_bytes > QUEUE_LIMIT:
            return False
        self._queue.append(message)
        self._bytes += size
        return True

    def acknowledged(self, packet_id: int) -> None:
        """Note that the client has a message, or refused it."""
        self._under_way.discard(packet_id)
        self.pump()

    def pump(self) -> None:
        """Send what may be sent by now."""
        while self._queue and self._may_send(self._queue[0]):
            message = self._queue.popleft()
            self._bytes -= len(message.payload) + COST
            self._send(message)

    def _may_send(self, message: Message) -> bool:
        return self._connection.can_write and (not message.qos or len(self._under_way) < self._window)

    def _send(self, message: Message) -> None:
        packet_id = self._number() if message.qos else 0
        payload = message.payload
        head = publish_head(self._version, message.topic, len(payload), packet_id, retain=message.retain)
        if len(head) + len(payload) > self._largest:
            log.debug("a message of %d bytes on %r is too large for a client", len(payload), message.topic)
            return
        if packet_id:
            self._under_way.add(packet_id)
        if len(payload) <= _JOINED:
            self._connection.write(head + payload)
        else:
            self._connection.write(head)
            self._connection.write(payload)

    def _number(self) -> int:
        """Return a number from 1 to 65,535 that no message under way has."""
        while True:
            self._last = self._last % 0xFFFF + 1
            if self._last not in self._under_way:
                return self._last
