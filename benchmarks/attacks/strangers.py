"""Names that nobody knows, each on a connection of its own: they say Hello and never train."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import split
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import decode, encode, ids
from edge_runtime.wire.topics import Address, Topic, parse

ADDRESSES: Final = 100
"""On loopback a stranger chooses its address: so no limit for one address stands in its way."""


@dataclass(frozen=True)
class Target:
    """The gateway that is attacked.

    Args:
        url: of its broker.
        federation: its name.
        package: of the federation.
        ca: authority of its certificate; None: it serves without TLS.
    """

    url: str
    federation: str
    package: Package
    ca: Path | None = None


class Stranger:
    """One name on one connection.

    Args:
        target: what it attacks.
        name: that it claims.
        number: chooses its address.
        promises: say in the Hello that class sums will come.
        poisons: answer plans with noise.
    """

    def __init__(
        self, target: Target, name: str, number: int = 0, *, promises: bool = False, poisons: bool = False
    ) -> None:
        self._target, self._name, self._poisons = target, name, poisons
        self._verdict = threading.Event()
        self._topic = str(Address(target.federation, Topic.HELLO, name))
        self._hello = _hello(target.package, name, promises=promises)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"{target.federation}.{name}")
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        if target.ca is not None:
            self._client.tls_set(str(target.ca))
        parts = urlsplit(target.url)
        self._client.connect_async(
            str(parts.hostname), int(parts.port or 0), bind_address=f"127.0.0.{2 + number % ADDRESSES}"
        )
        self._client.loop_start()

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        heard = [Topic.VERDICT, *([Topic.PLAN] if self._poisons else [])]
        client.subscribe([(self._address(topic), 1) for topic in heard])
        self.greet()

    def _on_message(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        if parse(message.topic).topic is Topic.VERDICT:
            self._verdict.set()
        elif message.payload:
            body = _noise(self._target.package, self._name, message.payload)
            for chunk in split(body, pb.DELTA):
                client.publish(self._address(Topic.DELTA), chunk, 1)

    def _address(self, topic: Topic) -> str:
        return str(Address(self._target.federation, topic, self._name))

    def greet(self) -> None:
        """Say Hello."""
        self._client.publish(self._topic, self._hello, 1)

    def answered(self, seconds: float) -> bool:
        """Wait for an answer; return whether it came."""
        return self._verdict.wait(seconds)

    def leave(self) -> None:
        """Go without a word."""
        self._client.disconnect()
        self._client.loop_stop()


def _noise(package: Package, name: str, plan_bytes: bytes) -> bytes:
    """Return a delta of noise as long as a plan's steps allow; all names send the same noise, which does not cancel."""
    plan, shape = decode(pb.Plan, plan_bytes), package.manifest.architecture.bank_shape
    experts = []
    for block in ids(plan.train):
        size, random = shape.size(block), np.random.default_rng([block.layer, block.index])
        values = (random.choice([-1.0, 1.0], size) * plan.learning_rate * plan.steps).astype(np.float32)
        experts.append(pb.ExpertDelta(layer=block.layer, index=block.index, values=tensors.encode(values, pb.FLOAT32)))
    return encode(
        pb.Delta(
            device=name, plan_digest=sha256(plan_bytes), round=plan.round, base_version=plan.base_version, examples=100,
            experts=experts, loss_first=1.0, loss_last=0.5, step_ms=20.0, steps=plan.steps,
        )
    )  # fmt: skip


def _hello(package: Package, name: str, *, promises: bool) -> bytes:
    return encode(
        pb.Hello(
            device=name, federation_digest=package.manifest.architecture.digest(), package_digest=package.digest,
            gateway_session=b"s" * 16, profile="pixel8", runtime="none", trained_slots=8, held_slots=8, batch_size=16,
            examples=100, codecs=[pb.FLOAT32], statistics_digest=sha256(name.encode()) if promises else b"",
        )
    )  # fmt: skip


class Crowd:
    """Strangers that act in the background until the context ends.

    Args:
        begin: makes those that are there from the start.
        again: called every ``every_s`` seconds with a number that grows; may return another stranger.
        every_s: 0: never.
    """

    def __init__(
        self,
        begin: Callable[[], Sequence[Stranger]],
        again: Callable[[int, Sequence[Stranger]], Stranger | None] = lambda *_: None,
        every_s: float = 0.0,
    ) -> None:
        self._begin, self._again, self._every_s = begin, again, every_s
        self._there: list[Stranger] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._act, daemon=True)

    def __enter__(self) -> Self:
        self._there += self._begin()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for stranger in self._there:
            stranger.leave()

    def _act(self) -> None:
        number = 0
        while self._every_s and not self._over.wait(self._every_s):
            number += 1
            came = self._again(number, self._there)
            if came is not None:
                self._there.append(came)


def hello_stream(target: Target) -> Crowd:
    """One name that says Hello every second."""
    return Crowd(lambda: [Stranger(target, "again")], lambda _, there: there[0].greet(), 1.0)


def promises(target: Target) -> Crowd:
    """A new name every seven seconds that says it will send class sums."""

    def one(number: int, _: Sequence[Stranger]) -> Stranger:
        return Stranger(target, f"promise-{number}", number, promises=True)

    return Crowd(lambda: [one(0, ())], one, 7.0)


def flood(target: Target) -> Crowd:
    """Twenty names that say Hello as often as they can."""

    def all_again(_: int, there: Sequence[Stranger]) -> None:
        for stranger in there:
            for _ in range(5):
                stranger.greet()

    return Crowd(lambda: [Stranger(target, f"flood-{number}", number) for number in range(20)], all_again, 0.05)


def poison(target: Target, count: int) -> Crowd:
    """So many names that answer their plans with noise."""
    return Crowd(lambda: [Stranger(target, f"sybil-{number}", number, poisons=True) for number in range(count)])


def seconds_to_join(target: Target, patience_s: float = 60.0) -> float:
    """Return how long a newcomer waits for the answer to its Hello, ``patience_s`` at most."""
    began = time.monotonic()
    newcomer = Stranger(target, "newcomer", 77)
    newcomer.answered(patience_s)
    newcomer.leave()
    return time.monotonic() - began


def silent(target: Target, count: int) -> Crowd:
    """So many names that take plans and never answer."""

    def begin() -> list[Stranger]:
        there = []
        for number in range(count):
            there.append(Stranger(target, f"sybil-{number}", number))
            time.sleep(0.002)
        return there

    return Crowd(begin)


def nobody(_: Target) -> Crowd:
    """Leave the federation in peace."""
    return Crowd(list)
