"""A federation under masks in one process: real gateway and real devices, a broker in memory, a clock in hand.

The gateway's parts are those of `broker_server run` over a real state directory, devices are whole ones over the toy
program; only sockets and waiting are left out, so that anybody can be killed between two messages.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import toy
from fakes import Clock, FakeLink

from broker_server.config import GatewayConfig
from broker_server.config_tables import Limits, RoundRules, Train
from broker_server.events import Events
from broker_server.identity.certificates import Identity as Certified
from broker_server.identity.certificates import new_device, utc_now
from broker_server.rounds.conductor import Conductor
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.reception import Reception
from broker_server.rounds.roster import Roster
from broker_server.rounds.signer import Signer, SigningPublisher
from broker_server.secure_config import Secure
from broker_server.server_config import Server
from broker_server.state.store import Store as GatewayStore
from edge_runtime.data.examples import open_source
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.device import Device
from edge_runtime.federation.link import LinkEvent
from edge_runtime.federation.membership import Identity
from edge_runtime.federation.report import DeviceEvent, Report
from edge_runtime.federation.versions import Versions
from edge_runtime.federation.work import Work
from edge_runtime.inference.class_sums import class_sums
from edge_runtime.store import Store
from edge_runtime.training.trainer import Tools
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.chunks import split
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.experts import HEAD
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import decode
from edge_runtime.wire.secure.fixed_point import Integers
from edge_runtime.wire.secure.signed_keys import Federation as Scope
from edge_runtime.wire.secure.signed_keys import KeySigner
from edge_runtime.wire.secure.terms import Terms, weights_of
from edge_runtime.wire.signatures import SigningKey
from edge_runtime.wire.topics import RETAINED, Address, Topic

SECURE = Secure(enabled=True, keys_s=20.0, shares_s=20.0, answer_s=20.0, class_sums="no")
RULES = RoundRules(quorum=3, join_wait_s=2.0, deadline_s=100.0, max_staleness=0, newcomer_wait_s=5.0)
TRAIN = Train(steps=3, learning_rate=0.1, codec="float32", codec_down="float32", head_share=1.0)
SETTINGS: dict[str, Any] = {
    "rounds": 1, "round": RULES, "train": TRAIN, "secure": SECURE, "limits": Limits(norm_factor=0),
    "server": Server(normalize_steps=False),
}  # fmt: skip
KILLED = "killed"


class MemoryBroker:
    """Hands messages on, and retains what is to be retained."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.links: dict[str, FakeLink] = {}
        self.retained: dict[tuple[Topic, str], bytes] = {}
        self.reception: Reception | None = None
        self.verdicts: list[tuple[str, pb.Verdict]] = []
        """What devices were told of bodies."""
        self.said: list[tuple[str, Topic, bytes]] = []
        """What devices said."""

    def publish(self, topic: Topic, name: str, payloads: Iterable[bytes]) -> None:
        """Carry what the gateway says."""
        for payload in payloads:
            if topic is Topic.VERDICT:
                self.verdicts.append((name, decode(pb.Verdict, payload)))
            if topic in RETAINED:
                self.retained[topic, name] = payload
            for device, link in self.links.items():
                if topic in (Topic.GATEWAY, Topic.VERSION, Topic.BLOB) or device == name:
                    self._deliver(link, topic, payload, name)

    def _deliver(self, link: FakeLink, topic: Topic, payload: bytes, name: str) -> None:
        if topic is not Topic.SECURE or topic in link.topics:
            link.deliver(topic, payload, name)

    def joined(self, link: FakeLink) -> None:
        """Deliver what is retained to a link that came up."""
        self.links[link.device] = link
        for (topic, name), payload in self.retained.items():
            if payload and (topic in (Topic.GATEWAY, Topic.VERSION) or name == link.device):
                self._deliver(link, topic, payload, name)

    def listened(self, link: FakeLink, topic: Topic) -> None:
        """Deliver what is retained on a topic that a device listens on from now on."""
        payload = self.retained.get((topic, link.device), b"")
        if payload:
            link.deliver(topic, payload, link.device)

    def hear(self, link: FakeLink, topic: Topic, payload: bytes) -> None:
        """Carry what a device says."""
        self.said.append((link.device, topic, payload))
        if self.reception is not None:
            now = self._clock.now
            self.reception.take(str(Address("default", topic, link.device)), payload, now, now)


@dataclass
class Running:
    """A device at work. Args: device; work; store: of it; link: to the broker."""

    device: Device
    work: Work
    store: Store
    link: FakeLink


class Federation:
    """Gateway and devices of one test.

    Args:
        folder: for all of it.
        authority: issues certificates, with whose keys devices sign; None: they have none.
        settings: of the gateway, in place of SETTINGS.
    """

    def __init__(self, folder: Path, authority: Certified | None = None, **settings: Any) -> None:
        self.folder, self.clock, self.authority = folder, Clock(1.0), authority
        if authority is not None:
            (folder / "authority.pem").write_text(authority.certificate)
            settings["secure"] = replace((SETTINGS | settings)["secure"], authority=folder / "authority.pem")
        self.package: Package = toy.write_package(folder / "package")
        self.config = GatewayConfig(folder / "package", folder / "gateway", **(SETTINGS | settings))
        self.broker = MemoryBroker(self.clock)
        self.key = SigningKey.create(folder / "signing.pem")
        self.devices: dict[str, Running] = {}
        self.trained: dict[str, dict[int, Integers]] = {}
        """Integers of each device without masks, by circle, as it kept them."""
        self.class_sums: dict[str, ClassSums] = {}
        """Of each device's data, where they are asked for."""
        self.told: list[dict[str, Any]] = []
        self.heard: list[DeviceEvent] = []
        """What devices told."""
        self.starts = 0
        self.start_gateway()

    # the gateway

    def start_gateway(self) -> None:
        """Start it as a new process would."""
        self.starts += 1
        self.store = GatewayStore.open(self.folder / "gateway", self.package, self.clock.now)
        signer = Signer(self.key, "default", self.store.ledger)
        events = Events(lambda: self.clock.now)
        events.watch(self.told.append)
        parts = GatewayParts(self.config, self.store, Roster(), SigningPublisher(self.broker, signer), events, signer)
        self.conductor = Conductor(parts, self.starts.to_bytes(16, "little"))
        self.broker.reception = Reception(parts, self.conductor)
        self.conductor.resume(self.clock.now)
        self.conductor.announce()

    def kill_gateway(self) -> None:
        """End it without any farewell."""
        self.broker.reception = None
        self.store.close()

    # devices

    def start(self, *names: str) -> None:
        """Start devices as new processes would; a name is also the seed of its data."""
        for name in names:
            folder = self.folder / name
            folder.mkdir(exist_ok=True)
            data = toy.write_data(folder / "data.csv", 6 + 3 * (sum(name.encode()) % 5))
            store, program = Store(folder / "state"), toy.ToyProgram()
            source = open_source(data, toy.LABELS)
            tokenizer = Tokenizer(self.package.path("tokenizer.json"))
            tools = Tools(program, self.package.manifest, tokenizer, source, toy.TIERS[1], lambda: 0.0)
            inbox: queue.Queue[LinkEvent] = queue.Queue()
            link = FakeLink(inbox, name)
            link.gateway = self.broker  # type: ignore[assignment]
            work = Work(store, Versions(store, self.package), name, self.signer(name), tools=tools)
            note_trained(self.trained, work)
            config = RunConfig(name, checkpoint_s=0.0, gateway_key=self.key.public)
            if self.config.secure.enabled and self.config.secure.class_sums != "no":
                sums = class_sums(program, self.package.manifest, tokenizer, source, lambda _: None)
                self.class_sums[name] = sums
            identity, report = Identity(self.package.digest, self.class_sums.get(name)), Report(name, self.heard.append)
            device = Device(config, work, identity, link, inbox, report=report, clock=self.clock, chance=lambda: 0.5)
            device._timers.pause = lambda _: 0.0  # type: ignore[method-assign]
            link.start()
            self.devices[name] = Running(device, work, store, link)

    def signer(self, name: str) -> KeySigner | None:
        """Return what signs a device's keys: with a new certificate, as after an enrolment; None without authority."""
        if self.authority is None:
            return None
        own = new_device(self.authority, name, utc_now())
        scope = Scope("default", self.package.manifest.architecture.digest())
        return KeySigner(own.certificate, own.key, self.authority.certificate, scope)

    def kill(self, *names: str) -> None:
        """End devices; the broker says the bye that they left with it."""
        for name in names:
            running = self.devices.pop(name)
            running.store.close()
            running.link.up = False
            self.broker.links.pop(name)

    # time

    def run(self, until: Callable[[], bool], seconds: int = 400) -> None:
        """Let all of them work, a second at a time, until something holds."""
        for _ in range(seconds):
            self.step()
            if until():
                return
        raise AssertionError([event for event in self.told if event["event"] != "hello"][-12:])

    def step(self) -> None:
        """Let everybody do what is due."""
        self.clock.now += 1.0
        for name in list(self.devices):
            self.devices[name].device.turn()
        reception = self.broker.reception
        if reception is not None:
            reception.decide(self.clock.now)
            reception.tick(self.clock.now, self.clock.now)
            self.conductor.tick(self.clock.now, self.clock.now)

    def sent(self, device: str, kind: pb.Kind, body: bytes) -> tuple[int, str]:
        """Send a body in a device's name; return code and detail of what it is told."""
        topic = Topic.DELTA if kind == pb.DELTA else Topic.MASKS
        reception, now = self.broker.reception, self.clock.now
        assert reception is not None
        self.broker.verdicts.clear()
        for chunk in split(body, kind):
            reception.take(str(Address("default", topic, device)), chunk, now, now)
        reception.decide(now)
        return next((one.code, one.detail) for name, one in self.broker.verdicts if name == device)

    def phase(self, number: int = 1) -> str:
        """Return how far a round under masks is, as the ledger has it."""
        row = self.store.ledger.masks(number)
        if row is None:
            return "none"
        steps = {"keys": row.members, "shares": row.dealt, "deltas": row.survivors, "answers": row.sums}
        return next((name for name, step in steps.items() if step is None), "opened")

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return what was told of a kind."""
        return [event for event in self.told if event["event"] == kind]

    def bank(self, version: int) -> Bank:
        """Return a version of the gateway."""
        return self.store.lineage.load(version)[1]


def note_trained(trained: dict[str, dict[int, Integers]], work: Work) -> None:
    """Have a device's integers noted before it puts masks on them."""
    mask = work.mask

    def noted() -> None:
        assert work.unmasked is not None
        trained[work.device] = dict(work.unmasked.values)
        mask()

    work.mask = noted  # type: ignore[method-assign]


def plain_sum(
    noted: Mapping[str, Mapping[int, Integers]],
    base: Bank,
    terms: Terms,
    devices: Collection[str],
    circles: Collection[int],
) -> Bank:
    """Return the bank that devices' integers make without any mask, computed the plain way. Args: noted: by device."""
    shape, blocks = base.shape, {}
    trained = [noted[device] for device in sorted(devices)]
    for circle in circles:
        said = [values[circle] for values in trained if circle in values]
        total, start = np.sum(said, axis=0), 0
        for block in terms.circles[circle]:
            size, count = shape.size(block), weights_of(block, shape)
            values, weights = total[start : start + size], total[start + size : start + size + count]
            start += size + count
            if block == HEAD:
                weights = np.concatenate([np.repeat(weights, shape.width), weights])
            unit = terms.scale(block).step * terms.most_weight
            before = base.block(block)
            mean = np.divide(values * unit, weights, out=np.zeros(size), where=weights > 0)
            blocks[block] = np.where(weights > 0, (before.astype(np.float64) + mean).astype(np.float32), before)
    return base.replace(blocks)
