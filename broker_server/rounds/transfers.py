"""Bodies on their way to the gateway: offered, granted, in pieces; what came of them outlives a restart.

Bodies that were granted have at most ``limits.transfer_bytes`` together. Pieces of others (a lease that ran out, a
connection that was lost) stay as long as all pieces together have at most twice as many bytes: those that waited
longest go first. The same pieces stand in files, as soon as their body is unfinished for SLOW_S, and all at a stop.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.offers import LEASE_S, Offer, Offers
from broker_server.rules.rates import Buckets
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import Assembler
from edge_runtime.wire.errors import MalformedMessage, WireError
from edge_runtime.wire.piece_files import KEPT_S, PieceFiles
from edge_runtime.wire.resumable import Key, ResumableBodies

SLOW_S: Final = 2.0
LOOK_S: Final = 1.0
OFFERS_AT_ONCE: Final = 20.0
OFFERS_PER_S: Final = 1.0
"""Of one device; more are not answered."""
CHECKED_S: Final = 60.0
"""How long a body that is complete is waited for: its verdict comes without being asked for."""
UNKNOWN: Final = -math.inf
_UNDECIDED: Final = (pb.BUSY, pb.INCOMPLETE, pb.UNKNOWN_DEVICE)


class NoRoomError(WireError):
    """There is no room for a body now. Args: retry_after_s: when to offer it again."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(pb.BUSY, "other bodies come first")
        self.retry_after_s = retry_after_s


@dataclass
class _Track:
    """A body of which pieces are here.

    Args:
        began: when its first piece came.
        at: when its last piece came; before the first look of this process: not known.
    """

    began: float = UNKNOWN
    at: float = UNKNOWN


class Transfers:
    """Takes offers and chunks; gives bodies.

    Args:
        parts: shared parts of the gateway.
        body_limit: bytes of one body.
        answer: sends a verdict to a device.
    """

    def __init__(self, parts: GatewayParts, body_limit: int, answer: Callable[[str, pb.Verdict], None]) -> None:
        self._answer, self._body_limit = answer, body_limit
        self._kept_limit = 2 * parts.config.limits.transfer_bytes
        assembler = Assembler(self._kept_limit + 2 * body_limit, body_limit, 2 * body_limit)
        self._bodies = ResumableBodies(assembler, PieceFiles(parts.store.folder / "pieces"))
        certified, standing = parts.config.certified, parts.roster.standing
        self._offers = Offers(
            parts.config.limits.transfer_bytes,
            parts.chance.random,
            lambda device: certified or standing(device).proven,
        )
        self._rates = Buckets(OFFERS_AT_ONCE, OFFERS_PER_S)
        self._tracks: OrderedDict[Key, _Track] = OrderedDict()  # that of the last piece is the last
        self._complete: OrderedDict[Key, float] = OrderedDict()
        self._now = self._look_at = 0.0
        for key in self._bodies.take_up(self._kept_limit // 2, lambda _device, chunk: chunk.total <= body_limit):
            self._tracks[key] = _Track()

    @property
    def held_bytes(self) -> int:
        """Return the bytes of pieces that are here."""
        return self._bodies.held_bytes

    @property
    def granted_bytes(self) -> int:
        """Return the bytes of the bodies that devices may send now."""
        return self._offers.granted_bytes

    @property
    def waiting(self) -> int:
        """Return how many offers wait."""
        return self._offers.waiting

    def offer(self, message: pb.Offer, now: float) -> None:
        """Take a device's offer of a body that has no verdict, and answer it.

        Args:
            message: checked, also against its sender.
            now: monotonic seconds.

        Raises:
            WireError: TOO_LARGE, or BUSY (``NoRoomError``): its turn comes later.
        """
        self._now = now
        offer = Offer(message.device, message.kind, message.digest, message.count, message.total)
        self._check_size(offer.total)
        if self._complete.get((offer.device, offer.digest), 0.0) > now or not self._rates.take(offer.device, now):
            return
        self._let_go_of_other_cut(offer)
        held = self._offers.holds(offer)
        waits = self._offers.ask(offer)
        self._grant_due(now)
        if held:
            self._ask_for(offer)
        elif not waits or not self._offers.holds(offer):
            raise NoRoomError(self._offers.retry_after_s(now))

    def add(self, device: str, chunk: pb.Chunk, now: float) -> bytes | None:
        """Take a chunk of a body that has no verdict; return the body when this completes it.

        Args:
            device: its sender.
            chunk: checked.
            now: monotonic seconds.

        Raises:
            WireError: as Assembler.add; BUSY (``NoRoomError``) where nothing was granted and there is no room.
        """
        self._now = now
        self._check_size(chunk.total)
        offer = Offer(device, chunk.kind, chunk.digest, chunk.count, chunk.total)
        granted = self._offers.granted(device, chunk.kind)
        if granted is not None and granted.digest == chunk.digest and granted != offer:
            if granted.total == chunk.total:
                return None  # cut as it was before the offer, and on its way since
            raise MalformedMessage(f"a chunk of a body of {chunk.total} bytes, which {granted.total} were offered of")
        if not self._offers.came(offer, now):
            raise NoRoomError(self._offers.retry_after_s(now))
        body = self._bodies.add(device, chunk)
        key = device, chunk.digest
        if body is not None:
            self._complete[key] = now + CHECKED_S
            self._complete.move_to_end(key)
            return body
        track = self._tracks.setdefault(key, _Track(now, now))
        track.at = now
        self._tracks.move_to_end(key)
        self._make_room()
        return None

    def began(self, device: str, digest: bytes) -> bool:
        """Return whether pieces of a body are here: then it has no verdict yet."""
        return (device, digest) in self._tracks

    def decided(self, device: str, verdict: pb.Verdict) -> None:
        """Note what a device is told of a body: what is kept of it goes, unless that was no decision on the body."""
        if verdict.kind == pb.HELLO or verdict.code in _UNDECIDED:
            return
        key = device, verdict.digest
        self._complete.pop(key, None)
        accepted = verdict.kind == pb.DELTA and verdict.code == pb.ACCEPTED
        self._offers.done(device, verdict.digest, self._now, accepted=accepted)
        self._forget(key)

    def left(self, device: str) -> None:
        """Give a device's room to others: it said bye. Its pieces stay while there is room."""
        self._offers.forget(device)

    def tick(self, now: float) -> None:
        """Grant what has its turn; look after the pieces now and then. Args: now: monotonic seconds."""
        self._now = now
        self._grant_due(now)
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        for key, track in list(self._tracks.items()):
            track.at = now if track.at == UNKNOWN else track.at
            if self._bodies.unfinished(*key) is None or now - track.at > KEPT_S:
                self._forget(key)
            elif now - track.began > SLOW_S:
                self._bodies.save(*key)
        while self._complete and next(iter(self._complete.values())) <= now:
            self._complete.popitem(last=False)

    def stop(self) -> None:
        """Write down all pieces."""
        for key in self._tracks:
            self._bodies.save(*key)

    def _check_size(self, total: int) -> None:
        if total > self._body_limit:
            raise WireError(pb.TOO_LARGE, f"body of {total} bytes, limit {self._body_limit}")

    def _let_go_of_other_cut(self, offer: Offer) -> None:
        key = offer.device, offer.digest
        kept = self._bodies.unfinished(*key)
        if kept is not None and (kept.count, kept.total, kept.kind) != (offer.count, offer.total, offer.kind):
            self._forget(key)

    def _grant_due(self, now: float) -> None:
        for offer in self._offers.grant_due(now):
            self._ask_for(offer)

    def _ask_for(self, offer: Offer) -> None:
        kept = self._bodies.unfinished(offer.device, offer.digest)
        verdict = pb.Verdict(kind=offer.kind, digest=offer.digest, code=pb.INCOMPLETE, retry_after_s=LEASE_S)
        verdict.missing = kept.missing if kept is not None else b""
        self._answer(offer.device, verdict)

    def _make_room(self) -> None:
        if self._bodies.held_bytes <= self._kept_limit:
            return
        for key in list(self._tracks):
            kept = self._bodies.unfinished(*key)
            granted = self._offers.granted(key[0], kept.kind) if kept is not None else None
            if granted is None or granted.digest != key[1]:
                self._forget(key)
            if self._bodies.held_bytes <= self._kept_limit:
                return

    def _forget(self, key: Key) -> None:
        self._tracks.pop(key, None)
        self._bodies.forget(*key)
