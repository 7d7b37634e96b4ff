"""Configuration and access list of a supervised Mosquitto (2.0.11, Debian 12). Pure: settings in, text out.

What Mosquitto does, found by test, and what follows here:

- By default it drops what waits for a client beyond 1000 messages, and tells publishers that all is well: the limit is
  one of bytes. Nothing limits a packet: the contract does.
- Nothing is kept on disk: what is retained comes from the gateway, which publishes it again after every connection.
- A client that takes another's client id ends that client: over TLS the name in the certificate is the client id.
- A rule for everybody has to be a ``pattern``; one without %u costs a warning when it is read.
- Rules that deny go first, and hold for who is connected as soon as the list is read again (SIGHUP).
- The gateway comes through a socket file in a folder that only its user enters, so that no password is needed.
- A WebSocket listener listens on every address of the machine, whatever ``listener`` or ``bind_interface`` say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker_server.broker.connect_packet import PACKET_LIMIT
from broker_server.broker.tls import TlsFiles
from edge_runtime.wire.topics import FROM_DEVICE, ROOT, Topic

SOCKET: Final = "gateway.socket"
ACCESS: Final = "access.acl"
REVOKED: Final = "revoked.pem"
QUEUED_BYTES: Final = 1 << 30
"""What may wait for one client; only the gateway has so much traffic."""
QUEUED_MESSAGES: Final = 1_000_000
IN_FLIGHT: Final = 200

_FROM_GATEWAY: Final = tuple(topic for topic in Topic if topic not in FROM_DEVICE)
_LEFT_TO_REVOKED: Final = (Topic.HELLO, Topic.VERDICT, Topic.GATEWAY)
"""A revoked device may ask and is told so, and ends; silence would let it ask for ever."""


@dataclass(frozen=True)
class Listener:
    """Where devices come in.

    Args:
        host: address to listen on.
        port: of MQTT.
        websocket_port: of MQTT over WebSockets; 0 is none.
        connections: clients at most, of each port.
        tls: what it proves and demands, absolute paths; None serves plain text, where nobody's name is proven.
        revocations: whether there is a list of refused certificates, REVOKED.
    """

    host: str
    port: int
    websocket_port: int = 0
    connections: int = 2048
    tls: TlsFiles | None = None
    revocations: bool = False


def configuration(listener: Listener, user: str) -> str:
    """Return mosquitto.conf; relative paths are those of Mosquitto's working folder. Args: user: to run as."""
    lines = [
        "# Written by broker_server at every start; changes are lost.",
        "per_listener_settings true",
        f"user {user}",
        "persistence false",
        "sys_interval 0",
        "log_dest stderr",
        "log_timestamp false",
        *(f"log_type {kind}" for kind in ("error", "warning", "notice", "information")),
        f"max_packet_size {PACKET_LIMIT}",
        f"max_queued_messages {QUEUED_MESSAGES}",
        f"max_queued_bytes {QUEUED_BYTES}",
        f"max_inflight_messages {IN_FLIGHT}",
        "persistent_client_expiration 1h",
        "set_tcp_nodelay true",
        "",
        "# The gateway.",
        f"listener 0 {SOCKET}",
        "allow_anonymous true",
        *_devices(listener, listener.port),
    ]
    if listener.websocket_port:
        lines += [*_devices(listener, listener.websocket_port), "protocol websockets"]
    return "\n".join(lines) + "\n"


def _devices(listener: Listener, port: int) -> list[str]:
    lines = [
        "",
        "# Devices.",
        f"listener {port} {listener.host}",
        f"max_connections {listener.connections}",
        "max_qos 1",
        f"acl_file {ACCESS}",
    ]
    if listener.tls is None:
        return [*lines, "allow_anonymous true"]
    return [
        *lines,
        "allow_anonymous false",
        f"cafile {listener.tls.authority}",
        f"certfile {listener.tls.certificate}",
        f"keyfile {listener.tls.key}",
        *([f"crlfile {REVOKED}"] if listener.revocations else []),
        "tls_version tlsv1.2",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
    ]


def access(federation: str, revoked: Iterable[str] = (), *, proven: bool = True) -> str:
    """Return the access list: whatever it does not name is refused.

    Args:
        federation: whose topics.
        revoked: devices whose certificate is still good, but whom the gateway has dropped.
        proven: the name of a client is its certificate's; without TLS a device may use any name.
    """
    lines = ["# Written by broker_server; %u is the name in a device's certificate."]
    for device in sorted(revoked) if proven else ():
        lines += ["", f"user {device}"]
        lines += [f"topic deny {_filter(federation, topic, '#')}" for topic in Topic if topic not in _LEFT_TO_REVOKED]
    lines.append("")
    for topic in (*FROM_DEVICE, *_FROM_GATEWAY):
        name = "%u" if proven and topic is not Topic.BLOB else "+"
        way = "write" if topic in FROM_DEVICE else "read"
        lines.append(f"pattern {way} {_filter(federation, topic, name)}")
    return "\n".join(lines) + "\n"


def _filter(federation: str, topic: Topic, name: str) -> str:
    path = f"{ROOT}/{federation}/{topic}"
    return path if topic in (Topic.GATEWAY, Topic.VERSION) else f"{path}/{name}"
