"""The way to the broker as the runtime sees it: where it is, what comes from it, what can be asked of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol, Self

from edge_runtime.errors import ConfigError
from edge_runtime.wire import topics
from edge_runtime.wire.broker_url import BrokerUrl, BrokerUrlError


class Mqtt(StrEnum):
    """Which MQTT is spoken. AUTO: 5 with a broker that takes it, else 3.1.1."""

    AUTO = "auto"
    V3 = "3"
    V5 = "5"


@dataclass(frozen=True)
class Broker:
    """Where the broker is and how to speak to it.

    Args:
        url: of the broker, with credentials where it asks for them.
        ca: PEM file of the authority that signed the broker's certificate; None takes the system's.
        certificate: PEM file of the device's certificate.
        key: PEM file of its key.
    """

    url: BrokerUrl
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def parse(cls, url: str, *, allow_plaintext: bool = False, **files: Path | None) -> Self:
        """Read a broker's URL; SPEC.md, "Broker URLs".

        Args:
            url: of the broker.
            allow_plaintext: take mqtt:// to another machine.
            files: ca, certificate, key.

        Raises:
            ConfigError: when it is none, or certificates come with one that is not encrypted.
        """
        try:
            broker = cls(BrokerUrl.parse(url, allow_plaintext=allow_plaintext), **files)
        except BrokerUrlError as error:
            raise ConfigError(str(error)).about(*error.arguments) from error
        if not broker.url.tls and any(files.values()):
            raise ConfigError("certificates need mqtts:// or wss://, the broker's URL says neither")
        return broker

    def with_user(self, user: str, password: str) -> Broker:
        """Return the same broker with credentials, where its URL has none."""
        return self if self.url.user or not user else replace(self, url=replace(self.url, user=user, password=password))

    def __str__(self) -> str:
        """Return the URL without credentials."""
        return str(self.url)


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
    """A way to the broker; `edge_runtime.federation.mqtt.link.MqttLink` is the real one."""

    traffic: Traffic
    chunk_bytes: int
    """Of a body in one message, as the broker takes it."""

    def start(self) -> None:
        """Begin to connect; events come from now on."""
        ...

    def send(self, topic: topics.Topic, payloads: Iterable[bytes]) -> None:
        """Queue messages on this device's ``topic``."""
        ...

    def request(self, blobs: Sequence[str], want: bytes) -> None:
        """Listen on blob topics, then ask for them."""
        ...

    def release(self, blobs: Sequence[str]) -> None:
        """Stop listening on blob topics."""
        ...

    def listen(self, topic: topics.Topic) -> None:
        """Listen on a further topic of this device from now on, over lost connections too; twice does nothing."""
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
