"""Both sides of an embedded broker whose messages can be waited for: a device of federation x, and its gateway."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.link import Arrived
from edge_runtime.wire.broker_url import BrokerUrl

WAIT_S = 20.0


class Gateway:
    """The gateway of an embedded broker: hears all that devices say from now on. Args: room: for how many messages."""

    def __init__(self, broker: EmbeddedBroker, room: int = 1_000_000) -> None:
        self._broker, self._room = broker, room
        self._got: list[tuple[str, bytes, bool]] = []
        self._changed = threading.Condition()
        self._calls: list[Callable[[], None]] = []
        broker.connect(self)

    def offer(self, event: Arrived, size: int) -> bool:
        """Take a message, if there is room."""
        assert size >= len(event.payload)
        with self._changed:
            if len(self._got) < self._room:
                self._got.append((event.topic, event.payload, False))
                self._changed.notify_all()
                return True
        return False

    def when_room(self, call: Callable[[], None]) -> None:
        """Call when there is room."""
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()

    def asked(self, times: int) -> None:
        """Wait until room was asked for so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._calls) >= times, WAIT_S)

    def make_room(self, more: int) -> None:
        """Have room for more messages."""
        with self._changed:
            self._room += more
            calls, self._calls = self._calls, []
        for call in calls:
            call()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish, and wait until that is on its way."""
        self._broker.publish(topic, payload, retain=retain)
        assert self._broker.flush(WAIT_S)

    def messages(self, count: int) -> list[tuple[str, bytes, bool]]:
        """Wait for this many messages and return all."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._got) >= count, WAIT_S)
            return list(self._got)


class Client:
    """A device's client whose messages can be waited for. Args: version: of MQTT, by its level: 4 is 3.1.1."""

    def __init__(
        self,
        endpoint: BrokerUrl,
        name: str,
        *,
        will: str = "",
        tls: ssl.SSLContext | None = None,
        client_id: str | None = None,
        version: int = paho.MQTTv311,
    ) -> None:
        self._got: list[tuple[str, bytes, bool]] = []
        self._changed = threading.Condition()
        self.granted: list[bool] = []
        self.refused = ""
        self.connected = self.lost = False
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2,
            name and f"x.{name}" if client_id is None else client_id,
            protocol=version,
            reconnect_on_failure=False,
        )
        if endpoint.user:
            self.paho.username_pw_set(endpoint.user, endpoint.password)
        if will:
            self.paho.will_set(will, b"will", 1)
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = lambda *_: self._note(self._lost)
        self.paho.on_message = lambda _c, _d, m: self._note(lambda: self._got.append((m.topic, m.payload, m.retain)))
        self.paho.on_subscribe = lambda _c, _d, _m, codes, _p: self._note(
            lambda: self.granted.extend(not code.is_failure for code in codes)
        )
        if tls is not None:
            self.paho.tls_set_context(tls)
        self.paho.connect(endpoint.host, endpoint.port)
        self.paho.loop_start()

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        self._note(lambda: setattr(self, "connected", not code.is_failure))
        self._note(lambda: setattr(self, "refused", str(code) if code.is_failure else ""))

    def _lost(self) -> None:
        self.connected, self.lost = False, True

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
