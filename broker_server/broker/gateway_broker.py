"""The broker of a gateway, in its process, beside it or elsewhere, and what of it changes while the gateway runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from broker_server.broker.access import Revoked
from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.link import GatewayLink, LinkEvent, Sink
from broker_server.broker.local_link import LocalLink
from broker_server.broker.mosquitto import Mosquitto, Said
from broker_server.broker.mosquitto_config import Listener
from broker_server.broker.mqtt import Link, Target, lets_strangers_hear
from broker_server.broker.tls import TlsFiles
from broker_server.config import MOSQUITTO, GatewayConfig
from broker_server.errors import ListenError, UsageError
from broker_server.identity.certificates import new_revocation_list, utc_now
from broker_server.identity.key_files import read_pair, read_revoked
from edge_runtime.wire.broker_url import BrokerUrl


@dataclass(frozen=True)
class Notice:
    """The embedded broker turned somebody away, or held somebody to a limit. Args: fields: of the event ``kind``."""

    kind: str
    fields: dict[str, object]


class GatewayBroker:
    """The broker that a configuration names.

    Args:
        config: settings.
        revoked_devices: asked for the names that are refused.
        notice: takes notices, from other threads; it must not wait.
        say: takes what a supervised broker says, from other threads; it may wait.
    """

    def __init__(
        self,
        config: GatewayConfig,
        revoked_devices: Callable[[], Iterable[str]],
        notice: Callable[[Notice], None],
        say: Callable[[Said], None],
    ) -> None:
        self._config, self._revoked_devices, self._notice, self._say = config, revoked_devices, notice, say
        self._embedded: EmbeddedBroker | None = None
        self._mosquitto: Mosquitto | None = None
        self._target: Target | None = None
        self._link: Link | None = None
        self._checked = False
        self.url = ""
        """Where devices connect, once it was started."""

    @property
    def embedded(self) -> bool:
        """Whether it is in this process."""
        return self._embedded is not None

    def start(self) -> None:
        """Start it, if it is ours.

        Raises:
            ListenError, StorageError, UsageError: when that cannot be; nothing is left running.
        """
        config, listen = self._config, self._config.listen
        if config.broker == MOSQUITTO:
            self._target = self._start_mosquitto()
        elif config.broker:
            self._target = _elsewhere(config, config)
        else:
            self._embedded = EmbeddedBroker(
                listen.host,
                listen.port,
                websocket_port=listen.websocket_port,
                federation=config.federation,
                limits=listen,
                tls=_tls(config),
                tell=lambda kind, fields: self._notice(Notice(kind, fields)),
            )
            self._embedded.start()
            self.revoke()
        self.url = str(self._target if self._embedded is None else self._embedded.url)

    def connect(self, will: bytes, inbox: Sink, post: Callable[[LinkEvent], object]) -> GatewayLink:
        """Return the gateway's connection, not yet begun.

        Args:
            will: of ``gateway``, for a broker in another process.
            inbox: takes what devices say through a broker in this one, if there is room.
            post: takes events, from other threads; it may wait.
        """
        if self._embedded is not None:
            return LocalLink(self._embedded, self._config.federation, inbox, post)
        if self._target is None:
            msg = "the broker was not started"
            raise ListenError(msg)
        self._link = Link(self._target, self._config.federation, will, post)
        return self._link

    def _start_mosquitto(self) -> Target:
        config, listener, sign = self._config, _listener(self._config), _signer(self._config)
        self._mosquitto = mosquitto = Mosquitto(listener, config.federation, config.state, self._say, sign)
        self.revoke()
        mosquitto.start()
        if sign is None and _certificates(config):
            self._say(Said("mosquitto cannot refuse certificates: their authority's key is not beside [listen] ca"))
        url = BrokerUrl(listener.host, mosquitto.port, listener.tls is not None)
        return Target(url, socket=mosquitto.socket, mqtt=config.mqtt)

    def revoke(self) -> None:
        """Refuse who is revoked by now, and nobody else.

        Raises:
            StorageError, StateError: when that cannot be read or written.
        """
        devices = self._revoked_devices()
        if self._mosquitto is not None:
            self._mosquitto.revoke(devices, _certificates(self._config))
        if self._embedded is not None:
            self._embedded.revoke(Revoked(frozenset(devices), _certificates(self._config)))

    def reload(self, config: GatewayConfig) -> None:
        """Take certificates and limits of new settings, and read files again whose names are the same.

        Raises:
            ListenError, UsageError: when a file cannot be used; nothing was changed.
        """
        if self._embedded is not None:
            self._embedded.reload(config.listen, _tls(config))
        if self._mosquitto is not None:
            self._mosquitto.reconfigure(_listener(config))
        if self._link is not None and self._mosquitto is None:
            self._link.reload(_elsewhere(self._config, config))
        self._config = config
        self.revoke()

    def check(self) -> None:
        """Find out in the background whether a broker elsewhere lets strangers hear; that is then said, once."""
        if not self._checked and self._embedded is None and self._mosquitto is None:
            self._checked = True
            threading.Thread(target=self._check, name="stranger", daemon=True).start()

    def _check(self) -> None:
        if lets_strangers_hear(_elsewhere(self._config, self._config), self._config.federation):
            text = (
                f"broker {self.url} lets strangers in: without name or certificate one hears what is said there, and "
                "can perhaps speak as a device or as the gateway; docs/brokers.md has the rights that it should give"
            )
            self._say(Said(text))

    def stop(self) -> None:
        """End it, if it is ours."""
        if self._embedded is not None:
            self._embedded.stop()
        if self._mosquitto is not None:
            self._mosquitto.stop()


def _elsewhere(config: GatewayConfig, certificates: GatewayConfig) -> Target:
    files = {"ca": certificates.ca, "certificate": certificates.certificate, "key": certificates.key}
    return Target.parse(config.broker, allow_plaintext=config.listen.allow_plaintext, mqtt=config.mqtt, **files)


def _tls(config: GatewayConfig) -> TlsFiles | None:
    listen = config.listen
    if listen.ca is None or listen.certificate is None or listen.key is None:
        return None
    return TlsFiles(listen.certificate, listen.key, listen.ca)


def _listener(config: GatewayConfig) -> Listener:
    listen, tls = config.listen, _tls(config)
    if tls is not None:
        tls = TlsFiles(tls.certificate.resolve(), tls.key.resolve(), tls.authority.resolve())
    refuses = _signer(config) is not None
    return Listener(listen.host, listen.port, listen.websocket_port, listen.connections, tls, refuses)


def _certificates(config: GatewayConfig) -> frozenset[str]:
    file = config.listen.revoked
    return read_revoked(file) if file is not None else frozenset()


def _signer(config: GatewayConfig) -> Callable[[frozenset[str]], bytes] | None:
    """Return what signs lists of refused certificates; None where the authority's key is not here."""
    if config.listen.ca is None:
        return None
    try:
        authority = read_pair(config.listen.ca, "the authority")
    except UsageError:
        return None
    return lambda serials: new_revocation_list(authority, serials, utc_now())
