"""The pages and their addresses. Each handler reads what it shows, fills in a template, and decides nothing else."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from broker_server.errors import UsageError
from broker_server.views.devices import Device
from broker_server.web import actions, show
from broker_server.web.access import Session, same
from broker_server.web.assets import Assets
from broker_server.web.feed import Feed
from broker_server.web.forms import form_of
from broker_server.web.guard import Guard
from broker_server.web.health import health
from broker_server.web.login import Login
from broker_server.web.metrics import TYPE, Metrics
from broker_server.web.rendering import Templates
from edge_runtime.wire.errors import FederationError, MalformedMessage
from edge_runtime.wire.topics import check_name

FRAGMENT: Final = "/fragment/"
DEVICES_SHOWN: Final = 200
Handler = Callable[[Request], Awaitable[Response]]


class Pages:
    """Handlers of requests. Args: feed: what is shown; login: who may see it."""

    def __init__(self, feed: Feed, login: Login) -> None:
        self._feed, self._login = feed, login
        self._assets, self._metrics = Assets(), Metrics(feed)
        self._templates = Templates(
            federation=feed.config.federation, asset=self._assets.address, has_login=bool(login.token)
        )

    def application(self, names: frozenset[str]) -> Starlette:
        """Return the application. Args: names: by which browsers reach it."""
        get, both = ["GET"], ["GET", "POST"]
        routes = [
            Route("/", self._page(self.overview), methods=get),
            Route("/devices", self._page(self.devices), methods=get),
            Route("/versions", self._page(self.versions), methods=get),
            Route("/devices/{name}/{action}", self._page(self.device_action), methods=both),
            Route("/versions/{number:int}/rollback", self._page(self.rollback), methods=both),
            Route("/fragment/round", self._page(self.round), methods=get),
            Route("/fragment/figures", self._page(self.figures), methods=get),
            Route("/login", self.login, methods=both),
            Route("/logout", self._page(self.logout), methods=["POST"]),
            Route("/metrics", self.metrics, methods=get),
            Route("/healthz", self.healthz, methods=get),
            Route("/static/{name}", self._assets.answer, methods=get),
        ]
        handlers: dict[Any, Any] = {HTTPException: self._told, FederationError: self._failed, Exception: self._broken}
        return Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(Guard, names=names)])

    # pages

    async def overview(self, request: Request, session: Session) -> Response:
        """Show the live round, and below it what the state directory holds."""
        figures = await run_in_threadpool(self._feed.figures)
        return self._html(request, session, "overview", **show.overview(self._feed, figures))

    async def round(self, request: Request, session: Session) -> Response:
        """Show the live round alone."""
        return self._html(request, session, "round", **show.live_round(self._feed))

    async def figures(self, request: Request, session: Session) -> Response:
        """Show what the state directory holds alone."""
        figures = await run_in_threadpool(self._feed.figures)
        return self._html(request, session, "figures", **show.overview(self._feed, figures))

    async def devices(self, request: Request, session: Session) -> Response:
        """Show the devices that were seen last, or one by its name."""
        wanted = request.query_params.get("name", "").strip()[:80]
        names = (wanted,) if wanted else ()
        devices = await run_in_threadpool(self._feed.devices, DEVICES_SHOWN, names)
        notice = show.device_notice(request.query_params.get("done", ""), devices)
        values = show.devices(self._feed, devices, wanted)
        return self._html(request, session, "devices", notice=notice, **values)

    async def versions(self, request: Request, session: Session) -> Response:
        """Show the newest versions."""
        figures = await run_in_threadpool(self._feed.figures)
        return self._html(request, session, "versions", **show.versions(self._feed, figures))

    # what can be changed

    async def device_action(self, request: Request, session: Session) -> Response:
        """Ask whether a device shall go, or come back, and do it."""
        action = actions.OF_DEVICES.get(request.path_params["action"])
        device = await run_in_threadpool(self._device, request.path_params["name"])
        if action is None or device is None:
            raise HTTPException(404)
        return await self._act(request, session, action, device.name)

    async def rollback(self, request: Request, session: Session) -> Response:
        """Ask whether an earlier version shall come back, and do it."""
        figures = await run_in_threadpool(self._feed.figures)
        number = int(request.path_params["number"])
        if all(row.number != number for row in figures.versions.rows):
            raise HTTPException(404)
        return await self._act(request, session, actions.ROLLBACK, str(number))

    async def _act(self, request: Request, session: Session, action: actions.Action, what: str) -> Response:
        if request.method != "POST":
            return self._html(request, session, "confirm", action=action, what=what)
        self._check_csrf(session, await form_of(request))
        await run_in_threadpool(actions.do, action, what, self._feed.config)
        self._feed.forget()
        return RedirectResponse(f"{action.leads_to}?done={action.name}&name={what}", 303)

    def _device(self, name: str) -> Device | None:
        try:
            check_name(name, "device")
        except MalformedMessage:
            return None
        return next(iter(self._feed.devices(1, (name,)).rows), None)

    # who is there

    async def login(self, request: Request) -> Response:
        """Show the form for the token, and take it."""
        if self._login.session(request) is not None:
            return RedirectResponse("/", 303)
        if request.method == "POST":
            try:
                return await self._login.enter(request)
            except HTTPException as error:
                if error.status_code not in (401, 429):
                    raise
                page = self._templates.render("login", message=error.detail, page="login", session=None)
                headers = {key: value for key, value in (error.headers or {}).items() if key == "Retry-After"}
                return HTMLResponse(page, error.status_code, headers)
        return HTMLResponse(self._templates.render("login", message="", page="login", session=None))

    async def logout(self, request: Request, session: Session) -> Response:
        """End the session."""
        self._check_csrf(session, await form_of(request))
        return self._login.leave(request)

    # for programs

    async def metrics(self, request: Request) -> Response:
        """Answer Prometheus."""
        self._login.check_program(request)
        return Response(await run_in_threadpool(self._metrics.text), media_type=TYPE)

    async def healthz(self, _request: Request) -> Response:
        """Tell whether the gateway works; open to all, so it says nothing else."""
        status = health(self._feed.live(), time.time())
        return JSONResponse({"status": status}, 200 if status == "ok" else 503)

    # around them

    def _page(self, handler: Callable[[Request, Session], Awaitable[Response]]) -> Handler:
        """Return a handler that only who is logged in gets to."""

        @wraps(handler)
        async def answered(request: Request) -> Response:
            session = self._login.session(request)
            if session is not None:
                return await handler(request, session)
            if request.method != "GET" or request.url.path.startswith(FRAGMENT):
                raise HTTPException(401, "log in first")
            return RedirectResponse("/login", 303)

        return answered

    def _check_csrf(self, session: Session, form: dict[str, str]) -> None:
        if not same(form.get("csrf", ""), session.csrf):
            raise HTTPException(403, "this form has expired; load the page again")

    def _html(self, request: Request, session: Session, name: str, **values: object) -> Response:
        page = request.url.path.strip("/").partition("/")[0] or "overview"
        return HTMLResponse(self._templates.render(name, page=page, session=session, now=time.time(), **values))

    async def _told(self, request: Request, error: Exception) -> Response:
        code = error.status_code if isinstance(error, HTTPException) else 500
        detail = str(error.detail) if isinstance(error, HTTPException) else ""
        headers = error.headers if isinstance(error, HTTPException) else None
        return self._error(request, code, detail, headers)

    async def _failed(self, request: Request, error: Exception) -> Response:
        return self._error(request, 409 if isinstance(error, UsageError) else 503, str(error))

    async def _broken(self, request: Request, _error: Exception) -> Response:
        return self._error(request, 500, "a fault of the page; what happened is on the gateway's standard error")

    def _error(self, request: Request, code: int, detail: str, headers: Any = None) -> Response:  # noqa: ANN401 - as Starlette has them
        if "text/html" not in request.headers.get("accept", "") or self._login.session(request) is None:
            return JSONResponse({"error": detail}, code, headers)
        page = self._templates.render(
            "error", code=code, detail=detail, page="error", session=self._login.session(request), now=time.time()
        )
        return HTMLResponse(page, code, headers)
