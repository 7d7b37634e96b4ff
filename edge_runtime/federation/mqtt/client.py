"""Clients of a broker: how one is set up, and what it means when its connection fails."""

from __future__ import annotations

import ssl
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_runtime.errors import ConfigError
from edge_runtime.federation.link import Broker
from edge_runtime.wire.tls_failure import tls_failure, unanswered

KEEPALIVE_S: Final = 60
CONNECT_S: Final = 10.0
V3, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5


def new_client(broker: Broker, name: str, userdata: object = None, version: MQTTProtocolVersion = V3) -> paho.Client:
    """Return a client that is set up for a broker and not connected.

    Args:
        broker: where to.
        name: of the client; "": the broker chooses one.
        userdata: what its callbacks get.
        version: of MQTT.

    Raises:
        ConfigError: when the certificates cannot be used.
    """
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=name,
        userdata=userdata,
        transport="websockets" if broker.url.websocket else "tcp",  # its path is /mqtt, as SPEC.md has it
        protocol=version,
        reconnect_on_failure=False,
    )
    client.connect_timeout = CONNECT_S
    if broker.url.user:
        client.username_pw_set(broker.url.user, broker.url.password)
    if broker.url.tls:
        client.tls_set_context(_context(broker))
    return client


def _context(broker: Broker) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=broker.ca)
        if broker.certificate is not None:
            context.load_cert_chain(broker.certificate, broker.key, password="")  # an encrypted key is not asked for
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"cannot use the certificates: {error}") from error
    return context


def tls_reason(broker: Broker, error: BaseException | str) -> str:
    """Return what an error of TLS means, for people; "" where it is none."""
    certificate = broker.certificate is not None
    return tls_failure(error, broker.url.host, certificate=certificate) if broker.url.tls else ""


def failure_reason(broker: Broker, error: Exception) -> str:
    """Return why no connection came, for people."""
    return tls_reason(broker, error) or getattr(error, "strerror", None) or str(error) or type(error).__name__


def unanswered_reason(broker: Broker) -> str:
    """Return what a connection means that ends before it was answered."""
    at, context = broker.url, _context(broker) if broker.url.tls else None
    return unanswered(context, at.host, at.port, certificate=broker.certificate is not None)
