"""The device's connection to the broker, behind a small interface: events in, payloads out.

Every connection is a new client with nothing left over: what must arrive is sent again by whoever needs it to, which
the protocol asks for anyway (a verdict, not a PUBACK, says that something arrived).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

from edge_runtime.federation.link import Arrived, Broker, Down, LinkEvent, Mqtt, Traffic, Up, backoff
from edge_runtime.federation.mqtt.client import (
    CONNECT_S,
    KEEPALIVE_S,
    V3,
    V5,
    failure_reason,
    new_client,
    tls_reason,
    unanswered_reason,
)
from edge_runtime.federation.mqtt.outbox import WINDOW, Outbox
from edge_runtime.wire import topics
from edge_runtime.wire.chunks import PAYLOAD
from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.limits import BODY_LIMIT, CHUNKS_LIMIT, MESSAGE_LIMIT
from edge_runtime.wire.tls_failure import cut

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 60.0
STEADY_S: Final = 10.0
"""A connection that held so long was a good one: the next try comes soon again."""
SHORT_CONNECTIONS: Final = 8
"""So many that ended at once in a row look like two clients with one name, each of which ends the other's."""
LEAST_CHUNK: Final = BODY_LIMIT // CHUNKS_LIMIT
_BESIDE: Final = MESSAGE_LIMIT - PAYLOAD + 256
_NO_LIMIT: Final = 0xFFFF_FFFF
_UNKNOWN_VERSION: Final = 0x84
_NOT_AUTHORIZED: Final = 0x87
"""Reason codes of MQTT 5."""
_NO_ANSWER: Final = f"no answer in {CONNECT_S:.0f} s"
_LEAVE_S: Final = 5.0


@dataclass
class _Attempt:
    """One try to connect.

    Args:
        over: it was answered, or ended.
        connected: the broker took it.
        refused: by the broker.
        unknown: the broker does not know this version of MQTT.
    """

    over: threading.Event = field(default_factory=threading.Event)
    connected: bool = False
    refused: bool = False
    unknown: bool = False


class MqttLink:
    """A link over paho.

    Args:
        broker: where to.
        federation: whose topics.
        device: this device.
        will: payload of Bye, which the broker sends when the device vanishes.
        post: takes events; called from the client's threads. While it blocks nothing is read from the broker.
        mqtt: which is spoken.
    """

    def __init__(
        self,
        broker: Broker,
        federation: str,
        device: str,
        will: bytes,
        post: Callable[[LinkEvent], None],
        *,
        mqtt: Mqtt = Mqtt.AUTO,
    ) -> None:
        self._broker, self._federation, self._device, self._will, self._post = broker, federation, device, will, post
        self.traffic = Traffic()
        self.chunk_bytes = PAYLOAD
        self._lock = threading.Lock()
        self._client: paho.Client | None = None
        self._outbox: Outbox | None = None
        self._after: dict[int, bytes] = {}
        self._stopping, self._gone = threading.Event(), threading.Event()
        self._reason, self._refused = "", False
        self._listened: list[topics.Topic] = []
        self._mqtt = mqtt
        self._version = V3 if mqtt is Mqtt.V3 else V5
        self._thread = threading.Thread(target=self._supervise, name="broker", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether something is queued or not yet acknowledged by the broker."""
        outbox = self._outbox
        return outbox is not None and outbox.busy

    def send(self, topic: topics.Topic, payloads: Iterable[bytes]) -> None:
        """Queue messages; without a connection they are dropped, since whoever needs them sends them again."""
        outbox = self._outbox
        if outbox is not None:
            outbox.put(self._topic(topic), payloads)

    def request(self, blobs: Sequence[str], want: bytes) -> None:
        """Subscribe to blobs and, once the broker confirmed, publish the Want."""
        filters = [(str(topics.Address(self._federation, topics.Topic.BLOB, blob)), topics.QOS) for blob in blobs]
        with self._lock:  # so that the confirmation cannot come before its request is noted
            if self._client is not None:
                _, mid = self._client.subscribe(filters)
                if mid is not None:
                    self._after[mid] = want

    def release(self, blobs: Sequence[str]) -> None:
        """Unsubscribe from blobs, in one message."""
        client = self._client
        if client is not None:
            client.unsubscribe([str(topics.Address(self._federation, topics.Topic.BLOB, blob)) for blob in blobs])

    def listen(self, topic: topics.Topic) -> None:
        """Subscribe to a further topic of this device, now and with each new connection."""
        with self._lock:
            if topic in self._listened:
                return
            self._listened.append(topic)
            if self._client is not None:
                self._client.subscribe(self._topic(topic), qos=topics.QOS)

    def stop(self, bye: bytes) -> None:
        """Publish Bye after what is queued, close. Waits a few seconds at most; then the will says bye."""
        self._stopping.set()
        client, outbox = self._client, self._outbox
        if client is not None and outbox is not None:
            outbox.put(self._topic(topics.Topic.BYE), [bye])
            if outbox.wait_empty(_LEAVE_S) and client.disconnect() == MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._gone.wait(_LEAVE_S)  # until that was sent: a socket that breaks before leaves the will
        self._gone.set()
        if self._thread.is_alive():
            self._thread.join(_LEAVE_S)

    def _topic(self, topic: topics.Topic) -> str:
        return str(topics.Address(self._federation, topic, self._device))

    # --- connecting ------------------------------------------------------------------------------------------

    def _supervise(self) -> None:
        tries, short, told = 0, 0, False
        while not self._stopping.is_set():
            began = time.monotonic()
            connected = self._connection()
            if self._stopping.is_set():
                return
            if connected:
                short = 0 if time.monotonic() - began >= STEADY_S else short + 1
                tries = 0 if short <= SHORT_CONNECTIONS else 2  # the broker is there: soon, but not in a tight circle
            if connected and short > SHORT_CONNECTIONS:
                self._reason += f"; does another process use the device id {self._device}?"
            wait = backoff(tries, FIRST_RETRY_S, LAST_RETRY_S, random.random())  # noqa: S311 - spreads load
            self._post(Down(self._reason, wait, first=connected or not told))
            tries, told = tries + 1, True
            self._stopping.wait(wait)

    def _connection(self) -> bool:
        """Hold one connection until it ends; return whether the broker took it."""
        attempt = self._attempt()
        if attempt.unknown and self._mqtt is Mqtt.AUTO and not self._stopping.is_set():
            attempt = self._attempt()
        return attempt.connected

    def _attempt(self) -> _Attempt:
        """Hold one connection until it ends; where MQTT 5 may be why none came, the next try is with 3.1.1."""
        self._gone.clear()
        self._reason, self._refused = "", False
        attempt = _Attempt()
        client = self._new_client(attempt)
        try:
            client.connect(self._broker.url.host, self._broker.url.port, KEEPALIVE_S)
            client.loop_start()
            if not attempt.over.wait(CONNECT_S):
                self._reason = _NO_ANSWER
            if attempt.connected:
                self._gone.wait()
        except (OSError, ValueError) as error:
            self._reason = failure_reason(self._broker, error)
        with self._lock:
            outbox, self._client, self._outbox = self._outbox, None, None
            self._after.clear()
        if outbox is not None:
            outbox.close()
        cut(client.socket())
        client.loop_stop()
        silent = not (attempt.connected or attempt.refused) and self._reason in ("", _NO_ANSWER)
        if self._mqtt is Mqtt.AUTO and (attempt.unknown or silent):
            self._version = V3 if self._version is V5 else V5
        self._reason = self._reason or unanswered_reason(self._broker)
        return attempt

    def _new_client(self, attempt: _Attempt) -> paho.Client:
        client = new_client(self._broker, f"{self._federation}.{self._device}", attempt, self._version)
        client.will_set(self._topic(topics.Topic.BYE), self._will, qos=topics.QOS)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_message, client.on_publish = self._on_message, self._on_publish
        client.on_subscribe, client.on_log = self._on_subscribe, self._on_log
        return client

    # --- callbacks of the client, in its thread --------------------------------------------------------------

    def _on_connect(self, client: paho.Client, attempt: _Attempt, _flags: object, code: Any, more: Any) -> None:  # noqa: ANN401
        if code.is_failure:
            self._reason = f"the broker refused: {code}; {self._rights()}"
            attempt.refused, attempt.unknown = True, code.value == _UNKNOWN_VERSION
            attempt.over.set()
            return
        own = topics.device_subscriptions(self._federation, self._device)
        with self._lock:
            names = [*own, *map(self._topic, self._listened)]
            client.subscribe([(name, topics.QOS) for name in names])
            window = min(WINDOW, getattr(more, "ReceiveMaximum", WINDOW))
            self.chunk_bytes = _chunk_bytes(getattr(more, "MaximumPacketSize", _NO_LIMIT))
            self._client, self._outbox = client, Outbox(partial(client.publish, qos=topics.QOS), self.traffic, window)
        self._reason = "the broker closed the connection"
        self._post(Up())
        attempt.connected = True
        attempt.over.set()

    def _on_disconnect(self, _c: paho.Client, attempt: _Attempt, _f: object, code: Any, _p: object) -> None:  # noqa: ANN401
        if attempt.connected and code.is_failure and not self._refused:
            self._reason = f"the connection ended ({code})"
        attempt.over.set()
        self._gone.set()

    def _on_message(self, _client: paho.Client, _u: object, message: paho.MQTTMessage) -> None:
        self.traffic.bytes_down += len(message.payload)
        try:
            address = topics.parse(message.topic)
        except (MalformedMessage, UnicodeDecodeError):
            return
        self._post(Arrived(address, bytes(message.payload)))

    def _on_publish(self, _client: paho.Client, _u: object, _mid: int, code: Any, _p: object) -> None:  # noqa: ANN401
        if code.value == _NOT_AUTHORIZED:
            self._refused = True
            self._reason = f"the broker does not take what this device says: {self._rights()}"
            self._gone.set()
        outbox = self._outbox
        if outbox is not None:
            outbox.acknowledged()

    def _on_log(self, _client: paho.Client, attempt: _Attempt, _level: int, text: str) -> None:
        """Keep an alert that comes after the handshake: what the broker says of this device's certificate."""
        failure = tls_reason(self._broker, text)
        if failure and not attempt.connected:
            self._reason = failure

    def _rights(self) -> str:
        return f"the name in this device's certificate, or its user there, has to be {self._device}"

    def _on_subscribe(self, client: paho.Client, _u: object, mid: int, codes: Sequence[Any], _p: object) -> None:
        if any(code.is_failure for code in codes):
            self._refused = True
            self._reason = f"the broker lets this device hear nothing: {self._rights()}"
            self._gone.set()
            return
        with self._lock:
            want = self._after.pop(mid, None) if client is self._client else None
        if want is not None:
            self.send(topics.Topic.WANT, [want])


def _chunk_bytes(packet: int) -> int:
    """Return the bytes of a body that go into a packet: beside them are the chunk's own fields, the topic, a head."""
    return min(PAYLOAD, max(LEAST_CHUNK, packet - _BESIDE))
