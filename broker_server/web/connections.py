"""HTTP connections, each of which costs a bounded time and all of which are a bounded number. The driver of uvicorn.

uvicorn waits for a request as long as it takes. Here a connection has ``REQUEST_S`` from its begin, or from its last
response, until its next response is on the way, TLS included; and where there are too many, those that wait go first.
So clients who send slowly, or nothing, keep nobody else out and take no file descriptors from the broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S: Final = 15.0
CONNECTIONS: Final = 64
HEADER_BYTES: Final = 16 * 1024
"""Of a request's line and headers together."""
ACCEPT_AGAIN_S: Final = 0.5
"""After the process has no file descriptor left."""
SHUTDOWN_S: Final = 1


class Connection(H11Protocol):
    """One client's connection, which ends when it takes too long."""

    _due: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - as uvicorn declares them
        super().__init__(*arguments)
        self.ended = asyncio.Event()

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as uvicorn declares it
        """Begin the time of the first request."""
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time."""
        self._end()
        super().connection_lost(exc)
        self.ended.set()

    def on_response_complete(self) -> None:
        """Begin the time of the next request."""
        self._begin()
        super().on_response_complete()

    @property
    def waits(self) -> bool:
        """Whether no request of it is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def abort(self) -> None:
        """End it at once, whatever is still to be sent."""
        self._end()
        self.transport.abort()

    def _begin(self) -> None:
        self._end()
        self._due = self.loop.call_later(REQUEST_S, self.abort)

    def _end(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


class Server(uvicorn.Server):
    """Serves an application on a socket that listens. Args: application: ASGI; tls: for HTTPS, or None."""

    def __init__(self, application: ASGIApp, tls: ssl.SSLContext | None) -> None:
        settings = uvicorn.Config(
            application, http=Connection, ws="none", loop="asyncio", lifespan="off", log_config=None, access_log=False,
            proxy_headers=False, server_header=False, h11_max_incomplete_event_size=HEADER_BYTES,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )  # fmt: skip
        super().__init__(settings)
        self._tls = tls
        self._open: dict[asyncio.Task[None], Connection] = {}
        self._accepting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections from now on."""
        await super().startup(sockets=[])
        (listener,) = sockets or []
        self._accepting = asyncio.create_task(self._accept(listener))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept none any more, and end those that there are."""
        if self._accepting is not None:
            self._accepting.cancel()
        for task in list(self._open):
            task.cancel()
        await super().shutdown(sockets)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            self._make_room()
            connection = Connection(self.config, self.server_state, {}, loop)
            task = asyncio.create_task(self._keep(client, connection))
            self._open[task] = connection
            task.add_done_callback(lambda done: self._open.pop(done, None))

    def _make_room(self) -> None:
        """End the connection that has been open longest, of those that wait if there is one."""
        if len(self._open) < CONNECTIONS:
            return
        waiting = (task for task, connection in self._open.items() if connection.waits)
        oldest = next(waiting, next(iter(self._open)))
        self._open.pop(oldest)
        oldest.cancel()

    async def _keep(self, client: socket.socket, connection: Connection) -> None:
        """Shake hands, and keep the connection until it ends or this is cancelled."""
        client.setblocking(False)  # noqa: FBT003 - positional only
        times = {"ssl_handshake_timeout": REQUEST_S, "ssl_shutdown_timeout": 1.0} if self._tls is not None else {}
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: connection, client, ssl=self._tls, **times)
        except OSError:
            client.close()
            return
        except asyncio.CancelledError:
            client.close()
            raise
        with contextlib.suppress(asyncio.CancelledError):
            await connection.ended.wait()
        if not connection.ended.is_set():
            connection.abort()
