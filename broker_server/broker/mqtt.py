"""The gateway's connection to its broker. The only file importing the MQTT client (paho, MQTT 3.1.1)."""

from __future__ import annotations

import secrets
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from broker_server.errors import ListenError, UsageError
from edge_runtime.wire.broker_url import BrokerUrl, BrokerUrlError
from edge_runtime.wire.topics import QOS, RETAINED, Address, Topic, gateway_subscriptions

KEEPALIVE_S: Final = 30
WINDOW: Final = 100
RETRY_FIRST_S, RETRY_LAST_S = 1, 60


@dataclass(frozen=True)
class Target:
    """A broker to connect to. Args: url: with credentials; ca: PEM file of its authority, None for the system's."""

    url: BrokerUrl
    ca: Path | None = None

    @classmethod
    def parse(cls, url: str, ca: Path | None = None, *, allow_plaintext: bool = False) -> Self:
        """Read a broker's URL; edge_runtime/wire/SPEC.md, "Broker URLs".

        Raises:
            UsageError: when it is none, leads in plain text to another machine without leave, or ``ca`` is not there.
        """
        try:
            target = cls(BrokerUrl.parse(url, allow_plaintext=allow_plaintext), ca)
        except BrokerUrlError as error:
            raise UsageError(str(error)) from error
        if ca is not None and not ca.is_file():
            msg = f"no certificate file {ca}: give the PEM file of the authority that signed the broker's certificate"
            raise UsageError(msg)
        return target

    def __str__(self) -> str:
        """Return the URL without credentials."""
        return str(self.url)


@dataclass(frozen=True)
class Up:
    """The broker took the connection and the subscriptions."""


@dataclass(frozen=True)
class Down:
    """The connection went, or cannot be made; it is tried again by itself."""

    reason: str


@dataclass(frozen=True)
class Arrived:
    """A message from a device."""

    topic: str
    payload: bytes


LinkEvent = Up | Down | Arrived


class Link:
    """Publishes and receives; reconnects by itself with backoff.

    Args:
        target: the broker.
        federation: whose topics.
        will: payload of ``gateway`` that the broker publishes when this process dies.
        post: takes events; called from the client's thread. While it blocks, nothing is read from the broker.
    """

    def __init__(self, target: Target, federation: str, will: bytes, post: Callable[[LinkEvent], None]) -> None:
        self._target, self._federation, self._post = target, federation, post
        self._stopping = False
        self._flushed = threading.Condition()
        self._under_way = 0
        client = paho.Client(
            CallbackAPIVersion.VERSION2, f"gateway.{federation}.{secrets.token_hex(4)}", protocol=paho.MQTTv311
        )
        client.max_inflight_messages_set(WINDOW)
        client.reconnect_delay_set(RETRY_FIRST_S, RETRY_LAST_S)
        if target.url.user:
            client.username_pw_set(target.url.user, target.url.password)
        if target.url.tls:
            client.tls_set(ca_certs=str(target.ca) if target.ca else None, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        client.will_set(self._topic(Topic.GATEWAY), will, QOS, retain=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail, client.on_subscribe = self._on_connect_fail, self._on_subscribe
        client.on_message, client.on_publish = self._on_message, self._on_publish
        self._client = client

    def start(self) -> None:
        """Begin to connect; Up or Down follow."""
        try:
            self._client.connect_async(self._target.url.host, self._target.url.port, KEEPALIVE_S)
            self._client.loop_start()
        except (OSError, ValueError) as error:
            msg = f"cannot use broker {self._target}: {error}"
            raise ListenError(msg) from error

    def publish(self, topic: Topic, name: str, payloads: Iterable[bytes]) -> None:
        """Send messages; while the broker is away they wait."""
        for payload in payloads:
            with self._flushed:
                self._under_way += 1
            self._client.publish(self._topic(topic, name), payload, QOS, retain=topic in RETAINED)

    def flush(self, seconds: float) -> bool:
        """Wait until the broker has acknowledged everything; return whether it did."""
        with self._flushed:
            return self._flushed.wait_for(lambda: self._under_way <= 0, seconds)

    def stop(self, seconds: float = 5.0) -> None:
        """Send what waits, then leave in order (the will is not published)."""
        self.flush(seconds)
        self._stopping = True
        self._client.disconnect()
        self._client.loop_stop()

    def _topic(self, topic: Topic, name: str = "") -> str:
        return str(Address(self._federation, topic, name))

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, code: Any, _more: Any) -> None:  # noqa: ANN401
        if code.is_failure:
            self._post(Down(f"broker {self._target} refuses the gateway: {code}"))
            return
        client.subscribe([(topic, QOS) for topic in gateway_subscriptions(self._federation)])

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, codes: Any, _more: Any) -> None:  # noqa: ANN401
        if any(code.is_failure for code in codes):
            self._post(Down(f"broker {self._target} refuses a subscription; check the gateway's rights there"))
            return
        self._post(Up())

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, code: Any, _more: Any) -> None:  # noqa: ANN401
        if not self._stopping:
            self._post(Down(f"lost broker {self._target}: {code}; connecting again"))

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:  # noqa: ANN401
        self._post(Down(f"broker {self._target} does not answer; trying again with growing pauses"))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:  # noqa: ANN401
        self._post(Arrived(message.topic, message.payload))

    def _on_publish(self, _client: paho.Client, _data: Any, _mid: int, _code: Any, _more: Any) -> None:  # noqa: ANN401
        with self._flushed:
            self._under_way -= 1
            self._flushed.notify_all()
