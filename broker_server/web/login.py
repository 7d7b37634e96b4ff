"""Login by token, sessions in cookies, and the token itself for programs (Bearer)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from broker_server.web.access import SESSION_S, Attempts, Session, Sessions, network, same
from broker_server.web.forms import form_of

COOKIE: Final = "edge_gateway_session"


@dataclass
class Login:
    """Args: token: of [web]; "": whoever reaches the page may use it; tls: cookies go over HTTPS only."""

    token: str
    tls: bool = False
    _sessions: Sessions = field(default_factory=Sessions)
    _attempts: Attempts = field(default_factory=Attempts)
    _everybody: Session = field(default_factory=Session)

    def session(self, request: Request) -> Session | None:
        """Return the session of a request; None: log in first."""
        if not self.token:
            return self._everybody
        return self._sessions.of(request.cookies.get(COOKIE, ""), time.monotonic())

    def check_program(self, request: Request) -> None:
        """Let a program in that brings the token, or a browser that is logged in.

        Raises:
            HTTPException: 401 or 429.
        """
        if self.session(request) is not None:
            return
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise HTTPException(
                401, "send the token of [web]: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )
        self._check(request, token.strip())

    async def enter(self, request: Request) -> Response:
        """Take the form of the login page, and begin a session.

        Raises:
            HTTPException: 401 or 429, and as ``form_of``.
        """
        form = await form_of(request)
        self._check(request, form.get("token", "").strip())
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE, self._sessions.begin(time.monotonic()), int(SESSION_S), secure=self.tls, httponly=True,
            samesite="strict",
        )  # fmt: skip
        return response

    def leave(self, request: Request) -> Response:
        """End the session of a request."""
        self._sessions.end(request.cookies.get(COOKIE, ""))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, secure=self.tls, httponly=True, samesite="strict")
        return response

    def _check(self, request: Request, token: str) -> None:
        now, client = time.monotonic(), network(request.client.host if request.client else "")
        wait = self._attempts.wait_s(client, now)
        if wait:
            raise HTTPException(
                429,
                f"too many wrong tokens from this address; try again in {wait:.0f} s",
                {"Retry-After": f"{wait:.0f}"},
            )
        if not same(token, self.token):
            self._attempts.wrong(client, now)
            raise HTTPException(401, "that is not the token of this gateway", {"WWW-Authenticate": "Bearer"})
