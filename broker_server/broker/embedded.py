"""The broker inside the gateway's process: amqtt 0.12.1 (MQTT 3.1.1), its gaps closed. The only file importing amqtt.

What amqtt 0.12.1 does, found by reading and by test, and what is done about it here:

- It has no limit on a packet (256 MB are buffered), no time limit for CONNECT or for a silent client, so that wills of
  vanished clients never come: ``FrameReader`` sits between the socket and its parsers.
- A client is sent the retained messages of *everybody's* subscriptions when it connects, and connecting while others
  subscribe breaks both (a dict changes during iteration): ``_publish_retained_messages_for_subscription``,
  ``_Snapshot``.
- A second connection with a clean session leaves the first alive, whose will comes later: ``_delete_session``.
- A message to each slow subscriber is kept for ever: ``_run_broadcast`` has a limit for each client.
- Wills are published without asking for permission: ``_authenticate`` asks.

These are private methods of a pinned version; tests/broker/broker/test_broker_embedded.py holds the behaviour.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import logging
import secrets
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from amqtt.adapters import StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType

from broker_server.broker.access import may_publish, may_subscribe
from broker_server.broker.framing import FrameReader
from broker_server.errors import ListenError
from edge_runtime.wire.broker_url import BrokerUrl
from edge_runtime.wire.messages import MESSAGE_LIMIT

GATEWAY_USER: Final = "gateway"
PACKET_LIMIT: Final = MESSAGE_LIMIT + 1024
QUEUE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes that may wait for one device; beyond it the device is slow or hostile, and is cut off."""
GATEWAY_QUEUE_LIMIT: Final = 1024 * 1024 * 1024
START_S: Final = 15.0

log = logging.getLogger("broker_server.broker.embedded")


class _Snapshot(dict[str, Any]):
    """A dict whose iteration goes over what it held at the start."""

    def __iter__(self) -> Iterator[str]:
        return iter(list(super().keys()))

    def items(self) -> Any:  # noqa: ANN401 - a list stands in for the view
        return list(super().items())


class _Broker(Broker):  # type: ignore[misc]  # amqtt ships no types
    """amqtt's broker with limits and permissions; see the module's text."""

    def __init__(self, config: BrokerConfig, loop: asyncio.AbstractEventLoop, password: str, connections: int) -> None:
        super().__init__(config, loop)
        self._subscriptions = _Snapshot()
        self._password = password
        self._limit = connections
        self._open = 0
        self._waiting: Counter[str] = Counter()
        self._sending: set[asyncio.Task[Any]] = set()
        self._wildcards: dict[str, Any] = {}

    @property
    def port(self) -> int:
        """Return the port that was bound (another than asked for when 0 was)."""
        port: int = self._servers["default"].instance.sockets[0].getsockname()[1]
        return port

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve one connection; whatever goes wrong ends this connection only."""
        if self._open >= self._limit:
            log.warning("connection refused: %d are open, which is the limit", self._open)
            writer.close()
            return
        self._open += 1
        try:
            await self._client_connected(listener_name, FrameReader(reader, PACKET_LIMIT), StreamWriterAdapter(writer))
        except Exception as error:  # noqa: BLE001 - hostile bytes find new ways to break parsers
            log.debug("connection ended by %s: %s", type(error).__name__, error)
        finally:
            self._open -= 1
            writer.close()

    def _is_gateway(self, session: Any) -> bool:  # noqa: ANN401
        return bool(session is not None and session.attributes.get("gateway"))

    async def _authenticate(self, session: Any, _: Any) -> bool:  # noqa: ANN401
        session.is_anonymous = True  # its session ends with its connection: nothing queues for who is away
        if session.username == GATEWAY_USER:
            session.attributes["gateway"] = hmac.compare_digest(session.password or "", self._password)
            return bool(session.attributes["gateway"])
        if session.will_flag:
            return may_publish(session.will_topic or "", gateway=False, retain=bool(session.will_retain))
        return True

    async def _topic_filtering(self, session: Any, topic: str, action: Action) -> bool:  # noqa: ANN401
        gateway = self._is_gateway(session)
        if action == Action.PUBLISH:
            return may_publish(topic, gateway=gateway)
        return may_subscribe(topic, gateway=gateway) if action == Action.SUBSCRIBE else True

    async def retain_message(self, source_session: Any, topic_name: Any, data: Any, qos: Any = None) -> None:  # noqa: ANN401
        """Keep a message for later subscribers; only the gateway may."""
        if self._is_gateway(source_session):
            await super().retain_message(source_session, topic_name, data, qos)

    async def _delete_session(self, client_id: str) -> None:
        old, handler = self._sessions.get(client_id, (None, None))
        await super()._delete_session(client_id)
        if handler is not None and old.transitions.is_connected():
            old.will_flag = False  # its owner is back
            await self._stop_handler(handler)

    async def _client_message_loop(self, client_session: Any, handler: Any) -> None:  # noqa: ANN401
        try:
            await super()._client_message_loop(client_session, handler)
        finally:
            # amqtt also leaves this loop without closing, and would read from such a client for ever.
            await self._stop_handler(handler)
            client_session.transitions.disconnect()

    async def _publish_retained_messages_for_subscription(self, subscription: tuple[str, int], session: Any) -> None:  # noqa: ANN401
        listeners = self._subscriptions.get(subscription[0], [])
        if any(listener is session for listener, _ in listeners):
            await super()._publish_retained_messages_for_subscription(subscription, session)

    async def _run_broadcast(self, running_tasks: deque[Any]) -> None:
        del running_tasks  # amqtt drops finished tasks from its left end only: one slow client would hold them all
        message = await self._broadcast_queue.get()
        topic, data = message["topic"], message["data"]
        listeners = list(self._subscriptions.get(topic, []))
        for wanted in self._subscriptions:
            if "+" in wanted or "#" in wanted:
                listeners += self._subscriptions[wanted] if self._matches(topic, wanted) else []
        for session, qos in listeners:
            if session.transitions.is_connected():
                self._send(session, topic, data, message.get("qos", qos))

    def _send(self, session: Any, topic: str, data: bytes, qos: int) -> None:  # noqa: ANN401
        handler = self._get_handler(session)
        if handler is None:
            return
        name = session.client_id
        limit = GATEWAY_QUEUE_LIMIT if self._is_gateway(session) else QUEUE_LIMIT
        if self._waiting[name] + len(data) > limit:
            log.warning("client %r cut off: %d bytes wait for it", name, self._waiting[name])
            self._keep(asyncio.ensure_future(self._stop_handler(handler)))
            return
        self._waiting[name] += len(data) + 64
        self._keep(asyncio.ensure_future(self._deliver(handler, name, topic, data, qos)))

    async def _deliver(self, handler: Any, name: str, topic: str, data: bytes, qos: int) -> None:  # noqa: ANN401
        try:
            await handler.mqtt_publish(topic, data, qos, retain=False)
        except Exception as error:  # noqa: BLE001 - the client went away, or did not acknowledge in time
            log.debug("to %r: %s", name, error)
        finally:
            self._waiting[name] -= len(data) + 64
            if self._waiting[name] <= 0:
                del self._waiting[name]

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)


class EmbeddedBroker:
    """Runs the broker on its own thread and event loop.

    Args:
        host: address to listen on.
        port: 0 chooses a free one.
        connections: how many clients at most.
    """

    def __init__(self, host: str, port: int, connections: int = 2048) -> None:
        self._at, self._connections = BrokerUrl(host, port), connections
        self._password = secrets.token_hex(32)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_note)
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedded-broker", daemon=True)
        self._broker: _Broker | None = None

    def start(self) -> BrokerUrl:
        """Listen; returns when clients can connect where they can, with what proves that the gateway is the gateway.

        Raises:
            ListenError: when the port is in use or the address is not ours.
        """
        # amqtt logs each connection and each hostile packet; what matters is logged by this file.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        self._thread.start()
        try:
            port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(START_S)
        except Exception as error:
            self._broker = None
            self.stop()
            raise ListenError(_reason(error, self._at)) from error
        return replace(self._at, port=port, user=GATEWAY_USER, password=self._password)

    async def _start(self) -> int:
        listener = ListenerConfig(type=ListenerType.TCP, bind=self._at.address, max_connections=-1)
        config = BrokerConfig(listeners={"default": listener}, plugins={})
        self._broker = _Broker(config, self._loop, self._password, self._connections)
        await self._broker.start()
        return self._broker.port

    def stop(self) -> None:
        """Close every connection and stop the thread."""
        if self._broker is not None:
            try:
                asyncio.run_coroutine_threadsafe(self._broker.shutdown(), self._loop).result(START_S)
            except Exception as error:  # noqa: BLE001 - the process ends anyway
                log.debug("shutdown: %s", error)
            self._broker = None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(START_S)


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.debug("%s: %r", context.get("message"), context.get("exception"))


def _reason(error: BaseException, at: BrokerUrl) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
        return (
            f"port {at.port} on {at.host} is in use, perhaps by another gateway or broker; "
            "stop it, choose another with --port, or use that broker with --broker mqtt://HOST:PORT"
        )
    detail = cause.strerror if isinstance(cause, OSError) else str(error)
    return f"cannot listen on {at.address}: {detail}"
