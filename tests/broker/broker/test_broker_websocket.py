"""The embedded broker through WebSockets: the same rights and limits, over real sockets, in plain text and over TLS."""

from __future__ import annotations

import contextlib
import queue
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from broker_client import WAIT_S, Gateway

from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.tls import TlsFiles
from broker_server.errors import ListenError
from edge_runtime.federation.link import Arrived, Broker, Mqtt, Up
from edge_runtime.federation.mqtt.link import MqttLink
from edge_runtime.wire.broker_url import BrokerUrl
from edge_runtime.wire.topics import Topic


@dataclass(frozen=True)
class Running:
    """A broker with a WebSocket port. Args: gateway: who hears what devices say."""

    port: int
    gateway: Gateway
    told: queue.Queue[tuple[str, dict[str, object]]]
    authority: Authority | None

    def device(self, name: str, heard: queue.Queue[Any], mqtt: Mqtt = Mqtt.AUTO) -> MqttLink:
        """Return the link of a device through a WebSocket."""
        if self.authority is None:
            broker = Broker(BrokerUrl("localhost", self.port, websocket=True))
        else:
            certificate, key = self.authority.sign(name)
            url = BrokerUrl("localhost", self.port, tls=True, websocket=True)
            broker = Broker(url, self.authority.ca, certificate, key)
        return MqttLink(broker, "x", name, b"gone", heard.put, mqtt=mqtt)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture(params=["ws", "wss"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """Run one, in plain text or over TLS with certificates of both sides."""
    authority = Authority(tmp_path / "authority") if request.param == "wss" else None
    told: queue.Queue[tuple[str, dict[str, object]]] = queue.Queue()
    tls = TlsFiles(*authority.sign("gateway"), authority.ca) if authority is not None else None
    port = free_port()
    broker = EmbeddedBroker(
        "127.0.0.1", 0, websocket_port=port, federation="x", tls=tls, tell=lambda kind, about: told.put((kind, about))
    )
    broker.start()
    yield Running(port, Gateway(broker), told, authority)
    broker.stop()


def test_a_device_takes_part_through_a_websocket(running: Running) -> None:
    """The largest messages pass both ways, in order; a Hello for another does not; an orderly end says Bye."""
    heard: queue.Queue[Any] = queue.Queue()
    device = running.device("me", heard, Mqtt.V3)  # which has no word for what is not taken
    device.start()
    assert heard.get(timeout=WAIT_S) == Up()
    pieces = [bytes([number]) * 131_072 for number in range(12)]
    outbox = device._outbox
    assert outbox is not None
    outbox.put("fl/v1/x/hello/you", [b"not mine"])
    device.send(Topic.DELTA, pieces)
    assert running.gateway.messages(12) == [("fl/v1/x/delta/me", piece, False) for piece in pieces]
    running.gateway.publish("fl/v1/x/plan/you", b"not for me")
    for piece in pieces:
        running.gateway.publish("fl/v1/x/plan/me", piece)
    arrived = [heard.get(timeout=WAIT_S) for _ in pieces]
    assert [event.payload for event in arrived if isinstance(event, Arrived)] == pieces
    device.stop(b"bye")
    assert running.gateway.messages(13)[-1] == ("fl/v1/x/bye/me", b"bye", False)


def test_a_device_that_vanishes_behind_a_websocket_has_a_will(running: Running) -> None:
    """The will says Bye when the socket breaks."""
    heard: queue.Queue[Any] = queue.Queue()
    device = running.device("me", heard)
    device.start()
    assert heard.get(timeout=WAIT_S) == Up()
    device._stopping.set()
    device._gone.set()
    device._thread.join(WAIT_S)
    assert not device._thread.is_alive()
    assert running.gateway.messages(1) == [("fl/v1/x/bye/me", b"gone", False)]


ASK = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n"
)
MQTT = "Sec-WebSocket-Protocol: mqtt\r\n"
CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04x.me"


def answer(port: int, sent: bytes, *, half: bool = False) -> bytes:
    """Return all that a plain socket hears until it is closed. Args: half: say that nothing more will come."""
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as client:
        client.sendall(sent)
        if half:
            client.shutdown(socket.SHUT_WR)
        pieces = iter(lambda: client.recv(4096), b"")
        try:
            return b"".join(pieces)
        except ConnectionResetError:
            return b"reset"


@pytest.mark.parametrize("running", ["ws"], indirect=True)
@pytest.mark.parametrize(
    ("sent", "reason", "status"),
    [
        (ASK.format(path="/", more=MQTT), "a WebSocket's path other than /mqtt", b"HTTP/1.1 400"),
        (ASK.format(path="/mqtt", more=""), "no WebSocket of MQTT", b"HTTP/1.1 400"),
        (ASK.format(path="/mqtt", more="Sec-WebSocket-Protocol: chat\r\n"), "no WebSocket of MQTT", b"HTTP/1.1 400"),
        (
            ASK.format(path="/mqtt", more=f"{MQTT}Origin: https://page.example\r\n"),
            "a web page of another origin",
            b"HTTP/1.1 400",
        ),
        ("GET /mqtt HTTP/1.1\r\nHost: localhost\r\n\r\n", "no WebSocket of MQTT", b"HTTP/1.1 426"),
        (CONNECT.decode("latin-1"), "no WebSocket", b""),
        ("POST / HTTP/1.1\r\n\r\n", "no WebSocket", b""),
        (f"GET /mqtt HTTP/1.1\r\n{'a: b' * 5000}", "no WebSocket", b""),
    ],
)
def test_what_is_no_websocket_of_mqtt_is_refused(running: Running, sent: str, reason: str, status: bytes) -> None:
    """Another path, protocol or web page, plain HTTP, plain MQTT: closed at once and told once."""
    assert answer(running.port, sent.encode("latin-1")).startswith(status)
    kind, about = running.told.get(timeout=WAIT_S)
    assert (kind, about["detail"]) == ("refused", reason)


def masked(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """Return a client's frame, masked with zeros."""
    assert len(payload) < 126
    return bytes([opcode | 0x80 * final, 0x80 | len(payload)]) + bytes(4) + payload


@pytest.mark.parametrize("running", ["ws"], indirect=True)
def test_frames_need_not_be_packets(running: Running) -> None:
    """A packet in three frames, two of them one message, and a ping between; the pong and CONNACK come."""
    frames = [
        masked(2, CONNECT[:5]), masked(9, b"there?"), masked(2, CONNECT[5:9], final=False), masked(0, CONNECT[9:]),
    ]  # fmt: skip
    opening = ASK.format(path="/mqtt", more=MQTT).encode()
    said = answer(running.port, opening + b"".join(frames), half=True).split(b"\r\n\r\n", 1)[1]
    assert said.startswith(b"\x8a\x06there?")
    assert b"\x82\x04\x20\x02\x00\x00" in said


def opened(port: int, connect: bytes) -> socket.socket:
    """Return a socket with a WebSocket on it, and a client of MQTT that was taken in."""
    client = socket.create_connection(("127.0.0.1", port), WAIT_S)
    client.sendall(ASK.format(path="/mqtt", more=MQTT).encode() + masked(2, connect))
    heard = b""
    while not heard.endswith(b"\x82\x04\x20\x02\x00\x00"):
        heard += client.recv(4096)
    return client


@pytest.mark.parametrize("running", ["ws"], indirect=True)
def test_pings_of_a_websocket_keep_no_client_alive(running: Running) -> None:
    """Keep-alive 1 s, and nothing but pings, each after the pong before: after 1.5 s it is over."""
    with opened(running.port, CONNECT.replace(b"\x00\x3c", b"\x00\x01")) as client:
        client.sendall(masked(9, b""))
        with contextlib.suppress(ConnectionError):
            while client.recv(2):
                client.sendall(masked(9, b""))


@pytest.mark.parametrize("running", ["ws"], indirect=True)
def test_a_client_that_reads_no_pongs_is_cut(running: Running) -> None:
    """Pings without end, of which no answer is read: no memory without end."""
    with opened(running.port, CONNECT) as client, pytest.raises(ConnectionError):
        client.sendall(masked(9, bytes(125)) * 1_000_000)


@pytest.mark.parametrize("running", ["ws"], indirect=True)
@pytest.mark.parametrize(
    "frame", [b"\x82\x04MQTT", masked(1, b"text"), b"\x82\xff" + b"\xff" * 12, masked(3, b""), masked(0, b"x")]
)
def test_hostile_frames_end_their_own_connection(running: Running, frame: bytes) -> None:
    """Not masked, no bytes, too long, unknown, out of turn: ended; a device next to it goes on."""
    heard: queue.Queue[Any] = queue.Queue()
    device = running.device("me", heard)
    device.start()
    assert heard.get(timeout=WAIT_S) == Up()
    said = answer(running.port, ASK.format(path="/mqtt", more=MQTT).encode() + frame)
    assert said.startswith(b"HTTP/1.1 101")
    device.send(Topic.HELLO, [b"here"])
    assert running.gateway.messages(1) == [("fl/v1/x/hello/me", b"here", False)]
    device.stop(b"bye")


def test_a_websocket_port_that_is_taken_is_told() -> None:
    """And the other port is free again."""
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broker = EmbeddedBroker("127.0.0.1", port, websocket_port=taken.getsockname()[1])
        with pytest.raises(ListenError, match=f"port {taken.getsockname()[1]}"):
            broker.start()
    socket.create_server(("127.0.0.1", port)).close()
