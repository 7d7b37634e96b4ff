"""The page beside a gateway: its socket, its thread, and what becomes of it when the gateway stops or reloads."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from broker_server.config import GatewayConfig
from broker_server.errors import ListenError
from broker_server.events import Events
from broker_server.views.live import Live
from broker_server.web.application import Pages
from broker_server.web.connections import Server
from broker_server.web.feed import Feed
from broker_server.web.login import Login
from broker_server.web.tally import Tally
from edge_runtime.wire.broker_url import BrokerUrl

BACKLOG: Final = 128
STOP_S: Final = 0.3
"""How long a stop waits for answers that are on their way."""


class Page:
    """The page of a running gateway.

    Args:
        config: settings.
        live: returns the last look at the gateway.
        tally: counts since the start.
        listener: a socket that is bound already, in place of the one that the settings name.

    Raises:
        ListenError: when it cannot listen, or its certificate cannot be used.
    """

    def __init__(
        self,
        config: GatewayConfig,
        live: Callable[[], Live | None],
        tally: Tally | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        self._config = config
        self._tls = _tls(config)
        self._listener = listener or listen(config.web.host, config.web.port)
        self._feed = Feed(config, live, tally or Tally())
        pages = Pages(self._feed, Login(config.web.token, tls=self._tls is not None))
        hosts = (config.web.public_host, config.web.host, config.listen.public_host)
        names = frozenset(host.lower() for host in hosts if host)
        self._server = Server(pages.application(names), self._tls)
        self._thread = threading.Thread(target=self._serve, name="page", daemon=True)

    @property
    def url(self) -> str:
        """Return its address for people."""
        host, port = self._listener.getsockname()[:2]
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = self._config.web.public_host or self._config.listen.public_host or socket.gethostname()
        return f"{'https' if self._tls else 'http'}://{BrokerUrl(host, port).address}"

    def start(self) -> None:
        """Serve from now on, on a thread of its own."""
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what strangers send is no news
        self._thread.start()

    def reload(self, event: dict[str, Any]) -> None:
        """Take the certificate anew after the gateway read its settings again; one that cannot be used changes nothing.

        Args:
            event: of the gateway.
        """
        listen_ = self._config.listen
        if event["event"] == "reload" and self._tls is not None and listen_.certificate is not None:
            with contextlib.suppress(OSError, ValueError):
                self._tls.load_cert_chain(listen_.certificate, listen_.key, password=lambda: "")

    def stop(self) -> None:
        """End it."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        self._listener.close()

    def _serve(self) -> None:
        self._server.run([self._listener])


@contextlib.contextmanager
def serving(config: GatewayConfig, live: Callable[[], Live | None], events: Events) -> Iterator[None]:
    """Serve the page, if the settings want one. A gateway whose page cannot listen works all the same, and says so.

    Args:
        config: settings.
        live: returns the last look at the gateway.
        events: told where the page is, and asked what happens.
    """
    if not config.web.port:
        yield
        return
    tally = Tally()
    try:
        page = Page(config, live, tally)
    except ListenError as error:
        events.tell("page", failure=str(error))
        yield
        return
    events.watch(tally)
    events.watch(page.reload)
    events.tell("page", url=page.url)
    page.start()
    try:
        yield
    finally:
        page.stop()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Args: port: 0 chooses a free one.

    Raises:
        ListenError: when that cannot be.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ListenError(
            f"the page cannot listen on {host} port {port}: {error.strerror}; choose another in [web], or 0 for no page"
        ) from error
    listener.setblocking(False)  # noqa: FBT003 - positional only
    return listener


def _tls(config: GatewayConfig) -> ssl.SSLContext | None:
    """Return the gateway's certificate for browsers, which need none; None on this machine and behind a proxy."""
    files = config.listen
    if config.web.local or config.web.allow_plaintext or files.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.certificate, files.key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise ListenError(f"the page cannot use certificate {files.certificate}: {error}") from error
    return context
