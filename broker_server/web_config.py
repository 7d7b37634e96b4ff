"""Settings of the web page: the table [web] of a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from broker_server.errors import UsageError
from edge_runtime.wire.broker_url import HOST, is_loopback

TOKEN_CHARACTERS: Final = 16
"""Of a token, at least: as many as nobody finds by trying."""


@dataclass(frozen=True)
class Web:
    """The page on which an operator sees the federation, with /metrics and /healthz.

    Args:
        host: address to serve it on.
        port: to serve it on; 0: no page.
        token: with which a browser logs in and Prometheus reads (Bearer), 16 characters or more; needed where the page
            can be reached from other machines, and where others use this machine, too.
        public_host: a further name by which browsers reach it; listen.public_host, addresses and localhost always do.
        allow_plaintext: serve other machines without encryption, for a proxy with TLS in front.
    """

    host: str = "127.0.0.1"
    port: int = 8700
    token: str = field(default="", repr=False)
    public_host: str = ""
    allow_plaintext: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 0xFFFF:
            raise UsageError(f"web.port {self.port}, expected 0 to 65535; 0: no page")
        fit = len(self.token) >= TOKEN_CHARACTERS and self.token.isascii() and self.token.isprintable()
        if self.token and not fit:
            raise UsageError(
                f"web.token has {len(self.token)} characters, expected {TOKEN_CHARACTERS} or more of ASCII; make one "
                "with python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"
            )
        if self.public_host and not HOST.fullmatch(self.public_host):
            raise UsageError(f"web.public_host {self.public_host!r} is no name or address, expected gateway.example")
        if self.port and not self.local and not self.token:
            raise UsageError(
                f"the page on {self.host} can be reached from other machines: set a token in [web], made with "
                "python3 -c 'import secrets; print(secrets.token_urlsafe(24))', or leave host at 127.0.0.1"
            )

    @property
    def local(self) -> bool:
        """Whether it can be reached from this machine alone."""
        return is_loopback(self.host)
