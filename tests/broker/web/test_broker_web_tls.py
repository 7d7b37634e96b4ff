"""The page beyond this machine: over TLS with the gateway's certificate, which is taken anew while it runs."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from authority import Authority
from served import TOKEN

from broker_server.config import GatewayConfig
from broker_server.config_tables import Listen
from broker_server.errors import ListenError
from broker_server.web.page import Page, listen
from broker_server.web_config import Web


def settings(folder: Path, certificate: Path, key: Path, ca: Path) -> GatewayConfig:
    """Return settings of a page that other machines reach."""
    files = Listen(ca=ca, certificate=certificate, key=key)
    return GatewayConfig(folder, listen=files, web=Web(host="0.0.0.0", token=TOKEN))  # noqa: S104 - over TLS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return an authority that the browser trusts."""
    return Authority(tmp_path / "ours")


@pytest.fixture
def served(tmp_path: Path, authority: Authority) -> Iterator[tuple[Page, int]]:
    """Return a page and its port."""
    listener = listen("127.0.0.1", 0)
    page = Page(settings(tmp_path, *authority.sign("gateway"), authority.ca), lambda: None, None, listener)
    page.start()
    yield page, int(listener.getsockname()[1])
    page.stop()


def get(port: int, trusted: ssl.SSLContext, path: str, body: str | None = None) -> http.client.HTTPResponse:
    """Ask over TLS."""
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=trusted)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
    connection.request("GET" if body is None else "POST", path, body, headers)
    return connection.getresponse()


def test_the_page_has_the_gateways_certificate(served: tuple[Page, int], authority: Authority) -> None:
    """A browser needs none; its cookie goes over TLS only."""
    page, port = served
    trusted = ssl.create_default_context(cafile=str(authority.ca))
    assert page.url.startswith("https://")
    assert get(port, trusted, "/login").status == 200
    answer = get(port, trusted, "/login", urlencode({"token": TOKEN}))
    assert answer.status == 303
    assert "; secure" in str(answer.headers["Set-Cookie"]).lower()
    with pytest.raises(ssl.SSLCertVerificationError):
        get(port, ssl.create_default_context(), "/login")


def test_plain_http_and_old_tls_get_nothing(served: tuple[Page, int], authority: Authority) -> None:
    """Neither ends the page."""
    _, port = served
    plain = http.client.HTTPConnection("localhost", port, timeout=20)
    plain.request("GET", "/login")
    with pytest.raises((http.client.HTTPException, OSError)):
        plain.getresponse()
    old = ssl.create_default_context(cafile=str(authority.ca))
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match=r"(?i)ssl|protocol|version|ciphers"):
        get(port, old, "/login")
    assert get(port, ssl.create_default_context(cafile=str(authority.ca)), "/healthz").status == 503


def test_a_new_certificate_is_taken_when_the_gateway_reloads(served: tuple[Page, int], authority: Authority) -> None:
    """Connections that begin after it see the new one; one that cannot be used leaves the old one in place."""
    page, port = served
    trusted = ssl.create_default_context(cafile=str(authority.ca))

    def serial() -> object:
        connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=trusted)
        connection.connect()
        peer = connection.sock.getpeercert()
        connection.close()
        return peer["serialNumber"]

    first = serial()
    certificate, _ = authority.sign("gateway")
    page.reload({"event": "reload", "changed": []})
    second = serial()
    assert second != first
    certificate.write_text("no certificate")
    page.reload({"event": "reload", "changed": []})
    assert serial() == second


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path, authority: Authority) -> None:
    """With its name, before anything listens."""
    certificate, key = authority.sign("gateway")
    key.write_text("no key")
    with pytest.raises(ListenError, match=f"the page cannot use certificate {certificate}"):
        Page(settings(tmp_path, certificate, key, authority.ca), lambda: None)
