"""amqtt 0.12.1 (MQTT 3.1.1) with its gaps closed, limits and rights put in. The only file importing amqtt.

What amqtt 0.12.1 does, found by reading and by test, and what is done about it here:

- It has no limit on a packet (256 MB are buffered), no time limit for CONNECT or for a silent client, so that wills of
  vanished clients never come: ``FrameReader`` sits between the socket and its parsers.
- It ends whoever holds a client id before it asks who the newcomer is, publishes wills without asking for permission,
  and knows no limit for one address: ``_admit`` decides on the CONNECT packet before amqtt sees it.
- A client is sent the retained messages of *everybody's* subscriptions when it connects, and connecting while others
  subscribe breaks both (a dict changes during iteration): ``_publish_retained_messages_for_subscription``,
  ``_Snapshot``.
- A second connection leaves the first alive, whose will comes later: ``_admit`` ends it first.
- A message to each slow subscriber is kept for ever: ``_run_broadcast`` has a limit for each client.

These are private methods of a pinned version; tests/broker/broker/test_broker_embedded.py holds the behaviour.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import logging
import ssl
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from amqtt.adapters import StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType

from broker_server.broker.access import (
    IN_USE,
    UNAVAILABLE,
    AccessError,
    Certificate,
    Peer,
    Revoked,
    identify,
    may_publish,
    may_subscribe,
    may_take_over,
)
from broker_server.broker.file_limit import within_files
from broker_server.broker.listener import Arrival, Listener, bind
from broker_server.broker.notices import Notices, Tell
from broker_server.broker.tls import TlsFiles, server_context
from broker_server.config import ConnectionLimits
from broker_server.errors import ListenError
from edge_runtime.wire.broker_url import BrokerUrl
from edge_runtime.wire.text import shown

GATEWAY_USER: Final = "gateway"
PRIVATE_HOST: Final = "127.0.0.1"
QUEUE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes that may wait for one device; beyond it the device is slow or hostile, and is cut off."""
GATEWAY_QUEUE_LIMIT: Final = 1024 * 1024 * 1024
SUBSCRIPTIONS: Final = 8192
"""Topics that one device may hear at once: more than a bank has blocks."""
REFUSED: Final = 0x80
"""Code of SUBACK (MQTT 3.1.1, section 3.9)."""
TAKE_OVER_S: Final = 5.0
LEAVE_S: Final = 1.0

log = logging.getLogger("broker_server.broker.limited")


@dataclass(frozen=True)
class Settings:
    """What EmbeddedBroker was told, and the gateway's password."""

    host: str
    port: int
    websocket_port: int
    federation: str
    limits: ConnectionLimits
    tls: TlsFiles | None
    tell: Tell
    password: str = field(repr=False)


class _Snapshot(dict[str, Any]):
    """A dict whose iteration goes over what it held at the start."""

    def __iter__(self) -> Iterator[str]:
        return iter(list(super().keys()))

    def items(self) -> Any:  # noqa: ANN401 - a list stands in for the view
        return list(super().items())


@dataclass
class _Connection:
    """One client that was admitted.

    Args:
        key: its client id, or one of ours where it has none.
        peer: who it is.
        source: what limits of one address count it under.
        writer: to it.
        task: serves it.
        session: of amqtt, once it has one.
    """

    key: str
    peer: Peer
    source: str
    writer: asyncio.StreamWriter
    task: asyncio.Task[Any]
    session: Any = None

    def cut(self) -> None:
        """Break it off, as a network would."""
        self.writer.transport.abort()

    async def end(self, seconds: float) -> None:
        """Make room for its owner, who is back: break it off without its will, and wait until it is gone."""
        if self.session is not None:
            self.session.will_flag = False
        self.cut()
        _, pending = await asyncio.wait({self.task}, timeout=seconds)
        for task in pending:
            task.cancel()


# amqtt tells its own methods nothing of the connection that they work for; each runs in the task that serves one.
_CURRENT: ContextVar[_Connection] = ContextVar("connection")


class LimitedBroker(Broker):  # type: ignore[misc]  # amqtt ships no types
    """amqtt's broker with limits and permissions; see the module's text."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        listener = ListenerConfig(type=ListenerType.EXTERNAL)  # sockets are taken in listener.py
        super().__init__(BrokerConfig(listeners={"default": listener}, plugins={}), loop)
        self._subscriptions = _Snapshot()
        self._settings = replace(settings, limits=within_files(settings.limits))
        self._notices = Notices(settings.tell)
        self._revoked = Revoked()
        self._held: dict[str, _Connection] = {}
        self._places: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._sending: set[asyncio.Task[Any]] = set()
        self._wildcards: set[str] = set()
        self._listeners: list[Listener] = []

    async def listen(self) -> tuple[int, int]:
        """Start; return the port for devices and the one for the gateway (the same without TLS).

        Raises:
            OSError, ListenError: when that cannot be.
        """
        settings, context = self._settings, None
        if settings.tls is not None:
            context = server_context(settings.tls)
        sockets = await bind(settings.host, settings.port)
        try:
            websockets = await bind(settings.host, settings.websocket_port) if settings.websocket_port else []
        except OSError as error:
            for sock in sockets:
                sock.close()
            raise ListenError(listen_failure(error, BrokerUrl(settings.host, settings.websocket_port))) from error
        await self.start()
        for sock in sockets:
            self._listeners.append(Listener(sock, context, settings.limits, self._notices, self._admit))
        for sock in websockets:
            listener = Listener(sock, context, settings.limits, self._notices, self._admit, websocket=True)
            self._listeners.append(listener)
        port: int = sockets[0].getsockname()[1]
        if context is None:
            return port, port
        [private] = await bind(PRIVATE_HOST, 0)
        admit = partial(self._admit, private=True)
        self._listeners.append(Listener(private, None, settings.limits, self._notices, admit, paced=False))
        return port, private.getsockname()[1]

    async def shutdown(self) -> None:
        """End every connection, then amqtt's own work."""
        for listener in self._listeners:
            await listener.close()
        await super().shutdown()

    async def reload(self, limits: ConnectionLimits, context: ssl.SSLContext | None) -> None:
        """Take other limits and certificates."""
        self._settings = replace(self._settings, limits=within_files(limits))
        for listener in self._listeners:
            listener.reload(limits, context)

    async def revoke(self, revoked: Revoked) -> None:
        """Refuse these from now on, and cut off who of them is here."""
        self._revoked = revoked
        for held in list(self._held.values()):
            if revoked.has(held.peer.certificate, held.peer.device):
                held.cut()

    async def _admit(self, arrival: Arrival, *, private: bool = False) -> Callable[[], Awaitable[None]] | None:
        """Return what serves a client when it may come in and nobody else holds its id any more; else tell it so."""
        try:
            peer = self._identify(arrival, private=private)
            client_id = arrival.connect.client_id
            await self._ended(client_id, peer)
            self._check_revoked(peer, arrival.certificate)
            holder = self._replaced(client_id, peer, arrival.source)
        except AccessError as error:
            self._refuse(arrival, error)
            return None
        task: Any = asyncio.current_task()
        connection = _Connection(client_id or f"#{id(arrival)}", peer, arrival.source, arrival.writer, task)
        # Noted before the next pause, so that of two newcomers the second finds the first.
        self._held[connection.key] = connection
        self._places[arrival.source] += not peer.gateway
        return partial(self._serve, arrival, connection, holder)

    async def _ended(self, client_id: str, newcomer: Peer) -> None:
        """Wait a moment for a connection that is on its way out to free its client id for one that may not end it."""
        holder = self._held.get(client_id)
        if holder is not None and not may_take_over(holder.peer, newcomer):
            await asyncio.wait({holder.task}, timeout=LEAVE_S)

    def _replaced(self, client_id: str, newcomer: Peer, source: str) -> _Connection | None:
        """Return the connection that a client ends by coming.

        Raises:
            AccessError: when it may not, or when there is no room.
        """
        holder = self._held.get(client_id)
        if holder is None:
            self._check_places(newcomer, source)
        elif not may_take_over(holder.peer, newcomer):
            raise AccessError("a client id that is in use", shown(client_id), IN_USE)
        return holder

    async def _serve(self, arrival: Arrival, connection: _Connection, holder: _Connection | None) -> None:
        """Serve one client; whatever goes wrong ends this connection only."""
        try:
            if holder is not None:
                await holder.end(TAKE_OVER_S)
            _CURRENT.set(connection)
            await self.external_connected(arrival.frames, StreamWriterAdapter(arrival.writer), "default")
        except Exception as error:  # noqa: BLE001 - hostile bytes find new ways to break parsers
            log.debug("connection ended by %s: %s", type(error).__name__, error)
        finally:
            self._release(connection)
            await self._drop_session(connection.session)

    def _identify(self, arrival: Arrival, *, private: bool) -> Peer:
        connect, certificate = arrival.connect, arrival.certificate
        if certificate is None and connect.user == GATEWAY_USER:
            if not hmac.compare_digest(connect.password, self._settings.password.encode()):
                raise AccessError("the gateway's user name with a wrong password")
            return Peer(self._settings.federation, "", arrival.address, gateway=True)
        if private:
            raise AccessError("this port is the gateway's own")
        return identify(connect, self._settings.federation, arrival.address, certificate)

    def _check_revoked(self, peer: Peer, certificate: Certificate | None) -> None:
        if self._revoked.has(certificate, peer.device):
            serial = certificate.serial if certificate is not None else "none"
            raise AccessError("a revoked device", f"{peer.device}, certificate {serial}")

    def _check_places(self, peer: Peer, source: str) -> None:
        limits = self._settings.limits
        if peer.gateway:
            return
        if self._places.total() >= limits.connections:
            raise AccessError("connections", code=UNAVAILABLE)
        if self._places[source] >= limits.connections_per_address:
            raise AccessError("connections_per_address", code=UNAVAILABLE)

    def _refuse(self, arrival: Arrival, error: AccessError) -> None:
        arrival.writer.write(bytes((0x20, 2, 0, error.code)))
        kind = "limit" if error.code == UNAVAILABLE else "refused"
        self._notices.note(kind, error.reason, self._loop.time(), address=arrival.address, detail=error.detail)

    def _release(self, connection: _Connection) -> None:
        if self._held.get(connection.key) is connection:
            del self._held[connection.key]
        if not connection.peer.gateway:
            self._places[connection.source] -= 1
            if not self._places[connection.source]:
                del self._places[connection.source]

    async def _drop_session(self, session: Any) -> None:  # noqa: ANN401
        """Let amqtt forget a session at once: it would a second later, and then perhaps the next one of that id."""
        if session is not None and self._sessions.get(session.client_id, (None, None))[0] is session:
            await self._delete_session(session.client_id)

    def _is_gateway(self, session: Any) -> bool:  # noqa: ANN401
        peer = self._peer(session)
        return peer is not None and peer.gateway

    @staticmethod
    def _peer(session: Any) -> Peer | None:  # noqa: ANN401
        peer: Peer | None = None if session is None else session.attributes.get("peer")
        return peer

    async def _authenticate(self, session: Any, _: Any) -> bool:  # noqa: ANN401
        connection = _CURRENT.get()
        session.is_anonymous = True  # its session ends with its connection: nothing queues for who is away
        session.attributes["peer"], connection.session = connection.peer, session
        return True

    async def _topic_filtering(self, session: Any, topic: str, action: Action) -> bool:  # noqa: ANN401
        peer = self._peer(session)
        if peer is None:
            return False
        if action == Action.PUBLISH:
            return may_publish(peer, topic)
        return may_subscribe(peer, topic) if action == Action.SUBSCRIBE else True

    async def add_subscription(self, subscription: tuple[str, int], session: Any) -> int:  # noqa: ANN401
        """Subscribe a client to a topic; return MQTT's code. A device has so many at most as the largest bank needs."""
        topic = subscription[0]
        own = session.attributes.setdefault("topics", set())
        if topic not in own and len(own) >= SUBSCRIPTIONS and not self._is_gateway(session):
            self._notices.note("limit", "subscriptions", self._loop.time(), device=self._device_of(session))
            return REFUSED
        code: int = await super().add_subscription(subscription, session)
        if code != REFUSED:
            own.add(topic)
            if "+" in topic or "#" in topic:
                self._wildcards.add(topic)
        return code

    def _del_subscription(self, a_filter: str, session: Any) -> int:  # noqa: ANN401
        session.attributes.get("topics", set()).discard(a_filter)
        deleted: int = super()._del_subscription(a_filter, session)
        return deleted

    def _device_of(self, session: Any) -> str:  # noqa: ANN401
        peer = self._peer(session)
        return "" if peer is None else peer.device

    async def retain_message(self, source_session: Any, topic_name: Any, data: Any, qos: Any = None) -> None:  # noqa: ANN401
        """Keep a message for later subscribers; only the gateway may."""
        if self._is_gateway(source_session):
            await super().retain_message(source_session, topic_name, data, qos)

    async def _client_message_loop(self, client_session: Any, handler: Any) -> None:  # noqa: ANN401
        try:
            await super()._client_message_loop(client_session, handler)
        finally:
            # amqtt also leaves this loop without closing, and would read from such a client for ever.
            await self._stop_handler(handler)
            client_session.transitions.disconnect()

    async def _publish_retained_messages_for_subscription(self, subscription: tuple[str, int], session: Any) -> None:  # noqa: ANN401
        topic = subscription[0]
        if topic not in self._wildcards and topic not in self._retained_messages:
            return  # without a look at what is retained for all others
        listeners = self._subscriptions.get(topic, [])
        if any(listener is session for listener, _ in listeners):
            await super()._publish_retained_messages_for_subscription(subscription, session)

    async def _run_broadcast(self, running_tasks: deque[Any]) -> None:
        del running_tasks  # amqtt drops finished tasks from its left end only: one slow client would hold them all
        message = await self._broadcast_queue.get()
        topic, data = message["topic"], message["data"]
        listeners = list(self._subscriptions.get(topic, []))
        for wanted in self._wildcards:  # the gateway's; looking through those of all devices would cost each message
            listeners += self._subscriptions.get(wanted, []) if self._matches(topic, wanted) else []
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


def listen_failure(error: BaseException, at: BrokerUrl) -> str:
    """Return why nobody can listen there, and what to do."""
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
