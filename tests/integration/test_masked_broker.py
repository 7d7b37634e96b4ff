"""A round under masks over the gateway's own broker: sockets, MQTT, TLS left out; a device leaves after it dealt."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Any

import toy
from masked_federation import SETTINGS, note_trained

from broker_server import Gateway
from broker_server.config import GatewayConfig
from broker_server.config_tables import Listen
from edge_runtime.data.examples import open_source
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.device import Device
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


class Runner:
    """A device on a thread of its own. Args: leaves: it stops as soon as its shares are accepted."""

    def __init__(self, folder: Path, package: Package, url: str, name: str, *, leaves: bool = False) -> None:
        (folder / name).mkdir()
        self.store = Store(folder / name / "state")
        source = open_source(toy.write_data(folder / name / "data.csv", 12), toy.LABELS)
        tokenizer = Tokenizer(package.path("tokenizer.json"))
        tools = Tools(toy.ToyProgram(), package.manifest, tokenizer, source, toy.TIERS[1], lambda: 0.0)
        inbox: queue.Queue[LinkEvent] = queue.Queue()
        link = MqttLink(Broker.parse(url), "default", name, encode(pb.Bye(device=name)), inbox.put)
        work = Work(self.store, Versions(self.store, package), name, tools=tools)
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


def test_a_round_over_a_real_broker_makes_the_survivors_sum(tmp_path: Path) -> None:
    """Four devices, one of which leaves after its shares: the three others' integers are the version."""
    package = toy.write_package(tmp_path / "package")
    listen: dict[str, Any] = {"listen": Listen(port=0), "linger_s": 20.0}
    config = GatewayConfig(tmp_path / "package", tmp_path / "gateway", **(SETTINGS | listen))
    with Gateway(config) as gateway:
        names = {"a": False, "b": False, "c": True, "d": False}
        runners = [Runner(tmp_path, package, gateway.url, name, leaves=leaves) for name, leaves in names.items()]
        assert gateway.wait(version=1, timeout_s=300)
        status = gateway.status()
        for runner in runners:
            runner.left = True
        for runner in runners:
            runner.thread.join(30)
    assert status.secure["last"]["opened"]
    assert max(status.secure["last"]["opened"]) == 3
    assert "c" not in status.round.answered
