"""The gateway's connection to a broker in another process. The only file importing the MQTT client (paho)."""

from __future__ import annotations

import queue
import secrets
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from broker_server.broker.link import Arrived, Down, LinkEvent, Up
from broker_server.errors import ListenError, UsageError
from edge_runtime.wire.broker_url import BrokerUrl, BrokerUrlError
from edge_runtime.wire.tls_failure import cut, tls_failure, unanswered
from edge_runtime.wire.topics import QOS, RETAINED, ROOT, Address, Topic, gateway_subscriptions

KEEPALIVE_S: Final = 30
WINDOW: Final = 100
"""Messages under way to a broker of MQTT 3.1.1."""
WINDOW_5: Final = 10
"""The smallest receive maximum of common brokers of MQTT 5; a client's is fixed before it connects."""
_NOT_AUTHORIZED: Final = 0x87
RETRY_FIRST_S, RETRY_LAST_S = 1, 60
AGAIN: Final = "; trying again with growing pauses"
STOP_S: Final = 0.5
STRANGER_S: Final = 5.0


@dataclass(frozen=True)
class Target:
    """A broker to connect to.

    Args:
        url: with credentials.
        ca: PEM file of its authority, None for the system's.
        certificate: PEM file of the gateway's certificate, for a broker that demands one.
        key: PEM file of its key.
        socket: socket file of a broker on this machine; the URL then only says where devices connect.
        mqtt: version that is spoken, "3" (3.1.1) or "5".
    """

    url: BrokerUrl
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    socket: Path | None = None
    mqtt: str = "3"

    @classmethod
    def parse(cls, url: str, *, allow_plaintext: bool = False, mqtt: str = "3", **files: Path | None) -> Self:
        """Read a broker's URL; edge_runtime/wire/SPEC.md, "Broker URLs".

        Args:
            url: of the broker.
            allow_plaintext: take a URL without TLS to another machine.
            mqtt: version that is spoken.
            files: ca, certificate, key.

        Raises:
            UsageError: when it is none, leads in plain text to another machine without leave, or files do not fit.
        """
        try:
            at = BrokerUrl.parse(url, allow_plaintext=allow_plaintext)
            target = cls(at, files.get("ca"), files.get("certificate"), files.get("key"), mqtt=mqtt)
        except BrokerUrlError as error:
            raise UsageError(str(error)).about(*error.arguments) from error
        named = {name: path for name, path in files.items() if path is not None}
        if named and not target.url.tls:
            text = f"{', '.join(named)} came with {target}, which does not use TLS"
            raise UsageError(text).about(*named)
        if (target.certificate is None) != (target.key is None):
            text = "certificate and key go together; one of them is missing"
            raise UsageError(text).about("certificate", "key")
        if target.url.tls:
            target.context()  # files that cannot be used are told now
        return target

    def context(self) -> ssl.SSLContext:
        """Return what TLS needs.

        Raises:
            UsageError: when a file is missing or is not what it should be.
        """
        context = ssl.create_default_context() if self.ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.load(context)
        return context

    def load(self, context: ssl.SSLContext) -> None:
        """Read the files into a context.

        Raises:
            UsageError: when one is missing or is not what it should be.
        """
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
        except OSError as error:  # ssl.SSLError is one
            raise UsageError(
                f"cannot use certificate file {self.ca} ({error.strerror or error}): give the PEM file of the "
                "authority that signed the broker's certificate"
            ) from error
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key, password="")  # an encrypted key is not asked for
            except OSError as error:
                raise UsageError(
                    f"cannot use certificate {self.certificate} with key {self.key} ({error.strerror or error}): give "
                    "PEM files that belong together, the key not encrypted"
                ) from error

    def __str__(self) -> str:
        """Return the URL without credentials."""
        return str(self.url)


class _Phase(Enum):
    """How far a connection came."""

    UNANSWERED = auto()
    REFUSED = auto()
    ANSWERED = auto()


class _Client(paho.Client):
    """A client for a target, which keeps why it could not connect. Args: name: its client id."""

    def __init__(self, name: str, target: Target) -> None:
        transport: Any = "websockets" if target.url.websocket else "tcp"  # its path is /mqtt, as SPEC.md has it
        transport = "unix" if target.socket is not None else transport
        protocol = paho.MQTTv5 if target.mqtt == "5" else paho.MQTTv311
        super().__init__(CallbackAPIVersion.VERSION2, name, protocol=protocol, transport=transport)
        self._target = target
        self.failure: OSError | None = None
        if target.url.user:
            self.username_pw_set(target.url.user, target.url.password)
        self.context = target.context() if target.url.tls and target.socket is None else None
        """What TLS needs; None without."""
        if self.context is not None:
            self.tls_set_context(self.context)

    def begin(self) -> None:
        """Connect in the background."""
        at = self._target
        host = at.url.host if at.socket is None else str(at.socket)
        self.connect_async(host, at.url.port, KEEPALIVE_S)
        self.loop_start()

    def reload(self, target: Target) -> None:
        """Use other certificates from the next connection on.

        Raises:
            UsageError: when they cannot be used; nothing was changed.
        """
        if self.context is not None:
            target.context()  # of its own: a failure half way must leave the one in use alone
            target.load(self.context)

    def reconnect(self) -> MQTTErrorCode:
        """Try once."""
        try:
            return super().reconnect()
        except OSError as error:
            self.failure = error
            raise


class Link:
    """Publishes and receives; reconnects by itself with backoff.

    Args:
        target: the broker.
        federation: whose topics.
        will: payload of ``gateway`` that the broker publishes when this process dies.
        post: takes events; called from the client's thread. While it blocks, nothing is read from the broker.
    """

    def __init__(self, target: Target, federation: str, will: bytes, post: Callable[[LinkEvent], object]) -> None:
        self._target, self._federation, self._post = target, federation, post
        self._stopping = False
        self._flushed = threading.Condition()
        self._under_way = 0
        self._phase, self._failure = _Phase.UNANSWERED, ""
        self._told = False
        self._client = client = _Client(f"gateway.{federation}.{secrets.token_hex(4)}", target)
        client.max_inflight_messages_set(WINDOW_5 if target.mqtt == "5" and target.socket is None else WINDOW)
        client.reconnect_delay_set(RETRY_FIRST_S, RETRY_LAST_S)
        client.will_set(self._topic(Topic.GATEWAY), will, QOS, retain=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail, client.on_subscribe = self._on_connect_fail, self._on_subscribe
        client.on_message, client.on_publish = self._on_message, self._on_publish
        client.on_log = self._on_log

    def start(self) -> None:
        """Begin to connect; Up or Down follow."""
        try:
            self._client.begin()
        except (OSError, ValueError) as error:
            msg = f"cannot use broker {self._target}: {error}"
            raise ListenError(msg) from error

    def publish(self, topic: Topic, name: str, payloads: Iterable[bytes]) -> None:
        """Send messages; while the broker is away they wait."""
        for payload in payloads:
            with self._flushed:
                self._under_way += 1
            self._client.publish(self._topic(topic, name), payload, QOS, retain=topic in RETAINED)

    def reload(self, target: Target) -> None:
        """Use the certificates of ``target`` from the next connection on.

        Raises:
            UsageError: when they cannot be used; nothing was changed.
        """
        self._client.reload(target)

    def flush(self, seconds: float) -> bool:
        """Wait until the broker has acknowledged everything; return whether it did."""
        with self._flushed:
            return self._flushed.wait_for(lambda: self._under_way <= 0, seconds)

    def stop(self, seconds: float = 5.0) -> None:
        """Send what waits, then leave in order; where that takes too long, break off, and the will speaks."""
        sent = self.flush(seconds)
        self._stopping = True
        if sent:
            self._client.disconnect()
        else:
            cut(self._client.socket())
        leaving = threading.Thread(target=self._client.loop_stop, daemon=True)  # may be in the middle of connecting
        leaving.start()
        leaving.join(STOP_S)

    def _topic(self, topic: Topic, name: str = "") -> str:
        return str(Address(self._federation, topic, name))

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, code: Any, _more: Any) -> None:  # noqa: ANN401
        if code.is_failure:
            self._phase = _Phase.REFUSED
            self._post(Down(f"broker {self._target} refuses the gateway: {code}; check its name and rights there"))
            return
        self._phase, self._told = _Phase.ANSWERED, False
        client.subscribe([(topic, QOS) for topic in gateway_subscriptions(self._federation)])

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, codes: Any, _more: Any) -> None:  # noqa: ANN401
        if any(code.is_failure for code in codes):
            self._post(Down(f"broker {self._target} refuses a subscription; check the gateway's rights there"))
            return
        self._post(Up())

    def _on_log(self, _client: paho.Client, _data: Any, _level: int, text: str) -> None:  # noqa: ANN401
        """Keep what ended a connection over TLS: an alert that comes after the handshake is told here only."""
        self._failure = self._tls_failure(text) or self._failure

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, code: Any, _more: Any) -> None:  # noqa: ANN401
        phase, self._phase = self._phase, _Phase.UNANSWERED
        failure, self._failure = self._failure, ""
        if self._stopping or phase is _Phase.REFUSED:
            return
        if phase is _Phase.ANSWERED:
            self._post(Down(f"lost broker {self._target}: {failure or code}; connecting again"))
        else:
            self._post(Down(f"broker {self._target}: {failure or self._unanswered()}{AGAIN}"))

    def _unanswered(self) -> str:
        url, certificate = self._target.url, self._target.certificate is not None
        return unanswered(self._client.context, url.host, url.port, certificate=certificate)

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:  # noqa: ANN401
        error = self._client.failure
        reason = self._tls_failure(error) if error is not None else ""
        detail = getattr(error, "strerror", None) or str(error or "")
        told = f": {reason}" if reason else f" does not answer ({detail})"
        self._post(Down(f"broker {self._target}{told}{AGAIN}"))

    def _tls_failure(self, error: BaseException | str) -> str:
        if self._client.context is None:
            return ""
        return tls_failure(error, self._target.url.host, certificate=self._target.certificate is not None)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:  # noqa: ANN401
        if message.retain:
            return  # devices retain nothing: somebody's old or forged words
        self._post(Arrived(message.topic, message.payload))

    def _on_publish(self, _client: paho.Client, _data: Any, _mid: int, code: Any, _more: Any) -> None:  # noqa: ANN401
        if code.value == _NOT_AUTHORIZED and not self._told:  # with MQTT 3.1.1 a broker drops it without a word
            self._told = True
            self._post(Down(f"broker {self._target} does not take what the gateway says; check its rights there"))
        with self._flushed:
            self._under_way -= 1
            self._flushed.notify_all()


def lets_strangers_hear(target: Target, federation: str, wait_s: float = STRANGER_S) -> bool:
    """Return whether a client without a name or a certificate hears the gateway's state, which the broker retained.

    Args:
        target: the broker.
        federation: whose topics.
        wait_s: for an answer; a broker that gives none lets nobody hear.
    """
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    stranger = replace(target, url=replace(target.url, user="", password=""), certificate=None, key=None)
    client = _Client(f"{federation}.stranger-{secrets.token_hex(4)}", stranger)

    def ask(*_: object) -> None:
        client.subscribe(f"{ROOT}/{federation}/#", QOS)

    client.on_connect = ask
    client.on_message = lambda *_: answers.put(item=True)
    client.on_disconnect = lambda *_: answers.put(item=False)
    client.on_connect_fail = lambda *_: answers.put(item=False)
    client.begin()
    try:
        return answers.get(timeout=wait_s)
    except queue.Empty:
        return False
    finally:
        client.disconnect()
        threading.Thread(target=client.loop_stop, daemon=True).start()  # may be in the middle of connecting again
