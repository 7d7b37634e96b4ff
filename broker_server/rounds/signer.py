"""Signs what the gateway says, so that devices need not trust the broker. Rules: SPEC.md, "Signatures"."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from broker_server.errors import StorageError
from broker_server.state.ledger import Ledger
from edge_runtime.wire.signatures import SIGNED, SigningKey
from edge_runtime.wire.topics import Address, Topic

_SETTING: Final = "serial"
RESERVE_US: Final = 60_000_000
"""The ledger remembers a serial so far ahead; a start goes on behind it."""


class Publisher(Protocol):
    """A way to the devices."""

    def publish(self, topic: Topic, name: str, payloads: Iterable[bytes]) -> None:
        """Send payloads on a topic; ``name`` is the device, the blob, or empty."""
        ...


def _microseconds() -> int:
    return time.time_ns() // 1000


class Signer:
    """Numbers and signs messages of one federation.

    A serial is the time in microseconds, or one more than the last: higher than any before it also when the clock was
    set back, and, since the clock goes on meanwhile, when an older copy of the ledger was put back.

    Args:
        key: None signs nothing, and messages stay as they are.
        federation: its name.
        ledger: remembers how far serials went.
        clock: microseconds since 1970.
    """

    def __init__(
        self, key: SigningKey | None, federation: str, ledger: Ledger, clock: Callable[[], int] = _microseconds
    ) -> None:
        self._key, self._federation, self._ledger, self._clock = key, federation, ledger, clock
        self._last = self._reserved = int(ledger.get(_SETTING) or 0)

    def signed(self, topic: Topic, name: str, payload: bytes) -> bytes:
        """Return the payload as it is to be sent.

        Args:
            topic: one of SIGNED.
            name: of the device, or empty.
            payload: an encoded message; an empty one deletes what the broker retained, and stays empty.
        """
        if self._key is None or not payload:
            return payload
        return self._key.sign_message(str(Address(self._federation, topic, name)), payload, self._next())

    def _next(self) -> int:
        self._last = max(self._last + 1, self._clock())
        if self._last > self._reserved:
            # On a full disk the gateway goes on: the clock alone keeps serials growing, unless it is set back as well.
            with contextlib.suppress(StorageError):
                self._ledger.put(_SETTING, str(self._last + RESERVE_US))
                self._reserved = self._last + RESERVE_US
        return self._last


class SigningPublisher:
    """Signs on the way out. Plans pass: they are signed when they are made, since digests name them."""

    def __init__(self, publisher: Publisher, signer: Signer) -> None:
        self._publisher, self._signer = publisher, signer

    def publish(self, topic: Topic, name: str, payloads: Iterable[bytes]) -> None:
        """Send payloads; see ``Publisher``."""
        if topic in SIGNED and topic is not Topic.PLAN:
            payloads = [self._signer.signed(topic, name, payload) for payload in payloads]
        self._publisher.publish(topic, name, payloads)
