"""Blocks that devices asked for: each is published once for all who asked, because it goes to everybody who listens."""

from __future__ import annotations

from collections.abc import Iterable

from broker_server.errors import StateError
from broker_server.rounds.gateway_parts import GatewayParts
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import split
from edge_runtime.wire.topics import Topic


class BlockRequests:
    """Gathers requests for a short window, then publishes. Args: parts: shared parts of the gateway."""

    def __init__(self, parts: GatewayParts) -> None:
        self._limits, self._blobs, self._roster = parts.config.limits, parts.store.blobs, parts.roster
        self._publisher, self._events = parts.publisher, parts.events
        self._devices: dict[bytes, set[str]] = {}  # who asked, by digest
        self._askers: set[str] = set()  # since the window began
        self._due = 0.0
        self._published: dict[bytes, float] = {}  # when, for those of which that is not long ago

    def add(self, device: str, digests: Iterable[bytes], now: float) -> None:
        """Take a device's request; blocks that are not here are passed over. Args: now: monotonic seconds."""
        if not self._devices:
            self._askers.clear()
            self._due = now + self._limits.blob_window_s
        for digest in digests:
            if self._blobs.offered(digest):
                self._devices.setdefault(digest, set()).add(device)
                self._askers.add(device)

    def publish_due(self, now: float) -> None:
        """Publish what was asked for, when the window is over or nobody here is left to ask; no block again so soon.

        A block that cannot be read costs whoever asked for it another try, and is told of.

        Args:
            now: monotonic seconds.
        """
        if not self._devices or (now < self._due and not self._roster.here() <= self._askers):
            return
        self._published = {blob: at for blob, at in self._published.items() if now - at < self._limits.blob_repeat_s}
        for digest in [blob for blob in self._devices if blob not in self._published]:
            devices = self._devices.pop(digest)
            try:
                chunks = list(split(self._blobs.get(digest), pb.BLOB))
            except StateError as error:  # they ask again; the others get what they asked for
                self._events.tell("damaged", blob=digest.hex(), detail=str(error))
                continue
            self._publisher.publish(Topic.BLOB, digest.hex(), chunks)
            self._published[digest] = now
            for device in devices:
                self._roster.count(device, down=sum(map(len, chunks)))
