"""A gateway without a broker or a clock: what devices send goes in by hand, what it publishes is kept."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tiny

from broker_server.config import GatewayConfig
from broker_server.config_tables import RoundRules, Train
from broker_server.events import Events
from broker_server.rounds.conductor import Conductor
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.reception import Reception
from broker_server.rounds.roster import Roster
from broker_server.rounds.signer import Signer, SigningPublisher
from broker_server.rules.round import State
from broker_server.server_config import Server
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import PAYLOAD, split
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.signatures import SigningKey
from edge_runtime.wire.topics import Address, Topic


class Outbox:
    """Keeps what was published, by topic."""

    def __init__(self) -> None:
        self.sent: list[tuple[Topic, str, bytes]] = []

    def publish(self, topic: Topic, name: str, payloads: Any) -> None:
        """Keep payloads."""
        self.sent += [(topic, name, payload) for payload in payloads]

    def last(self, topic: Topic, name: str = "") -> bytes:
        """Return the last payload on a topic."""
        return next(payload for kind, to, payload in reversed(self.sent) if (kind, to) == (topic, name))


TRAIN = Train(steps=10, learning_rate=0.1, codec="auto", codec_down="float32")
"""Exact, so that sums can be computed by hand."""


class Gateway:
    """Conductor and reception over a real store, without a broker or a clock."""

    def __init__(self, folder: Path, package: Any, key: SigningKey | None = None, **fields: Any) -> None:
        accept_loss = fields.pop("accept_loss", False)
        conductor_of = fields.pop("conductor_of", Conductor)
        chance, engine_of = fields.pop("chance", random.SystemRandom()), fields.pop("engine_of", lambda _: None)
        values = {
            "rounds": 2, "round": RoundRules(quorum=2, join_wait_s=0), "train": TRAIN,
            "server": Server(normalize_steps=False),
        } | fields  # fmt: skip
        self.config = GatewayConfig(package.folder, folder, **values)
        self.package = package
        keep = self.config.kept_versions
        self.store = Store.open(folder, package, 1.0, keep_versions=keep, accept_loss=accept_loss)
        self.out, self.told = Outbox(), []
        events = Events(lambda: 0.0)
        events.watch(self.told.append)
        signer = Signer(key, "default", self.store.ledger)
        publisher = SigningPublisher(self.out, signer)
        self.parts = parts = GatewayParts(
            self.config, self.store, Roster(), publisher, events, signer, engine_of(self.store), chance
        )
        try:
            self.conductor: Conductor = conductor_of(parts, b"s" * 16)
        except BaseException:
            self.close()
            raise
        self.reception = Reception(parts, self.conductor)
        self.conductor.resume(0.0)
        self.now = 1.0
        self._together = False

    def send(self, topic: Topic, device: str, payload: bytes) -> None:
        """Deliver a message from a device."""
        self.now += 1.0
        self.reception.take(str(Address("default", topic, device)), payload, self.now, self.now)
        if not self._together:
            self.reception.decide(self.now)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Let bodies that are complete wait, and decide on them as one group at the end."""
        self._together = True
        try:
            yield
        finally:
            self._together = False
        self.reception.decide(self.now)

    def hello(self, *devices: str) -> None:
        """Let devices say hello."""
        for device in devices:
            self.send(Topic.HELLO, device, encode(tiny.hello(self.package, device)))

    def hello_with(self, device: str, texts: list[str], labels: list[int]) -> bytes:
        """Let a device say hello that has these texts; return the body of its class statistics."""
        body = encode(tiny.statistics(self.package, device, texts, labels))
        self.send(Topic.HELLO, device, encode(tiny.hello(self.package, device, statistics_digest=sha256(body))))
        return body

    def statistics(self, device: str, body: bytes) -> None:
        """Send a device's class statistics."""
        for chunk in split(body, pb.STATISTICS):
            self.send(Topic.STATISTICS, device, chunk)

    def tick(self) -> None:
        """Look at the clock."""
        self.now += 1.0
        self.conductor.tick(self.now, self.now)

    def plan(self, device: str) -> tuple[pb.Plan, bytes]:
        """Return the plan of a device in this round."""
        payload = self.store.ledger.plans(self.conductor.round)[device]
        return decode(pb.Plan, payload), payload

    def train(self, device: str, value: float = 0.01, **fields: Any) -> bytes:
        """Send a device's delta; return its digest."""
        plan, payload = self.plan(device)
        body = encode(tiny.delta(plan, payload, value=value, **fields))
        self.deliver(device, body)
        return sha256(body)

    def deliver(self, device: str, body: bytes) -> None:
        """Send the body of a delta."""
        for chunk in split(body, pb.DELTA):
            self.send(Topic.DELTA, device, chunk)

    def offer(self, device: str, body: bytes, payload: int = PAYLOAD, kind: pb.Kind = pb.DELTA) -> pb.Verdict:
        """Offer a body that would be cut into pieces of ``payload`` bytes; return the answer."""
        return self.offer_as(device, kind, sha256(body), -(-len(body) // payload), len(body))

    def offer_as(self, device: str, kind: pb.Kind, digest: bytes, count: int, total: int) -> pb.Verdict:
        """Offer what may be a lie; return the last verdict then."""
        message = pb.Offer(device=device, kind=kind, digest=digest, count=count, total=total)
        self.send(Topic.OFFER, device, encode(message))
        return self.verdict(device)

    def verdict(self, device: str) -> pb.Verdict:
        """Return the last verdict to a device."""
        return decode(pb.Verdict, self.out.last(Topic.VERDICT, device))

    def close(self) -> None:
        """Let the state directory go."""
        self.store.close()


def whole_story(folder: Path, package: Any, rounds: int = 1, **fields: Any) -> None:
    """Play rounds of two devices to their end, taking up whatever is there already."""
    gateway = Gateway(folder, package, rounds=rounds, **fields)
    gateway.hello("a", "b")
    while gateway.conductor.state is not State.FINISHED:
        gateway.tick()
        if gateway.conductor.state is State.OPEN:
            for number, device in enumerate("ab"):
                gateway.train(device, value=0.01 * (number + 1) * gateway.conductor.round)
    gateway.close()
