"""What the page says in each state of a gateway, and what to do next where there is nothing to show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from served import Served, ask

from broker_server.config import GatewayConfig
from broker_server.config_tables import Limits, Listen, RoundRules
from broker_server.views.live import Live, LiveRound, Load
from broker_server.web.page import Page, listen
from broker_server.web.show import _how_to_join, _may_return


class Shown:
    """A page that shows whatever gateway it is given."""

    def __init__(self, folder: Path) -> None:
        self.live: Live | None = None
        listener = listen("127.0.0.1", 0)
        self._port = int(listener.getsockname()[1])
        config = GatewayConfig(folder, state=folder / "state", rounds=4, round=RoundRules(quorum=3))
        self.page = Page(config, lambda: self.live, None, listener)
        self.page.start()

    def round(self, live: Live | None) -> str:
        """Return the part of the live round."""
        self.live = live
        answer = ask(self._port, "/fragment/round")
        assert answer.status == 200
        return " ".join(answer.text.split())

    def overview(self) -> tuple[int, str]:
        """Return status and text of the overview."""
        answer = ask(self._port, "/")
        return answer.status, answer.text

    def health(self) -> tuple[int, str]:
        """Return what a load balancer is told."""
        answer = ask(self._port, "/healthz")
        return answer.status, answer.text


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    """Return a page of a federation of four rounds, three devices each."""
    page = Shown(tmp_path)
    yield page
    page.page.stop()


def live(state: str = "gathering", **fields: Any) -> Live:
    """Return a gateway that works."""
    values: dict[str, Any] = {
        "at": time.time(), "started": 1.0, "state": state, "round": LiveRound(), "version": 0,
        "here": frozenset(), "bytes_up": 0, "bytes_down": 0, "load": Load(broker_up=True), "resident_bytes": 0,
    }  # fmt: skip
    return Live(**(values | fields))


def test_before_during_and_after_the_rounds(shown: Shown) -> None:
    """How many are still needed, how far the round is, and what comes after the last."""
    waiting = shown.round(live(here=frozenset({"a"})))
    assert "Waiting for devices for round 1" in waiting
    assert "1 of the 3 devices that a round needs is here." in waiting
    assert "it starts as soon as they are ready" in shown.round(live(here=frozenset("abcd")))
    names = frozenset("abcde")
    current = LiveRound(2, names, frozenset("a"), frozenset("b"), frozenset("c"), 65.0, 235.0, 1)
    opened = shown.round(live("open", round=current, rests_s={"d": 40.0}))
    for text in (
        "Round 2 of 4 is open",
        "1 of 5 answered",
        "deadline in</span> 3:55",
        "open for 1:05, needs 3",
        "1 silent",
    ):
        assert text in opened
    chips = [opened.index(f"{name}<span") for name in "ebcda"]
    assert chips == sorted(chips)  # at work, refused, left, silent, answered
    assert "past its deadline" in shown.round(live("open", round=replace(current, deadline_s=-1.0)))
    finished = shown.round(live("finished", round=LiveRound(4), version=5))
    assert "Finished after round 4" in finished
    assert "version 5 is served" in finished
    assert "broker_server run --rounds 8" in finished


def test_a_thousand_devices_are_counted_not_listed(shown: Shown) -> None:
    """Those that need a look are among the few that are shown."""
    names = [f"phone-{number:04d}" for number in range(1000)]
    answered, refused = frozenset(names[:998]), frozenset(names[998:999])
    text = shown.round(live("open", round=LiveRound(1, frozenset(names), answered, refused)))
    assert text.count('<li class="chip') == 61
    assert "and 940 more" in text
    assert "phone-0998" in text
    assert "phone-0999" in text
    assert len(text) < 10_000


@pytest.mark.parametrize(
    ("value", "status", "word", "advice"),
    [
        (None, 503, "starting", "The gateway starts."),
        (live(at=1.0), 503, "stuck", "See its log."),
        (live(load=Load()), 503, "broker", "not connected to its broker"),
        (live(load=Load(broker_up=True, disk_refuses=True)), 503, "disk", "free some space"),
    ],
)
def test_what_is_wrong_comes_first(shown: Shown, value: Live | None, status: int, word: str, advice: str) -> None:
    """On the page with what to do, for a load balancer in one word."""
    value = replace(value, at=time.time()) if value is not None and word != "stuck" else value
    assert advice in shown.round(value)
    assert shown.health() == (status, f'{{"status":"{word}"}}')


def test_a_state_that_cannot_be_read_is_told(shown: Shown) -> None:
    """The live round goes on."""
    shown.live = live()
    status, text = shown.overview()
    assert status == 503
    assert "The gateway cannot show this now" in text
    assert "no gateway state at" in text


def test_an_empty_federation_says_what_to_do_next(tmp_path: Path) -> None:
    """How a device joins, how versions are measured, when a round starts."""
    served = Served(tmp_path)
    try:
        text = served.ask("/").text
        assert "No device has joined yet" in text
        assert f"edge_runtime run --package DIR --data FILE --device-id NAME --broker {served.service.url}" in text
        assert "broker_server run --evaluate held-out.csv" in text
        assert "One starts when 3 devices are here." in text
        assert "No delta has come yet." in text
        assert "No device has joined yet" in served.ask("/devices").text
        assert "No device has the name ghost." in served.ask("/devices?name=ghost").text
    finally:
        served.close()


def test_with_certificates_a_device_joins_by_its_enrolment(tmp_path: Path) -> None:
    """The one command that makes it."""
    files = Listen(ca=tmp_path / "a", certificate=tmp_path / "b", key=tmp_path / "c")
    assert _how_to_join(GatewayConfig(tmp_path, listen=files), None) == "broker_server enroll NAME"  # type: ignore[arg-type]


def test_only_versions_that_are_kept_can_come_back(tmp_path: Path) -> None:
    """The newest few but the newest itself, and version 0."""
    config = GatewayConfig(tmp_path, limits=Limits(keep_versions=3))
    assert _may_return(config, [5, 4, 3, 2, 1, 0]) == {4, 3, 0}
    assert _may_return(GatewayConfig(tmp_path, limits=Limits(keep_versions=0)), [2, 1, 0]) == {1, 0}
