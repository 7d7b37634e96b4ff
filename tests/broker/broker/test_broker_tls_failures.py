"""TLS between gateway, device and brokers, over real sockets: what fails is told as such, on both sides alike."""

from __future__ import annotations

import queue
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from authority import Authority
from paho.mqtt.enums import CallbackAPIVersion

from broker_server.broker import mosquitto
from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.mosquitto_config import access
from broker_server.broker.mqtt import Arrived, Down, Link, LinkEvent, Target, Up, lets_strangers_hear
from broker_server.broker.tls import TlsFiles
from edge_runtime.federation.link import Arrived as DeviceArrived
from edge_runtime.federation.link import Broker, Mqtt
from edge_runtime.federation.link import Down as DeviceDown
from edge_runtime.federation.link import Up as DeviceUp
from edge_runtime.federation.mqtt.link import MqttLink
from edge_runtime.federation.mqtt.probe import probe
from edge_runtime.wire.topics import Topic

WAIT_S = 20.0


@dataclass(frozen=True)
class Identity:
    """Whom a client trusts and what it shows."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def files(self) -> dict[str, Path | None]:
        """Return the options."""
        return {"ca": self.ca, "certificate": self.certificate, "key": self.key}


class Server:
    """A TLS server that reads a little after the handshake, and hangs up. Args: context: None speaks no TLS."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                try:
                    if self._context is None:
                        connection.recv(1000)
                        connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                        continue
                    with self._context.wrap_socket(connection, server_side=True) as secure:
                        secure.recv(1000)
                except OSError:
                    continue

    def close(self) -> None:
        """Stop."""
        self._server.close()


def context(authority: Authority, *, demand: bool = False, **fields: Any) -> ssl.SSLContext:
    """Return a server's side. Args: demand: a certificate of its authority; fields: of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("broker", **fields))
    if demand:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.ca)
    return context


def gateway_says(url: str, identity: Identity) -> str:
    """Return why a gateway has no connection."""
    events: queue.Queue[LinkEvent] = queue.Queue()
    link = Link(Target.parse(url, **identity.files()), "x", b"", events.put)
    link.start()
    event = events.get(timeout=WAIT_S)
    link.stop(0.0)
    assert isinstance(event, Down), event
    return event.reason


def device_says(url: str, identity: Identity) -> str:
    """Return why a device has no connection."""
    events: queue.Queue[Any] = queue.Queue()
    link = MqttLink(Broker.parse(url, **identity.files()), "x", "me", b"", events.put)
    link.start()
    event = events.get(timeout=WAIT_S)
    link.stop(b"")
    assert isinstance(event, DeviceDown), event
    return event.reason


def doctor_says(url: str, identity: Identity) -> str:
    """Return why ``edge_runtime doctor`` finds no gateway."""
    with pytest.raises(OSError, match=r".") as failure:
        probe(Broker.parse(url, **identity.files()), "x", WAIT_S)
    return str(failure.value)


SIDES = [gateway_says, device_says, doctor_says]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that clients trust."""
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another one."""
    return Authority(tmp_path_factory.mktemp("theirs"))


@pytest.fixture
def serve() -> Iterator[Callable[[ssl.SSLContext | None], str]]:
    """Start servers; gives the URL."""
    servers = []

    def start(context: ssl.SSLContext | None) -> str:
        servers.append(Server(context))
        return f"mqtts://localhost:{servers[-1].port}"

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize("says", SIDES)
def test_a_brokers_certificate_that_is_not_good(serve: Any, ours: Authority, theirs: Authority, says: Any) -> None:
    """Signed by another authority, expired, not yet valid, for another name: each told, with what to do."""
    trusts = Identity(ours.ca)
    assert "not signed by the authority that is trusted here" in says(serve(context(theirs)), trusts)
    assert "not signed by the authority that is trusted here" in says(serve(context(ours)), Identity())
    assert "has expired: make it a new one" in says(serve(context(ours, age_days=40)), trusts)
    assert "is not valid yet; if its dates are right, this machine's clock is wrong" in says(
        serve(context(ours, age_days=-3)), trusts
    )
    assert "the broker's certificate is not for localhost" in says(serve(context(ours, host="broker.example")), trusts)
    assert "the broker's certificate is not for 127.0.0.1" in says(
        serve(context(ours, host="broker.example")).replace("localhost", "127.0.0.1"), trusts
    )


@pytest.mark.parametrize("says", SIDES)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_the_broker_refuses(
    serve: Any, ours: Authority, theirs: Authority, says: Any, version: ssl.TLSVersion
) -> None:
    """None where one is demanded, another authority's, an expired one; with TLS 1.3 that comes after the handshake."""
    demanding = context(ours, demand=True)
    demanding.maximum_version = version
    url = serve(demanding)
    assert "demands a certificate: give certificate and key" in says(url, Identity(ours.ca))
    stranger = says(url, Identity(ours.ca, *theirs.sign("me")))
    assert "refuses the certificate that was shown: it was signed by an authority that the broker does not" in stranger
    old = says(url, Identity(ours.ca, *ours.sign("me", age_days=40)))
    assert "refuses the certificate that was shown: it has expired" in old


@pytest.mark.parametrize("says", SIDES)
def test_a_port_without_tls_and_the_reverse(serve: Any, ours: Authority, says: Any) -> None:
    """Each is told as what it is."""
    assert "speaks no TLS on this port" in says(serve(None), Identity(ours.ca))
    plain = serve(context(ours)).replace("mqtts:", "mqtt:")
    assert "if its port expects TLS, use mqtts:// or wss://" in says(plain, Identity())


@dataclass(frozen=True)
class External:
    """A Mosquitto that somebody else runs. Args: port, websocket_port: over TLS; authority: of every certificate."""

    port: int
    websocket_port: int
    authority: Authority

    def identity(self, name: str) -> Identity:
        """Return what a client of this name shows."""
        return Identity(self.authority.ca, *self.authority.sign(name))


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory, ours: Authority) -> Iterator[External]:
    """Mosquitto with mutual TLS, a WebSocket port, and the rights of docs/brokers.md."""
    program = mosquitto.installed()
    if program is None:
        pytest.skip("mosquitto is not installed; make broker-tools installs it")
    folder = tmp_path_factory.mktemp("external")
    port, websocket_port = free_ports(2)
    (folder / "acl").write_text("user gateway\ntopic readwrite fl/v1/x/#\n\n" + access("x"))
    certificate, key = ours.sign("broker")
    listener = (
        f"cafile {ours.ca}\ncertfile {certificate}\nkeyfile {key}\nrequire_certificate true\nacl_file {folder}/acl\n"
        "use_identity_as_username true\n"
    )
    head = "per_listener_settings true\nuser root\nlog_dest stderr\n"
    (folder / "mosquitto.conf").write_text(
        f"{head}listener {port} 127.0.0.1\n{listener}listener {websocket_port}\nprotocol websockets\n{listener}"
    )
    command = [program, "-c", str(folder / "mosquitto.conf")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        lines = iter(process.stderr or ())
        assert any(" running" in line for line in lines)
        threading.Thread(target=lambda: list(lines), daemon=True).start()
        yield External(port, websocket_port, ours)
        process.terminate()


@pytest.mark.parametrize(("scheme", "mqtt"), [("mqtts", "3"), ("mqtts", "5"), ("wss", "5")])
def test_a_gateway_and_a_device_meet_at_a_broker_that_demands_certificates(
    external: External, scheme: str, mqtt: str
) -> None:
    """Over TLS and WebSockets, MQTT 3.1.1 and 5: the gateway is heard, a delta and Bye come under the device's name."""
    port = external.port if scheme == "mqtts" else external.websocket_port
    url = f"{scheme}://localhost:{port}"
    events: queue.Queue[LinkEvent] = queue.Queue()
    gateway = Link(Target.parse(url, mqtt=mqtt, **external.identity("gateway").files()), "x", b"away", events.put)
    gateway.start()
    assert events.get(timeout=WAIT_S) == Up()
    gateway.publish(Topic.GATEWAY, "", [b"here"])
    assert gateway.flush(WAIT_S)
    heard: queue.Queue[Any] = queue.Queue()
    broker = Broker.parse(url, **external.identity("me").files())
    device = MqttLink(broker, "x", "me", b"bye", heard.put, mqtt=Mqtt(mqtt))
    device.start()
    assert heard.get(timeout=WAIT_S) == DeviceUp()
    state = heard.get(timeout=WAIT_S)
    assert isinstance(state, DeviceArrived)
    assert state.payload == b"here"
    pieces = [bytes([number]) * 3000 for number in range(20)]  # of more, Mosquitto sends 43 kB/s to a WebSocket
    device.send(Topic.DELTA, pieces)
    assert [events.get(timeout=WAIT_S) for _ in pieces] == [Arrived("fl/v1/x/delta/me", piece) for piece in pieces]
    device.stop(b"left")
    assert events.get(timeout=WAIT_S) == Arrived("fl/v1/x/bye/me", b"left")
    gateway.stop()


def test_a_device_with_anothers_certificate_is_told_which_name_it_needs(ours: Authority) -> None:
    """The embedded broker refuses it at once; Mosquitto drops what it says, which the device finds out by silence."""
    broker = EmbeddedBroker("127.0.0.1", 0, federation="x", tls=TlsFiles(*ours.sign("gateway"), ours.ca))
    broker.start()
    identity = Identity(ours.ca, *ours.sign("other"))
    reason = device_says(f"mqtts://localhost:{broker.url.port}", identity)
    broker.stop()
    assert reason == (
        "the broker refused: Not authorized; the name in this device's certificate, or its user there, has to be me"
    )


def test_mosquitto_drops_what_a_device_with_anothers_certificate_says(external: External) -> None:
    """It connects, and its Hello reaches nobody; the right one's does."""
    url = f"mqtts://localhost:{external.port}"
    events: queue.Queue[LinkEvent] = queue.Queue()
    gateway = Link(Target.parse(url, **external.identity("gateway").files()), "x", b"", events.put)
    gateway.start()
    assert events.get(timeout=WAIT_S) == Up()
    for certificate in ("other", "me"):
        heard: queue.Queue[Any] = queue.Queue()
        device = MqttLink(Broker.parse(url, **external.identity(certificate).files()), "x", "me", b"", heard.put)
        device.start()
        assert heard.get(timeout=WAIT_S) == DeviceUp()
        device.send(Topic.HELLO, [certificate.encode()])
        device.stop(b"")
    assert events.get(timeout=WAIT_S) == Arrived("fl/v1/x/hello/me", b"me")
    gateway.stop()


def test_with_mqtt_5_mosquitto_says_what_it_does_not_take(external: External) -> None:
    """From a device whose certificate has another name, and from a gateway that has a device's."""
    url = f"mqtts://localhost:{external.port}"
    heard: queue.Queue[Any] = queue.Queue()
    device = MqttLink(Broker.parse(url, **external.identity("other").files()), "x", "me", b"", heard.put)
    device.start()
    assert heard.get(timeout=WAIT_S) == DeviceUp()
    device.send(Topic.HELLO, [b"hello"])
    down = next(event for event in iter(lambda: heard.get(timeout=WAIT_S), None) if isinstance(event, DeviceDown))
    assert down.reason.startswith("the broker does not take what this device says: the name in this device's")
    device.stop(b"")
    events: queue.Queue[LinkEvent] = queue.Queue()
    link = Link(Target.parse(url, mqtt="5", **external.identity("me").files()), "x", b"", events.put)
    link.start()
    assert events.get(timeout=WAIT_S) == Up()
    link.publish(Topic.GATEWAY, "", [b"forged", b"again"])
    assert link.flush(WAIT_S)
    told = events.get(timeout=WAIT_S)
    assert isinstance(told, Down)
    assert told.reason.endswith("does not take what the gateway says; check its rights there")
    link.stop()
    assert events.empty()


@pytest.mark.parametrize("says", SIDES)
def test_without_a_certificate_the_real_broker_is_told_alike(external: External, says: Any) -> None:
    """Mosquitto's own alert."""
    url = f"mqtts://localhost:{external.port}"
    assert "demands a certificate: give certificate and key" in says(url, Identity(external.authority.ca))


def test_a_broker_that_lets_strangers_hear_is_found_out(external: External, tmp_path: Path) -> None:
    """One without rights gives a stranger the retained state; the one that demands certificates gives nothing."""
    [port] = free_ports(1)
    (tmp_path / "open.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    program = mosquitto.installed() or ""
    with subprocess.Popen([program, "-c", tmp_path / "open.conf"], stderr=subprocess.PIPE, text=True) as process:
        assert any(" running" in line for line in process.stderr or ())
        target = Target.parse(f"mqtt://127.0.0.1:{port}")
        link = Link(target, "x", b"away", lambda _: None)
        link.start()
        link.publish(Topic.GATEWAY, "", [b"here"])
        assert link.flush(WAIT_S)
        assert lets_strangers_hear(target, "x")
        assert not lets_strangers_hear(target, "another", wait_s=0.3)
        link.stop()
        process.terminate()
    target = Target.parse(f"mqtts://localhost:{external.port}", **external.identity("gateway").files())
    assert not lets_strangers_hear(target, "x")


def test_what_a_device_retained_is_not_taken_from_it_again(external: External) -> None:
    """A broker that lets devices retain gives their old words to every gateway that subscribes; none counts."""
    url = f"mqtts://localhost:{external.port}"
    events: queue.Queue[LinkEvent] = queue.Queue()
    first = Link(Target.parse(url, **external.identity("gateway").files()), "x", b"", events.put)
    first.start()
    assert events.get(timeout=WAIT_S) == Up()
    identity = external.identity("old")
    device = paho.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    device.tls_set(str(identity.ca), str(identity.certificate), str(identity.key))
    device.connect("localhost", external.port)
    device.loop_start()
    device.publish("fl/v1/x/hello/old", b"forged", 1, retain=True).wait_for_publish(WAIT_S)
    assert events.get(timeout=WAIT_S) == Arrived("fl/v1/x/hello/old", b"forged")  # live: whoever sends, sends
    first.stop()
    events = queue.Queue()
    second = Link(Target.parse(url, **external.identity("gateway").files()), "x", b"", events.put)
    second.start()
    assert events.get(timeout=WAIT_S) == Up()
    device.publish("fl/v1/x/hello/old", b"true", 1)
    assert events.get(timeout=WAIT_S) == Arrived("fl/v1/x/hello/old", b"true")
    device.disconnect()
    device.loop_stop()
    second.stop()
