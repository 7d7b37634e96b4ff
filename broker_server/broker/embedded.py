"""The broker inside the gateway's process, on a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from broker_server.broker.access import Revoked
from broker_server.broker.broker import Broker, Settings, listen_failure
from broker_server.broker.link import Sink
from broker_server.broker.notices import Tell
from broker_server.broker.tls import TlsFiles, server_context
from broker_server.config_tables import ConnectionLimits
from broker_server.errors import ListenError
from edge_runtime.wire.broker_url import BrokerUrl

START_S: Final = 15.0
STOP_S: Final = 0.5
TURN_S: Final = 0.005
"""How long messages are sent before bytes are read again."""

log = logging.getLogger("broker_server.broker.embedded")


class EmbeddedBroker:
    """Runs the broker on its own thread and event loop.

    Args:
        host: address to listen on.
        port: 0 chooses a free one.
        websocket_port: of MQTT through a WebSocket; 0 is none.
        federation: whose devices may come.
        limits: on connections and their speed.
        tls: files for TLS with certificates of both sides; None is plain text.
        tell: takes the events "refused" and "limit", from the broker's thread; it must not wait.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        websocket_port: int = 0,
        federation: str = "default",
        limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
        tls: TlsFiles | None = None,
        tell: Tell = lambda _kind, _fields: None,
    ) -> None:
        self._at = BrokerUrl(host, port, tls is not None)
        self._settings = Settings(host, port, websocket_port, federation, limits, tls, tell)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_note)
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedded-broker", daemon=True)
        self._broker: Broker | None = None
        self._revoked = Revoked()
        self._said: deque[tuple[str, bytes, bool] | threading.Event] = deque()
        self._due = False

    @property
    def url(self) -> BrokerUrl:
        """Return where devices connect; the port is known once it was started."""
        return self._at

    def start(self) -> BrokerUrl:
        """Listen; returns where devices connect, once they can. What they say waits for ``connect``.

        Raises:
            ListenError: when the port is in use, the address is not ours, or a certificate cannot be used.
        """
        self._thread.start()
        try:
            port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(START_S)
        except Exception as error:
            self._broker = None
            self.stop()
            raise error if isinstance(error, ListenError) else listen_failure(error, self._at) from error
        self._at = replace(self._at, port=port)
        return self._at

    async def _start(self) -> int:
        broker = Broker(self._loop, self._settings)
        broker.revoke(self._revoked)
        port = await broker.listen()
        self._broker = broker
        return port

    def connect(self, sink: Sink) -> None:
        """Hand what devices say to ``sink`` from now on; called from the broker's thread, it must not wait."""
        broker = self._broker
        if broker is not None:
            self._call(lambda: broker.connect(sink))

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Send a message to whoever hears its topic; returns at once."""
        self._say((topic, payload, retain))

    def flush(self, seconds: float) -> bool:
        """Wait until all that was published is on its way to devices; return whether it is."""
        said = threading.Event()
        self._say(said)
        return said.wait(seconds)

    def _say(self, said: tuple[str, bytes, bool] | threading.Event) -> None:
        self._said.append(said)
        if not self._due:  # one call for all that is said until it comes
            self._due = True
            self._call(self._publish)

    def _publish(self) -> None:
        """Send what was said, in the broker's thread; after a while others have their turn."""
        self._due = False  # first: what is said from now on calls again
        until = self._loop.time() + TURN_S
        while self._said and self._broker is not None:
            said = self._said.popleft()
            if isinstance(said, threading.Event):
                said.set()
            else:
                topic, payload, retain = said
                self._broker.publish(topic, payload, retain=retain)
            if self._loop.time() > until:
                self._loop.call_soon(self._publish)
                return

    def revoke(self, revoked: Revoked) -> None:
        """Refuse these and no others from now on, and cut off who of them is here; returns at once."""
        before, self._revoked = self._revoked, revoked
        if self._broker is not None and revoked != before:
            broker = self._broker
            self._call(lambda: broker.revoke(revoked))

    def reload(self, limits: ConnectionLimits, tls: TlsFiles | None) -> None:
        """Take other limits and certificates, for who comes from now on; TLS can be neither added nor taken away.

        Raises:
            ListenError: when a certificate cannot be used; nothing was changed.
        """
        context = server_context(tls) if tls is not None else None
        if self._broker is not None:
            asyncio.run_coroutine_threadsafe(self._broker.reload(limits, context), self._loop)

    def stop(self) -> None:
        """Close every connection and stop the thread; what takes longer than ``STOP_S`` ends with the process."""
        if self._broker is not None:
            try:
                asyncio.run_coroutine_threadsafe(self._broker.shutdown(), self._loop).result(STOP_S)
            except Exception as error:  # noqa: BLE001 - the process ends anyway
                log.debug("shutdown: %s", error)
            self._broker = None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STOP_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _call(self, call: Callable[[], object]) -> None:
        """Have the broker's thread do something soon."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            log.debug("the broker has stopped")


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.debug("%s: %r", context.get("message"), context.get("exception"))
