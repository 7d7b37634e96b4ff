"""The embedded broker under friends and foes: real sockets on an ephemeral loopback port, a real MQTT client."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from broker_server.broker.access import may_publish, may_subscribe
from broker_server.broker.embedded import EmbeddedBroker
from broker_server.errors import ListenError
from edge_runtime.wire.broker_url import BrokerUrl

WAIT_S = 20.0
BLOB = "fl/v1/x/blob/" + "a" * 64


class Client:
    """A client whose messages can be waited for."""

    def __init__(self, endpoint: BrokerUrl, name: str, *, gateway: bool = False, will: str = "", port: int = 0) -> None:
        self._got: list[tuple[str, bytes, bool]] = []
        self._changed = threading.Condition()
        self.granted: list[bool] = []
        self.refused = ""
        self.connected = False
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, name, reconnect_on_failure=False)
        if gateway:
            self.paho.username_pw_set(endpoint.user, endpoint.password)
        if will:
            self.paho.will_set(will, b"will", 1)
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = lambda *_: self._note(lambda: setattr(self, "connected", False))
        self.paho.on_message = lambda _c, _d, m: self._note(lambda: self._got.append((m.topic, m.payload, m.retain)))
        self.paho.on_subscribe = lambda _c, _d, _m, codes, _p: self._note(
            lambda: self.granted.extend(not code.is_failure for code in codes)
        )
        self.paho.connect(endpoint.host, port or endpoint.port)
        self.paho.loop_start()

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        self._note(lambda: setattr(self, "connected", not code.is_failure))
        self._note(lambda: setattr(self, "refused", str(code) if code.is_failure else ""))

    def _note(self, change: Any) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    def wait(self, condition: Any) -> None:
        """Wait until a condition on this client holds."""
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S)

    def up(self) -> Client:
        """Wait for the connection."""
        self.wait(lambda: self.connected)
        return self

    def subscribe(self, *topics: str) -> list[bool]:
        """Subscribe; return which were granted."""
        before = len(self.granted)
        self.paho.subscribe([(topic, 1) for topic in topics])
        self.wait(lambda: len(self.granted) == before + len(topics))
        return self.granted[before:]

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish with QoS 1 and wait for the broker's acknowledgement."""
        self.paho.publish(topic, payload, 1, retain).wait_for_publish(WAIT_S)

    def messages(self, count: int) -> list[tuple[str, bytes, bool]]:
        """Wait for this many messages and return all."""
        self.wait(lambda: len(self._got) >= count)
        return list(self._got)

    def vanish(self) -> None:
        """Break the connection without saying goodbye."""
        sock = self.paho.socket()
        assert sock is not None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.paho.loop_stop()
        sock.close()

    def stop(self) -> None:
        """Leave in order."""
        self.paho.disconnect()
        self.paho.loop_stop()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[BrokerUrl]:
    """Run one broker for all tests: what one does to it must not hurt the next."""
    broker = EmbeddedBroker("127.0.0.1", 0, connections=50)
    yield broker.start()
    broker.stop()


@pytest.fixture
def gateway(endpoint: BrokerUrl) -> Iterator[Client]:
    """Return the gateway's client, listening to hello and bye."""
    client = Client(endpoint, "gateway", gateway=True).up()
    client.subscribe("fl/v1/x/hello/+", "fl/v1/x/bye/+")
    yield client
    client.stop()


def test_messages_pass_both_ways(endpoint: BrokerUrl, gateway: Client) -> None:
    """The largest payload of the contract, too."""
    device = Client(endpoint, "a").up()
    assert device.subscribe("fl/v1/x/plan/a") == [True]
    device.publish("fl/v1/x/hello/a", b"h" * 131_072)
    assert gateway.messages(1)[0] == ("fl/v1/x/hello/a", b"h" * 131_072, False)
    gateway.publish("fl/v1/x/plan/a", b"plan")
    assert device.messages(1)[0][1] == b"plan"
    device.stop()


def test_retained_messages_come_to_subscribers_only(endpoint: BrokerUrl, gateway: Client) -> None:
    """Among 300 retained plans a device gets its own, and nothing for what it did not subscribe to."""
    for number in range(300):
        gateway.publish(f"fl/v1/x/plan/r{number}", b"%d" % number, retain=True)
    other = Client(endpoint, "r1").up()
    other.subscribe("fl/v1/x/plan/r1", "fl/v1/x/plan/r2")
    device = Client(endpoint, "r7").up()
    device.subscribe("fl/v1/x/plan/r7")
    assert device.messages(1) == [("fl/v1/x/plan/r7", b"7", True)]
    gateway.publish("fl/v1/x/plan/r7", b"", retain=True)
    device.messages(2)
    late = Client(endpoint, "r7b").up()
    late.subscribe("fl/v1/x/plan/r7", "fl/v1/x/plan/r8")
    assert late.messages(1) == [("fl/v1/x/plan/r8", b"8", True)]
    for client in (device, other, late):
        client.stop()


def test_will_of_a_vanished_device(endpoint: BrokerUrl, gateway: Client) -> None:
    """Comes when the connection breaks, not when the device leaves in order."""
    orderly = Client(endpoint, "w1", will="fl/v1/x/bye/w1").up()
    orderly.stop()
    Client(endpoint, "w2", will="fl/v1/x/bye/w2").up().vanish()
    assert gateway.messages(1) == [("fl/v1/x/bye/w2", b"will", False)]


def test_silent_client_is_given_up(endpoint: BrokerUrl, gateway: Client) -> None:
    """A network that went away without a word: 1.5 keep-alives later the will comes (keep-alive of one second)."""
    with socket.create_connection((endpoint.host, endpoint.port)) as sock:
        sock.sendall(_connect(b"silent", keep_alive=1, will=b"fl/v1/x/bye/silent"))
        assert sock.recv(4) == b"\x20\x02\x00\x00"
        assert gateway.messages(1)[0][0] == "fl/v1/x/bye/silent"


def test_second_connection_replaces_the_first(endpoint: BrokerUrl, gateway: Client) -> None:
    """The old one is closed, and its will does not tell that the device left."""
    old = Client(endpoint, "twin", will="fl/v1/x/bye/twin").up()
    new = Client(endpoint, "twin", will="fl/v1/x/bye/twin").up()
    old.wait(lambda: not old.connected)
    new.publish("fl/v1/x/hello/twin", b"new")
    assert gateway.messages(1) == [("fl/v1/x/hello/twin", b"new", False)]
    old.paho.loop_stop()
    new.stop()


def test_device_cannot_speak_as_the_gateway(endpoint: BrokerUrl, gateway: Client) -> None:
    """Its plan reaches nobody, now or retained; the connection lives on."""
    victim = Client(endpoint, "victim").up()
    victim.subscribe("fl/v1/x/plan/victim")
    foe = Client(endpoint, "foe").up()
    foe.publish("fl/v1/x/plan/victim", b"evil", retain=True)
    foe.publish("fl/v1/x/hello/foe", b"retained?", retain=True)
    gateway.messages(1)
    gateway.publish("fl/v1/x/plan/victim", b"good")
    assert victim.messages(1) == [("fl/v1/x/plan/victim", b"good", False)]
    late = Client(endpoint, "late").up()
    late.subscribe("fl/v1/x/plan/victim")
    gateway.publish("fl/v1/x/plan/victim", b"next")
    assert late.messages(1) == [("fl/v1/x/plan/victim", b"next", False)]
    for client in (victim, foe, late):
        client.stop()


def test_device_cannot_hear_others_deltas(endpoint: BrokerUrl) -> None:
    """No wildcard, no topic of a device."""
    foe = Client(endpoint, "listener").up()
    topics = ["#", "fl/v1/x/delta/+", "fl/v1/x/delta/a", "fl/v1/x/+/a", "$SYS/#", "fl/v1/x/gateway", BLOB]
    assert foe.subscribe(*topics) == [False, False, False, False, False, True, True]
    foe.stop()


@pytest.mark.parametrize("will", ["fl/v1/x/plan/a", "fl/v1/x/gateway", "other"])
def test_will_that_speaks_as_the_gateway_is_refused(endpoint: BrokerUrl, will: str) -> None:
    """At the connection, since wills are not asked about again."""
    foe = Client(endpoint, "willful", will=will)
    foe.wait(lambda: foe.refused)
    assert foe.refused == "Not authorized"
    foe.paho.loop_stop()


def test_wrong_password_is_refused(endpoint: BrokerUrl) -> None:
    """Only the process that made it knows it."""
    foe = Client(replace(endpoint, password="guess"), "impostor", gateway=True)  # noqa: S106
    foe.wait(lambda: foe.refused)
    foe.paho.loop_stop()


def _connect(name: bytes, keep_alive: int = 60, will: bytes = b"") -> bytes:
    """Return a CONNECT packet of MQTT 3.1.1, written from its specification."""
    flags = 0x02 | (0x0C if will else 0)
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + struct.pack(">H", keep_alive)
    body += struct.pack(">H", len(name)) + name
    if will:
        body += struct.pack(">H", len(will)) + will + struct.pack(">H", 4) + b"will"
    return b"\x10" + bytes([len(body)]) + body


HOSTILE = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "zeros": bytes(64),
    "huge length": b"\x10\xff\xff\xff\x7f" + bytes(100),
    "endless length": b"\x10\xff\xff\xff\xff\xff\xff",
    "publish first": b"\x30\x05\x00\x01ahi",
    "cut connect": b"\x10\x0c\x00\x04MQTT\x04\x02",
    "reserved packet": _connect(b"h1") + b"\xf0\x00",
    "huge publish": _connect(b"h2") + b"\x32\xff\xff\xff\x7f\x00\x01a" + bytes(100),
    "bad utf-8": _connect(b"h3") + b"\x30\x05\x00\x02\xff\xfehi",
    "string longer than packet": _connect(b"h4") + b"\x30\x04\xff\xffab",
    "qos 3": _connect(b"h5") + b"\x36\x07\x00\x01a\x00\x01hi",
    "two connects": _connect(b"h6") + _connect(b"h6"),
    "wildcard publish": _connect(b"h7") + b"\x30\x05\x00\x01#hi",
    "empty topic": _connect(b"h8") + b"\x30\x04\x00\x00hi",
    "subscribe to nothing": _connect(b"h9") + b"\x82\x02\x00\x01",
    "long ping": _connect(b"h10") + b"\xc0\x05hello",
}


@pytest.mark.parametrize("data", list(HOSTILE.values()), ids=list(HOSTILE))
def test_hostile_bytes_hurt_nobody_else(endpoint: BrokerUrl, gateway: Client, data: bytes) -> None:
    """Whatever a stranger sends, a device's message still arrives."""
    with socket.create_connection((endpoint.host, endpoint.port)) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(WAIT_S)
        while sock.recv(1000):
            pass
    _still_works(endpoint, gateway)


@given(st.binary(min_size=1, max_size=200))
@settings(max_examples=25)
def test_random_packets_hurt_nobody_else(data: bytes) -> None:
    """After a proper CONNECT, anything; the connection ends and others do not notice."""
    broker = _shared()
    with socket.create_connection((broker.host, broker.port)) as sock:
        sock.sendall(_connect(b"fuzz") + data)
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(WAIT_S)
        try:
            while sock.recv(1000):
                pass
        except ConnectionResetError:
            pass
    client = Client(broker, "probe").up()
    client.stop()


_SHARED: list[BrokerUrl] = []


def _shared() -> BrokerUrl:
    """Return a broker for the examples of one test, which cannot have a fixture each."""
    if not _SHARED:
        _SHARED.append(EmbeddedBroker("127.0.0.1", 0).start())
    return _SHARED[0]


def _still_works(endpoint: BrokerUrl, gateway: Client) -> None:
    before = len(gateway._got)
    device = Client(endpoint, "honest").up()
    device.publish("fl/v1/x/hello/honest", b"still here")
    assert gateway.messages(before + 1)[-1][1] == b"still here"
    device.stop()


def test_half_a_packet_does_not_keep_the_broker_busy(endpoint: BrokerUrl, gateway: Client) -> None:
    """A client that stops in the middle of a packet waits alone."""
    with socket.create_connection((endpoint.host, endpoint.port)) as sock:
        sock.sendall(_connect(b"half") + b"\x30\x80\x08\x00\x01a")
        _still_works(endpoint, gateway)


def test_connections_are_limited() -> None:
    """The third of two is closed at once; when one goes, there is room again."""
    broker = EmbeddedBroker("127.0.0.1", 0, connections=2)
    endpoint = broker.start()
    first, second = Client(endpoint, "one").up(), Client(endpoint, "two").up()
    with socket.create_connection((endpoint.host, endpoint.port)) as sock:
        sock.settimeout(WAIT_S)
        assert sock.recv(10) == b""
    first.stop()
    second.stop()
    broker.stop()


def test_port_in_use_is_told() -> None:
    """With what to do about it."""
    broker = EmbeddedBroker("127.0.0.1", 0)
    port = broker.start().port
    with pytest.raises(ListenError, match=f"port {port} on 127.0.0.1 is in use.*--port"):
        EmbeddedBroker("127.0.0.1", port).start()
    broker.stop()


def test_address_that_is_not_ours_is_told() -> None:
    """192.0.2.1 is reserved for documentation."""
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:1"):
        EmbeddedBroker("192.0.2.1", 1883).start()


def test_port_is_free_again_after_stop() -> None:
    """A restart on the same port works."""
    broker = EmbeddedBroker("127.0.0.1", 0)
    port = broker.start().port
    broker.stop()
    again = EmbeddedBroker("127.0.0.1", port)
    assert again.start().port == port
    again.stop()


@pytest.mark.parametrize(
    ("topic", "publish", "subscribe"),
    [
        ("fl/v1/x/hello/a", True, False),
        ("fl/v1/x/delta/a", True, False),
        ("fl/v1/x/plan/a", False, True),
        ("fl/v1/x/verdict/a", False, True),
        ("fl/v1/x/gateway", False, True),
        ("fl/v1/x/plan/+", False, False),
        ("#", False, False),
        ("other", False, False),
        (BLOB, False, True),
    ],
)
def test_permissions(topic: str, *, publish: bool, subscribe: bool) -> None:
    """A device publishes its own kinds of topic and hears the gateway's; the gateway may everything."""
    assert may_publish(topic, gateway=False) == publish
    assert may_subscribe(topic, gateway=False) == subscribe
    assert not may_publish(topic, gateway=False, retain=True)
    assert may_publish(topic, gateway=True, retain=True)
    assert may_subscribe(topic, gateway=True)
