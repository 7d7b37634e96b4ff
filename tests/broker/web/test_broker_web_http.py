"""The page over real HTTP: who gets in, what is refused, what each answer carries, and what the buttons do."""

from __future__ import annotations

import html
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import TOKEN, Served, ask

from broker_server.cli import run
from broker_server.config import GatewayConfig
from broker_server.engine.ray_engine import ShardState
from broker_server.state.settings_table import ROLLBACK
from broker_server.upstream.desk import Look
from broker_server.web import connections, guard
from broker_server.web.feed import Feed
from broker_server.web.metrics import Metrics
from broker_server.web.page import Page, listen
from broker_server.web_config import Web

EVIL = "<script>document.title='taken'</script><img src=x onerror=alert(1)>\"'&"
PAGES = ("/", "/devices", "/versions", "/fragment/round", "/fragment/figures")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return a gateway of three rounds that wants a token; two of its devices say what they should not."""
    served = Served(tmp_path_factory.mktemp("web"), TOKEN, evaluate=True)
    served.join("a", slots=1, limit=3, profile=EVIL[:64], runtime=EVIL[:64])
    served.join("b", slots=2, limit=3, profile="</td></table>", runtime="{{ 7 * 7 }}{% raw %}")
    served.join("c", slots=4, limit=3)
    served.wait_for_version(4)
    yield served
    served.close()


@pytest.fixture(scope="module")
def cookie(gateway: Served) -> str:
    """Return the cookie of somebody who is logged in."""
    return gateway.log_in()


# who gets in


@pytest.mark.parametrize("path", ["/", "/devices", "/versions", "/devices/a/revoke", "/versions/0/rollback"])
def test_without_a_session_every_page_leads_to_the_login(gateway: Served, path: str) -> None:
    """And shows nothing of the federation."""
    answer = gateway.ask(path)
    assert (answer.status, answer.headers["location"], answer.text) == (303, "/login", "")


@pytest.mark.parametrize("path", ["/fragment/round", "/fragment/figures", "/metrics"])
def test_without_a_token_parts_and_metrics_are_refused(gateway: Served, path: str) -> None:
    """A page whose session ended learns it by this code."""
    assert gateway.ask(path).status == 401
    assert gateway.ask(path, Cookie="edge_gateway_session=" + "x" * 43).status == 401


@pytest.mark.parametrize("path", ["/logout", "/devices/a/revoke", "/versions/0/rollback"])
def test_without_a_session_nothing_can_be_changed(gateway: Served, path: str) -> None:
    """A form is refused before it is read."""
    assert gateway.ask(path, "POST", {"csrf": "x"}).status == 401
    assert not gateway.ledger.revoked_devices()


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ä" * 20])
def test_a_wrong_token_is_refused_where_it_is_asked_for(tmp_path: Path, token: str) -> None:
    """At the login, and as Bearer."""
    listener = listen("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    page = Page(GatewayConfig(tmp_path, web=Web(token=TOKEN)), lambda: None, None, listener)
    page.start()
    try:
        answer = ask(port, "/login", "POST", {"token": token})
        assert answer.status == 401
        assert "set-cookie" not in answer.headers
        assert "that is not the token of this gateway" in answer.text
        bearer = "Bearer " + token.encode("ascii", "ignore").decode()
        assert ask(port, "/metrics", Authorization=bearer).status == 401
    finally:
        page.stop()


def test_the_cookie_is_for_this_page_alone(gateway: Served) -> None:
    """No script reads it, and no other page makes a browser send it; logging out ends it for good."""
    answer = gateway.ask("/login", "POST", {"token": TOKEN})
    words = {word.strip().lower() for word in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= words
    mine = answer.headers["set-cookie"].partition(";")[0]
    assert gateway.ask("/", Cookie=mine).status == 200
    assert gateway.ask("/logout", "POST", {"csrf": "x"}, Cookie=mine).status == 403
    assert gateway.ask("/logout", "POST", {"csrf": gateway.form("/", Cookie=mine)}, Cookie=mine).status == 303
    assert gateway.ask("/", Cookie=mine).status == 303


def test_prometheus_reads_with_the_token(gateway: Served) -> None:
    """Every name has a HELP text and our prefix, and no device is a label, so the series are bounded."""
    answer = gateway.ask("/metrics", Authorization=f"Bearer {TOKEN}")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert all(family.documentation for family in families.values())
    assert all(name.startswith(("edge_gateway_", "process_")) for name in families)
    assert families["edge_gateway_version"].samples[0].value == 4
    verdicts = {
        (s.labels["kind"], s.labels["code"]): s.value
        for s in families["edge_gateway_verdicts"].samples
        if s.name.endswith("_total")
    }
    assert verdicts["delta", "ACCEPTED"] == 9
    seconds = {sample.name: sample.value for sample in families["edge_gateway_round_seconds"].samples}
    assert seconds["edge_gateway_round_seconds_count"] == 3
    labels = {value for family in families.values() for sample in family.samples for value in sample.labels.values()}
    assert not labels & {"a", "b", "c"}
    assert len(answer.text.splitlines()) < 400


def test_shards_and_the_gateway_above_have_metrics(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `status` tells of them; a gateway that has neither has none of these."""
    feed = Feed(gateway.config, lambda: None)
    figures = feed.figures()
    assert not re.search(r"shard|upstream", Metrics(feed).text().decode())
    shards = [asdict(ShardState(0, 8, "away", 2, "box", 70)), asdict(ShardState(1, 8, "ok", 1, "box", 7))]
    above = vars(Look("joined", "", 3))
    status = replace(figures.status, engine={"kind": "ray", "shards": shards}, upstream=above)
    monkeypatch.setattr(feed, "figures", lambda: replace(figures, status=status))
    assert {
        'edge_gateway_shards{state="ok"} 1.0',
        'edge_gateway_shards{state="away"} 1.0',
        "edge_gateway_shard_restarts 3.0",
        "edge_gateway_shards_used_bytes 77.0",
        "edge_gateway_upstream_joined 1.0",
        "edge_gateway_upstream_round 3.0",
    } <= set(Metrics(feed).text().decode().splitlines())


def test_health_is_open_and_says_one_word(gateway: Served) -> None:
    """A load balancer has no token."""
    answer = gateway.ask("/healthz")
    assert (answer.status, answer.text) == (200, '{"status":"ok"}')


# names and headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8700", "localhost.evil.example", "", "a b", "[::1", "127.0.0.1@evil.example"]
)
@pytest.mark.parametrize("path", ["/", "/login", "/metrics", "/healthz", "/static/page.js"])
def test_another_name_is_refused(gateway: Served, host: str, path: str) -> None:
    """A page elsewhere whose name was made to lead here gets nothing (DNS rebinding)."""
    assert gateway.ask(path, Host=host).status == 421


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8700", "192.168.0.7", "[::1]:8700", "[fe80::1]"]
)
def test_addresses_and_localhost_are_this_page(gateway: Served, host: str) -> None:
    """They cannot be made to lead elsewhere."""
    assert gateway.ask("/healthz", Host=host).status == 200


def test_two_names_are_none(gateway: Served) -> None:
    """Programs disagree on which of them counts."""
    sent = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert b" 400 " in raw(gateway, sent) or b" 421 " in raw(gateway, sent)


@pytest.mark.parametrize(
    "path", [*PAGES, "/login", "/healthz", "/metrics", "/static/page.css", "/nothing", "/devices/a/revoke"]
)
def test_every_answer_carries_the_rules_for_browsers(gateway: Served, cookie: str, path: str) -> None:
    """Refusals as well."""
    for headers in ({"Cookie": cookie}, {}, {"Host": "evil.example"}):
        answer = gateway.ask(path, **headers)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == (
            "max-age=86400" if path.startswith("/static") and answer.status == 200 else "no-store"
        )
        assert "server" not in answer.headers


class Inline(HTMLParser):
    """Collects what a strict policy would stop: scripts and styles in a page, handlers, what comes from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at a tag."""
        named = dict(attrs)
        self.tags.append(tag)
        if tag == "style" or (tag == "script" and "src" not in named):
            self.wrong.append(tag)
        self.wrong += [name for name in named if name == "style" or name.startswith("on")]
        self.wrong += [str(named[name]) for name in ("src", "href", "action") if "//" in (named.get(name) or "")]


@pytest.mark.parametrize(
    "path", [*PAGES, "/devices/a/revoke", f"/devices?name={EVIL.replace(' ', '+').replace('&', '%26')}"]
)
def test_what_devices_say_is_text(gateway: Served, cookie: str, path: str) -> None:
    """No page has a script, style, handler or address of its own in it, whatever devices and addresses say."""
    text = gateway.ask(path, Cookie=cookie).text
    parser = Inline()
    parser.feed(text)
    assert parser.wrong == []
    assert parser.tags.count("script") == (0 if "fragment" in path else 1)


def test_what_devices_say_is_shown_as_they_say_it(gateway: Served, cookie: str) -> None:
    """Escaped once: neither markup nor a template."""
    text = gateway.ask("/devices", Cookie=cookie).text
    assert EVIL[:64] not in text
    assert html.unescape(text).count(EVIL[:64]) == 2
    assert "{{ 7 * 7 }}{% raw %}" in text
    assert "&lt;/td&gt;&lt;/table&gt;" in text


# what is refused


@pytest.mark.parametrize(
    "path",
    [
        "/static/../application.py", "/static/..%2fapplication.py", "/static/%2e%2e/application.py",
        "/static//etc/passwd", "/static/%00page.css", "/static/..\\application.py", "/static/",
        "/devices/..%2f..%2fetc/revoke", "/devices/a/delete", "/devices/nobody/revoke", "/versions/99/rollback",
        "/versions/-1/rollback", "/versions/1e3/rollback",
        "/versions/99999999999999999999999999/rollback", "/fragment/..", "/.git/config", "/devices/%3Cscript%3E/revoke",
    ],
)  # fmt: skip
def test_paths_lead_to_pages_alone(gateway: Served, cookie: str, path: str) -> None:
    """Nothing of a path reaches the disk, and what is not there is not there."""
    assert gateway.ask(path, Cookie=cookie).status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS", "BREW"])
def test_other_methods_are_refused(gateway: Served, cookie: str, method: str) -> None:
    """Pages are got, forms are posted."""
    assert gateway.ask("/", method, Cookie=cookie).status in (400, 404, 405)


def test_a_form_needs_its_token_and_this_origin(gateway: Served, cookie: str) -> None:
    """Neither a page elsewhere nor a guess revokes a device."""
    path, csrf = "/devices/a/revoke", gateway.form("/devices/a/revoke", Cookie=cookie)
    other = gateway.form("/", Cookie=gateway.log_in())
    assert gateway.ask(path, "POST", {}, Cookie=cookie).status == 403
    for wrong in ("", "x", csrf[:-1], other):
        assert gateway.ask(path, "POST", {"csrf": wrong}, Cookie=cookie).status == 403
    for headers in (
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": f"http://127.0.0.1:{gateway.port + 1}"},
        {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
    ):  # fmt: skip
        assert gateway.ask(path, "POST", {"csrf": csrf}, Cookie=cookie, **headers).status == 403
    assert gateway.ask(path, "POST", {"csrf": csrf}, Cookie=cookie, Content_Type="text/plain").status == 415
    assert not gateway.ledger.revoked_devices()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"csrf=" + b"x" * 5000, 413),
        (b"&".join(b"a=1" for _ in range(100)), 400),
        (b"\xff\xfe=1", 400),
        (b"%zz&&=", 400),
    ],
)
def test_forms_are_small(gateway: Served, cookie: str, body: bytes, status: int) -> None:
    """What no page of ours sends is refused by its size, its fields or its letters."""
    answer = gateway.ask(
        "/devices/a/revoke", "POST", body, Cookie=cookie, Content_Type="application/x-www-form-urlencoded"
    )
    assert answer.status == status


def test_huge_headers_are_refused(gateway: Served) -> None:
    """Before they fill the memory; the page goes on."""
    for header in (b"X-Long: " + b"x" * 100_000, b"\r\n".join(b"X-%d: y" % number for number in range(5000))):
        assert not raw(gateway, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n\r\n").startswith(
            b"HTTP/1.1 200"
        )
    assert not raw(gateway, b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(
        b"HTTP/1.1 200"
    )
    assert gateway.ask("/healthz").status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"\x00" * 64,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_what_is_no_http_is_refused(gateway: Served, sent: bytes) -> None:
    """TLS, noise and lengths that cannot be; the page goes on."""
    assert not raw(gateway, sent).startswith(b"HTTP/1.1 200")
    assert gateway.ask("/healthz").status == 200


def test_clients_that_send_nothing_keep_nobody_out(gateway: Served) -> None:
    """With twice as many of them as there is room for, a browser is answered at once; the oldest of them went."""
    idle = [socket.create_connection(("127.0.0.1", gateway.port), 10) for _ in range(2 * connections.CONNECTIONS)]
    for client in idle:
        client.sendall(b"GET / HTTP/1.1\r\nHost: loc")  # and never the rest
    try:
        assert gateway.ask("/healthz").status == 200
        assert ended(idle[0])
    finally:
        for client in idle:
            client.close()


def ended(client: socket.socket) -> bool:
    """Return whether the page ended a connection; with bytes on their way, the system says so by a reset."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_flood_is_slowed_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request beyond what people need waits, and gets a refusal that costs little."""
    monkeypatch.setattr(guard, "REQUESTS", 3)
    monkeypatch.setattr(guard, "REQUESTS_PER_S", 1e-6)
    monkeypatch.setattr(guard, "PAUSE_S", 0.25)
    listener = listen("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    page = Page(GatewayConfig(tmp_path), lambda: None, None, listener)
    page.start()
    try:
        assert [ask(port, "/static/icon.svg").status for _ in range(4)] == [200, 200, 200, 429]
        began = time.monotonic()
        assert ask(port, "/static/icon.svg").status == 429
        assert time.monotonic() - began >= 0.25
    finally:
        page.stop()


def test_a_request_has_its_time(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose request does not come in time is ended, however often it sends a byte."""
    monkeypatch.setattr(connections, "REQUEST_S", 0.5)
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
        client.settimeout(0.05)
        received: bytes | None = None
        for letter in b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200:
            try:
                client.sendall(bytes([letter]))
                received = client.recv(1)
                break
            except TimeoutError:
                continue
            except OSError:
                received = b""
                break
        assert received == b""


def raw(gateway: Served, sent: bytes) -> bytes:
    """Send bytes as they are; return what comes until the page ends the connection, or is silent."""
    received = b""
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
        client.settimeout(3)
        try:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            while part := client.recv(65536):
                received += part
        except OSError:
            pass
    return received


# what the buttons do


def test_pages_show_the_federation(gateway: Served, cookie: str) -> None:
    """Its round, devices, versions and what they are worth."""
    overview = gateway.ask("/", Cookie=cookie).text
    assert "Round 4 is open" in overview
    assert "0 of 3 answered" in overview
    assert "version 4, merge: 100.0%" in overview
    assert re.search(r"How many devices trained each expert: [12] to [23]\.", overview)
    assert re.search(r"round 3: [0-9.]+ kB up, [0-9.]+ k?B down", overview)
    assert 'ACCEPTED</span></th><td class="n">9</td>' in overview
    devices = gateway.ask("/devices", Cookie=cookie).text
    assert [name in devices for name in ('<th scope="row">a</th>', '<th scope="row">b</th>')] == [True, True]
    versions = gateway.ask("/versions", Cookie=cookie).text
    assert "better than version 0" in versions
    assert "5 in all" in versions


def test_revoke_and_take_back_as_the_command_does(gateway: Served, cookie: str, capsys: Any) -> None:
    """After a question; the running gateway heeds it, the command line sees it, and the other way round."""
    question = gateway.ask("/devices/c/revoke", Cookie=cookie).text
    assert "Revoke c?" in question
    assert "broker_server revoke c" in question
    csrf = gateway.form("/devices/c/revoke", Cookie=cookie)
    answer = gateway.ask("/devices/c/revoke", "POST", {"csrf": csrf}, Cookie=cookie)
    assert (answer.status, answer.headers["location"]) == (303, "/devices?done=revoke&name=c")
    assert "c is revoked." in gateway.ask(answer.headers["location"], Cookie=cookie).text
    assert gateway.ledger.revoked_devices() == ["c"]
    gateway.wait(lambda: gateway.service.live is not None and "c" not in gateway.service.live.here)
    assert run(["devices", "--restore", "c", "--state", str(gateway.config.state)]) == 0
    assert "c is taken back" in capsys.readouterr().out
    assert 'href="/devices/c/revoke"' in gateway.ask("/devices", Cookie=cookie).text
    assert run(["devices", "--revoke", "c", "--state", str(gateway.config.state)]) == 0
    gateway.ask("/devices/c/restore", "POST", {"csrf": csrf}, Cookie=cookie)
    assert gateway.ledger.revoked_devices() == []


def test_an_address_alone_claims_nothing(gateway: Served, cookie: str) -> None:
    """A link that says that something was done shows it only where it is so."""
    assert "is revoked." not in gateway.ask("/devices?done=revoke&name=a", Cookie=cookie).text


def test_go_back_as_the_command_does(gateway: Served, cookie: str) -> None:
    """The wish is in the ledger, and the page says that it waits."""
    csrf = gateway.form("/versions/2/rollback", Cookie=cookie)
    assert gateway.ask("/versions/2/rollback", "POST", {"csrf": csrf}, Cookie=cookie).status == 303
    assert gateway.ledger.get(ROLLBACK) == "2"
    assert "Version 2 comes back" in gateway.ask("/versions", Cookie=cookie).text
