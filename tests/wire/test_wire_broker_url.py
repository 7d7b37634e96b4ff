"""Brokers' URLs beyond the shared vectors: what is read is shown alike, and no refusal tells a secret."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.wire.broker_url import BrokerUrl, BrokerUrlError
from edge_runtime.wire.text import plain

CREDENTIAL = st.text(min_size=1, max_size=40).filter(lambda text: plain(text, 200))


@given(CREDENTIAL, CREDENTIAL)
def test_whatever_a_password_is_it_can_be_written(user: str, password: str) -> None:
    """Percent-encoded as every tool does it, user and password come out as they went in."""
    url = BrokerUrl.parse(f"mqtts://{quote(user, safe='')}:{quote(password, safe='')}@[::1]:99")
    assert url == BrokerUrl("::1", 99, tls=True, user=user, password=password)
    assert BrokerUrl.parse(str(url)) == BrokerUrl("::1", 99, tls=True)


@given(st.text())
def test_nothing_that_is_typed_ends_in_a_traceback(text: str) -> None:
    """Any text is a URL or refused by name, in one line."""
    try:
        shown = str(BrokerUrl.parse(text, allow_plaintext=True))
    except BrokerUrlError as error:
        shown = str(error)
    assert shown.isprintable()


@pytest.mark.parametrize("mark", ["@", ":", "/", "?", "#", "[", "]", " ", "%", "\n", ":1/", "//", "@:"])
@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "wss", "http"])
def test_no_refusal_shows_a_secret(scheme: str, mark: str) -> None:
    """Whatever mark tears a password apart, neither half of it is in the error, nor in the text of what is read."""
    for host in ("gateway.example", "localhost:0", "localhost:x", "a b", ""):
        try:
            shown = str(BrokerUrl.parse(f"{scheme}://me:left{mark}right@{host}"))
        except BrokerUrlError as error:
            shown = str(error)
        assert "left" not in shown
        assert "right" not in shown
