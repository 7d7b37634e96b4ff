"""Broker URLs and hosts: where a broker is, in one line of text; rules: SPEC.md, "Broker URLs".

A URL may hold a password, so an error shows nothing of one that could not be read: a misplaced mark would turn a part
of the password into a host or a port.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import unquote_to_bytes

from edge_runtime.wire.errors import FederationError
from edge_runtime.wire.text import plain

CREDENTIAL_BYTES: Final = 200
"""UTF-8 bytes of a user and of a password."""
_NAME: Final = "[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_ADDRESS_6: Final = "(?=[0-9A-Fa-f]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:]{2,39}"  # a colon alone makes no address
HOST: Final = re.compile(f"{_NAME}|{_ADDRESS_6}")
"""A name or an address, IPv6 without brackets."""
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_TLS: Final = ("mqtts", "wss")
_WEBSOCKET: Final = ("ws", "wss")
WEBSOCKET_PATH: Final = "/mqtt"
_URL: Final = re.compile(
    rf"([A-Za-z]+)://(?:([^ @/?#\[\]]*)@)?(?:({_NAME})|\[({_ADDRESS_6})\])(?::([0-9]{{1,5}}))?(/mqtt|/)?"
)
_ESCAPED: Final = re.compile("(?:[^%]|%[0-9A-Fa-f]{2})*")
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_LOOPBACK: Final = re.compile(rf"localhost|::1|127(?:\.{_OCTET}){{3}}")


class BrokerUrlError(FederationError):
    """A broker's URL cannot be used; the text says why, and shows nothing that may be secret."""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine; to any other, plain MQTT has to be allowed explicitly."""
    return bool(_LOOPBACK.fullmatch(host))


@dataclass(frozen=True)
class BrokerUrl:
    """Where a broker is and who asks.

    Args:
        host: a name or an address, IPv6 without brackets.
        port: TCP port.
        tls: speak TLS (mqtts, wss).
        user: name for the broker; "" is none.
        password: it goes with ``user``.
        websocket: MQTT goes through a WebSocket (ws, wss), for networks that let nothing else pass.
    """

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    websocket: bool = False

    @classmethod
    def parse(cls, text: str, *, allow_plaintext: bool = False) -> Self:
        """Read ``mqtt://[USER[:PASSWORD]@]HOST[:PORT]``, ``mqtts://...``, or ``ws://...`` and ``wss://...``.

        Args:
            text: the URL.
            allow_plaintext: take one without TLS to another machine: who is on the way can read and change all.

        Raises:
            BrokerUrlError: for anything else.
        """
        match = _URL.fullmatch(text)
        scheme = match[1].lower() if match is not None else ""
        websocket = scheme in _WEBSOCKET
        if match is None or scheme not in _PORTS or (match[6] == WEBSOCKET_PATH and not websocket):
            raise BrokerUrlError(
                "the broker's URL cannot be read; expected mqtt://HOST:PORT or mqtts://HOST:PORT (wss://HOST:PORT "
                "through a WebSocket), before the host perhaps USER@ or USER:PASSWORD@ with %40 for @, %3A for :, %2F "
                "for / and %25 for %"
            )
        tls, host, port = scheme in _TLS, (match[3] or match[4]).lower(), int(match[5] or _PORTS[scheme])
        if not 1 <= port <= 0xFFFF:
            raise BrokerUrlError("the port in the broker's URL is out of range, expected 1 to 65535")
        user, _, password = (match[2] or "").partition(":")
        url = cls(host, port, tls, _decoded(user, "user"), _decoded(password, "password"), websocket)
        if url.password and not url.user:
            raise BrokerUrlError("the broker's URL has a password and no user; expected USER:PASSWORD@ before the host")
        if not (tls or allow_plaintext or is_loopback(host)):
            raise BrokerUrlError(
                f"broker {host} is another machine and {scheme}:// is not encrypted; use {url.secure_scheme}://, or "
                "allow_plaintext on a network that you trust"
            ).about("allow_plaintext")
        return url

    @property
    def address(self) -> str:
        """Return ``HOST:PORT``, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def secure_scheme(self) -> str:
        """Return the scheme for the same with TLS."""
        return "wss" if self.websocket else "mqtts"

    def __str__(self) -> str:
        """Return the URL without credentials."""
        scheme = self.secure_scheme if self.tls else self.secure_scheme.removesuffix("s")
        return f"{scheme}://{self.address}"


def _decoded(text: str, name: str) -> str:
    try:
        decoded = unquote_to_bytes(text).decode() if _ESCAPED.fullmatch(text) else None
    except UnicodeError:
        decoded = None
    if decoded is None or not plain(decoded, CREDENTIAL_BYTES):
        raise BrokerUrlError(
            f"the {name} in the broker's URL cannot be used; expected at most {CREDENTIAL_BYTES} bytes of plain UTF-8, "
            "a % written as %25"
        )
    return decoded
