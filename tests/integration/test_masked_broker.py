"""A round under masks over the gateway's own broker: sockets, TLS, keys that are signed; one leaves after it dealt."""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path
from typing import Any

import toy
from masked_federation import SETTINGS, note_trained, plain_sum

from broker_server import Gateway
from broker_server.config import GatewayConfig
from broker_server.config_tables import Listen
from broker_server.identity.certificates import Identity as Certified
from broker_server.identity.certificates import new_authority, new_device, new_gateway, utc_now
from broker_server.state.store import Store as GatewayStore
from edge_runtime.data.examples import open_source
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.device import Device
from edge_runtime.federation.enrolled import signer_of
from edge_runtime.federation.link import Broker, LinkEvent
from edge_runtime.federation.membership import Identity
from edge_runtime.federation.mqtt.link import MqttLink
from edge_runtime.federation.report import DeviceEvent, Report
from edge_runtime.federation.versions import Versions
from edge_runtime.federation.work import Work
from edge_runtime.store import Store
from edge_runtime.training.trainer import Tools
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import encode
from edge_runtime.wire.secure.fixed_point import Integers
from edge_runtime.wire.secure.signed_keys import Federation
from edge_runtime.wire.secure.terms import Terms


class Runner:
    """A device on a thread of its own. Args: leaves: it stops as soon as its shares are accepted."""

    def __init__(self, folder: Path, package: Package, broker: Broker, name: str, *, leaves: bool = False) -> None:
        (folder / name).mkdir()
        self.store = Store(folder / name / "state")
        source = open_source(toy.write_data(folder / name / "data.csv", 12), toy.LABELS)
        tokenizer = Tokenizer(package.path("tokenizer.json"))
        tools = Tools(toy.ToyProgram(), package.manifest, tokenizer, source, toy.TIERS[1], lambda: 0.0)
        inbox: queue.Queue[LinkEvent] = queue.Queue()
        link = MqttLink(broker, "default", name, encode(pb.Bye(device=name)), inbox.put)
        signer = signer_of(broker, Federation("default", package.manifest.architecture.digest()))
        work = Work(self.store, Versions(self.store, package), name, signer, tools=tools)
        self.trained: dict[str, dict[int, Integers]] = {}
        note_trained(self.trained, work)
        self.leaves, self.left = leaves, False
        report = Report(name, self.hear)
        identity = Identity(package.digest, None)
        self.device = Device(RunConfig(name), work, identity, link, inbox, report=report, stopped=lambda: self.left)
        self.thread = threading.Thread(target=self.run, name=name, daemon=True)
        self.thread.start()

    def hear(self, event: DeviceEvent) -> None:
        """Leave when its time has come."""
        accepted = event.name == "verdict" and (event.values["kind"], event.values["code"]) == ("shares", "ACCEPTED")
        self.left = self.left or (self.leaves and accepted)

    def run(self) -> None:
        """Take part until the gateway is done."""
        try:
            self.device.run()
        finally:
            self.store.close()


def files_of(folder: Path, name: str, identity: Certified, authority: Certified) -> dict[str, Path]:
    """Return what somebody shows and knows in TLS, as files."""
    texts = {"ca": authority.certificate, "certificate": identity.certificate, "key": identity.key}
    for kind, text in texts.items():
        (folder / f"{name}.{kind}.pem").write_text(text)
    return {kind: folder / f"{name}.{kind}.pem" for kind in texts}


def test_a_round_over_a_real_broker_makes_the_survivors_sum(tmp_path: Path) -> None:
    """Four enrolled devices, one of which leaves after its shares: the three others' integers are the version."""
    package = toy.write_package(tmp_path / "package")
    authority = new_authority("edge-experts default", utc_now())
    own = files_of(tmp_path, "gateway", new_gateway(authority, ["127.0.0.1"], utc_now()), authority)
    listen: dict[str, Any] = {"listen": Listen(port=0, **own), "linger_s": 20.0}
    config = GatewayConfig(tmp_path / "package", tmp_path / "gateway", **(SETTINGS | listen))
    with Gateway(config) as gateway:
        names = {"a": False, "b": False, "c": True, "d": False}
        runners = []
        for name, leaves in names.items():
            files = files_of(tmp_path, name, new_device(authority, name, utc_now()), authority)
            runners.append(Runner(tmp_path, package, Broker.parse(gateway.url, **files), name, leaves=leaves))
        assert gateway.wait(version=1, timeout_s=300)
        status = gateway.status()
        for runner in runners:
            runner.left = True
        for runner in runners:
            runner.thread.join(30)
    assert status.secure["last"]["opened"]
    assert max(status.secure["last"]["opened"]) == 3
    assert status.secure["last"]["signed"] is True
    assert "c" not in status.round.answered
    store = GatewayStore.open(tmp_path / "gateway", package, time.time())
    row = store.ledger.masks(1)
    assert row is not None
    terms, trained = Terms.of(pb.MaskTerms.FromString(row.terms)), {}
    for runner in runners:
        trained |= runner.trained
    (_, base), (_, merged) = store.lineage.load(0), store.lineage.load(1)
    assert merged.digest() == plain_sum(trained, base, terms, "abd", terms.circles).digest()
    store.close()
