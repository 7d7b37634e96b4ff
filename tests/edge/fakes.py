"""A broker and a gateway in memory: no sockets, no threads, no clock of their own; they lose and mix up on command."""

from __future__ import annotations

import itertools
import queue
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_runtime.federation.link import Arrived, Down, LinkEvent, Traffic, Up
from edge_runtime.wire import chunks, messages, tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.chunks import PAYLOAD
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.topics import Address, Topic

FEDERATION = "default"


@dataclass
class Clock:
    """Seconds that move only when a test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class Weather:
    """What happens to messages on the way. Args: drop, twice: shares of messages; shuffle: order within a send."""

    drop: float = 0.0
    twice: float = 0.0
    shuffle: bool = False
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def carry(self, payloads: Iterable[bytes]) -> list[bytes]:
        """Return what arrives."""
        arrived = []
        for payload in payloads:
            if self.rng.random() >= self.drop:
                arrived += [payload] * (2 if self.rng.random() < self.twice else 1)
        if self.shuffle:
            self.rng.shuffle(arrived)
        return arrived


class FakeLink:
    """A device's link straight into a ScriptedGateway."""

    def __init__(self, inbox: queue.Queue[LinkEvent], device: str, weather: Weather | None = None) -> None:
        self.traffic, self.chunk_bytes = Traffic(), PAYLOAD
        self._inbox, self.device, self._weather = inbox, device, weather or Weather()
        self.topics: set[Topic] = set()
        """Further topics that it listens on."""
        self.gateway: ScriptedGateway | None = None
        self.up = False
        self.listening: set[str] = set()
        self.said: list[tuple[Topic, bytes]] = []
        self.busy = False
        self.cut_after = -1
        """Chunks of deltas until the connection is lost; negative: never."""
        self.stopped = False

    def start(self) -> None:
        """Connect at once."""
        self.connect()

    def connect(self) -> None:
        """Come up; the broker delivers what it retained."""
        self.up = True
        self._inbox.put(Up())
        if self.gateway is not None:
            self.gateway.joined(self)

    def disconnect(self, reason: str = "cut") -> None:
        """Go down."""
        self.up = False
        self.listening.clear()
        self._inbox.put(Down(reason, 1.0, first=True))

    def send(self, topic: Topic, payloads: Iterable[bytes]) -> None:
        """Carry messages to the gateway through the weather."""
        if not self.up:
            return
        sent = self._until_cut(payloads) if topic is Topic.DELTA else list(payloads)
        assert all(len(payload) <= messages.MESSAGE_LIMIT for payload in sent)
        self.traffic.bytes_up += sum(map(len, sent))
        self.said += [(topic, payload) for payload in sent]
        for payload in self._weather.carry(sent):
            if self.gateway is not None:
                self.gateway.hear(self, topic, payload)
        if topic is Topic.DELTA and self.cut_after == 0:
            self.cut_after = -1
            self.disconnect()

    def _until_cut(self, payloads: Iterable[bytes]) -> list[bytes]:
        sent = list(itertools.islice(payloads, self.cut_after if self.cut_after >= 0 else None))
        self.cut_after -= len(sent) if self.cut_after >= 0 else 0
        return sent

    def request(self, blobs: Sequence[str], want: bytes) -> None:
        """Listen, then ask."""
        self.listening |= set(blobs)
        self.send(Topic.WANT, [want])

    def release(self, blobs: Sequence[str]) -> None:
        """Stop listening."""
        self.listening -= set(blobs)

    def listen(self, topic: Topic) -> None:
        """Listen on a further topic; a broker delivers what it retained there."""
        if topic not in self.topics:
            self.topics.add(topic)
            if self.up and self.gateway is not None:
                self.gateway.listened(self, topic)

    def stop(self, bye: bytes) -> None:
        """Say bye."""
        self.send(Topic.BYE, [bye])
        self.stopped = True

    def deliver(self, topic: Topic, payload: bytes, name: str = "") -> None:
        """Carry a message of the gateway to the device, if it listens."""
        if not self.up or (topic is Topic.BLOB and name not in self.listening):
            return
        self.traffic.bytes_down += len(payload)
        for arrived in self._weather.carry([payload]):
            self._inbox.put(Arrived(Address(FEDERATION, topic, name), arrived))


@dataclass
class Received:
    """A delta that the gateway took."""

    message: pb.Delta
    body: bytes


class ScriptedGateway:
    """Says what a gateway says, decides as the test tells it to.

    Args:
        bank: current version.
        federation: digest.
        verdict: what to answer a delta; ACCEPTED by default.
    """

    def __init__(self, bank: Bank, federation: bytes, verdict: Callable[[pb.Delta], pb.Verdict] | None = None) -> None:
        self.bank, self.federation = bank, federation
        self.decide = verdict or (lambda _: pb.Verdict(code=pb.ACCEPTED))
        self.session = b"s" * 16
        self.number = self.round = 0
        self.want_statistics = True
        self.finished = False
        self.online = True
        self.hello_code: int = pb.ACCEPTED
        self.links: list[FakeLink] = []
        self.hellos: list[pb.Hello] = []
        self.statistics: list[bytes] = []
        self.deltas: list[Received] = []
        self.byes: list[str] = []
        self.wants: list[pb.Want] = []
        self.want_code: int = pb.ACCEPTED
        self.silent = False
        """Whether Wants are noted, and nothing comes of them."""
        self.offers: list[pb.Offer] = []
        self.full = False
        """Whether offers are told BUSY, until ``call``."""
        self.plan: bytes = b""
        self._assembler = chunks.Assembler()
        self._judged: dict[bytes, pb.Verdict] = {}
        self._unheard: dict[bytes, Any] = {}

    # --- what it says -----------------------------------------------------------------------------------------

    def state(self) -> bytes:
        """Return the retained GatewayState."""
        return messages.encode(
            pb.GatewayState(
                federation_digest=self.federation,
                online=self.online,
                session=self.session,
                version=self.number,
                finished=self.finished,
            )
        )

    def version(self) -> bytes:
        """Return the retained Version."""
        blocks = [pb.Block(layer=b.layer, index=b.index, digest=d) for b, d in sorted(self.bank.digests().items())]
        return messages.encode(
            pb.Version(
                federation_digest=self.federation,
                version=self.number,
                digest=self.bank.digest(),
                round=self.round,
                blocks=blocks,
            )
        )

    def joined(self, link: FakeLink) -> None:
        """Deliver what is retained to a link that came up."""
        if link not in self.links:
            self.links.append(link)
        self._say(Topic.GATEWAY, self.state())
        self._say(Topic.VERSION, self.version())
        if self.plan:
            self._say(Topic.PLAN, self.plan)

    def listened(self, link: FakeLink, topic: Topic) -> None:
        """Retain nothing on further topics."""

    def announce(self, bank: Bank, round_number: int = 0) -> None:
        """Publish a new version. Args: round_number: that made it; 0: a new head."""
        self.bank, self.number, self.round = bank, self.number + 1, round_number
        self._say(Topic.VERSION, self.version())

    def publish_state(self) -> None:
        """Publish the state anew."""
        self._say(Topic.GATEWAY, self.state())

    def give_plan(self, device: str, train: Sequence[ExpertId], number: int = 1, **values: Any) -> bytes:
        """Publish a plan from the current version and return its bytes."""
        defaults: dict[str, Any] = {"steps": 6, "learning_rate": 0.05, "seed": 11, "deadline_s": 60.0}
        plan = pb.Plan(
            device=device,
            round=number,
            base_version=self.number,
            version_digest=self.bank.digest(),
            train=messages.refs(train),
            **{**defaults, **values},
        )
        self.plan = messages.encode(plan)
        self._say(Topic.PLAN, self.plan)
        return self.plan

    def lose(self, body: bytes) -> None:
        """Lose an accepted delta, as a disk does, and ask for it."""
        self._judged.clear()
        self.deltas.clear()
        verdict = pb.Verdict(kind=pb.DELTA, digest=sha256(body), code=pb.BUSY, retry_after_s=1)
        self._say(Topic.VERDICT, messages.encode(verdict))

    def withdraw_plan(self) -> None:
        """Take the plan back."""
        self.plan = b""
        self._say(Topic.PLAN, b"")

    def _say(self, topic: Topic, payload: bytes, name: str = "") -> None:
        for link in self.links:
            link.deliver(topic, payload, name)

    # --- what it hears ----------------------------------------------------------------------------------------

    def hear(self, link: FakeLink, topic: Topic, payload: bytes) -> None:
        """Take a message of a device."""
        if topic is Topic.BYE:
            self.byes.append(messages.decode(pb.Bye, payload).device)
        elif not self.online:
            return
        elif topic is Topic.HELLO:
            self.hellos.append(messages.decode(pb.Hello, payload))
            code = self.hello_code
            self.want_code = pb.ACCEPTED  # it knows the device now
            want = self.want_statistics and code == pb.ACCEPTED
            verdict = pb.Verdict(kind=pb.HELLO, digest=sha256(payload), code=code, want_statistics=want)  # type: ignore[arg-type]
            link.deliver(Topic.VERDICT, messages.encode(verdict))
        elif topic is Topic.WANT and self.want_code != pb.ACCEPTED:
            verdict = pb.Verdict(kind=pb.HELLO, digest=sha256(payload), code=self.want_code)  # type: ignore[arg-type]
            link.deliver(Topic.VERDICT, messages.encode(verdict))
        elif topic is Topic.WANT:
            self._serve(messages.decode(pb.Want, payload))
        elif topic is Topic.OFFER:
            self.offers.append(messages.decode(pb.Offer, payload))
            self._answer_offer(link, self.offers[-1])
        else:
            self._body(link, messages.decode(pb.Chunk, payload))

    def _serve(self, want: pb.Want) -> None:
        self.wants.append(want)
        for digest in () if self.silent else want.digests:
            self.send_blob(digest)

    def send_blob(self, digest: bytes) -> None:
        """Publish a block of the current version; nothing for another digest."""
        for block in [block for block, own in self.bank.digests().items() if own == digest]:
            for chunk in chunks.split(tensors.encode(self.bank.block(block)), pb.BLOB):
                self._say(Topic.BLOB, chunk, digest.hex())

    def call(self) -> None:
        """Have room for what was offered last, and say so."""
        self.full = False
        for link in self.links:
            self._answer_offer(link, self.offers[-1])

    def _answer_offer(self, link: FakeLink, offer: pb.Offer) -> None:
        verdict = self._judged.get(offer.digest)
        if verdict is None and self.full:
            verdict = pb.Verdict(kind=offer.kind, digest=offer.digest, code=pb.BUSY, retry_after_s=90.0)
        elif verdict is None:
            body = self._assembler.unfinished("device", offer.digest)
            missing = body.missing if body is not None else b""
            verdict = pb.Verdict(
                kind=offer.kind, digest=offer.digest, code=pb.INCOMPLETE, retry_after_s=20.0, missing=missing
            )
        link.deliver(Topic.VERDICT, messages.encode(verdict))

    def _body(self, link: FakeLink, chunk: pb.Chunk) -> None:
        if chunk.digest not in self._judged:
            try:
                body = self._assembler.add("device", chunk)
            except WireError:
                return
            if body is None:
                return
            self._judged[chunk.digest] = self._judge(chunk.kind, body)
        elif chunk.index != 0:
            return
        link.deliver(Topic.VERDICT, messages.encode(self._judged[chunk.digest]))
        if self._judged[chunk.digest].retry_after_s > 0:
            del self._judged[chunk.digest]

    def _judge(self, kind: int, body: bytes) -> pb.Verdict:
        if kind == pb.STATISTICS:
            messages.decode(pb.ClassStatistics, body, limit=chunks_limit())
            self.statistics.append(body)
            return pb.Verdict(kind=pb.STATISTICS, digest=sha256(body), code=pb.ACCEPTED)
        delta = messages.decode(pb.Delta, body, limit=chunks_limit())
        verdict = self.decide(delta)
        if verdict.code == pb.ACCEPTED:
            self.deltas.append(Received(delta, body))
        verdict.kind, verdict.digest = pb.DELTA, sha256(body)
        return verdict


def chunks_limit() -> int:
    """Return the bytes of a body."""
    return messages.BODY_LIMIT
