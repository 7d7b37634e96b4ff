"""The broker inside the gateway's process, on a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from dataclasses import replace
from typing import Any, Final

from broker_server.broker.access import Revoked
from broker_server.broker.limited import GATEWAY_USER, PRIVATE_HOST, LimitedBroker, Settings, listen_failure
from broker_server.broker.notices import Tell
from broker_server.broker.tls import TlsFiles, server_context
from broker_server.config import ConnectionLimits
from broker_server.errors import ListenError
from edge_runtime.wire.broker_url import BrokerUrl

START_S: Final = 15.0
STOP_S: Final = 0.5

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
        password = secrets.token_hex(32)
        self._settings = Settings(host, port, websocket_port, federation, limits, tls, tell, password)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_note)
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedded-broker", daemon=True)
        self._broker: LimitedBroker | None = None
        self._revoked = Revoked()

    @property
    def url(self) -> BrokerUrl:
        """Return where devices connect; the port is known once it was started."""
        return self._at

    def start(self) -> BrokerUrl:
        """Listen; returns when clients can connect where the gateway can, with what proves that it is the gateway.

        With TLS the gateway has a port of its own on this machine, without certificates.

        Raises:
            ListenError: when the port is in use, the address is not ours, or a certificate cannot be used.
        """
        # amqtt logs each connection and each hostile packet; what matters is logged by this file.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        self._thread.start()
        try:
            port, private = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(START_S)
        except Exception as error:
            self._broker = None
            self.stop()
            raise error if isinstance(error, ListenError) else ListenError(listen_failure(error, self._at)) from error
        self._at = replace(self._at, port=port)
        host = self._at.host if private == port else PRIVATE_HOST
        return BrokerUrl(host, private, user=GATEWAY_USER, password=self._settings.password)

    async def _start(self) -> tuple[int, int]:
        broker = LimitedBroker(self._loop, self._settings)
        await broker.revoke(self._revoked)
        ports = await broker.listen()
        self._broker = broker
        return ports

    def revoke(self, revoked: Revoked) -> None:
        """Refuse these and no others from now on, and cut off who of them is here; returns at once."""
        before, self._revoked = self._revoked, revoked
        if self._broker is not None and revoked != before:
            asyncio.run_coroutine_threadsafe(self._broker.revoke(revoked), self._loop)

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


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.debug("%s: %r", context.get("message"), context.get("exception"))
