"""A device of paho and numpy that keeps to SPEC.md: says hello, fetches blocks, "trains", resends until its verdict."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import paho.mqtt.client as paho
import tiny
from paho.mqtt.enums import CallbackAPIVersion

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import Assembler, Cut, missing_chunks
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import block_digests, decode, encode, ids
from edge_runtime.wire.tensors import encode as encode_values
from edge_runtime.wire.topics import Address, Topic, device_subscriptions, parse


class Device:
    """One device on its own connection.

    Args:
        url: of the broker.
        package: of the federation.
        name: of the device.
        slots: trained in each layer.
        texts: (text, label) pairs for its class statistics.
        limit: how many rounds it delivers in; it keeps silent in later ones.
        examples: that it claims in its deltas.
        piece: bytes of a delta in a chunk.
        turned: rounds in which it turns the head round, where that is trained: every label then gets another's texts.
        hello: fields of its Hello that are unlike others'.
    """

    def __init__(
        self,
        url: str,
        package: Package,
        name: str,
        *,
        slots: int = 2,
        texts: Any = (),
        limit: int = 99,
        examples: int = 10,
        piece: int = 300,
        turned: frozenset[int] = frozenset(),
        **hello: Any,
    ) -> None:
        self._package, self.name, self._limit, self._examples = package, name, limit, examples
        self._statistics, self._piece = b"", piece
        self._turned, self._label_counts = turned, [0.0] * len(tiny.LABELS)
        if texts:
            words, labels = [text for text, _ in texts], [label for _, label in texts]
            self._label_counts = [float(labels.count(label)) for label in range(len(tiny.LABELS))]
            self._statistics = encode(tiny.statistics(package, name, words, labels))
            hello["statistics_digest"] = sha256(self._statistics)
        self._hello = {"trained_slots": slots} | hello
        self._session = b""
        self._version: pb.Version | None = None
        self._versions: dict[bytes, pb.Version] = {}
        self._plan = b""
        self._blobs: dict[bytes, bytes] = {}
        self._assembler = Assembler()
        self._pending: dict[bytes, tuple[Topic, Cut]] = {}
        self._done: set[bytes] = set()
        self._changed = threading.Condition()
        self.verdicts: list[pb.Verdict] = []
        self.plans: list[pb.Plan] = []
        self.finished = False
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"default.{name}")
        self._client.reconnect_delay_set(1, 1)
        self._client.will_set(self._topic(Topic.BYE), encode(pb.Bye(device=name)), 1)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        parts = urlsplit(url)
        self._client.connect_async(str(parts.hostname), int(parts.port or 0))
        self._client.loop_start()

    def wait(self, condition: Any, seconds: float = 60.0) -> None:
        """Wait until a condition on this device holds."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), seconds), [str(v)[:200] for v in self.verdicts]

    def leave(self) -> None:
        """Say bye and go."""
        if self._client.is_connected():
            self._client.publish(self._topic(Topic.BYE), encode(pb.Bye(device=self.name)), 1).wait_for_publish(10)
        self._client.disconnect()
        self._client.loop_stop()

    def begin(self) -> None:
        """Train the plan at hand, after a limit was raised."""
        with self._changed:
            self._work()

    def send(self, topic: Topic, payloads: Any) -> None:
        """Publish on this device's topic."""
        for payload in payloads:
            self._client.publish(self._topic(topic), payload, 1)

    def _topic(self, topic: Topic, name: str = "") -> str:
        return str(Address("default", topic, name or self.name))

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        self._session = b""  # a new connection greets again, and sends again what has no verdict
        client.subscribe([(topic, 1) for topic in device_subscriptions("default", self.name)])

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self._take(parse(message.topic), message.payload)
            self._changed.notify_all()

    def _take(self, address: Address, payload: bytes) -> None:
        if address.topic is Topic.GATEWAY:
            self._gateway(decode(pb.GatewayState, payload))
        elif address.topic is Topic.VERSION:
            newest = decode(pb.Version, payload)
            self._versions[newest.digest] = newest
        elif address.topic is Topic.PLAN:
            self._plan = payload
            if payload:
                self.plans.append(decode(pb.Plan, payload))
        elif address.topic is Topic.BLOB:
            body = self._assembler.add("gateway", decode(pb.Chunk, payload))
            if body is not None:
                self._blobs[sha256(body)] = body
        elif address.topic is Topic.VERDICT:
            self._verdict(decode(pb.Verdict, payload))
        self._work()

    def _gateway(self, state: pb.GatewayState) -> None:
        self.finished = state.finished
        if state.online and state.session != self._session:
            self._session = state.session
            self.send(Topic.HELLO, [encode(tiny.hello(self._package, self.name, **self._hello))])

    def _verdict(self, verdict: pb.Verdict) -> None:
        self.verdicts.append(verdict)
        if verdict.kind == pb.HELLO and verdict.code == pb.ACCEPTED:
            for _, cut in self._pending.values():
                self._offer(cut)
            if verdict.want_statistics:
                self._keep(Topic.STATISTICS, Cut.of(self._statistics, pb.STATISTICS, 64))
        elif verdict.code == pb.INCOMPLETE and verdict.digest in self._pending:
            topic, cut = self._pending[verdict.digest]
            self._called(topic, cut, missing_chunks(verdict.missing, cut.count))
        elif verdict.code != pb.BUSY:
            self._pending.pop(verdict.digest, None)

    def _called(self, topic: Topic, cut: Cut, missing: tuple[int, ...]) -> None:
        """Send what the gateway lacks of a body."""
        self.send(topic, map(cut.chunk, missing))

    def _keep(self, topic: Topic, cut: Cut) -> None:
        """Keep a body until its verdict; the gateway calls for it when there is room."""
        if cut.digest not in self._pending:
            self._pending[cut.digest] = topic, cut
            self._offer(cut)

    def _offer(self, cut: Cut) -> None:
        offer = pb.Offer(device=self.name, kind=cut.kind, digest=cut.digest, count=cut.count, total=len(cut.body))
        self.send(Topic.OFFER, [encode(offer)])

    def _work(self) -> None:
        """Train when plan, version and blocks are here."""
        if not self._plan or sha256(self._plan) in self._done:
            return
        plan = decode(pb.Plan, self._plan)
        self._version = self._versions.get(plan.version_digest)
        if self._version is None or len(self._done) >= self._limit:
            return
        missing = sorted({block.digest for block in self._version.blocks} - set(self._blobs))
        if missing:
            for digest in missing:
                self._client.subscribe(self._topic(Topic.BLOB, digest.hex()), 1)
            self.send(Topic.WANT, [encode(pb.Want(device=self.name, digests=missing))])
            return
        self._done.add(sha256(self._plan))
        counts = self._label_counts if HEAD in ids(plan.train) else []
        delta = tiny.delta(
            plan, self._plan, experts=self._trained(plan), codec=plan.codec, examples=self._examples,
            label_counts=counts,
        )  # fmt: skip
        body = encode(delta)
        self._keep(Topic.DELTA, Cut.of(body, pb.DELTA, self._piece))

    def _trained(self, plan: pb.Plan) -> list[pb.ExpertDelta]:
        """Move every block a hundredth of the way to this device's own constant."""
        assert self._version is not None
        digests = block_digests(self._version)
        goal = 1.0 + sum(self.name.encode()) % 7

        def move(block: ExpertId) -> bytes:
            base = np.frombuffer(self._blobs[digests[block]], "<f4")
            if block == HEAD:
                turned = -1.5 * base if plan.round in self._turned else 0 * base
                return encode_values(turned.astype(np.float32), plan.codec)
            return encode_values(((goal - base) / 100).astype(np.float32), plan.codec)

        return [pb.ExpertDelta(layer=b.layer, index=b.index, values=move(b)) for b in ids(plan.train)]
