"""The embedded broker: who may come in, who has to go for whom, and what is sent to whom. MQTT 3.1.1 and 5.

All of it runs in one thread, on one event loop. The gateway is no client here: what devices say goes into its inbox,
what it says comes through ``publish``.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from broker_server.broker.access import AccessError, Certificate, Peer, Revoked, identify, may_take_over
from broker_server.broker.connection import Connection
from broker_server.broker.fields import Code
from broker_server.broker.file_limit import within_files
from broker_server.broker.intake import Intake
from broker_server.broker.link import Arrived, Sink
from broker_server.broker.listener import Arrival, Listener, bind
from broker_server.broker.notices import Notices, Tell
from broker_server.broker.outgoing import Message
from broker_server.broker.packets import refusal
from broker_server.broker.session import Hub, Session
from broker_server.broker.subscriptions import Subscriptions
from broker_server.broker.tls import TlsFiles, server_context
from broker_server.broker.websocket import WebSocketConnection
from broker_server.config_tables import ConnectionLimits
from broker_server.errors import ListenError
from edge_runtime.wire.broker_url import BrokerUrl
from edge_runtime.wire.text import shown
from edge_runtime.wire.topics import QOS

READ_AT_ONCE: Final = 256 * 1024
TAKE_OVER_S: Final = 5.0
LEAVE_S: Final = 1.0
STOP_S: Final = 0.3
"""What is on its way to devices when the broker stops may take so long."""

log = logging.getLogger("broker_server.broker.broker")


@dataclass(frozen=True)
class Settings:
    """What EmbeddedBroker was told."""

    host: str
    port: int
    websocket_port: int
    federation: str
    limits: ConnectionLimits
    tls: TlsFiles | None
    tell: Tell


@dataclass(frozen=True)
class _Place:
    """A client that was admitted. Args: key: its client id, or one of ours; source: what limits count it under."""

    key: str
    source: str


class Broker:
    """Admits clients and passes messages on.

    Args:
        loop: of the thread that everything here runs in.
        settings: see ``Settings``.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        self._loop = loop
        self._settings = replace(settings, limits=within_files(settings.limits))
        self._notices = Notices(settings.tell)
        self._revoked = Revoked()
        self._held: dict[str, Session] = {}
        self._admitted: dict[Session, _Place] = {}
        self._places: Counter[str] = Counter()
        self._subscriptions: Subscriptions[Session] = Subscriptions()
        self._intake = Intake(lambda call: _call_soon(loop, call))
        self._hub = Hub(self._subscriptions, self._intake, self._note_limit, loop.time, self._release)
        self._listeners: list[Listener] = []
        self._shared = memoryview(bytearray(READ_AT_ONCE))

    # --- from start to stop -------------------------------------------------------------------------------------

    async def listen(self) -> int:
        """Start; return the port.

        Raises:
            OSError, ListenError: when that cannot be.
        """
        settings = self._settings
        context = server_context(settings.tls) if settings.tls is not None else None
        sockets = await bind(settings.host, settings.port)
        try:
            websockets = await bind(settings.host, settings.websocket_port) if settings.websocket_port else []
        except OSError as error:
            for sock in sockets:
                sock.close()
            failure = listen_failure(error, BrokerUrl(settings.host, settings.websocket_port))
            raise failure.about("listen.websocket_port", "broker") from error
        self._listeners = [
            *(self._listener(sock, context, Connection) for sock in sockets),
            *(self._listener(sock, context, WebSocketConnection) for sock in websockets),
        ]
        port: int = sockets[0].getsockname()[1]
        return port

    def _listener(self, sock: socket.socket, context: ssl.SSLContext | None, kind: type[Connection]) -> Listener:
        open_ = partial(kind, self._loop, self._shared)
        return Listener(sock, context, self._settings.limits, self._notices, self._admit, open_=open_)

    async def shutdown(self) -> None:
        """Take nobody in any more, send what is on its way, and end every connection."""
        self._intake.connect(None)
        for listener in self._listeners:
            await listener.close()
        sessions = list(self._admitted)
        for session in sessions:
            session.will = None
            session.leave(Code.SHUTTING_DOWN)
        if sessions:
            await asyncio.wait([session.connection.gone for session in sessions], timeout=STOP_S)
        for session in list(self._admitted):
            session.connection.cut()

    def connect(self, sink: Sink) -> None:
        """Hand what devices say to the gateway from now on; until then they wait."""
        self._intake.connect(sink)

    async def reload(self, limits: ConnectionLimits, context: ssl.SSLContext | None) -> None:
        """Take other limits and certificates."""
        self._settings = replace(self._settings, limits=within_files(limits))
        for listener in self._listeners:
            listener.reload(limits, context)

    def revoke(self, revoked: Revoked) -> None:
        """Refuse these from now on, and cut off who of them is here."""
        self._revoked = revoked
        for session in list(self._admitted):
            if revoked.has(session.peer.certificate, session.peer.device):
                session.connection.cut()

    # --- messages -----------------------------------------------------------------------------------------------

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Send what the gateway says to whoever hears that topic, and keep it for others where it says so."""
        if retain:
            self._subscriptions.retain(topic, payload)
        name = topic.encode()
        message = Message(name, payload, QOS)
        for session, wanted in list(self._subscriptions.listeners(topic).items()):
            marked = retain and wanted.as_published
            plain = wanted.qos == QOS and not marked
            if not session.deliver(message if plain else Message(name, payload, wanted.qos, retain=marked)):
                log.warning("client %r cut off: too much waits for it", session.peer.device)
                session.connection.cut()

    # --- clients ------------------------------------------------------------------------------------------------

    async def _admit(self, arrival: Arrival) -> None:
        """Serve a client when it may come in and nobody else holds its id any more; else tell it so."""
        try:
            peer = identify(arrival.connect, self._settings.federation, arrival.address, arrival.certificate)
            client_id = arrival.connect.client_id
            await self._ended(client_id, peer)
            self._check_revoked(peer, arrival.certificate)
            holder = self._replaced(client_id, peer, arrival.source)
        except AccessError as error:
            self._refuse(arrival, error)
            return
        chosen = "" if client_id else f"listener-{secrets.token_hex(8)}"
        session = Session(arrival.connection, peer, arrival.connect, self._hub, self._settings.limits)
        # Noted before the next pause, so that of two newcomers the second finds the first.
        self._held[client_id or chosen] = session
        self._admitted[session] = _Place(client_id or chosen, arrival.source)
        self._places[arrival.source] += 1
        session.attach()
        if holder is not None:
            await self._end(holder)
        session.begin(chosen)

    async def _end(self, holder: Session) -> None:
        """Make room for a client's owner, who is back: break the old connection off without its will."""
        holder.will = None
        holder.connection.finish(Code.TAKEN_OVER)
        holder.connection.cut()
        await asyncio.wait({holder.connection.gone}, timeout=TAKE_OVER_S)

    async def _ended(self, client_id: str, newcomer: Peer) -> None:
        """Wait a moment for a connection that is on its way out to free its client id for one that may not end it."""
        holder = self._held.get(client_id)
        if holder is not None and not may_take_over(holder.peer, newcomer):
            await asyncio.wait({holder.connection.gone}, timeout=LEAVE_S)

    def _replaced(self, client_id: str, newcomer: Peer, source: str) -> Session | None:
        """Return whose connection a client ends by coming.

        Raises:
            AccessError: when it may not, or when there is no room.
        """
        holder = self._held.get(client_id)
        if holder is None:
            self._check_places(source)
        elif not may_take_over(holder.peer, newcomer):
            raise AccessError("a client id that is in use", shown(client_id), Code.CLIENT_ID)
        return holder

    def _check_revoked(self, peer: Peer, certificate: Certificate | None) -> None:
        if self._revoked.has(certificate, peer.device):
            serial = certificate.serial if certificate is not None else "none"
            raise AccessError("a revoked device", f"{peer.device}, certificate {serial}")

    def _check_places(self, source: str) -> None:
        limits = self._settings.limits
        if self._places.total() >= limits.connections:
            raise AccessError("connections", code=Code.QUOTA)
        if self._places[source] >= limits.connections_per_address:
            raise AccessError("connections_per_address", code=Code.QUOTA)

    def _refuse(self, arrival: Arrival, error: AccessError) -> None:
        arrival.connection.finish(last=refusal(arrival.connect.version, error.code, error.reason))
        kind = "limit" if error.code is Code.QUOTA else "refused"
        self._notices.note(kind, error.reason, self._loop.time(), address=arrival.address, detail=error.detail)

    def _release(self, session: Session) -> None:
        """Free a client's place, and say its will."""
        place = self._admitted.pop(session)
        if self._held.get(place.key) is session:
            del self._held[place.key]
        self._places[place.source] -= 1
        if not self._places[place.source]:
            del self._places[place.source]
        if session.will is not None:
            self._intake.take_will(Arrived(session.will.topic, session.will.payload))

    def _note_limit(self, reason: str, fields: dict[str, object]) -> None:
        self._notices.note("limit", reason, self._loop.time(), **fields)


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        log.debug("the broker has stopped")


def listen_failure(error: BaseException, at: BrokerUrl) -> ListenError:
    """Return what says why nobody can listen there, and what to do."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
        return ListenError(
            f"port {at.port} on {at.host} is in use, perhaps by another gateway or broker; "
            "stop it, choose another port, or use that broker: mqtt://HOST:PORT"
        ).about("listen.port", "broker")
    detail = cause.strerror if isinstance(cause, OSError) else str(error)
    return ListenError(f"cannot listen on {at.address}: {detail}")
