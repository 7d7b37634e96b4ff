"""The embedded broker with certificates on both sides: strangers, liars, the revoked and the idle, on real sockets."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from broker_client import WAIT_S, Client, Gateway

from broker_server.broker.access import Revoked
from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.tls import TlsFiles
from broker_server.config_tables import ConnectionLimits
from broker_server.errors import ListenError
from broker_server.identity.certificates import Identity, new_authority, new_device, new_gateway, utc_now
from edge_runtime.wire.broker_url import BrokerUrl

CONNECT_AS = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02"  # and a client id of two bytes


class Town:
    """An authority, a broker with its certificates, and what the broker told."""

    def __init__(self, folder: Path, limits: ConnectionLimits) -> None:
        self._folder = folder
        self.authority = new_authority("authority", utc_now())
        gateway = new_gateway(self.authority, ["127.0.0.1", "localhost"], utc_now())
        files = TlsFiles(*(self.keep(f"{name}.pem", text) for name, text in (
            ("gateway", gateway.certificate), ("gateway-key", gateway.key), ("authority", self.authority.certificate),
        )))  # fmt: skip
        self.told: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self.broker = EmbeddedBroker(
            "127.0.0.1", 0, federation="x", limits=limits, tls=files, tell=lambda *event: self.told.put(event)
        )
        self.broker.start()

    @property
    def url(self) -> BrokerUrl:
        """Return where devices connect."""
        return self.broker.url

    def keep(self, name: str, text: str) -> Path:
        """Write a file."""
        (self._folder / name).write_text(text)
        return self._folder / name

    def context(self, identity: Identity | None) -> ssl.SSLContext:
        """Return TLS of a client that trusts the authority and shows ``identity``."""
        context = ssl.create_default_context(cafile=str(self._folder / "authority.pem"))
        if identity is not None:
            pair = self.keep("me.pem", identity.certificate), self.keep("me.key", identity.key)
            context.load_cert_chain(*pair)
        return context

    def device(self, name: str, **options: Any) -> Client:
        """Connect a device with a certificate of its own name, or with ``identity``."""
        identity = options.pop("identity", None) or new_device(self.authority, name, utc_now())
        return Client(self.url, name, tls=self.context(identity), **options)

    def refusal(self, kind: str = "refused") -> dict[str, Any]:
        """Return the next event of a kind."""
        while True:
            event, fields = self.told.get(timeout=WAIT_S)
            if event == kind:
                return fields


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """A broker with TLS."""
    town = Town(tmp_path, ConnectionLimits())
    yield town
    town.broker.stop()


@pytest.fixture
def gateway(town: Town) -> Gateway:
    """The gateway."""
    return Gateway(town.broker)


def refused_by_tls(town: Town, context: ssl.SSLContext) -> bool:
    """Return whether a connection ends without an answer to its CONNECT."""
    with (
        contextlib.suppress(ssl.SSLError, ConnectionError),
        socket.create_connection((town.url.host, town.url.port), WAIT_S) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(CONNECT_AS + b"x.")
        return client.recv(10) == b""
    return True


def test_device_and_gateway_talk(town: Town, gateway: Gateway) -> None:
    """A certificate of the authority is all that a device needs; its name is its own."""
    device = town.device("phone", will="fl/v1/x/bye/phone").up()
    assert device.subscribe("fl/v1/x/plan/phone", "fl/v1/x/version") == [True, True]
    gateway.publish("fl/v1/x/plan/phone", b"plan")
    assert device.messages(1)[0][1] == b"plan"
    device.publish("fl/v1/x/hello/phone", b"h" * 131_072)
    device.vanish()
    assert [topic for topic, _, _ in gateway.messages(2)] == ["fl/v1/x/hello/phone", "fl/v1/x/bye/phone"]


def test_device_is_itself_only(town: Town, gateway: Gateway) -> None:
    """Its certificate gives it no other client id, no other's topics, no other's will, and no wildcard."""
    foe = town.device("foe").up()
    for kind in ("hello", "bye", "delta"):
        foe.publish(f"fl/v1/x/{kind}/phone", b"as another")
    assert foe.subscribe("fl/v1/x/plan/phone", "fl/v1/x/verdict/phone", "fl/v1/x/plan/+", "#") == [False] * 4
    foe.publish("fl/v1/x/hello/foe", b"as itself")
    assert gateway.messages(1) == [("fl/v1/x/hello/foe", b"as itself", False)]
    for options in ({"client_id": "x.phone"}, {"client_id": "foe"}, {"will": "fl/v1/x/bye/phone"}):
        liar = town.device("foe", **options)
        liar.wait(lambda: liar.refused)  # noqa: B023 - called at once
        liar.paho.loop_stop()
    assert town.refusal()["reason"] == "another device's client id"
    assert town.refusal() | {"address": ""} == {
        "reason": "no client id of the federation", "times": 1, "address": "", "detail": '"foe", expected x.DEVICE',
    }  # fmt: skip
    assert town.refusal()["reason"] == "a will on a topic that is not its own"
    assert foe.connected
    foe.stop()


def test_name_is_taken_over_by_its_own_certificate_only(town: Town, gateway: Gateway) -> None:
    """A device that comes back gets in at once, and its old connection's will does not tell that it left."""
    identity = new_device(town.authority, "phone", utc_now())
    old = town.device("phone", identity=identity, will="fl/v1/x/bye/phone").up()
    thief = town.device("thief", client_id="x.phone")
    thief.wait(lambda: thief.refused)
    assert old.connected
    new = town.device("phone", identity=identity, will="fl/v1/x/bye/phone").up()
    old.wait(lambda: old.lost)
    new.publish("fl/v1/x/hello/phone", b"new")
    assert gateway.messages(1) == [("fl/v1/x/hello/phone", b"new", False)]
    for client in (old, thief):
        client.paho.loop_stop()
    new.stop()


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("no certificate", "no certificate"),
        ("another authority", "certificate not accepted: unable to get local issuer certificate"),
        ("itself", "certificate not accepted: self-signed certificate"),
        ("expired", "certificate not accepted: certificate has expired"),
        ("the gateway's own", "certificate not accepted: unsuitable certificate purpose"),
    ],
)
def test_stranger_is_refused_and_told_of(town: Town, who: str, reason: str) -> None:
    """Without a certificate that the authority signed for a device, no byte of MQTT is read."""
    now, other = utc_now(), new_authority("authority", utc_now())
    identity = {
        "no certificate": None,
        "another authority": new_device(other, "phone", now),
        "itself": other,
        "expired": new_device(town.authority, "phone", now - timedelta(days=1825)),
        "the gateway's own": new_gateway(town.authority, ["phone"], now),
    }[who]
    assert refused_by_tls(town, town.context(identity))
    assert town.refusal() == {"reason": reason, "times": 1, "address": "127.0.0.1"}


def test_plain_text_and_old_tls_are_refused(town: Town) -> None:
    """MQTT without TLS gets no answer; TLS 1.1 does not come to an agreement."""
    with socket.create_connection((town.url.host, town.url.port), WAIT_S) as raw:
        raw.sendall(CONNECT_AS + b"x.")
        with contextlib.suppress(ConnectionError):
            assert b"\x20\x02" not in raw.recv(100)
    assert town.refusal()["reason"] == "no TLS"
    old = town.context(new_device(town.authority, "phone", utc_now()))
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    assert refused_by_tls(town, old)
    assert town.refusal()["reason"] == "TLS older than 1.2"


def test_password_opens_nothing(town: Town) -> None:
    """Not even with a certificate: the gateway is in the broker's process, and nobody else speaks as it."""
    device = new_device(town.authority, "phone", utc_now())
    url = BrokerUrl(town.url.host, town.url.port, user="gateway", password="guess")  # noqa: S106
    foe = Client(url, "phone", tls=town.context(device))
    foe.wait(lambda: foe.refused)
    foe.paho.loop_stop()
    assert town.refusal()["reason"] == "a user or a password, of which this broker has none"


def test_revoked_device_is_cut_off_and_stays_out(town: Town, gateway: Gateway) -> None:
    """While it is connected, when it comes back, and under a new name; others notice nothing."""
    stolen, other = new_device(town.authority, "stolen", utc_now()), town.device("other").up()
    device = town.device("stolen", identity=stolen).up()
    town.broker.revoke(Revoked(devices=frozenset({"stolen"})))
    device.wait(lambda: device.lost)
    device.paho.loop_stop()
    for name in ("stolen", "innocent"):
        again = town.device(name, identity=stolen)
        again.wait(lambda: again.refused)  # noqa: B023 - called at once
        again.paho.loop_stop()
    assert town.refusal()["reason"] == "a revoked device"
    other.publish("fl/v1/x/hello/other", b"here")
    assert gateway.messages(1)[0][0] == "fl/v1/x/hello/other"
    other.stop()


def test_one_certificate_is_revoked_and_its_device_is_not(town: Town) -> None:
    """A phone was lost and enrolled anew: the old certificate stays out, the new one of the same name is in."""
    lost, new = (new_device(town.authority, "phone", utc_now()) for _ in range(2))
    device = town.device("phone", identity=lost).up()
    town.broker.revoke(Revoked(certificates=frozenset({lost.serial})))
    device.wait(lambda: device.lost)
    thief = town.device("phone", identity=lost)
    thief.wait(lambda: thief.refused)
    town.device("phone", identity=new).up().stop()
    for client in (device, thief):
        client.paho.loop_stop()


IDLE = """import socket, sys
idle = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) for _ in range(2060)]
print("here", flush=True)
for sock in idle:
    try:
        assert sock.recv(1) == b""
    except ConnectionError:
        pass
print("all cut", flush=True)
"""


def test_idle_connections_keep_no_device_out(tmp_path: Path) -> None:
    """2,060 sockets of one host that say nothing: a device joins beside them, and all of them are cut."""
    town = Town(tmp_path, ConnectionLimits(connect_s=5.0))
    gateway = Gateway(town.broker)
    command = [sys.executable, "-c", IDLE, str(town.url.port)]  # a process of its own: select() knows 1,024 files
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as idle:
        assert idle.stdout is not None
        assert idle.stdout.readline() == "here\n"
        device = town.device("phone").up()
        device.publish("fl/v1/x/hello/phone", b"in")
        assert gateway.messages(1)[0][1] == b"in"
        assert idle.stdout.readline() == "all cut\n"
        assert device.connected
    assert {town.refusal("limit")["reason"] for _ in range(2)} == {"handshakes", "connect_s"}
    device.stop()
    town.broker.stop()


def test_one_address_does_not_take_every_place(tmp_path: Path) -> None:
    """Two devices of an address are in, a third is told that there is no room; one that comes back has its place."""
    town = Town(tmp_path, ConnectionLimits(connections_per_address=2))
    identity = new_device(town.authority, "one", utc_now())
    first, second = town.device("one", identity=identity).up(), town.device("two").up()
    third = town.device("three")
    third.wait(lambda: third.refused)
    assert third.refused == "Server unavailable"
    assert town.refusal("limit")["reason"] == "connections_per_address"
    back = town.device("one", identity=identity).up()
    first.wait(lambda: first.lost)
    for client in (first, third):
        client.paho.loop_stop()
    for client in (second, back):
        client.stop()
    town.broker.stop()


def test_flood_of_hellos_is_read_slowly_and_none_is_lost(tmp_path: Path) -> None:
    """10 a second with 100 saved up: of 120 in a row the last 20 take two seconds, and another is not delayed."""
    town = Town(tmp_path, ConnectionLimits(hellos_per_s=10.0))
    gateway = Gateway(town.broker)
    foe, honest = town.device("foe").up(), town.device("honest").up()
    for number in range(120):
        foe.paho.publish("fl/v1/x/hello/foe", b"%d" % number, 1)
    assert town.refusal("limit")["reason"] == "hellos_per_s"
    honest.publish("fl/v1/x/hello/honest", b"in between")
    messages = [payload for _, payload, _ in gateway.messages(121)]
    assert [payload for payload in messages if payload != b"in between"] == [b"%d" % number for number in range(120)]
    assert messages.index(b"in between") < 120
    for client in (foe, honest):
        client.stop()
    town.broker.stop()


def test_a_connection_over_tls_costs_little_memory(town: Town) -> None:
    """Of 20 idle ones less than 64 KiB each is Python's; asyncio's own buffer alone would be 256 KiB."""
    context = town.context(new_device(town.authority, "phone", utc_now()))
    clients = []
    tracemalloc.start()
    for _ in range(20):
        raw = socket.create_connection((town.url.host, town.url.port), WAIT_S)
        clients.append(context.wrap_socket(raw, server_hostname="127.0.0.1"))
        clients[-1].sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
        assert clients[-1].recv(4) == b"\x20\x02\0\0"
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for client in clients:
        client.close()
    assert kept < 20 * 64 * 1024


def test_files_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    """A file that is not there, a key that is of another certificate, an authority that is none."""
    authority = new_authority("authority", utc_now())
    one, two = (new_gateway(authority, ["localhost"], utc_now()) for _ in range(2))
    texts = {"c": one.certificate, "k": one.key, "other": two.key, "a": authority.certificate, "no": "no PEM"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    for names, told in (
        (("c", "k", "none"), "no file .*none: broker_server init"),
        (("c", "other", "a"), "cannot use certificate .*c with key .*other"),
        (("c", "k", "no"), "cannot use authority .*no"),
    ):
        with pytest.raises(ListenError, match=told):
            EmbeddedBroker("127.0.0.1", 0, tls=TlsFiles(*(tmp_path / name for name in names))).start()
