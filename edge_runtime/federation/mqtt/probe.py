"""One question to a broker: does a gateway keep its state there? ``doctor`` asks it."""

from __future__ import annotations

import queue
from typing import Any

import paho.mqtt.client as paho

from edge_runtime.federation.link import Broker
from edge_runtime.federation.mqtt.client import KEEPALIVE_S, failure_reason, new_client, tls_reason, unanswered_reason
from edge_runtime.wire import topics


class _Probe:
    """One connection that asks for the gateway's state. Args: broker; topic: of the state."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._broker, self._topic = broker, topic
        self.answers: queue.SimpleQueue[bytes | str | None] = queue.SimpleQueue()
        """Its payload; a text where something failed; None once the broker took the subscription."""
        client = new_client(broker, "")
        client.on_connect, client.on_subscribe, client.on_message = (
            self._on_connect,
            self._on_subscribe,
            self._on_message,
        )
        client.on_log, client.on_disconnect = self._on_log, self._on_disconnect
        self.client = client

    def _on_connect(self, client: paho.Client, _u: object, _flags: object, code: Any, _p: object) -> None:  # noqa: ANN401
        if code.is_failure:
            self.answers.put(f"the broker refused: {code}")
        else:
            client.subscribe(self._topic, topics.QOS)

    def _on_subscribe(self, *_: object) -> None:
        self.answers.put(None)

    def _on_message(self, _client: paho.Client, _u: object, message: paho.MQTTMessage) -> None:
        self.answers.put(bytes(message.payload))

    def _on_log(self, _client: paho.Client, _u: object, _level: int, text: str) -> None:
        if failure := tls_reason(self._broker, text):
            self.answers.put(failure)

    def _on_disconnect(self, *_: object) -> None:
        self.answers.put(unanswered_reason(self._broker))  # nobody reads it where an answer came before


def probe(broker: Broker, federation: str, seconds: float) -> bytes | None:
    """Connect once and return the retained GatewayState's payload; None when the broker has none.

    Raises:
        OSError: when the broker cannot be reached, refuses, or does not answer in ``seconds``.
    """
    asked = _Probe(broker, str(topics.Address(federation, topics.Topic.GATEWAY)))
    client = asked.client
    client.connect_timeout = seconds
    try:
        client.connect(broker.url.host, broker.url.port, KEEPALIVE_S)
    except OSError as error:
        raise OSError(failure_reason(broker, error)) from error
    client.loop_start()
    try:
        answer = asked.answers.get(timeout=seconds)
        if answer is None:  # subscribed: a retained message follows at once, if there is one
            answer = asked.answers.get(timeout=1.0)
    except queue.Empty:
        if client.is_connected():
            return None
        raise OSError(f"no answer in {seconds:.0f} s") from None
    finally:
        client.disconnect()
        client.loop_stop()
    if isinstance(answer, str):
        raise OSError(answer)
    return answer
