"""The embedded broker under friends and foes: real sockets on an ephemeral loopback port, a real MQTT client."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from broker_client import WAIT_S, Client, Gateway
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_server.broker import session
from broker_server.broker.access import Certificate, Peer, may_publish, may_subscribe, may_take_over
from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.file_limit import fit
from broker_server.broker.pace import Pace, Waiting, source_of
from broker_server.config_tables import ConnectionLimits
from broker_server.errors import ListenError
from edge_runtime.wire.broker_url import BrokerUrl

BLOB = "fl/v1/x/blob/" + "a" * 64


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """Run one broker for all tests: what one does to it must not hurt the next."""
    broker = EmbeddedBroker("127.0.0.1", 0, federation="x")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def endpoint(broker: EmbeddedBroker) -> BrokerUrl:
    """Return where devices connect."""
    return broker.url


@pytest.fixture
def gateway(broker: EmbeddedBroker) -> Gateway:
    """Return the gateway, which hears what is said from now on."""
    return Gateway(broker)


def test_messages_pass_both_ways(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """The largest payload of the contract, too."""
    device = Client(endpoint, "a").up()
    assert device.subscribe("fl/v1/x/plan/a") == [True]
    device.publish("fl/v1/x/hello/a", b"h" * 131_072)
    assert gateway.messages(1)[0] == ("fl/v1/x/hello/a", b"h" * 131_072, False)
    gateway.publish("fl/v1/x/plan/a", b"plan")
    assert device.messages(1)[0][1] == b"plan"
    device.stop()


def test_retained_messages_come_to_subscribers_only(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """Among 300 retained plans a device gets its own, and nothing for what it did not subscribe to."""
    for number in range(300):
        gateway.publish(f"fl/v1/x/plan/r{number}", b"%d" % number, retain=True)
    other = Client(endpoint, "r1").up()
    other.subscribe("fl/v1/x/plan/r1")
    device = Client(endpoint, "r7").up()
    device.subscribe("fl/v1/x/plan/r7")
    assert device.messages(1) == [("fl/v1/x/plan/r7", b"7", True)]
    gateway.publish("fl/v1/x/plan/r7", b"", retain=True)
    gateway.publish("fl/v1/x/version", b"v", retain=True)
    device.messages(2)
    device.stop()
    late = Client(endpoint, "r7").up()
    late.subscribe("fl/v1/x/plan/r7", "fl/v1/x/version")
    assert late.messages(1) == [("fl/v1/x/version", b"v", True)]
    for client in (other, late):
        client.stop()


def test_will_of_a_vanished_device(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """Comes when the connection breaks, not when the device leaves in order."""
    orderly = Client(endpoint, "w1", will="fl/v1/x/bye/w1").up()
    orderly.stop()
    Client(endpoint, "w2", will="fl/v1/x/bye/w2").up().vanish()
    assert gateway.messages(1) == [("fl/v1/x/bye/w2", b"will", False)]


def test_empty_will_comes_as_well(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """A field of no bytes at the end of CONNECT is no reason to wait for more of it."""
    will = struct.pack(">H", 13) + b"fl/v1/x/bye/e" + struct.pack(">H", 0)
    packet = b"\x00\x04MQTT\x04\x0e\x00\x3c" + struct.pack(">H", 3) + b"x.e" + will
    with socket.create_connection((endpoint.host, endpoint.port)) as sock:
        sock.sendall(b"\x10" + bytes([len(packet)]) + packet)
        assert sock.recv(4) == b"\x20\x02\x00\x00"
    assert gateway.messages(1) == [("fl/v1/x/bye/e", b"", False)]


def test_silent_client_is_given_up(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """A network that went away without a word: 1.5 keep-alives later the will comes (keep-alive of one second)."""
    with socket.create_connection((endpoint.host, endpoint.port)) as sock:
        sock.sendall(_connect(b"x.silent", keep_alive=1, will=b"fl/v1/x/bye/silent"))
        assert sock.recv(4) == b"\x20\x02\x00\x00"
        assert gateway.messages(1)[0][0] == "fl/v1/x/bye/silent"


def test_name_is_held_by_one_connection_while_it_lives(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """Nothing proves a name without TLS: who came first keeps it, and when it is gone its owner gets in at once."""
    first = Client(endpoint, "twin", will="fl/v1/x/bye/twin").up()
    second = Client(endpoint, "twin")
    second.wait(lambda: second.refused)
    assert (second.refused, first.connected) == ("Client identifier not valid", True)
    second.paho.loop_stop()
    first.vanish()
    back = Client(endpoint, "twin").up()
    back.publish("fl/v1/x/hello/twin", b"back")
    assert gateway.messages(2) == [("fl/v1/x/bye/twin", b"will", False), ("fl/v1/x/hello/twin", b"back", False)]
    back.stop()


def test_device_cannot_speak_as_another(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """Neither a delta, nor a Bye, nor by its will; nor does it hear another's plan."""
    foe = Client(endpoint, "foe").up()
    for kind in ("hello", "bye", "delta", "statistics", "want"):
        foe.publish(f"fl/v1/x/{kind}/victim", b"as another")
    assert foe.subscribe("fl/v1/x/plan/victim", "fl/v1/x/verdict/victim", "fl/v1/y/plan/foe") == [False] * 3
    foe.publish("fl/v1/x/hello/foe", b"as itself")
    assert gateway.messages(1) == [("fl/v1/x/hello/foe", b"as itself", False)]
    foe.stop()


@pytest.mark.parametrize("client_id", [b"a", b"y.a", b"x", b"x.", b"x.a/b", b"x.#"])
def test_client_id_of_no_device_is_refused(endpoint: BrokerUrl, client_id: bytes) -> None:
    """Expected is FEDERATION.DEVICE; 2 is MQTT's "identifier rejected"."""
    with socket.create_connection((endpoint.host, endpoint.port)) as sock:
        sock.sendall(_connect(client_id))
        assert sock.recv(5) == b"\x20\x02\x00\x02"


def test_client_without_an_id_listens_only(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """It is how ``edge_runtime doctor`` asks whether a gateway is there."""
    gateway.publish("fl/v1/x/gateway", b"here", retain=True)
    doctor = Client(endpoint, "").up()
    assert doctor.subscribe("fl/v1/x/gateway", "fl/v1/x/plan/a") == [True, False]
    assert doctor.messages(1) == [("fl/v1/x/gateway", b"here", True)]
    doctor.publish("fl/v1/x/hello/", b"nobody")
    _still_works(endpoint, gateway)
    assert [payload for _, payload, _ in gateway.messages(1)] == [b"still here"]
    doctor.stop()


def test_device_cannot_speak_as_the_gateway(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """Its plan reaches nobody, now or retained; the connection lives on."""
    victim = Client(endpoint, "victim").up()
    victim.subscribe("fl/v1/x/plan/victim")
    foe = Client(endpoint, "foe").up()
    foe.publish("fl/v1/x/plan/victim", b"evil", retain=True)
    foe.publish("fl/v1/x/plan/foe", b"evil", retain=True)
    foe.publish("fl/v1/x/hello/foe", b"retained?", retain=True)
    gateway.messages(1)
    gateway.publish("fl/v1/x/plan/victim", b"good")
    assert victim.messages(1) == [("fl/v1/x/plan/victim", b"good", False)]
    foe.subscribe("fl/v1/x/plan/foe")
    gateway.publish("fl/v1/x/plan/foe", b"next")
    assert foe.messages(1) == [("fl/v1/x/plan/foe", b"next", False)]
    for client in (victim, foe):
        client.stop()


def test_device_cannot_hear_others_deltas(endpoint: BrokerUrl) -> None:
    """No wildcard, no topic of a device."""
    foe = Client(endpoint, "listener").up()
    topics = ["#", "fl/v1/x/delta/+", "fl/v1/x/delta/a", "fl/v1/x/+/a", "$SYS/#", "fl/v1/x/gateway", BLOB]
    assert foe.subscribe(*topics) == [False, False, False, False, False, True, True]
    foe.stop()


@pytest.mark.parametrize("will", ["fl/v1/x/plan/a", "fl/v1/x/gateway", "fl/v1/x/bye/a", "other"])
def test_will_that_speaks_as_the_gateway_is_refused(endpoint: BrokerUrl, will: str) -> None:
    """At the connection, since wills are not asked about again."""
    foe = Client(endpoint, "willful", will=will)
    foe.wait(lambda: foe.refused)
    assert foe.refused == "Not authorized"
    foe.paho.loop_stop()


@pytest.mark.parametrize("user", ["phone", "gateway"])
def test_password_opens_nothing(endpoint: BrokerUrl, user: str) -> None:
    """The broker has no users, so that nobody believes that any password is one."""
    foe = Client(replace(endpoint, user=user, password="guess"), "phone")  # noqa: S106
    foe.wait(lambda: foe.refused)
    assert foe.refused == "Not authorized"
    foe.paho.loop_stop()


def test_device_hears_no_more_topics_than_a_bank_has_blocks(
    endpoint: BrokerUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here eight at once; what it lets go of makes room again."""
    monkeypatch.setattr(session, "SUBSCRIPTIONS", 8)
    device = Client(endpoint, "eager").up()
    blobs = [f"fl/v1/x/blob/{number:064x}" for number in range(9)]
    assert device.subscribe(*blobs) == [True] * 8 + [False]
    device.paho.unsubscribe(blobs[0])
    assert device.subscribe(blobs[0], blobs[8]) == [True, False]
    device.stop()


def test_limits_leave_files_for_the_gateway() -> None:
    """Of 1,024 open files 200 are the gateway's, a quarter of the rest for handshakes; with room, nothing falls."""
    limits = ConnectionLimits(connections=2048, handshakes=512)
    assert fit(limits, 2760) == limits
    fitting = fit(limits, 1024)
    assert (fitting.handshakes, fitting.connections) == (206, 618)
    few = fit(limits, 100)
    assert (few.handshakes, few.connections) == (1, 1)


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
    "large connect": b"\x10\xff\xff\x01\x00\x04MQTT\x04" + bytes(32_767),
    "endless length": b"\x10\xff\xff\xff\xff\xff\xff",
    "publish first": b"\x30\x05\x00\x01ahi",
    "cut connect": b"\x10\x0c\x00\x04MQTT\x04\x02",
    "reserved packet": _connect(b"x.h1") + b"\xf0\x00",
    "huge publish": _connect(b"x.h2") + b"\x32\xff\xff\xff\x7f\x00\x01a" + bytes(100),
    "bad utf-8": _connect(b"x.h3") + b"\x30\x05\x00\x02\xff\xfehi",
    "string longer than packet": _connect(b"x.h4") + b"\x30\x04\xff\xffab",
    "qos 3": _connect(b"x.h5") + b"\x36\x07\x00\x01a\x00\x01hi",
    "two connects": _connect(b"x.h6") + _connect(b"x.h6"),
    "wildcard publish": _connect(b"x.h7") + b"\x30\x05\x00\x01#hi",
    "empty topic": _connect(b"x.h8") + b"\x30\x04\x00\x00hi",
    "subscribe to nothing": _connect(b"x.h9") + b"\x82\x02\x00\x01",
    "long ping": _connect(b"x.h10") + b"\xc0\x05hello",
}


@pytest.mark.parametrize("data", list(HOSTILE.values()), ids=list(HOSTILE))
def test_hostile_bytes_hurt_nobody_else(endpoint: BrokerUrl, gateway: Gateway, data: bytes) -> None:
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
        sock.sendall(_connect(b"x.fuzz") + data)
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
        _SHARED.append(EmbeddedBroker("127.0.0.1", 0, federation="x").start())
    return _SHARED[0]


def _still_works(endpoint: BrokerUrl, gateway: Gateway) -> None:
    before = len(gateway._got)
    device = Client(endpoint, "honest").up()
    device.publish("fl/v1/x/hello/honest", b"still here")
    assert gateway.messages(before + 1)[-1][1] == b"still here"
    device.stop()


def test_half_a_packet_does_not_keep_the_broker_busy(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """A client that stops in the middle of a packet waits alone."""
    with socket.create_connection((endpoint.host, endpoint.port)) as sock:
        sock.sendall(_connect(b"x.half") + b"\x30\x80\x08\x00\x01a")
        _still_works(endpoint, gateway)


def test_connections_are_limited() -> None:
    """The third of two is told that there is no room; when one goes, there is again."""
    broker = EmbeddedBroker("127.0.0.1", 0, federation="x", limits=ConnectionLimits(connections=2))
    endpoint = broker.start()
    first, second = Client(endpoint, "one").up(), Client(endpoint, "two").up()
    third = Client(endpoint, "three")
    third.wait(lambda: third.refused)
    assert third.refused == "Server unavailable"
    third.paho.loop_stop()
    first.vanish()
    _until(lambda: Client(endpoint, "four"))
    second.stop()
    broker.stop()


def _until(connect: Callable[[], Client]) -> None:
    """Connect again and again until the broker has room; the system tells it of a client that vanished."""
    for _ in range(200):
        client = connect()
        client.wait(lambda: client.connected or client.refused)  # noqa: B023 - called at once
        if client.connected:
            client.stop()
            return
        client.paho.loop_stop()
    pytest.fail("no room")


def test_port_in_use_is_told() -> None:
    """With what to do about it."""
    broker = EmbeddedBroker("127.0.0.1", 0)
    port = broker.start().port
    with pytest.raises(ListenError, match=f"port {port} on 127.0.0.1 is in use.*choose another port"):
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
        ("fl/v1/x/delta/b", False, False),
        ("fl/v1/y/delta/a", False, False),
        ("fl/v1/x/plan/a", False, True),
        ("fl/v1/x/plan/b", False, False),
        ("fl/v1/x/verdict/a", False, True),
        ("fl/v1/x/verdict/b", False, False),
        ("fl/v1/x/gateway", False, True),
        ("fl/v1/y/gateway", False, False),
        ("fl/v1/x/plan/+", False, False),
        ("#", False, False),
        ("other", False, False),
        (BLOB, False, True),
    ],
)
def test_permissions(topic: str, *, publish: bool, subscribe: bool) -> None:
    """A device speaks as itself and hears what is for it or for all."""
    device = Peer("x", "a", "127.0.0.1")
    assert may_publish(device, topic) == publish
    assert may_subscribe(device, topic) == subscribe
    assert not may_publish(device, topic, retain=True)


PHONE, OTHER = Certificate("a", "01"), Certificate("b", "02")


@pytest.mark.parametrize(
    ("holder", "newcomer", "allowed"),
    [
        (("10.0.0.1", PHONE), ("10.9.9.9", PHONE), True),
        (("10.0.0.1", PHONE), ("10.0.0.1", OTHER), False),
        (("10.0.0.1", PHONE), ("10.0.0.1", None), False),
        (("10.0.0.1", None), ("10.0.0.1", None), True),
        (("10.0.0.1", None), ("10.0.0.2", None), False),
        (("127.0.0.1", None), ("127.0.0.1", None), False),
    ],
)
def test_who_may_end_whom(
    holder: tuple[str, Certificate | None], newcomer: tuple[str, Certificate | None], *, allowed: bool
) -> None:
    """The same certificate from anywhere; without one the same address, but for this machine's own."""
    old, new = (Peer("x", "a", address, certificate=certificate) for address, certificate in (holder, newcomer))
    assert may_take_over(old, new) == allowed


def test_who_has_to_go_for_a_newcomer() -> None:
    """The oldest that said nothing, of the own address or of the fullest; one that spoke only when all did."""
    waiting: Waiting[str] = Waiting(most=5, most_of_one=3)
    assert [waiting.enter(name, "foe") for name in ("f1", "f2", "f3")] == [None] * 3
    waiting.spoke("f1", "foe")
    assert waiting.enter("f4", "foe") == "f2"
    assert [waiting.enter(name, "home") for name in ("h1", "h2")] == [None, None]
    assert waiting.enter("h3", "home") == "f3"  # foe and home have three each; the first of them to come goes
    waiting.spoke("f4", "foe")
    waiting.leave("h2", "home")
    waiting.leave("h2", "home")
    assert waiting.enter("f5", "foe") is None
    waiting.spoke("f5", "foe")
    assert waiting.enter("f6", "foe") == "f6"  # the newcomer itself: all others are speaking already


def test_pace_saves_up_ten_seconds() -> None:
    """At 2 a second, 20 at once are free, the 21st costs half a second, and ten seconds later all is forgotten."""
    pace = Pace(2.0)
    assert [pace.take(100.0) for _ in range(22)] == [0.0] * 20 + [0.5, 1.0]
    assert pace.take(101.0) == 0.5
    assert [pace.take(200.0) for _ in range(20)] == [0.0] * 20


def test_what_counts_as_one_address() -> None:
    """An IPv6 host can choose among 2^64 addresses of its network; IPv4 may come in the clothes of IPv6."""
    assert source_of("192.0.2.7") == source_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:1%eth0") == "2001:db8::/64"
    assert source_of("2001:db8:0:1::1") != source_of("2001:db8::1")
    assert source_of("::1") == "::1"
