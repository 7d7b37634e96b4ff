"""A gateway with its page, as `broker_server run` puts them together, on free ports of this machine."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import tiny
from scripted import Device

from broker_server.config import GatewayConfig
from broker_server.config_tables import Limits, Listen, RoundRules, Train
from broker_server.events import Events
from broker_server.service import Service, Stop
from broker_server.state.ledger import NAME, Ledger
from broker_server.web.page import Page, listen
from broker_server.web.tally import Tally
from broker_server.web_config import Web

TRAIN = Train(steps=10, learning_rate=0.5, codec="auto", codec_down="float32")
"""Exact, so that sums can be computed by hand."""

TOKEN = "a-token-of-this-test-1234"  # noqa: S105 - of a test
TEXTS = {"a": [("rose", 0), ("rose rose", 0)], "b": [("leaf", 1), ("leaf rose leaf leaf", 1)], "c": [("sky", 2)]}
HELD_OUT = "text,label\nrose rose leaf,red\nleaf,green\nsky,blue\nsky sky rose,blue\n"


@dataclass
class Answer:
    """What came back. Args: headers: in lower case; the last of those that come twice."""

    status: int
    headers: dict[str, str]
    text: str


def ask(
    port: int, path: str, method: str = "GET", body: dict[str, str] | bytes | None = None, **headers: str
) -> Answer:
    """Send one request on a connection of its own.

    Args:
        port: on this machine.
        path: and query.
        method: of HTTP.
        body: bytes, or the fields of a form.
        headers: with "_" for "-".
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    sent = {"Accept": "text/html"} | {name.replace("_", "-"): value for name, value in headers.items()}
    data: bytes | None = urlencode(body).encode() if isinstance(body, dict) else body
    if isinstance(body, dict):
        sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
    try:
        connection.request(method, path, data, sent)
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, received, response.read().decode())
    finally:
        connection.close()


class Served:
    """A gateway and its page.

    Args:
        folder: for package, state and data.
        token: of the page; "": none.
        evaluate: measure versions.
        fields: of GatewayConfig.
    """

    def __init__(self, folder: Path, token: str = "", *, evaluate: bool = False, **fields: Any) -> None:
        self.package = tiny.make_package(folder / "package")
        if evaluate:
            (folder / "held.csv").write_text(HELD_OUT)
            fields["evaluate"] = folder / "held.csv"
        values = {
            "state": folder / "state", "round": RoundRules(quorum=3, join_wait_s=0.0, deadline_s=300.0),
            "listen": Listen(port=0), "train": TRAIN, "limits": Limits(blob_window_s=0.05),
            "web": Web(token=token),
        }  # fmt: skip
        self.config = GatewayConfig(folder / "package", **(values | fields))
        events, tally = Events(), Tally()
        self.told: list[dict[str, Any]] = []
        events.watch(self.told.append)
        events.watch(tally)
        self._stop = Stop()
        self.service = Service(self.config, events, self._stop)
        listener = listen("127.0.0.1", 0)
        self.port = int(listener.getsockname()[1])
        self.page = Page(self.config, lambda: self.service.live, tally, listener)
        self.page.start()
        self._thread = threading.Thread(target=self.service.run, daemon=True)
        self._thread.start()
        self.wait(lambda: self.service.live is not None and self.service.live.load.broker_up)
        self.devices: list[Device] = []

    @property
    def url(self) -> str:
        """Return the page's address."""
        return self.page.url

    @property
    def ledger(self) -> Ledger:
        """Return the ledger, opened for reading."""
        return Ledger(self.config.state / NAME, read_only=True)

    def join(self, name: str, slots: int = 2, limit: int = 99, **hello: Any) -> Device:
        """Let a device join that delivers in so many rounds."""
        device = Device(
            self.service.url, self.package, name, slots=slots, texts=TEXTS.get(name, TEXTS["a"]), limit=limit, **hello
        )
        self.devices.append(device)
        return device

    def wait(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until something holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.told[-5:]
            time.sleep(0.02)

    def wait_for_version(self, number: int) -> None:
        """Wait until there is a version, and the live value knows it."""
        self.wait(lambda: self.service.live is not None and self.service.live.version >= number)

    def ask(self, path: str, method: str = "GET", body: dict[str, str] | bytes | None = None, **headers: str) -> Answer:
        """Ask the page. Args: as the function ``ask``."""
        return ask(self.port, path, method, body, **headers)

    def log_in(self, token: str = TOKEN) -> str:
        """Log in; return the cookie to send."""
        answer = self.ask("/login", "POST", {"token": token})
        assert answer.status == 303, answer.text
        return answer.headers["set-cookie"].partition(";")[0]

    def form(self, path: str, **headers: str) -> str:
        """Return the CSRF token of the form on a page."""
        match = re.search(r'name="csrf" value="([^"]+)"', self.ask(path, **headers).text)
        assert match is not None
        return match[1]

    def close(self) -> None:
        """End it all."""
        for device in self.devices:
            device.leave()
        self.page.stop()
        self._stop.ask()
        self._thread.join(30)
        self.service.close()
