"""From ``broker_server init`` to a device over a supervised Mosquitto, with the commands that an operator types."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny

from broker_server.broker import mosquitto
from edge_runtime.federation.enrolled import broker_of, read_enrolment
from edge_runtime.federation.link import Arrived, Down, Up
from edge_runtime.federation.mqtt.link import MqttLink
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.topics import Topic

WAIT_S = 20.0
pytestmark = pytest.mark.skipif(
    mosquitto.installed() is None, reason="mosquitto is not installed; make broker-tools installs it"
)


def command(*arguments: str) -> list[str]:
    """Return a command line."""
    return [sys.executable, "-m", "broker_server", *arguments]


class Site:
    """A gateway's folder on this machine, and the gateway in it."""

    def __init__(self, folder: Path, package: Any) -> None:
        self.folder, self.package = folder / "site", package
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            self.port, self.websocket_port = one.getsockname()[1], two.getsockname()[1]
        place = ("--host", "localhost", "--port", str(self.port))
        self.do(folder, "init", str(self.folder), *place, "--package", str(package.folder))
        config = self.folder / "gateway.toml"
        lines = config.read_text().replace("[listen]\n", f"[listen]\nwebsocket_port = {self.websocket_port}\n", 1)
        config.write_text(lines.replace("# websocket_port", "# other_port").replace("\nwebsocket_port = 0", ""))
        self.process = subprocess.Popen(
            command("run", "--broker", "mosquitto", "--json"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
        )  # fmt: skip
        self.wait_for("up")

    def do(self, folder: Path, *arguments: str) -> None:
        """Run a command that works."""
        done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, cwd=folder, timeout=60)
        assert done.returncode == 0, done.stderr

    def wait_for(self, kind: str) -> dict[str, Any]:
        """Return the gateway's next event of a kind."""
        for line in self.process.stdout or ():
            event: dict[str, Any] = json.loads(line)
            if event["event"] == kind:
                return event
        pytest.fail(f"no {kind} came: {self.process.communicate()[1][-2000:]}")

    def link(self, enrolment: Path, heard: queue.Queue[Any]) -> MqttLink:
        """Return the link of the device that a file enrols."""
        read = read_enrolment(enrolment)
        broker = broker_of(read, enrolment.with_suffix(".state"))
        return MqttLink(broker, read.federation, read.device, encode(pb.Bye(device=read.device)), heard.put)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Set one up."""
    site = Site(tmp_path, tiny.make_package(tmp_path / "package"))
    yield site
    site.process.kill()
    site.process.communicate()


def next_verdict(heard: queue.Queue[Any]) -> pb.Verdict:
    """Return the next verdict that a link brings."""
    while True:
        event = heard.get(timeout=WAIT_S)
        if isinstance(event, Arrived) and event.address.topic is Topic.VERDICT:
            return decode(pb.Verdict, event.payload)


def test_enrolled_devices_join_through_either_port_until_one_is_revoked(site: Site) -> None:
    """Over TLS and through a WebSocket; the revoked one is cut off and stays out, the other comes back."""
    site.do(site.folder, "enroll", "kitchen")
    site.do(site.folder, "enroll", "hall", "--gateway", f"wss://localhost:{site.websocket_port}")
    heard: dict[str, queue.Queue[Any]] = {name: queue.Queue() for name in ("kitchen", "hall")}
    links = {name: site.link(site.folder / f"{name}.enrolment.json", inbox) for name, inbox in heard.items()}
    for name, link in links.items():
        link.start()
        assert heard[name].get(timeout=WAIT_S) == Up()
        link.send(Topic.HELLO, [encode(tiny.hello(site.package, name))])
        verdict = next_verdict(heard[name])
        assert (verdict.kind, verdict.code) == (pb.HELLO, pb.ACCEPTED)
    site.do(site.folder, "revoke", "kitchen")
    reasons = [event.reason for event in (next_down(heard["kitchen"]), next_down(heard["kitchen"]))]
    assert "the broker refuses the certificate that was shown: it was revoked" in reasons[-1]
    next_down(heard["hall"])
    assert heard["hall"].get(timeout=WAIT_S) == Up()
    for link in links.values():
        link.stop(b"")


def next_down(heard: queue.Queue[Any]) -> Down:
    """Return the next loss of a connection."""
    while True:
        event = heard.get(timeout=WAIT_S)
        if isinstance(event, Down):
            return event
