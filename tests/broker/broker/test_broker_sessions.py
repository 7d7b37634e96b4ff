"""Sessions of the embedded broker: MQTT 5, a gateway without room, clients that do not read, an orderly end."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import paho.mqtt.client as paho
import pytest
from broker_client import WAIT_S, Client, Gateway

from broker_server.broker import outgoing
from broker_server.broker.access import Revoked
from broker_server.broker.embedded import EmbeddedBroker
from edge_runtime.wire.broker_url import BrokerUrl


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """Run one."""
    broker = EmbeddedBroker("127.0.0.1", 0, federation="x")
    broker.start()
    yield broker
    broker.stop()


class Raw:
    """A client that speaks by hand. Args: version: of MQTT, by its level; properties: of its CONNECT."""

    def __init__(self, url: BrokerUrl, name: bytes, version: int = 5, properties: bytes = b"") -> None:
        self.socket = socket.create_connection((url.host, url.port), WAIT_S)
        self._file = self.socket.makefile("rb")
        head = b"\x00\x04MQTT" + bytes((version, 2)) + b"\x00\x3c"
        head += bytes((len(properties),)) + properties if version == 5 else b""
        self.send(0x10, head + text(b"x." + name if name else b""))

    def send(self, first: int, content: bytes) -> None:
        """Send a packet."""
        size, length = len(content), bytearray()
        while True:
            size, low = size >> 7, size & 0x7F
            length.append(low | (0x80 if size else 0))
            if not size:
                break
        self.socket.sendall(bytes((first,)) + length + content)

    def read(self) -> bytes:
        """Return the next packet, its length left out; b"" at the end."""
        first = self._file.read(1)
        length = shift = 0
        while first:
            [byte] = self._file.read(1)
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        return first + self._file.read(length)

    def close(self) -> None:
        """Close."""
        self._file.close()
        self.socket.close()


def text(data: bytes) -> bytes:
    """Write a text of MQTT."""
    return struct.pack(">H", len(data)) + data


SAYS = bytes.fromhex("11 00000000 24 01 27 00020400 28 00 29 00 2a 00")
"""What the broker says of itself: no session outlives its connection, QoS 1, packets of 132,096 bytes, no wildcards."""


def test_device_of_mqtt_5_takes_part(broker: EmbeddedBroker) -> None:
    """What it hears comes with properties, and what it may not say or hear is refused with a reason."""
    gateway = Gateway(broker)
    device = Raw(broker.url, b"a")
    assert device.read() == b"\x20\x00\x00\x12" + SAYS
    device.send(0x82, b"\x00\x01\x00" + text(b"fl/v1/x/plan/a") + b"\x01" + text(b"fl/v1/x/plan/b") + b"\x01")
    assert device.read() == b"\x90\x00\x01\x00\x01\x87"
    device.send(0x32, text(b"fl/v1/x/hello/a") + b"\x00\x07\x00here")
    device.send(0x32, text(b"fl/v1/x/hello/b") + b"\x00\x08\x00forged")
    assert [device.read(), device.read()] == [b"\x40\x00\x07", b"\x40\x00\x08\x87"]
    assert gateway.messages(1) == [("fl/v1/x/hello/a", b"here", False)]
    gateway.publish("fl/v1/x/plan/a", b"plan")
    assert device.read() == b"\x32" + text(b"fl/v1/x/plan/a") + b"\x00\x01\x00plan"
    device.send(0xA2, b"\x00\x02\x00" + text(b"fl/v1/x/plan/a") + text(b"fl/v1/x/plan/b"))
    assert device.read() == b"\xb0\x00\x02\x00\x00\x11"
    device.close()


def test_client_of_mqtt_5_without_an_id_is_given_one(broker: EmbeddedBroker) -> None:
    """As the standard asks for (3.1.3.1)."""
    listener = Raw(broker.url, b"")
    assert listener.read().startswith(b"\x20\x00\x00\x2e" + SAYS + b"\x12\x00\x19listener-")
    listener.close()


def test_client_of_mqtt_5_hears_why_it_is_refused(broker: EmbeddedBroker) -> None:
    """A client id of no device; a method of authentication; a level that nobody knows, in the words of 3.1.1."""
    stranger = Raw(broker.url, b"a/b")
    assert stranger.read() == b"\x20\x00\x85\x21\x1f\x00\x1eno client id of the federation"
    method = Raw(broker.url, b"a", properties=b"\x15\x00\x01x")
    assert method.read().startswith(b"\x20\x00\x8c")
    future = Raw(broker.url, b"a", version=6)
    assert [future.read(), future.read()] == [b"\x20\x00\x01", b""]
    for client in (stranger, method, future):
        client.close()


@pytest.mark.parametrize(
    ("first", "content", "code"),
    [
        (0x34, text(b"fl/v1/x/hello/a") + b"\x00\x07\x00", 0x9B),
        (0x32, text(b"fl/v1/x/hello/a") + b"\x00\x07\x03\x23\x00\x01", 0x94),
        (0x82, b"\x00\x01\x02\x0b\x01" + text(b"fl/v1/x/version") + b"\x01", 0xA1),
        (0x10, b"", 0x82),
        (0x32, bytes(132_097), 0x95),
    ],
)
def test_broken_rules_are_told_by_their_code(broker: EmbeddedBroker, first: int, content: bytes, code: int) -> None:
    """QoS 2, a topic alias, a subscription's number, a second CONNECT, a packet over the limit; then it is over."""
    device = Raw(broker.url, b"a")
    device.read()
    device.send(first, content)
    assert device.read() == bytes((0xE0, code))
    device.close()


def test_leaving_with_the_will(broker: EmbeddedBroker) -> None:
    """DISCONNECT 0x04 of MQTT 5 asks for the will, DISCONNECT without a code does not."""
    gateway = Gateway(broker)
    for name, reason in (("calm", 0), ("worried", 4)):
        client = Client(broker.url, name, will=f"fl/v1/x/bye/{name}", version=paho.MQTTv5).up()
        client.paho.disconnect(reasoncode=paho.ReasonCodes(14, identifier=reason))
        client.paho.loop_stop()
    assert gateway.messages(1) == [("fl/v1/x/bye/worried", b"will", False)]


def test_no_more_is_under_way_than_a_client_takes(broker: EmbeddedBroker) -> None:
    """Receive maximum 2, packets of 100 bytes: the third waits for an acknowledgement, a larger one never comes."""
    gateway = Gateway(broker)
    device = Raw(broker.url, b"a", properties=b"\x21\x00\x02\x27\x00\x00\x00\x64")
    device.read()
    device.send(0x82, b"\x00\x01\x00" + text(b"fl/v1/x/plan/a") + b"\x01")
    device.read()
    for payload in (b"1", bytes(100), b"2", b"3"):
        gateway.publish("fl/v1/x/plan/a", payload)
    device.send(0xC0, b"")
    assert [device.read()[-1:] for _ in range(3)] == [b"1", b"2", b"\xd0"]
    device.send(0x40, b"\x00\x01")
    assert device.read()[-1:] == b"3"
    device.close()


def test_retained_messages_are_marked_as_the_client_wants(broker: EmbeddedBroker) -> None:
    """Live ones too where it asked to have them as published; none where it asked for none."""
    gateway = Gateway(broker)
    gateway.publish("fl/v1/x/version", b"old", retain=True)
    devices = [Raw(broker.url, name) for name in (b"a", b"b")]
    for device, options in zip(devices, (b"\x09", b"\x21"), strict=True):
        device.read()
        device.send(0x82, b"\x00\x01\x00" + text(b"fl/v1/x/version") + options)
        assert device.read() == b"\x90\x00\x01\x00\x01"
    assert devices[0].read()[:1] == b"\x33"
    gateway.publish("fl/v1/x/version", b"new", retain=True)
    topic = text(b"fl/v1/x/version")
    live = [b"\x33" + topic + b"\x00\x02\x00new", b"\x32" + topic + b"\x00\x01\x00new"]
    assert [device.read() for device in devices] == live
    for device in devices:
        device.close()


def test_gateway_without_room_slows_devices_and_loses_nothing(broker: EmbeddedBroker) -> None:
    """Of ten messages three are taken and acknowledged; with room the rest comes, in order, acknowledged one by one."""
    gateway = Gateway(broker, room=3)
    device = Raw(broker.url, b"a", version=4)
    assert device.read() == b"\x20\0\0"
    for number in range(1, 11):
        device.send(0x32, text(b"fl/v1/x/delta/a") + bytes((0, number)) + bytes((number,)) * 1000)
    assert [device.read() for _ in range(3)] == [bytes((0x40, 0, number)) for number in (1, 2, 3)]
    assert len(gateway.messages(3)) == 3
    gateway.make_room(2)
    assert [device.read() for _ in range(2)] == [bytes((0x40, 0, number)) for number in (4, 5)]
    gateway.make_room(100)
    assert [device.read() for _ in range(5)] == [bytes((0x40, 0, number)) for number in range(6, 11)]
    assert [payload[0] for _, payload, _ in gateway.messages(10)] == list(range(1, 11))
    device.close()


def test_before_there_is_a_gateway_what_devices_say_waits(broker: EmbeddedBroker) -> None:
    """It is acknowledged when the gateway has it."""
    device = Raw(broker.url, b"a", version=4)
    device.read()
    device.send(0x32, text(b"fl/v1/x/hello/a") + b"\x00\x01here")
    other = Raw(broker.url, b"b", version=4)
    other.read()
    gateway = Gateway(broker)
    assert device.read() == b"\x40\x00\x01"
    assert gateway.messages(1) == [("fl/v1/x/hello/a", b"here", False)]
    for client in (device, other):
        client.close()


def test_a_will_waits_for_room(broker: EmbeddedBroker) -> None:
    """Its connection is gone by then; a message of that which nobody acknowledged is not said."""
    gateway = Gateway(broker, room=0)
    device = Client(broker.url, "a", will="fl/v1/x/bye/a").up()
    device.paho.publish("fl/v1/x/delta/a", b"unheard", 1)
    gateway.asked(1)
    broker.revoke(Revoked(frozenset({"a"})))
    device.wait(lambda: device.lost)
    gateway.make_room(10)
    assert gateway.messages(1) == [("fl/v1/x/bye/a", b"will", False)]
    device.paho.loop_stop()


def test_client_that_does_not_read_is_cut_and_others_hear_on(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for 4 MiB, of 100 messages of 128 KiB; the one who reads has all of them."""
    monkeypatch.setattr(outgoing, "QUEUE_LIMIT", 4 * 1024 * 1024)
    gateway = Gateway(broker)
    deaf, device = Raw(broker.url, b"deaf", version=4), Client(broker.url, "a").up()
    deaf.read()
    deaf.send(0x82, b"\x00\x01" + text(b"fl/v1/x/version") + b"\x01")
    deaf.read()
    device.subscribe("fl/v1/x/version")
    for number in range(200):
        gateway.publish("fl/v1/x/version", bytes((number,)) * 131_072)
        if number % 10 == 9:
            device.messages(number + 1)
    assert len(device.messages(200)) == 200
    left = 0
    with contextlib.suppress(ConnectionError):
        while data := deaf.socket.recv(1 << 20):
            left += len(data)
    assert left < 200 * 131_072
    device.stop()
    deaf.close()


def test_goodbye_reaches_devices_before_the_end(broker: EmbeddedBroker) -> None:
    """What was published last comes, then a client of MQTT 5 hears that the broker goes."""
    gateway = Gateway(broker)
    device = Raw(broker.url, b"a")
    device.read()
    device.send(0x82, b"\x00\x01\x00" + text(b"fl/v1/x/gateway") + b"\x00")
    device.read()
    gateway.publish("fl/v1/x/gateway", b"away", retain=True)
    broker.stop()
    assert [device.read(), device.read(), device.read()] == [
        b"\x30" + text(b"fl/v1/x/gateway") + b"\x00away", b"\xe0\x8b", b"",
    ]  # fmt: skip
    device.close()
