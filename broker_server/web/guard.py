"""Around every request: a sender in no hurry, a Host header that is ours, and rules for browsers with every answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker_server.rules.rates import Buckets
from broker_server.web.access import names_this, network

REQUESTS: Final = 300
"""Of one network at once; a page is four, and then two in five seconds."""
REQUESTS_PER_S: Final = 50.0
"""Of it from then on."""
PAUSE_S: Final = 1.0
"""Before one beyond that is refused: as connections are bounded, so is what a flood costs the gateway."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # "no-referrer" would make the Origin of our own forms "null"
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Guard:
    """Wraps an application. Args: inner: it; names: of this page, in lower case, beside localhost and addresses."""

    def __init__(self, inner: ASGIApp, names: Collection[str]) -> None:
        self._inner, self._names = inner, names
        self._rates = Buckets(REQUESTS, REQUESTS_PER_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if scope["type"] != "http":
            return
        client = scope["client"][0] if scope["client"] else ""
        if not self._rates.take(network(client), time.monotonic()):
            await asyncio.sleep(PAUSE_S)
            await PlainTextResponse("too many requests from this address\n", 429)(scope, receive, guarded)
            return
        hosts = Headers(scope=scope).getlist("host")
        if len(hosts) != 1 or not names_this(hosts[0], self._names):
            answer = PlainTextResponse(
                "this page has another name: set public_host in [web] to reach it by this one\n", 421
            )
            await answer(scope, receive, guarded)
            return
        await self._inner(scope, receive, guarded)
