"""The way to the broker as the runtime sees it: where it is, what comes from it, what can be asked of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from edge_runtime.errors import ConfigError
from edge_runtime.wire import topics
from edge_runtime.wire.limits import LOOPBACK

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True)
class Broker:
    """Where the broker is and how to speak to it.

    Args:
        host: name or address.
        port: TCP port.
        tls: speak TLS (mqtts://).
        user: name, where the broker asks for one.
        password: its password.
        ca: PEM file of the authority that signed the broker's certificate; None takes the system's.
        certificate: PEM file of the device's certificate.
        key: PEM file of its key.
    """

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def with_user(self, user: str, password: str) -> Broker:
        """Return the same broker with credentials."""
        return replace(self, user=user, password=password)

    def __str__(self) -> str:
        """Return the URL without credentials."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


def parse_url(url: str, *, allow_plaintext: bool = False, **files: Path | None) -> Broker:
    """Read ``mqtt://[user:password@]host[:port]`` or ``mqtts://...``.

    Args:
        url: of the broker.
        allow_plaintext: take mqtt:// to another machine, where anyone on the way can read and change what is sent.
        files: ca, certificate, key.

    Raises:
        ConfigError: for anything else.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"broker {url!r} is no URL ({error}); expected mqtt://HOST:PORT") from error
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/"):
        raise ConfigError(f"broker {url!r}: expected mqtt://HOST:PORT or mqtts://HOST:PORT")
    tls = parts.scheme == "mqtts"
    if not tls and parts.hostname not in LOOPBACK and not allow_plaintext:
        raise ConfigError(
            f"broker {parts.hostname} is another machine and mqtt:// is not encrypted; use mqtts://, or "
            "--allow-plaintext on a network that you trust"
        )
    if not tls and any(files.values()):
        raise ConfigError("certificates need mqtts://, the broker's URL says mqtt://")
    host, user, password = parts.hostname, parts.username or "", parts.password or ""
    return Broker(host, port or _PORTS[parts.scheme], tls, user, password, **files)


@dataclass(frozen=True)
class Up:
    """Connected and listening."""


@dataclass(frozen=True)
class Down:
    """The connection went, or cannot be made.

    Args:
        reason: for people.
        again_s: seconds until the next try.
        first: of several in a row that no connection came between.
    """

    reason: str
    again_s: float
    first: bool


@dataclass(frozen=True)
class Arrived:
    """A message. Args: address: of its topic; payload: its bytes."""

    address: topics.Address
    payload: bytes


LinkEvent = Up | Down | Arrived


@dataclass
class Traffic:
    """Bytes of MQTT payloads since the start."""

    bytes_up: int = 0
    bytes_down: int = 0


class Link(Protocol):
    """A way to the broker; `edge_runtime.mqtt.MqttLink` is the real one."""

    traffic: Traffic

    def start(self) -> None:
        """Begin to connect; events come from now on."""
        ...

    def send(self, topic: topics.Topic, payloads: Iterable[bytes]) -> None:
        """Queue messages on this device's ``topic``."""
        ...

    def request(self, blobs: Sequence[str], want: bytes) -> None:
        """Listen on blob topics, then ask for them."""
        ...

    def release(self, blob: str) -> None:
        """Stop listening on a blob topic."""
        ...

    @property
    def busy(self) -> bool:
        """Whether something is still to be sent."""
        ...

    def stop(self, bye: bytes) -> None:
        """Say bye and close."""
        ...


def backoff(tries: int, first_s: float, last_s: float, chance: float) -> float:
    """Return seconds to wait before try number ``tries`` + 1: doubling up to ``last_s``, half of it by chance.

    ``chance`` is in [0, 1). So a thousand devices that lost one broker do not come back in the same second.
    """
    span = min(last_s, first_s * 2.0 ** min(tries, 30))
    return span * (0.5 + 0.5 * chance)
