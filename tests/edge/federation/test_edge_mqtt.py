"""The link over a real broker and over sockets that behave badly. Waits are for events, with a limit; none is timed."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.link import Arrived as Said
from edge_runtime.errors import ConfigError
from edge_runtime.federation.link import Arrived, Broker, Down, LinkEvent, Mqtt, Up, backoff
from edge_runtime.federation.mqtt.link import MqttLink
from edge_runtime.federation.mqtt.outbox import WINDOW
from edge_runtime.federation.mqtt.probe import probe
from edge_runtime.wire.broker_url import BrokerUrl
from edge_runtime.wire.chunks import PAYLOAD
from edge_runtime.wire.topics import Topic

LIMIT_S = 30.0
STATE = "fl/v1/default/gateway"
AB, CD, EF = (pair * 32 for pair in ("ab", "cd", "ef"))


class Gateway:
    """The other side, in the broker's process: hears everything, says what a test wants."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._broker = broker
        broker.connect(self)

    def offer(self, event: Said, size: int) -> bool:
        """Take a message."""
        assert size >= len(event.payload)
        self.heard.put((event.topic, event.payload))
        return True

    def when_room(self, call: Callable[[], None]) -> None:
        """Call at once: there always is room."""
        call()

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish."""
        self._broker.publish(topic, payload, retain=retain)
        assert self._broker.flush(LIMIT_S)

    def next(self, topic: str) -> bytes:
        """Return the next message on a topic."""
        while True:
            name, payload = self.heard.get(timeout=LIMIT_S)
            if name == f"fl/v1/default/{topic}":
                return payload


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """A broker on a free port."""
    broker = EmbeddedBroker("127.0.0.1", 0)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def endpoint(broker: EmbeddedBroker) -> BrokerUrl:
    """Return where devices connect."""
    return broker.url


@pytest.fixture
def gateway(broker: EmbeddedBroker) -> Gateway:
    """A gateway of that broker."""
    return Gateway(broker)


def link_to(host: str, port: int, mqtt: Mqtt = Mqtt.AUTO) -> tuple[MqttLink, queue.Queue[LinkEvent]]:
    """Return a link of device ``me`` and its events."""
    inbox: queue.Queue[LinkEvent] = queue.Queue()
    return MqttLink(Broker(BrokerUrl(host, port)), "default", "me", b"gone", inbox.put, mqtt=mqtt), inbox


def wait_for(inbox: queue.Queue[LinkEvent], kind: type[LinkEvent]) -> LinkEvent:
    """Return the next event of a kind."""
    while True:
        event = inbox.get(timeout=LIMIT_S)
        if isinstance(event, kind):
            return event


def test_retained_state_comes_hello_goes_bye_ends(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """What is retained arrives after connecting; payload bytes are counted; an orderly end says bye, not the will."""
    gateway.say(STATE, b"state", retain=True)
    link, inbox = link_to(endpoint.host, endpoint.port)
    link.start()
    wait_for(inbox, Up)
    event = wait_for(inbox, Arrived)
    assert isinstance(event, Arrived)
    assert (event.address.topic, event.payload) == (Topic.GATEWAY, b"state")
    link.send(Topic.HELLO, [b"hello"])
    assert gateway.next("hello/me") == b"hello"
    link.stop(b"bye")
    assert gateway.next("bye/me") == b"bye"
    assert (link.traffic.bytes_up, link.traffic.bytes_down) == (len(b"hello" + b"bye"), len(b"state"))
    assert not link.busy


def test_a_want_is_sent_after_listening(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """A gateway that answers at once is heard; after releasing, no more."""
    link, inbox = link_to(endpoint.host, endpoint.port)
    link.start()
    wait_for(inbox, Up)
    link.request([AB, CD], b"want")
    assert gateway.next("want/me") == b"want"
    gateway.say(f"fl/v1/default/blob/{CD}", b"values")
    event = wait_for(inbox, Arrived)
    assert isinstance(event, Arrived)
    assert (event.address.name, event.payload) == (CD, b"values")
    link.release([CD])
    link.request([EF], b"again")  # confirmed in order, so the release came before
    assert gateway.next("want/me") == b"again"
    gateway.say(f"fl/v1/default/blob/{CD}", b"unheard")
    gateway.say(f"fl/v1/default/blob/{EF}", b"heard")
    event = wait_for(inbox, Arrived)
    assert isinstance(event, Arrived)
    assert event.payload == b"heard"
    link.stop(b"bye")


def test_many_chunks_go_through_in_order(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """More than the window at once: all arrive, in order, from a lazy iterator."""
    link, inbox = link_to(endpoint.host, endpoint.port)
    link.start()
    wait_for(inbox, Up)
    pieces = [bytes([number]) * 1000 for number in range(5 * WINDOW)]
    link.send(Topic.DELTA, iter(pieces))
    assert [gateway.next("delta/me") for _ in pieces] == pieces
    link.stop(b"bye")


def test_a_broker_that_is_not_there_is_tried_again_until_it_is() -> None:
    """The first failure is marked as such, so that it is told once; a link finds the broker when it comes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    link, inbox = link_to("127.0.0.1", port)
    link.start()
    first, second = wait_for(inbox, Down), wait_for(inbox, Down)
    assert isinstance(first, Down)
    assert isinstance(second, Down)
    assert (first.first, second.first) == (True, False)
    assert "refused" in first.reason.lower()
    broker = EmbeddedBroker("127.0.0.1", port)
    broker.start()
    wait_for(inbox, Up)
    broker.stop()
    again = wait_for(inbox, Down)
    assert isinstance(again, Down)
    assert again.first
    link.stop(b"bye")


UNKNOWN = bytes.fromhex("20020001")
"""How a broker of MQTT 3.1.1 answers a CONNECT of another version."""


class RawBroker:
    """Answers CONNECT with ``code`` and, when 0, confirms subscriptions, never publications; or it hangs up.

    Args:
        code: of CONNACK.
        hang_up: after it.
        five: the answer to a CONNECT of MQTT 5.
    """

    def __init__(self, code: int, *, hang_up: bool = False, five: bytes = UNKNOWN) -> None:
        self._hang_up, self._five = hang_up, five
        self.levels: queue.Queue[int] = queue.Queue()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self._code = code
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self.server.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()
        except OSError:
            return

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            data = connection.recv(4096)
            level = data[data.index(b"MQTT") + 4]
            self.levels.put(level)
            connection.sendall(self._five if level == 5 else bytes((0x20, 2, 0, self._code)))
            properties = b"\0" if level == 5 else b""
            while data and not self._hang_up and not (level == 5 and self._five in (UNKNOWN, b"")):
                data = connection.recv(65536)
                if data[:1] == b"\x82":
                    content = data[2:4] + properties + b"\1\1\1\1"
                    connection.sendall(bytes((0x90, len(content))) + content)


@pytest.mark.parametrize("five", [UNKNOWN, b""])
def test_a_broker_that_knows_no_mqtt_5_is_spoken_to_in_3(monkeypatch: pytest.MonkeyPatch, five: bytes) -> None:
    """At once where it says so, at the next try where it only hangs up; and from then on."""
    monkeypatch.setattr("edge_runtime.federation.mqtt.link.FIRST_RETRY_S", 0.001)
    server = RawBroker(0, hang_up=True, five=five)
    link, inbox = link_to("127.0.0.1", server.port)
    link.start()
    wait_for(inbox, Up)
    wait_for(inbox, Up)
    link.stop(b"bye")
    server.server.close()
    assert [server.levels.get(timeout=LIMIT_S) for _ in range(3)] == [5, 4, 4]


def test_a_version_that_was_asked_for_is_kept() -> None:
    """MQTT 5 alone is refused by a broker of 3.1.1; 3.1.1 alone asks for no other."""
    server = RawBroker(0)
    link, inbox = link_to("127.0.0.1", server.port, Mqtt.V5)
    link.start()
    down = wait_for(inbox, Down)
    assert isinstance(down, Down)
    assert "the broker refused: Unsupported protocol version" in down.reason
    link.stop(b"bye")
    old, heard = link_to("127.0.0.1", server.port, Mqtt.V3)
    old.start()
    wait_for(heard, Up)
    old._gone.set()
    old.stop(b"bye")
    server.server.close()
    assert [server.levels.get(timeout=LIMIT_S) for _ in range(2)] == [5, 4]


def test_what_a_broker_of_mqtt_5_does_not_take_is_told(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """It says so where MQTT 3.1.1 is silent: the name in the certificate, or the rights there, are wrong."""
    link, inbox = link_to(endpoint.host, endpoint.port)
    link.start()
    wait_for(inbox, Up)
    assert link._outbox is not None
    link._outbox.put("fl/v1/default/hello/you", [b"not mine"])
    down = wait_for(inbox, Down)
    assert isinstance(down, Down)
    assert down.reason.startswith("the broker does not take what this device says: the name in this device's")
    link.stop(b"bye")
    assert gateway.heard.get(timeout=LIMIT_S) == ("fl/v1/default/bye/me", b"gone")


def test_a_broker_says_how_large_and_how_many_messages_may_be() -> None:
    """Packets of 65,536 bytes leave 64,256 for a body's chunk; of receive maximum 2 an iterator is asked for two."""
    server = RawBroker(0, five=bytes.fromhex("200b 0000 08 21 0002 27 00010000"))
    link, inbox = link_to("127.0.0.1", server.port)
    assert link.chunk_bytes == PAYLOAD
    link.start()
    wait_for(inbox, Up)
    assert link.chunk_bytes == 64_256
    taken = threading.Semaphore(0)

    def pieces() -> Iterator[bytes]:
        while True:
            taken.release()
            yield b"x"

    link.send(Topic.DELTA, pieces())
    assert [taken.acquire(timeout=LIMIT_S) for _ in range(2)] == [True, True]
    assert not taken.acquire(timeout=0.2)
    server.server.close()
    link._gone.set()
    link.stop(b"bye")


def test_a_slow_broker_costs_no_memory() -> None:
    """Nothing is acknowledged: an endless iterator is asked for no more than the window; the end does not hang."""
    server = RawBroker(0)
    link, inbox = link_to("127.0.0.1", server.port)
    link.start()
    wait_for(inbox, Up)
    taken = threading.Semaphore(0)

    def pieces() -> Iterator[bytes]:
        while True:
            taken.release()
            yield b"x" * 1000

    link.send(Topic.DELTA, pieces())
    for _ in range(WINDOW):
        assert taken.acquire(timeout=LIMIT_S)
    assert not taken.acquire(timeout=0.2)
    assert link.busy
    assert link.traffic.bytes_up == WINDOW * 1000
    server.server.close()
    link._stopping.set()
    link._gone.set()
    link._thread.join(LIMIT_S)
    assert not link._thread.is_alive()


def test_two_processes_with_one_name_are_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that end at once, again and again: each loss is told, waits grow, the last hints at the cause."""
    monkeypatch.setattr("edge_runtime.federation.mqtt.link.FIRST_RETRY_S", 0.001)
    server = RawBroker(0, hang_up=True)
    link, inbox = link_to("127.0.0.1", server.port)
    link.start()
    downs = [event for event in (wait_for(inbox, Down) for _ in range(10)) if isinstance(event, Down)]
    link.stop(b"bye")
    server.server.close()
    assert all(down.first for down in downs)
    assert "device id" not in downs[0].reason
    assert downs[-1].reason.endswith("; does another process use the device id me?")
    assert downs[0].again_s <= 0.001
    assert 0.002 <= downs[-1].again_s <= 0.004


def test_a_broker_that_refuses_says_why() -> None:
    """CONNACK 5, not authorized."""
    server = RawBroker(5)
    link, inbox = link_to("127.0.0.1", server.port)
    link.start()
    event = wait_for(inbox, Down)
    assert isinstance(event, Down)
    assert "the broker refused: Not authorized" in event.reason
    link.stop(b"bye")
    server.server.close()
    with pytest.raises(OSError, match="refused"):
        probe(Broker(BrokerUrl("127.0.0.1", server.port)), "default", 2)


def test_a_probe_finds_the_gateways_state(endpoint: BrokerUrl, gateway: Gateway) -> None:
    """None before there is one; its bytes after; an error where no broker is."""
    broker = Broker(BrokerUrl(endpoint.host, endpoint.port))
    assert probe(broker, "default", LIMIT_S) is None
    gateway.say(STATE, b"state", retain=True)
    assert probe(broker, "default", LIMIT_S) == b"state"


def test_backoff_doubles_to_its_limit_with_jitter() -> None:
    """1, 2, 4, ... 60 s, each between half and all of it."""
    assert [backoff(tries, 1, 60, 0.999999) for tries in range(8)] == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60], 1e-3)
    assert backoff(3, 1, 60, 0.0) == 4
    assert backoff(10**6, 1, 60, 0.0) == 30


def test_urls(tmp_path: Path) -> None:
    """The shared rules are the device's: escapes are decoded, IPv6 is shown in brackets, a password never."""
    broker = Broker.parse("mqtts://me:p%40ss@[2001:db8::7]", ca=tmp_path, certificate=None, key=None)
    assert (broker.url, broker.ca) == (BrokerUrl("2001:db8::7", 8883, tls=True, user="me", password="p@ss"), tmp_path)  # noqa: S106
    assert str(broker) == "mqtts://[2001:db8::7]:8883"
    assert "p@ss" not in repr(broker)
    assert Broker.parse("mqtt://10.0.0.7:99", allow_plaintext=True).url.port == 99


def test_credentials_from_elsewhere_fill_a_url_without_a_user() -> None:
    """The URL's own go first; no user changes nothing."""
    broker = Broker.parse("mqtts://a")
    assert broker.with_user("me", "x").url == BrokerUrl("a", 8883, tls=True, user="me", password="x")  # noqa: S106
    assert broker.with_user("", "") == broker
    assert Broker.parse("mqtts://you@a").with_user("me", "x").url.user == "you"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("localhost:1883", "expected mqtt://HOST:PORT"),
        ("http://localhost", "expected mqtt://HOST:PORT"),
        ("mqtt://localhost:x", "expected mqtt://HOST:PORT"),
        ("mqtt://localhost:65536", "expected 1 to 65535"),
        ("mqtts://me:50%@localhost", "a % written as %25"),
        ("mqtts://:secret@localhost", "a password and no user"),
        ("mqtt://localhost/topic", "expected mqtt://HOST:PORT"),
        ("mqtt://10.0.0.7", "not encrypted; use mqtts://"),
    ],
)
def test_bad_urls_are_refused(url: str, expected: str) -> None:
    """Each says what was expected."""
    with pytest.raises(ConfigError, match=expected):
        Broker.parse(url)


def test_certificates_need_tls(tmp_path: Path) -> None:
    """They would be ignored otherwise; and files that are none are told."""
    with pytest.raises(ConfigError, match="certificates need mqtts:// or wss://"):
        Broker.parse("mqtt://localhost", ca=tmp_path / "ca.pem")
    broken = Broker(BrokerUrl("localhost", 8883, tls=True), ca=tmp_path / "none.pem")
    with pytest.raises(ConfigError, match="cannot use the certificates"):
        probe(broken, "default", 1)
