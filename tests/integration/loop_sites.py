"""Gateways above and below each other, in threads of this process, with real devices: real brokers, the real protocol.

A device is `edge_runtime`'s own, over MQTT, with the toy program in place of ExecuTorch.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import toy

from broker_server.config import GatewayConfig
from broker_server.config_tables import Limits, Listen, RoundRules, Train
from broker_server.events import Events
from broker_server.server_config import Server
from broker_server.service import Service, Stop
from broker_server.upstream_config import UpstreamTable
from edge_runtime.data.examples import open_source
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.device import Device
from edge_runtime.federation.link import Broker, LinkEvent
from edge_runtime.federation.membership import Identity
from edge_runtime.federation.mqtt.link import MqttLink
from edge_runtime.federation.report import Report
from edge_runtime.federation.versions import Versions
from edge_runtime.federation.work import Work
from edge_runtime.inference.class_sums import class_sums
from edge_runtime.store import Store
from edge_runtime.training.trainer import Tools
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import encode

PATIENCE_S = 120.0
EXACT = Limits(weight_multiple=0, weight_share=1, norm_clip=0, most_examples=500, blob_window_s=0.02)
TRAIN = Train(steps=3, learning_rate=0.05)


class Box:
    """A gateway that runs.

    Args:
        folder: of its state.
        package: of the federation.
        rules: of its rounds.
        upstream: the gateway above, and this site's name there.
        fields: of its settings.
    """

    def __init__(
        self, folder: Path, package: Package, rules: RoundRules, upstream: tuple[Box, str] | None = None, **fields: Any
    ) -> None:
        server = fields.pop("server", Server(exact_sums=True))
        table = UpstreamTable() if upstream is None else UpstreamTable(upstream[0].service.url, upstream[1])
        self.folder, self.told = folder, list[dict[str, Any]]()
        config = GatewayConfig(
            package.folder, folder, listen=Listen(port=0), round=rules, train=TRAIN, limits=EXACT, server=server,
            upstream=table, linger_s=5.0, **fields,
        )  # fmt: skip
        events = Events()
        events.watch(self.told.append)
        self._stop = Stop()
        self.service = Service(config, events, self._stop)
        self._thread = threading.Thread(target=self.service.run, daemon=True)
        self._thread.start()

    def events(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """Return what was told of a kind, with these values."""
        return [one for one in list(self.told) if one["event"] == kind and fields.items() <= one.items()]

    def wait(self, condition: Callable[[], Any]) -> None:
        """Wait until something holds."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, [str(one)[:300] for one in self.told[-12:]]
            time.sleep(0.02)

    def digests(self) -> dict[int, bytes]:
        """Return the digest of each version."""
        return {row.version: row.digest for row in self.service._store.ledger.versions()}

    def end(self) -> None:
        """End it, as a stop does."""
        self._stop.ask()
        self._thread.join(30)
        self.service.close()


class Person:
    """A device, on a thread. Args: box: its gateway; name: of it; folder: of its state; rows: of its data."""

    def __init__(self, box: Box, package: Package, name: str, folder: Path, rows: int) -> None:
        data, broker = toy.write_data(folder / f"{name}.csv", rows), Broker.parse(box.service.url)
        self.events: list[str] = []
        self._over = threading.Event()

        def run() -> None:
            program, tokenizer = toy.ToyProgram(), Tokenizer(package.path("tokenizer.json"))
            source, inbox = open_source(data, toy.LABELS), queue.Queue[LinkEvent]()
            report = Report(name, lambda event: self.events.append(event.name))
            with Store(folder / name) as store:
                tools = Tools(program, package.manifest, tokenizer, source, toy.TIERS[0], lambda: 0.0)
                sums = class_sums(program, package.manifest, tokenizer, source, lambda _: None)
                link = MqttLink(broker, "default", name, encode(pb.Bye(device=name)), inbox.put)
                work = Work(store, Versions(store, package), name, tools=tools)
                identity = Identity(package.digest, sums)
                Device(
                    RunConfig(name), work, identity, link, inbox, report=report, stopped=self._over.is_set
                ).run()  # fmt: skip

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Let it leave."""
        self._over.set()
        self._thread.join(30)
