"""What the page decides without a socket: names, tokens, sessions, counts, charts, health."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from broker_server.config import GatewayConfig
from broker_server.config_tables import Listen
from broker_server.errors import ListenError, UsageError
from broker_server.events import Events
from broker_server.views.coverage import Coverage, Trained
from broker_server.views.live import Live, LiveRound, Load
from broker_server.web.access import SESSION_S, SESSIONS, WINDOW_S, WRONG_TOKENS, Attempts, Sessions, network, same
from broker_server.web.charts import NARROW, WIDE, Pair, Point, bytes_chart, heat_map, level, ticks, worth_chart
from broker_server.web.health import health
from broker_server.web.page import listen, serving
from broker_server.web.rendering import clock, markup, number
from broker_server.web.tally import REASONS, SECONDS, Tally
from broker_server.web_config import Web
from edge_runtime.wire.experts import ExpertId

TOKEN = "0123456789abcdef"  # noqa: S105 - of a test


def live(at: float = 100.0, **load: Any) -> Live:
    """Return a gateway at rest."""
    return Live(at, 1.0, "gathering", LiveRound(), 0, frozenset(), 0, 0, Load(**({"broker_up": True} | load)), 0)


# settings


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"port": 65536}, "web.port 65536, expected 0 to 65535"),
        ({"token": "short"}, "web.token has 5 characters, expected 16 or more"),
        ({"token": "with a line\nbreak in it"}, "expected 16 or more of ASCII"),
        ({"host": "0.0.0.0"}, "set a token in"),  # noqa: S104 - refused
        ({"host": "192.168.0.7"}, "set a token in"),
        ({"public_host": "a b"}, "web.public_host 'a b' is no name"),
    ],
)
def test_settings_that_cannot_be(fields: dict[str, Any], error: str) -> None:
    """A page beyond this machine has a token that nobody guesses."""
    with pytest.raises(UsageError, match=re.escape(error)):
        Web(**fields)


def test_a_token_travels_encrypted() -> None:
    """Beyond this machine the page needs the gateway's certificate, or a proxy in front of it."""
    with pytest.raises(UsageError, match="whoever is on the way reads its token"):
        GatewayConfig(Path("p"), web=Web(host="192.168.0.7", token=TOKEN))
    assert GatewayConfig(Path("p"), web=Web(host="192.168.0.7", token=TOKEN, allow_plaintext=True)).web.port == 8700
    files = {"ca": Path("a"), "certificate": Path("b"), "key": Path("c")}
    assert GatewayConfig(Path("p"), web=Web(host="192.168.0.7", token=TOKEN), listen=Listen(**files)).web.token == TOKEN
    assert GatewayConfig(Path("p"), web=Web(host="192.168.0.7", port=0)).web.port == 0
    assert TOKEN not in repr(Web(token=TOKEN))


# who gets in


def test_ten_wrong_tokens_shut_a_network_out_for_a_minute() -> None:
    """Its right one is not looked at either, so that guessing has a rate; others are not concerned."""
    attempts = Attempts()
    for second in range(WRONG_TOKENS):
        assert attempts.wait_s("10.0.0.1", second) == 0
        attempts.wrong("10.0.0.1", second)
    assert attempts.wait_s("10.0.0.1", 10.0) == WINDOW_S - 10.0
    assert attempts.wait_s("10.0.0.2", 10.0) == 0
    assert attempts.wait_s("10.0.0.1", WINDOW_S) == 0
    attempts.wrong("10.0.0.1", WINDOW_S)
    assert attempts.wait_s("10.0.0.1", WINDOW_S) == 0


@pytest.mark.parametrize(
    ("address", "one"),
    [
        ("10.1.2.3", "10.1.2.3"), ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"), ("::ffff:10.1.2.3", "10.1.2.3"),
        ("fe80::1%eth0", "fe80::/64"), ("", ""),
    ],
)  # fmt: skip
def test_one_person_has_one_network(address: str, one: str) -> None:
    """An IPv6 customer has 2^64 addresses."""
    assert network(address) == one


def test_sessions_end_and_are_bounded() -> None:
    """After twelve hours, when they are ended, and the oldest when there are too many."""
    sessions = Sessions()
    first = sessions.begin(0.0)
    session = sessions.of(first, SESSION_S - 1)
    assert session is not None
    assert sessions.of(first, SESSION_S) is None
    assert sessions.of(first[:-1], 0.0) is None
    second = sessions.begin(0.0)
    other = sessions.of(second, 0.0)
    assert other is not None
    assert other.csrf != session.csrf
    sessions.end(second)
    assert sessions.of(second, 0.0) is None
    for _ in range(SESSIONS):
        sessions.begin(0.0)
    assert sessions.of(first, 0.0) is None


def test_secrets_are_compared_whole() -> None:
    """Whatever they hold, lone surrogates too."""
    assert same(TOKEN, TOKEN)
    assert not same(TOKEN, TOKEN + "0")
    assert not same("\ud800", TOKEN)


# counts and health


@pytest.mark.parametrize(
    ("value", "now", "word"),
    [
        (None, 0.0, "starting"), (live(), 100.5, "ok"), (live(), 130.0, "ok"), (live(), 130.1, "stuck"),
        (live(broker_up=False), 101.0, "broker"), (live(disk_refuses=True), 101.0, "disk"),
    ],
)  # fmt: skip
def test_health_in_one_word(value: Live | None, now: float, word: str) -> None:
    """A deciding thread that says nothing for half a minute is stuck."""
    assert health(value, now) == word


def test_what_happens_is_counted_by_few_names() -> None:
    """Strangers choose no label: beyond forty reasons they are "other"."""
    tally = Tally()
    tally({"event": "delta", "code": "ACCEPTED", "bytes": 300})
    tally({"event": "delta", "code": "STALE", "bytes": 200})
    tally({"event": "hello", "device": "a"})
    for place in range(REASONS + 5):
        tally({"event": "refused", "reason": f"reason {place}", "times": 2})
    tally({"event": "version", "reason": "merge", "seconds": 2.0})
    tally({"event": "version", "reason": "merge", "seconds": 1e9})
    tally({"event": "version", "reason": "head"})
    tally({"event": "not_served", "version": 3})
    assert tally.not_served == 1
    assert tally.verdicts == {("delta", "ACCEPTED"): 1, ("delta", "STALE"): 1, ("hello", "ACCEPTED"): 1}
    assert tally.deltas_bytes == 300
    assert len(tally.refused) == REASONS + 1
    assert tally.refused["other"] == 10
    assert tally.versions == {"merge": 2, "head": 1}
    assert tally.buckets == [0, 1, *[0] * (len(SECONDS) - 2), 1]


# charts


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0.0, 1.0, [0.0, 0.5, 1.0]), (0.62, 0.71, [0.6, 0.65, 0.7, 0.75]), (0.5, 0.5, [0.5]), (0, 950, [0, 500, 1000]),
        (-300, 700, [-500, 0, 500, 1000]),
    ],
)  # fmt: skip
def test_marks_are_round_numbers_around_what_is_shown(low: float, high: float, marks: list[float]) -> None:
    """A few of them, and a figure that never changes has one at least."""
    assert ticks(low, high)[: len(marks)] == pytest.approx(marks)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_chart_holds_all_points_inside(width: int) -> None:
    """The first at the left, the last at the right, the best at the top; and what each is, in words."""
    points = [Point(0, 0.25, "initial"), Point(1, 0.75, "head"), Point(2, 0.5, "merge"), Point(3, 0.75, "rollback")]
    text = str(worth_chart(points, "accuracy", width))
    line = re.search(r'polyline class="line" points="([^"]+)"', text)
    assert line is not None
    places = [tuple(map(float, place.split(","))) for place in line[1].split()]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert all(0 < x < width and 0 < y < 230 for x, y in places)
    assert places[1][1] == places[3][1] == min(y for _, y in places)
    assert places[2][1] == pytest.approx((places[0][1] + places[1][1]) / 2, abs=0.1)
    assert "<title>version 2, merge: 50.0%</title>" in text


def test_one_version_is_a_chart_too() -> None:
    """Nothing is divided by its lack of a range."""
    assert "nan" not in str(worth_chart([Point(7, 3.5, "merge")], "perplexity", WIDE))


def test_bars_go_up_and_down_by_their_bytes() -> None:
    """From devices above the line, to devices below it, in one scale."""
    text = str(bytes_chart([Pair(1, 1000, 3000), Pair(2, 2000, None)], WIDE))
    heights = re.findall(r'<rect class="(\w+)"[^>]*height="([\d.]+)"', text)
    up1, down1, up2, down2 = (float(height) for _, height in heights)
    assert (up2, down1) == pytest.approx((2 * up1, 3 * up1), rel=0.01)
    assert down2 == 0
    assert "round 2: 2 kB up, not known down" in text


def test_a_heat_map_names_every_expert() -> None:
    """The darkest is the one that most devices trained; nobody's is no colour."""
    blocks = {ExpertId(2, 0): Trained(12, 30), ExpertId(5, 3): Trained(1, 1)}
    coverage = Coverage((2, 5), 4, shared=True, blocks=blocks)
    assert (coverage.trained, coverage.total, coverage.most, coverage.fewest) == (2, 8, 12, 0)
    text = str(heat_map(coverage, NARROW))
    assert re.findall(r'class="cell (h\d)"', text) == ["h6", *["h0"] * 6, "h1"]
    assert "layer 5, expert 3: 1 devices, 1 times" in text
    assert [level(devices, 12) for devices in (0, 1, 2, 3, 6, 12)] == [0, 1, 1, 2, 3, 6]


def test_a_value_in_markup_is_text() -> None:
    """What devices say may stand in a chart."""
    assert str(markup("<b>{}</b>", "<i>")) == "<b>&lt;i&gt;</b>"


def test_numbers_as_people_read_them() -> None:
    """Thousands apart, minutes and seconds, and never below zero."""
    assert number(1234567) == "1\u202f234\u202f567"
    assert (clock(245.2), clock(59.6), clock(-3), clock(100_000)) == ("4:05", "1:00", "0:00", "28 h")


# a page that cannot be


def test_a_gateway_works_without_its_page(tmp_path: Path) -> None:
    """A port that is taken costs the page, which is told, and nothing else."""
    taken = listen("127.0.0.1", 0)
    told: list[dict[str, Any]] = []
    events = Events()
    events.watch(told.append)
    try:
        with serving(GatewayConfig(tmp_path, web=Web(port=taken.getsockname()[1])), lambda: None, events):
            pass
    finally:
        taken.close()
    assert [event["event"] for event in told] == ["page"]
    assert "the page cannot listen on 127.0.0.1 port" in told[0]["failure"]
    with serving(GatewayConfig(tmp_path, web=Web(port=0)), lambda: None, events):
        assert len(told) == 1


def test_an_address_that_is_not_here_is_told() -> None:
    """By its name."""
    with pytest.raises(ListenError, match=re.escape("the page cannot listen on 203.0.113.7 port 1")):
        listen("203.0.113.7", 1)
