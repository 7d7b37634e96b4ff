"""One simulated device: it comes, fetches versions, trains its plans in simulated time, offers and sends its deltas.

A state machine of a few hundred bytes. It does what ``edge_runtime.federation`` does with the same messages, but keeps
of a version only its digest, and of its training only how long it still takes. A connection ends a session: what was
to come in it does not, and work goes on when the device is there again.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from benchmarks.fleet.bodies import Body, Lie
from benchmarks.fleet.simulated.blocks import Wave
from benchmarks.fleet.simulated.kinds import Kind
from edge_runtime.federation.link import backoff
from edge_runtime.federation.timers import FIRST_RESEND_S, LAST_RESEND_S
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import missing_chunks
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic

if TYPE_CHECKING:
    from benchmarks.fleet.simulated.fleet import Fleet

BODIES_EACH: Final = 1_000_003
"""Numbers of one device's bodies: as the devices of the fleet over MQTT number theirs."""


class Work(Enum):
    """What a device does for a plan."""

    IDLE = auto()
    WAITING = auto()
    TRAINING = auto()
    UPLOADING = auto()


class Device:
    """One device.

    Args:
        fleet: that it belongs to.
        number: from 0.
        name: of the device.
        kind: how strong it is.
        factors: by which its training, its uplink, its downlink and its latency differ from those of its kind.
    """

    __slots__ = (
        "_asks", "_body", "_complete", "_done", "_fleet", "_hello", "_left_s", "_lie", "_made", "_member", "_next",
        "_offers", "_plan", "_target", "_tries", "_until", "_want", "_work", "_working", "bytes_down",
        "bytes_up", "connection", "down_bytes_s", "down_free", "here", "kind", "latency_s", "name", "number", "step_ms",
        "up_bytes_s", "up_free", "wave",
    )  # fmt: skip

    def __init__(self, fleet: Fleet, number: int, name: str, kind: Kind, factors: tuple[float, ...]) -> None:
        self._fleet, self.number, self.name, self.kind = fleet, number, name, kind
        slowness, up, down, latency = factors
        self.step_ms = kind.step_ms * slowness
        self.up_bytes_s, self.down_bytes_s = kind.up_bytes_s / up, kind.down_bytes_s / down
        self.latency_s = fleet.assumed.latency_s * latency
        self.up_free = self.down_free = 0.0
        self.bytes_up = self.bytes_down = 0
        self.here = self._member = False
        self.connection = 0
        self.wave: Wave | None = None
        self._complete = self._target = b""  # digests of versions; b"": the package's
        self._hello = self._want = b""  # digests of what was sent
        self._asks = self._tries = self._offers = 0  # how often it asked for blocks, said Hello, offered its delta
        self._plan = self._next = self._done = b""
        self._work, self._working = Work.IDLE, 0
        self._left_s = self._until = 0.0
        self._made = BODIES_EACH * number
        self._body: Body | None = None
        self._lie: Lie | None = None

    @property
    def busy(self) -> bool:
        """Whether it has a plan to work on, or a delta without a verdict."""
        return self._work is not Work.IDLE

    # coming and going

    def come(self) -> None:
        """Connect."""
        self.here = True
        self.connection += 1
        self._fleet.network.connect(self)

    def go(self) -> None:
        """Leave; the broker says so, or the device itself."""
        self.here = self._member = False
        self.connection += 1
        if self._work is Work.TRAINING:
            self._left_s = max(0.0, self._until - self._fleet.clock.now)
            self._working += 1
        self._fleet.network.disconnect(self)
        self._fleet.network.send(self, Topic.BYE, encode(pb.Bye(device=self.name)))

    def hear(self, connection: int, call: Callable[..., None], *args: object) -> None:
        """Take a message, unless it is of an earlier connection."""
        if connection == self.connection and self.here:
            call(*args)

    def hear_retained(self, version: bytes, plan: bytes) -> None:
        """Take what the broker keeps, and say Hello."""
        self._fleet.take_version(version)
        if plan:
            self._take_plan(plan)
        self._tries = 0
        self._greet(self.connection, 0)

    def _greet(self, connection: int, tries: int) -> None:
        if connection != self.connection or tries != self._tries or self._member:
            return
        hello = encode(self._fleet.hello(self))
        self._hello = sha256(hello)
        self._send(Topic.HELLO, hello)
        self._greet_later(self._backoff(tries))

    def _greet_later(self, seconds: float) -> None:
        self._tries += 1
        self._later(seconds, self._greet, self.connection, self._tries)

    def hear_verdict(self, payload: bytes) -> None:
        """Take a verdict on a Hello, on a request for blocks, or on a delta."""
        verdict = pb.Verdict.FromString(payload)
        if verdict.kind == pb.DELTA:
            self._on_delta(verdict)
        elif verdict.digest == self._hello:
            self._on_hello(verdict)
        elif verdict.digest == self._want and verdict.retry_after_s:
            self._later(verdict.retry_after_s, self._ask_again, self.connection, self._asks)

    def _on_hello(self, verdict: pb.Verdict) -> None:
        if verdict.code != pb.ACCEPTED:
            self._fleet.refused[pb.Code.Name(verdict.code)] += 1
            self._greet_later(verdict.retry_after_s or FIRST_RESEND_S)
            return
        if self._member:
            return
        self._member = True
        self._fetch()
        if self._work is Work.UPLOADING:
            self._offer()
        elif self._work is Work.TRAINING:
            self._train()

    # versions

    def hear_version(self, payload: bytes) -> None:
        """Take the announcement of a version."""
        self._fleet.take_version(payload)
        self._fetch()

    def _fetch(self) -> None:
        """Ask for what lacks of the plan's version, else of the newest."""
        if not self._member:
            return
        target = self._fleet.base_of(self._plan) if self._work is Work.WAITING else self._fleet.newest
        if target == self._target and self.wave is not None:
            return
        lacking = self._fleet.lacking(self._complete, target)
        self._target = target
        if lacking:
            self._ask(lacking)
        else:
            self._has(target)

    def _ask(self, lacking: tuple[bytes, ...]) -> None:
        if self.wave is not None:
            self.wave.devices.pop(self, None)
        self.wave = self._fleet.network.waves.listen(self, lacking)
        want = encode(pb.Want(device=self.name, digests=lacking))
        self._want = sha256(want)
        self._asks += 1
        self._send(Topic.WANT, want)
        self._later(self._backoff(0), self._ask_again, self.connection, self._asks)

    def _ask_again(self, connection: int, asks: int) -> None:
        if connection == self.connection and asks == self._asks and self.wave is not None and self.wave.left:
            self._ask(self.wave.left)

    def hear_blobs(self, wave: Wave) -> None:
        """Take the last blob that lacked."""
        if wave is self.wave:
            self.wave = None
            self._asks += 1
            self._has(self._target)

    def _has(self, target: bytes) -> None:
        self._complete = target
        if self._work is Work.WAITING and self._fleet.base_of(self._plan) == target:
            self._begin()
        elif target != self._fleet.newest:
            self._fetch()

    # plans

    def hear_plan(self, payload: bytes) -> None:
        """Take a plan, or that it is taken back."""
        if payload:
            self._take_plan(payload)
            self._fetch()
        else:
            self._next = b""
            if self._work in (Work.WAITING, Work.TRAINING):
                self._plan = b""
                self._set(Work.IDLE)

    def _take_plan(self, payload: bytes) -> None:
        if payload in (self._plan, self._done):
            return
        if self._work in (Work.IDLE, Work.WAITING):
            self._plan = payload
            self._set(Work.WAITING)
        else:
            self._next = payload  # what is at hand comes first: a late delta still counts

    def _begin(self) -> None:
        self._left_s = self._fleet.training_s(self, self._plan)
        self._set(Work.TRAINING)
        self._train()
        self._fetch()

    def _train(self) -> None:
        """Train on, from wherever it stopped."""
        self._working += 1
        self._until = self._fleet.clock.now + self._left_s
        self._fleet.clock.at(self._until, self._trained, self._working)
        self._fleet.may_drop(self, self._left_s)

    def _trained(self, working: int) -> None:
        if working == self._working and self._work is Work.TRAINING:
            self._set(Work.UPLOADING)
            self._make(self._fleet.lie())
            self._offer()

    def _set(self, work: Work) -> None:
        self._work = work
        self._working += 1

    # deltas

    def _make(self, lie: Lie | None) -> None:
        self._made += 1
        self._lie = lie
        self._body = self._fleet.body(self, self._plan, self._made, lie)
        self._offers = 0

    def _offer(self) -> None:
        body = self._body
        if body is None or not self._member:
            return
        offer = pb.Offer(device=self.name, kind=pb.DELTA, digest=body.digest, count=body.count, total=body.size)
        self._send(Topic.OFFER, encode(offer))
        self._offers += 1
        self._later(self._backoff(self._offers - 1), self._offer_again, self.connection, body, self._offers)

    def _offer_again(self, connection: int, body: Body, offers: int) -> None:
        if connection == self.connection and body is self._body and offers == self._offers:
            self._offer()

    def _on_delta(self, verdict: pb.Verdict) -> None:
        body = self._body
        if body is None or verdict.digest != body.digest:
            return
        if verdict.code == pb.INCOMPLETE:
            self._deliver(body, missing_chunks(verdict.missing, body.count))
            self._offers += 1
            self._later(verdict.retry_after_s, self._offer_again, self.connection, body, self._offers)
        elif verdict.retry_after_s and verdict.code != pb.DIGEST_MISMATCH:
            self._fleet.refused[pb.Code.Name(verdict.code)] += 1
            self._offers += 1
            self._later(verdict.retry_after_s, self._offer_again, self.connection, body, self._offers)
        else:
            self._settled(body.digest, verdict.code)

    def _deliver(self, body: Body, indexes: tuple[int, ...]) -> None:
        """Send chunks; in the middle of them the connection may be lost."""
        lost_at = self._fleet.lost_at(len(indexes))
        for place, index in enumerate(indexes):
            if place == lost_at:
                self._fleet.lose(self, body.size / body.count / self.up_bytes_s)
                return
            self._send(Topic.DELTA, body.chunk(index))
        if self._fleet.twice():
            self._send(Topic.DELTA, body.chunk(indexes[-1]))

    def _settled(self, digest: bytes, code: int) -> None:
        """Take the final verdict; after a lie comes what is right, unless the lie was the last word on the plan."""
        lie = self._lie
        self._fleet.settled(digest, code, lie)
        again = lie is not None and lie is not Lie.VALUES
        if again or (lie is None and code == pb.ACCEPTED and self._fleet.sends_another()):
            self._make(None)
            self._offer()
            return
        self._done, self._plan, self._body = self._plan, self._next, None
        self._next = b""
        self._set(Work.WAITING if self._plan else Work.IDLE)
        self._fetch()

    # all

    def _send(self, topic: Topic, payload: bytes) -> None:
        self._fleet.network.send(self, topic, payload)

    def _later(self, seconds: float, call: Callable[..., None], *args: object) -> None:
        self._fleet.clock.after(seconds, call, *args)

    def _backoff(self, tries: int) -> float:
        return backoff(tries, FIRST_RESEND_S, LAST_RESEND_S, self._fleet.random.random())
