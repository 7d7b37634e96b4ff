"""Blocks that devices asked for: each is published once for all who asked, because it goes to everybody who listens.

A request that names a block which was published a while ago may have crossed it on the way: its device listened before
it asked. Only the device can tell, and only once all is there that was on its way to it. A broker hands on what comes
from one client to one client in order, so it is told to ask again by a message that follows the block: what it asks for
after that it does lack. A block goes out again no sooner than the broker should be done with its last time
(DRAIN_BYTES_PER_S), or who still waits for it there would get it twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker_server.errors import StateError
from broker_server.rounds.gateway_parts import GatewayParts
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import missing_chunks, split
from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.topics import Topic

ON_THE_WAY_S: Final = 60.0
"""How long a block may be on its way to a device, once the broker should have sent it."""
ASK_AGAIN_S: Final = 0.2
DRAIN_BYTES_PER_S: Final = 50e6
"""To all devices together, what a broker is reckoned to send at least."""
CACHE_BYTES: Final = 16 * 1024 * 1024
"""Of blocks that were published last, cut into chunks: devices that come back one by one ask for the same ones."""
GATHERED: Final = 8
"""Windows after which requests are gathered no longer, though more are coming."""
DEVICES_LIMIT: Final = 20_000


@dataclass(frozen=True)
class _Publication:
    """The last one of a block. Args: step: of all; again_at: no sooner again; forgotten_at: it arrived or was lost."""

    step: int
    again_at: float
    forgotten_at: float


class BlockRequests:
    """Gathers requests until none came for a short window, then publishes. Args: parts: shared parts of the gateway."""

    def __init__(self, parts: GatewayParts) -> None:
        self._limits, self._blobs, self._roster = parts.config.limits, parts.store.blobs, parts.roster
        self._publisher, self._events = parts.publisher, parts.events
        self._devices: dict[bytes, dict[str, bytes]] = {}  # who asked, and for which chunks, by digest
        self._askers: set[str] = set()  # since the window began
        self._gathering = False
        self._due = self._last_due = 0.0
        self._published: dict[bytes, _Publication] = {}
        self._chunks: OrderedDict[bytes, list[bytes]] = OrderedDict()
        self._chunks_bytes = 0
        self._drained_at = 0.0  # when the broker should have sent all that was published
        self._told: OrderedDict[str, int] = OrderedDict()  # the step at which a device was told to ask again
        self._steps = 0

    def add(self, device: str, want: pb.Want, now: float) -> bool:
        """Take a device's request; blocks that are not here are passed over.

        Args:
            device: that asks.
            want: checked.
            now: monotonic seconds.

        Returns:
            Whether the device is to ask again for what it lacks after the message that says so.
        """
        if not self._gathering:
            self._gathering = True
            self._askers.clear()
            self._last_due = now + GATHERED * self._limits.blob_window_s
        self._due = min(self._last_due, now + self._limits.blob_window_s)
        crossed = False
        for digest, missing in zip(want.digests, want.missing or [b""] * len(want.digests), strict=True):
            if self._may_have_crossed(device, digest, now):
                crossed = True
            elif digest in self._devices or self._blobs.offered(digest):
                self._devices.setdefault(digest, {})[device] = missing
                self._askers.add(device)
        if crossed:
            self._steps += 1
            self._told[device] = self._steps
            self._told.move_to_end(device)
            if len(self._told) > DEVICES_LIMIT:
                self._told.popitem(last=False)
        return crossed

    def _may_have_crossed(self, device: str, digest: bytes, now: float) -> bool:
        last = self._published.get(digest)
        return last is not None and now < last.forgotten_at and self._told.get(device, 0) < last.step

    def publish_due(self, now: float) -> None:
        """Publish what was asked for, when the window is over or nobody here is left to ask; no block again so soon.

        A block that cannot be read costs whoever asked for it another try, and is told of.

        Args:
            now: monotonic seconds.
        """
        if self._gathering and now < self._due and not self._roster.all_among(self._askers):
            return
        self._gathering = False
        if not self._devices:
            return
        self._published = {blob: last for blob, last in self._published.items() if now < last.forgotten_at}
        for digest in [blob for blob in self._devices if now >= self._again_at(blob)]:
            devices = self._devices.pop(digest)
            try:
                chunks = _lacking(self._cut(digest), devices.values())
            except StateError as error:  # they ask again; the others get what they asked for
                self._events.tell("damaged", blob=digest.hex(), detail=str(error))
                continue
            self._publisher.publish(Topic.BLOB, digest.hex(), chunks)
            size = sum(map(len, chunks))
            self._note(digest, size * len(devices), now)
            for device in devices:
                self._roster.count(device, down=size)

    def _cut(self, digest: bytes) -> list[bytes]:
        """Return the chunks of a block, as they were cut the last time or from its file, whose digest is checked.

        Raises:
            StateError: when it cannot be read.
        """
        chunks = self._chunks.get(digest)
        if chunks is None:
            chunks = self._chunks[digest] = list(split(self._blobs.get(digest), pb.BLOB))
            self._chunks_bytes += sum(map(len, chunks))
        self._chunks.move_to_end(digest)
        while self._chunks_bytes > CACHE_BYTES and len(self._chunks) > 1:
            _, gone = self._chunks.popitem(last=False)
            self._chunks_bytes -= sum(map(len, gone))
        return chunks

    def _note(self, digest: bytes, size: int, now: float) -> None:
        """Note a publication. Args: size: bytes of it to all devices together."""
        self._steps += 1
        self._drained_at = max(now, self._drained_at) + size / DRAIN_BYTES_PER_S
        again_at = max(now + self._limits.blob_repeat_s, self._drained_at)
        self._published[digest] = _Publication(self._steps, again_at, again_at + ON_THE_WAY_S)

    def _again_at(self, digest: bytes) -> float:
        last = self._published.get(digest)
        return last.again_at if last is not None else 0.0


def _lacking(chunks: list[bytes], missing: Iterable[bytes]) -> list[bytes]:
    """Return the chunks that anybody lacks. Args: missing: of each device, as a Want says it; of another cut: all."""
    indexes: set[int] = set()
    for one in missing:
        try:
            indexes.update(missing_chunks(one, len(chunks)))
        except MalformedMessage:
            return chunks
    return [chunks[index] for index in sorted(indexes)]
