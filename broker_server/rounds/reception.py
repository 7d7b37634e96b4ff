"""Takes what devices send: reads it, has it checked, keeps it, and answers. A refusal always has a code."""

from __future__ import annotations

import contextlib
from typing import Final

from broker_server.errors import StateError, StorageError
from broker_server.rounds.answers import Answers
from broker_server.rounds.block_requests import ASK_AGAIN_S, BlockRequests
from broker_server.rounds.checking import Body, CheckingPool, Looked
from broker_server.rounds.conductor import Conductor
from broker_server.rounds.decisions import Decisions
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.greetings import Greetings
from broker_server.rounds.roster import wants_statistics
from broker_server.rounds.transfers import NoRoomError, Transfers
from broker_server.rules.admission import check_hello, check_sender
from broker_server.rules.site_admission import check_site
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.limits import BODY_LIMIT, MASKS_LIMIT
from edge_runtime.wire.messages import decode
from edge_runtime.wire.topics import Address, Topic, parse

TRAFFIC_S = 5.0
_KINDS: Final[dict[Topic, tuple[pb.Kind, ...]]] = {
    Topic.DELTA: (pb.DELTA,),
    Topic.STATISTICS: (pb.STATISTICS,),
    Topic.MASKS: (pb.KEYS, pb.SHARES, pb.ANSWER),
}


class Reception:
    """Messages in, verdicts and blocks out.

    Args:
        parts: shared parts of the gateway.
        conductor: of the rounds.
        pool: looks at complete bodies in other threads, and posts to ``looked``; None: they are looked at here.
    """

    def __init__(self, parts: GatewayParts, conductor: Conductor, pool: CheckingPool | None = None) -> None:
        self._parts = parts
        self._config, self._store, self._roster = parts.config, parts.store, parts.roster
        self._conductor, self._events = conductor, parts.events
        self._answers = Answers(parts, conductor)
        self._decisions = Decisions(parts, conductor, self._answers, pool)
        config, store = parts.config, parts.store
        shape = store.lineage.shape
        statistics = 4 * shape.labels * (shape.width + 1)
        whole_bank = sum(4 * shape.size(block) + 64 for block in shape.ids())
        masks = MASKS_LIMIT if config.secure.enabled else 0
        sums = 3 if config.server.sites else 1  # of a site: float64, and the head with a weight for each value
        classes = statistics if config.secure.enabled else 0  # a delta under masks may have class sums, too
        possible = max(sums * statistics, sums * whole_bank + classes, masks) + 64 * 1024
        body_limit = min(BODY_LIMIT, config.limits.body_bytes or possible)
        self.transfers = Transfers(parts, body_limit, self._answers.answer)
        self._answers.told = self.transfers.decided
        self._blocks, self._greetings = BlockRequests(parts), Greetings(parts)
        self._traffic_at = 0.0
        arch = store.manifest.architecture
        purpose = f"{len(arch.labels)} labels" if arch.labels else arch.task
        self._description = (
            f"{arch.backbone.name}, {purpose}, {arch.experts} experts of rank {arch.rank} "
            f"in {len(arch.adapted_layers)} layers, {arch.gate} gate"
        )

    def take(self, topic: str, payload: bytes, now: float, wall: float) -> None:
        """Take one message; nothing that arrives raises, whatever the disk says. Bodies wait for ``decide``."""
        try:
            address = parse(topic)
        except WireError as error:
            self._events.tell("ignored", topic=topic[:80], detail=error.detail[:200])
            return
        device = address.name
        if self._roster.joined(device):
            self._roster.count(device, up=len(payload))
        try:
            self._store.watch.look(now)
            self._dispatch(address, payload, now, wall)
        except (StorageError, StateError) as error:
            # The state is as it was before the message, and a device sends again what got no answer.
            self._events.tell("storage", device=device, topic=address.topic.value, detail=str(error))

    def _dispatch(self, address: Address, payload: bytes, now: float, wall: float) -> None:
        device = address.name
        if address.topic is Topic.HELLO:
            self._hello(device, payload, now, wall)
        elif address.topic is Topic.BYE:
            self._bye(device, payload, now, wall)
        elif address.topic is Topic.WANT:
            self._want(device, payload, now)
        elif address.topic is Topic.OFFER:
            self._offer(device, payload, now)
        elif address.topic in _KINDS:
            self._chunk(address, payload, now, wall)

    def looked(self, looked: Looked) -> None:
        """Take what the pool says of a body."""
        self._decisions.looked(looked)

    def decide(self, wall: float) -> None:
        """Decide on all bodies that are complete and looked at. Args: wall: seconds since 1970."""
        self._decisions.decide(wall)

    @property
    def held_bytes(self) -> int:
        """Return the bytes of the bodies that are complete and have no verdict yet."""
        return self._decisions.held_bytes

    def tick(self, now: float, wall: float) -> None:
        """Publish the blocks that were asked for; write down the traffic now and then."""
        self._greetings.flush_due(now, wall)
        self._blocks.publish_due(now)
        self.transfers.tick(now)
        if now - self._traffic_at >= TRAFFIC_S:
            self.write_traffic(wall)
            self._traffic_at = now

    def write_traffic(self, wall: float) -> None:
        """Add the bytes and the limits reached since the last time to the ledger; a full disk costs the counts."""
        traffic, hits = self._roster.take_traffic(), self._roster.take_hits()
        if not (traffic or hits):
            return
        with contextlib.suppress(StorageError), self._store.ledger.transaction():
            self._store.ledger.count_bytes(traffic, wall)
            self._store.ledger.count_hits(hits, wall)

    # hello, bye, want

    def _hello(self, device: str, payload: bytes, now: float, wall: float) -> None:
        digest = sha256(payload)
        try:
            self._greetings.check_rate(device, now)
            hello = decode(pb.Hello, payload)
            identity = self._parts.identity(device)
            check_hello(hello, identity, self._store.lineage.federation, self._description)
            check_site(hello, identity, takes_sums=self._config.server.exact_sums)
            if not self._conductor.takes_sums(hello):
                hello.statistics_digest = b""  # as if it had none: it is not asked for them, and nothing waits for them
            self._check_room(device)
            self._greetings.check_new(device, now)
            if not self._roster.told(hello):
                self._greetings.hello(hello, now, wall)
        except WireError as error:
            if self._may_refuse(device, error, now):
                self._answers.refuse(device, pb.HELLO, digest, error)
            return
        except StorageError as error:
            self._answers.refuse(device, pb.HELLO, digest, WireError(pb.STORAGE_FULL, str(error)))
            return
        new = self._roster.greet(hello, now)
        self._roster.count(device, up=len(payload))
        self._conductor.greeted(hello)
        want = wants_statistics(hello, self._store.ledger.statistics_digest(device))
        self._answers.answer(device, pb.Verdict(kind=pb.HELLO, digest=digest, code=pb.ACCEPTED, want_statistics=want))
        self._conductor.ask_again(device)
        self._events.tell(
            "hello", device=device, profile=hello.profile, runtime=hello.runtime, trained_slots=hello.trained_slots,
            held_slots=hello.held_slots, examples=hello.examples, step_ms=round(hello.step_ms, 2), new=new,
            bytes_up_budget=hello.bytes_up_per_round, want_statistics=want,
        )  # fmt: skip

    def _check_room(self, device: str) -> None:
        limit = self._config.limits.devices
        if len(self._roster.members) >= limit and not self._roster.joined(device):
            raise WireError(pb.BUSY, f"{limit} devices came, which is the limit")

    def _may_refuse(self, device: str, error: WireError, now: float) -> bool:
        """Return whether a Hello that is refused is answered: a flood gets few answers."""
        if error.code != pb.BUSY:
            return True
        return self._answers.once(device, b"", now) and (self._roster.joined(device) or self._greetings.may_answer(now))

    def _bye(self, device: str, payload: bytes, now: float, wall: float) -> None:
        try:
            bye = decode(pb.Bye, payload)
            check_sender(self._parts.identity(device), bye.device)
        except WireError:
            return  # who did not join cannot leave
        self.transfers.left(device)
        if self._roster.leave(device):
            self._events.tell("bye", device=device)
            self._greetings.bye(device, now, wall)

    def _want(self, device: str, payload: bytes, now: float) -> None:
        try:
            want = decode(pb.Want, payload)
            check_sender(self._parts.identity(device), want.device)
        except WireError as error:
            self._answers.refuse(device, pb.HELLO, sha256(payload), error)
            return
        self._roster.heard(device)
        if self._blocks.add(device, want, now):
            verdict = pb.Verdict(kind=pb.HELLO, digest=sha256(payload), code=pb.BUSY, retry_after_s=ASK_AGAIN_S)
            self._answers.answer(device, verdict)

    # bodies

    def _offer(self, device: str, payload: bytes, now: float) -> None:
        try:
            offer = decode(pb.Offer, payload)
        except WireError as error:
            self._events.tell("ignored", device=device, detail=str(error)[:200])
            return
        try:
            check_sender(self._parts.identity(device), offer.device)
            self._roster.heard(device)
            verdict = self._decided(device, offer.kind, offer.digest)
            if verdict is not None:
                self._answers.answer(device, verdict)
            else:
                self.transfers.offer(offer, now)
        except NoRoomError as error:
            verdict = pb.Verdict(kind=offer.kind, digest=offer.digest, code=pb.BUSY, detail=error.detail)
            verdict.retry_after_s = error.retry_after_s
            self._answers.answer(device, verdict)
        except WireError as error:
            self._answers.refuse(device, offer.kind, offer.digest, error)

    def _decided(self, device: str, kind: pb.Kind, digest: bytes) -> pb.Verdict | None:
        """Return the verdict that a body has already."""
        ledger = self._store.ledger
        if kind == pb.DELTA:
            return ledger.verdict(device, digest)
        masks = kind in _KINDS[Topic.MASKS]
        here = ledger.has_mask_body(device, kind, digest) if masks else ledger.statistics_digest(device) == digest
        if not here:
            return None
        return pb.Verdict(kind=kind, digest=digest, code=pb.ACCEPTED)

    def _chunk(self, address: Address, payload: bytes, now: float, wall: float) -> None:
        device = address.name
        try:
            chunk = decode(pb.Chunk, payload)
        except WireError as error:
            self._events.tell("ignored", device=device, detail=str(error)[:200])
            return
        try:
            _check_kind(chunk, address)
            check_sender(self._parts.identity(device), device)
            if self._decisions.has(device, chunk.digest):
                return  # its verdict is on the way
            fresh = chunk.kind == pb.DELTA and not self.transfers.began(device, chunk.digest)
            verdict = self._store.ledger.verdict(device, chunk.digest) if fresh else None
            if verdict is not None:
                if self._answers.once(device, verdict.digest, now):
                    self._answers.answer(device, verdict)
                return
            body = self.transfers.add(device, chunk, now)
        except WireError as error:
            if self._answers.once(device, chunk.digest, now):
                kinds = _KINDS[address.topic]
                kind = chunk.kind if chunk.kind in kinds else kinds[0]
                self._answers.refuse(device, kind, chunk.digest, error)
            return
        if body is not None:
            self._roster.heard(device)
            site = self._parts.identity(device).site > 0
            self._decisions.submit(Body(device, chunk.kind, chunk.digest, body, site), wall)


def _check_kind(chunk: pb.Chunk, address: Address) -> None:
    if chunk.kind not in _KINDS[address.topic]:
        raise WireError(pb.MALFORMED, f"a chunk of kind {chunk.kind} on topic {address.topic}")
