"""Takes connections from a socket, before MQTT: limits on who is not admitted yet, TLS with certificates of both sides.

A stranger costs a socket for ``connect_s`` seconds at most. Strangers are counted apart from who was admitted, so that
they keep nobody out: when too many wait, the oldest of the address with the most is cut for the next.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from broker_server.broker.access import AccessError, Certificate
from broker_server.broker.connect_packet import Connect
from broker_server.broker.connection import Connection
from broker_server.broker.fields import FrameError
from broker_server.broker.notices import Notices
from broker_server.broker.pace import Waiting, source_of
from broker_server.broker.packets import refusal
from broker_server.config_tables import ConnectionLimits

BACKLOG: Final = 4096
_SHUTDOWN_S: Final = 2.0
_PAUSE_S: Final = 0.1


@dataclass(frozen=True)
class Arrival:
    """A client whose CONNECT has come and that nobody admitted yet.

    Args:
        connect: what it says.
        connection: to it.
        address: where it comes from.
        source: what limits of one address count it under.
        certificate: what it proved; None without TLS.
    """

    connect: Connect
    connection: Connection
    address: str
    source: str
    certificate: Certificate | None


class Listener:
    """Listens on one socket.

    Args:
        sock: bound and listening.
        context: TLS; None is plain text.
        limits: of connections.
        notices: told of who is turned away.
        admit: decides about who arrived: from then on its connection is served, or closed.
        open_: returns a new connection of the kind that this socket takes.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext | None,
        limits: ConnectionLimits,
        notices: Notices,
        admit: Callable[[Arrival], Awaitable[None]],
        *,
        open_: Callable[[], Connection],
    ) -> None:
        self._sock, self._context, self._limits, self._notices = sock, context, limits, notices
        self._admit, self._open = admit, open_
        self._waiting: Waiting[asyncio.Task[None]] = Waiting(limits.handshakes, limits.handshakes_per_address)
        self._tasks: set[asyncio.Task[None]] = set()
        self._untaken: set[socket.socket] = set()
        self._loop = asyncio.get_running_loop()
        self._accepting = asyncio.create_task(self._accept())

    def reload(self, limits: ConnectionLimits, context: ssl.SSLContext | None) -> None:
        """Take other limits, and other certificates where there are some; who is connected stays as it is."""
        self._limits = limits
        self._waiting.limit(limits.handshakes, limits.handshakes_per_address)
        if self._context is not None:
            self._context = context

    async def close(self) -> None:
        """Stop listening, and cut who was not admitted."""
        self._accepting.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self._accepting, *self._tasks, return_exceptions=True)
        self._sock.close()

    async def _accept(self) -> None:
        while True:
            await asyncio.sleep(0)  # accepting does not pause while many wait; others have their turn
            try:
                sock, (address, *_) = await self._loop.sock_accept(self._sock)
            except OSError as error:  # no file descriptor left, or a client that went before it was taken
                self._note("limit", "the system has no room for a connection", detail=error.strerror)
                await asyncio.sleep(_PAUSE_S)
                continue
            source = source_of(address)
            self._untaken.add(sock)
            task = asyncio.create_task(self._take(sock, address, source))
            self._tasks.add(task)
            task.add_done_callback(partial(self._forget, sock))
            if (oldest := self._waiting.enter(task, source)) is not None:
                oldest.cancel()
                self._note("limit", "handshakes", address=address)

    async def _take(self, sock: socket.socket, address: str, source: str) -> None:
        """Bring one client to its CONNECT, then hand it over; whatever goes wrong ends this connection only."""
        self._untaken.discard(sock)
        task: Any = asyncio.current_task()
        try:
            arrival = await self._arrive(sock, address, source)
            if arrival is not None:
                await self._hand_over(arrival)
        finally:
            self._waiting.leave(task, source)

    async def _hand_over(self, arrival: Arrival) -> None:
        try:
            await self._admit(arrival)
        except BaseException:
            arrival.connection.cut()
            raise

    def _forget(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if sock in self._untaken:  # cut before its task began: nobody else closes it
            self._untaken.discard(sock)
            sock.close()

    async def _arrive(self, sock: socket.socket, address: str, source: str) -> Arrival | None:
        try:
            async with asyncio.timeout(self._limits.connect_s):
                return await self._introduce(sock, address, source)
        except TimeoutError:
            self._note("limit", "connect_s", address=address)
        except ssl.SSLError as error:
            self._note("refused", _reason(error), address=address)
        except AccessError as error:
            self._note("refused", error.reason, address=address, detail=error.detail)
        except OSError:
            pass  # it went by itself
        return None

    async def _introduce(self, sock: socket.socket, address: str, source: str) -> Arrival | None:
        await self._first_byte(sock)
        self._waiting.spoke(typing.cast("asyncio.Task[None]", asyncio.current_task()), source)
        connection = self._open()
        secured: dict[str, Any] = {} if self._context is None else {
            "ssl": self._context, "ssl_handshake_timeout": self._limits.connect_s, "ssl_shutdown_timeout": _SHUTDOWN_S
        }  # fmt: skip
        await self._loop.connect_accepted_socket(lambda: connection, sock, **secured)
        try:
            certificate = None if self._context is None else _certificate(connection.peer_certificate())
            connect = await connection.first
        except BaseException:
            connection.cut()
            raise
        if isinstance(connect, FrameError):
            self._note("refused", "no MQTT", address=address, detail=str(connect))
            connection.finish(last=refusal(connect.version, connect.code, str(connect)) if connect.version else b"")
        return Arrival(connect, connection, address, source, certificate) if isinstance(connect, Connect) else None

    async def _first_byte(self, sock: socket.socket) -> None:
        """Wait until there is something to read: one that says nothing costs no more than its socket."""
        ready = self._loop.create_future()
        self._loop.add_reader(sock, partial(_set, ready))
        try:
            await ready
        except BaseException:
            self._loop.remove_reader(sock)
            sock.close()
            raise
        self._loop.remove_reader(sock)

    def _note(self, kind: str, reason: str, **fields: object) -> None:
        self._notices.note(kind, reason, self._loop.time(), **fields)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def bind(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets, one for each address of a host; 0 chooses a port, the same for all.

    Raises:
        OSError: when the port is in use, or no address is this machine's.
    """
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(infos):
        try:
            sock = socket.create_server((address[0], port), family=family, backlog=BACKLOG)
        except OSError as error:
            failure = error
            if error.errno == errno.EADDRNOTAVAIL:  # a name that also has an address of IPv6, which is switched off
                continue
            break
        # Who is accepted inherits it. asyncio sets it only for sockets that name their protocol, and these do not: an
        # answer that follows an acknowledgement would wait 40 ms for the device's own.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)  # noqa: FBT003 - its only argument
        sockets.append(sock)
        port = sock.getsockname()[1]
    if failure is not None and (not sockets or failure.errno != errno.EADDRNOTAVAIL):
        for sock in sockets:
            sock.close()
        raise failure
    return sockets


def _certificate(parsed: dict[str, Any]) -> Certificate:
    """Return what a client's certificate says, which TLS has verified.

    Raises:
        AccessError: when it names no device, or several.
    """
    names = [value for pairs in parsed.get("subject", ()) for key, value in pairs if key == "commonName"]
    if len(names) != 1:
        raise AccessError("certificate without a device's name", f"{len(names)} common names, expected one")
    return Certificate(names[0], parsed["serialNumber"])


def _reason(error: ssl.SSLError) -> str:
    """Return why a handshake failed, in words for people where the common cases have some."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    reasons = {
        "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no certificate",
        "HTTP_REQUEST": "no TLS",
        "WRONG_VERSION_NUMBER": "no TLS",
        "UNSUPPORTED_PROTOCOL": "TLS older than 1.2",
        "TLSV1_ALERT_UNKNOWN_CA": "the client does not accept the gateway's certificate",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client does not accept the gateway's certificate",
        "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not accept the gateway's certificate",
    }
    return reasons.get(error.reason or "", f"TLS failed: {(error.reason or 'unknown').lower().replace('_', ' ')}")
