"""A supervised Mosquitto as it runs: real processes, real TLS, who is let in and what each hears."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from authority import Authority
from paho.mqtt.enums import CallbackAPIVersion

from broker_server.broker import mosquitto
from broker_server.broker.mosquitto import Mosquitto, Said
from broker_server.broker.mosquitto_config import Listener, access, configuration
from broker_server.broker.tls import TlsFiles
from broker_server.errors import ListenError
from broker_server.identity.certificates import (
    Identity,
    new_authority,
    new_device,
    new_gateway,
    new_revocation_list,
    utc_now,
)
from broker_server.identity.key_files import keep_pair
from edge_runtime.federation.link import Broker, Down, Up
from edge_runtime.federation.mqtt.link import MqttLink
from edge_runtime.wire.broker_url import BrokerUrl

WAIT_S = 20.0
installed = pytest.mark.skipif(
    mosquitto.installed() is None, reason="mosquitto is not installed; make broker-tools installs it"
)


class Client:
    """A client that keeps what it hears. Args: at: of the broker; identity: authority, certificate, key."""

    def __init__(
        self, at: str | Path, port: int, identity: tuple[Path, Path, Path] | None = None, *, client: str = ""
    ) -> None:
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.ended, self.up, self._granted = threading.Event(), threading.Event(), threading.Event()
        transport: Any = "unix" if isinstance(at, Path) else "tcp"
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2, client, protocol=paho.MQTTv311, transport=transport, reconnect_on_failure=False
        )
        if identity is not None:
            self.paho.tls_set(*map(str, identity))
        self.paho.on_connect = lambda *_: self.up.set()
        self.paho.on_disconnect = lambda *_: self.ended.set()
        self.paho.on_subscribe = lambda *_: self._granted.set()
        self.paho.on_message = lambda _c, _u, message: self.heard.put((message.topic, message.payload))
        self.paho.connect(str(at), port)
        self.paho.loop_start()

    def listen(self, topic: str) -> None:
        """Subscribe, and wait for the confirmation."""
        assert self.up.wait(WAIT_S)
        self._granted.clear()
        self.paho.subscribe(topic, 1)
        assert self._granted.wait(WAIT_S)

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish, and wait for the broker's acknowledgement."""
        assert self.up.wait(WAIT_S)
        self.paho.publish(topic, payload, 1, retain).wait_for_publish(WAIT_S)

    def next(self) -> tuple[str, bytes]:
        """Return the next message."""
        return self.heard.get(timeout=WAIT_S)

    def close(self) -> None:
        """Leave."""
        self.paho.disconnect()
        self.paho.loop_stop()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with the broker's certificate and those of two devices."""
    return Authority(tmp_path_factory.mktemp("authority"))


class Supervised:
    """A Mosquitto over TLS, and the gateway's client on it."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.said: queue.Queue[Said] = queue.Queue()
        self.authority = authority
        listener = Listener("127.0.0.1", 0, tls=TlsFiles(*authority.sign("gateway"), authority.ca))
        self.supervisor = Mosquitto(listener, "x", folder, self.said.put)
        self.supervisor.start()
        self.gateway = Client(self.supervisor.socket, 1)
        for topic in ("hello", "bye", "delta"):
            self.gateway.listen(f"fl/v1/x/{topic}/+")

    def device(self, name: str, **fields: Any) -> Client:
        """Connect as a device with its certificate."""
        return Client("127.0.0.1", self.supervisor.port, (self.authority.ca, *self.authority.sign(name)), **fields)

    def revoke(self, *names: str) -> None:
        """Revoke these, and wait until that was read: a connection takes several turns of the broker's loop."""
        self.supervisor.revoke(names)
        other = self.device("other")
        assert other.up.wait(WAIT_S)
        other.close()

    def pid(self) -> int:
        """Return the process."""
        process = self.supervisor._process
        assert process is not None
        return process.pid


@pytest.fixture
def broker(tmp_path: Path, authority: Authority) -> Iterator[Supervised]:
    """A broker over TLS."""
    running = Supervised(tmp_path, authority)
    yield running
    running.gateway.close()
    running.supervisor.stop()


def test_the_access_list_names_each_right_of_a_device() -> None:
    """Its own topics to write, its own and the common ones to hear; a revoked one may only ask and be told."""
    rights = [line for line in access("x").splitlines() if line and not line.startswith("#")]
    assert rights == [
        "pattern write fl/v1/x/hello/%u", "pattern write fl/v1/x/bye/%u", "pattern write fl/v1/x/delta/%u",
        "pattern write fl/v1/x/statistics/%u", "pattern write fl/v1/x/want/%u", "pattern write fl/v1/x/offer/%u",
        "pattern write fl/v1/x/masks/%u",
        "pattern read fl/v1/x/gateway", "pattern read fl/v1/x/version", "pattern read fl/v1/x/plan/%u",
        "pattern read fl/v1/x/verdict/%u",
        "pattern read fl/v1/x/blob/+", "pattern read fl/v1/x/secure/%u",
    ]  # fmt: skip
    denied = access("x", ["lost"]).split("\n\n")[1].splitlines()
    assert denied == ["user lost"] + [
        f"topic deny fl/v1/x/{topic}"
        for topic in (
            *("version", "plan/#", "blob/#", "bye/#", "delta/#", "statistics/#", "want/#", "offer/#"),
            *("masks/#", "secure/#"),
        )
    ]
    assert "pattern write fl/v1/x/delta/+" in access("x", proven=False)


def test_the_rights_in_the_documentation_are_those_that_are_used() -> None:
    """docs/brokers.md shows the same lines, for the federation default."""
    text = (Path(__file__).parents[3] / "docs/brokers.md").read_text(encoding="utf-8")
    shown = [line for line in text.splitlines() if line.startswith("pattern ")]
    assert shown == [line for line in access("default").splitlines() if line.startswith("pattern ")]


def test_the_configuration_asks_for_certificates_or_stays_without_names() -> None:
    """Over TLS the certificate's name is user and client id; limits are the contract's and the operator's."""
    tls = TlsFiles(Path("/a/gw.pem"), Path("/a/gw.key"), Path("/a/ca.pem"))
    secure = configuration(Listener("0.0.0.0", 8883, 443, 7, tls), "me").split("\n\n")  # noqa: S104
    assert "max_packet_size 132096" in secure[0].splitlines()
    assert secure[1].splitlines() == ["# The gateway.", "listener 0 gateway.socket", "allow_anonymous true"]
    for text, port in zip(secure[2:], (8883, 443), strict=True):
        lines = text.splitlines()
        assert f"listener {port} 0.0.0.0" in lines
        wanted = {"max_connections 7", "allow_anonymous false", "require_certificate true", "cafile /a/ca.pem"}
        assert wanted <= set(lines)
        assert {"use_identity_as_username true", "use_username_as_clientid true"} <= set(lines)
    assert secure[3].splitlines()[-1] == "protocol websockets"
    plain = configuration(Listener("127.0.0.1", 1883), "me")
    assert "use_identity_as_username" not in plain
    assert plain.endswith("allow_anonymous true\n")


@installed
def test_a_device_speaks_as_itself_and_hears_what_is_for_it(broker: Supervised) -> None:
    """Of a Hello for another, a subscription to everything, a forged Version, and what the broker says of itself."""
    device = broker.device("a")
    device.listen("fl/v1/x/#")
    device.listen("$SYS/#")
    device.say("fl/v1/x/hello/b", b"not mine")
    device.say("fl/v1/x/version", b"forged", retain=True)
    device.say("fl/v1/x/verdict/a", b"forged")
    device.say("fl/v1/x/hello/a", b"mine")
    assert broker.gateway.next() == ("fl/v1/x/hello/a", b"mine")
    broker.gateway.say("fl/v1/x/plan/b", b"for b")
    broker.gateway.say("fl/v1/x/plan/a", b"for a")
    assert device.next() == ("fl/v1/x/plan/a", b"for a")
    late = broker.device("b")
    late.listen("fl/v1/x/version")
    broker.gateway.say("fl/v1/x/version", b"true", retain=True)
    assert late.next() == ("fl/v1/x/version", b"true")
    device.close()
    late.close()


@installed
def test_what_waits_for_a_busy_gateway_is_not_dropped(broker: Supervised) -> None:
    """3000 messages while it reads nothing: every one comes. Mosquitto's default keeps 1000 and acknowledges all."""
    busy = threading.Event()
    arrived: queue.Queue[bytes] = queue.Queue()

    def take(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        busy.wait(WAIT_S)
        arrived.put(message.payload)

    broker.gateway.paho.on_message = take
    device = broker.device("a")
    assert device.up.wait(WAIT_S)
    sent = [device.paho.publish("fl/v1/x/delta/a", b"%d" % number + bytes(4000), 1) for number in range(3000)]
    for one in sent:
        one.wait_for_publish(WAIT_S)
    busy.set()
    numbers = [int(arrived.get(timeout=WAIT_S).rstrip(b"\0")) for _ in sent]
    assert numbers == list(range(3000))
    device.close()


@installed
def test_nobody_takes_over_anothers_connection(broker: Supervised) -> None:
    """Another certificate with the same client id ends nobody; the same certificate is the device that came back."""
    device = broker.device("a", client="x.a")
    device.listen("fl/v1/x/plan/a")
    other = broker.device("b", client="x.a")
    other.listen("fl/v1/x/plan/b")
    assert not device.ended.is_set()
    again = broker.device("a", client="anything")
    again.listen("fl/v1/x/plan/a")
    assert device.ended.wait(WAIT_S)
    other.close()
    again.close()


@installed
@pytest.mark.parametrize("kind", ["none", "stranger"])
def test_a_stranger_is_not_let_in(broker: Supervised, tmp_path: Path, kind: str) -> None:
    """Neither without a certificate nor with one that another authority signed; nor in plain text."""
    signed = Authority(tmp_path / "other").sign("a") if kind == "stranger" else (None, None)
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311, reconnect_on_failure=False)
    client.tls_set(str(broker.authority.ca), *(str(path) if path else None for path in signed))
    answered, ended = threading.Event(), threading.Event()
    client.on_connect = lambda *_: answered.set()
    client.on_disconnect = lambda *_: ended.set()
    client.connect("127.0.0.1", broker.supervisor.port)
    client.loop_start()
    assert ended.wait(WAIT_S)
    assert not answered.is_set()
    client.loop_stop()


@installed
def test_a_revoked_device_is_dropped_while_it_is_connected(broker: Supervised) -> None:
    """It hears no plan and sends no delta any more; it may ask, and hear that it is revoked. Restored, all is back."""
    device = broker.device("a")
    device.listen("fl/v1/x/#")
    broker.gateway.say("fl/v1/x/plan/a", b"1")
    assert device.next()[1] == b"1"
    broker.revoke("a")
    device.say("fl/v1/x/delta/a", b"poison")
    device.say("fl/v1/x/hello/a", b"may I?")
    assert broker.gateway.next() == ("fl/v1/x/hello/a", b"may I?")
    broker.gateway.say("fl/v1/x/plan/a", b"2")
    broker.gateway.say("fl/v1/x/verdict/a", b"REVOKED")
    assert device.next() == ("fl/v1/x/verdict/a", b"REVOKED")
    broker.revoke()
    broker.gateway.say("fl/v1/x/plan/a", b"3")
    assert device.next() == ("fl/v1/x/plan/a", b"3")
    device.close()


@installed
def test_a_revoked_certificate_is_cut_off_and_told_so(tmp_path: Path) -> None:
    """Of two devices one loses its certificate: its connection ends, and the broker says why; the other comes back."""
    authority = new_authority("test", utc_now())
    paths = {}
    for name, identity in {
        "ca": authority, "gateway": new_gateway(authority, ["localhost"], utc_now()),
        "lost": new_device(authority, "lost", utc_now()), "kept": new_device(authority, "kept", utc_now()),
    }.items():  # fmt: skip
        keep_pair(tmp_path, name, identity)
        paths[name] = (tmp_path / "ca.pem", tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
    ca, certificate, key = paths["gateway"]
    listener = Listener("127.0.0.1", 0, tls=TlsFiles(certificate, key, ca), revocations=True)
    sign = partial(new_revocation_list, authority, now=utc_now())
    supervisor = Mosquitto(listener, "x", tmp_path, lambda _: None, sign)
    supervisor.start()
    url = BrokerUrl("localhost", supervisor.port, tls=True)
    told: dict[str, queue.Queue[Any]] = {name: queue.Queue() for name in ("lost", "kept")}
    links = {name: MqttLink(Broker(url, *paths[name]), "x", name, b"", inbox.put) for name, inbox in told.items()}
    for name, link in links.items():
        link.start()
        assert told[name].get(timeout=WAIT_S) == Up()
    supervisor.revoke((), [Identity(paths["lost"][1].read_text(), "").serial])
    assert isinstance(told["lost"].get(timeout=WAIT_S), Down)
    reason = told["lost"].get(timeout=WAIT_S).reason
    assert "the broker refuses the certificate that was shown: it was revoked" in reason
    assert isinstance(told["kept"].get(timeout=WAIT_S), Down)
    assert told["kept"].get(timeout=WAIT_S) == Up()
    for link in links.values():
        link.stop(b"")
    supervisor.stop()


@installed
def test_a_mosquitto_that_is_killed_is_there_again(broker: Supervised) -> None:
    """On the same port and socket; it is said why it ended and that it runs again."""
    os.kill(broker.pid(), signal.SIGKILL)
    assert "killed by SIGKILL" in broker.said.get(timeout=WAIT_S).text
    assert broker.said.get(timeout=WAIT_S).text == "mosquitto runs again"
    device = broker.device("a")
    gateway = Client(broker.supervisor.socket, 1)
    gateway.listen("fl/v1/x/hello/+")
    device.say("fl/v1/x/hello/a", b"again")
    assert gateway.next() == ("fl/v1/x/hello/a", b"again")
    gateway.close()
    device.close()


@installed
def test_a_port_that_is_taken_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do; nothing is left running."""
    monkeypatch.setattr(mosquitto, "FREE_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        supervisor = Mosquitto(Listener("127.0.0.1", taken.getsockname()[1]), "x", tmp_path, lambda _: None)
        with pytest.raises(ListenError, match=r"in use.*systemctl disable --now mosquitto.*another port"):
            supervisor.start()


@installed
def test_what_mosquitto_refuses_is_told_in_its_words(tmp_path: Path, authority: Authority) -> None:
    """A key that does not go with the certificate."""
    tls = TlsFiles(authority.sign("gateway")[0], authority.sign("other")[1], authority.ca)
    with pytest.raises(ListenError, match=r"mosquitto does not start: .*key"):
        Mosquitto(Listener("127.0.0.1", 0, tls=tls), "x", tmp_path, lambda _: None).start()


def test_a_mosquitto_that_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package that has it."""
    monkeypatch.setattr(mosquitto, "PROGRAM", "no-such-program")
    with pytest.raises(ListenError, match=r"not installed.*apt-get install mosquitto"):
        Mosquitto(Listener("127.0.0.1", 0), "x", tmp_path, lambda _: None).start()


OWNER = """
import sys, time
from pathlib import Path
from broker_server.broker.mosquitto import Mosquitto
from broker_server.broker.mosquitto_config import Listener
broker = Mosquitto(Listener("127.0.0.1", 0), "x", Path(sys.argv[1]), print)
broker.start()
print(broker._process.pid, flush=True)
time.sleep(600)
"""


@installed
def test_it_ends_with_a_gateway_that_is_killed(tmp_path: Path) -> None:
    """Kill -9 of its owner leaves no process behind."""
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        owner.kill()
    deadline = time.monotonic() + WAIT_S
    while _runs(pid):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
