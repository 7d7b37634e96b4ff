"""The round's table, complete; and when a round starts and closes."""

from __future__ import annotations

from itertools import product

import pytest

from broker_server.config import RoundRules
from broker_server.errors import RoundError
from broker_server.rules.round import (
    NEXT,
    Event,
    Gathering,
    Opened,
    Present,
    State,
    may_close,
    may_start,
    ready,
    step,
)

RULES = RoundRules(quorum=2, deadline_s=100, join_wait_s=2, grace_s=30, max_staleness=1)
EXPECTED = {
    ("gathering", "quorum"): "open",
    ("gathering", "delta"): "gathering",
    ("open", "delta"): "open",
    ("open", "all in"): "merging",
    ("open", "deadline"): "merging",
    ("open", "short"): "open",
    ("merging", "merged"): "gathering",
    ("merging", "last"): "finished",
}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_pair_is_decided(state: State, event: Event) -> None:
    """A pair leads where the table says, or raises naming both."""
    wanted = EXPECTED.get((state.value, event.value))
    if wanted is None:
        with pytest.raises(RoundError, match=state.value):
            step(state, event)
    else:
        assert step(state, event).value == wanted


def test_table_has_no_more_than_expected() -> None:
    """Eight pairs, no others."""
    assert len(NEXT) == len(EXPECTED)


def test_finished_has_no_way_out() -> None:
    """What is over stays over."""
    assert not [pair for pair in NEXT if pair[0] is State.FINISHED]


def here(*devices: tuple[str, float, bool]) -> dict[str, Present]:
    """Return devices that are here: (name, hello at, complete)."""
    return {name: Present(at, complete) for name, at, complete in devices}


@pytest.mark.parametrize(
    ("devices", "now", "starts"),
    [
        ([], 100, False),
        ([("a", 0, True)], 100, False),  # below the quorum
        ([("a", 0, True), ("b", 0, True)], 100, True),
        ([("a", 0, True), ("b", 99, True)], 100, False),  # b has only just come
        ([("a", 0, True), ("b", 0, True), ("c", 90, False)], 100, False),  # c's statistics may still come
        ([("a", 0, True), ("b", 0, True), ("c", 70, False)], 100, True),  # c had its grace
        ([("a", 0, True), ("b", 0, False)], 29, False),
        ([("a", 0, True), ("b", 0, True), ("c", 70.5, False)], 100, False),  # half a second of its grace is left
        ([("a", 0, False), ("b", 0, False)], 30, False),  # no head could know their labels
    ],
)
def test_start(devices: list[tuple[str, float, bool]], now: float, *, starts: bool) -> None:
    """A round starts with enough devices that are complete, when nobody is just arriving or has grace left."""
    assert (may_start(Gathering(here(*devices), now), RULES) is Event.QUORUM) == starts


def test_device_without_its_statistics_is_not_planned_for() -> None:
    """However long it has been here: the head would not know its labels."""
    assert ready(here(("a", 0, True), ("b", 0, False))) == {"a"}


@pytest.mark.parametrize(
    ("planned", "answered", "left", "now", "event"),
    [
        ("abc", "", "", 0, None),
        ("abc", "abc", "", 0, Event.ALL_IN),
        ("abc", "ab", "", 0, None),
        ("abc", "ab", "c", 0, Event.ALL_IN),  # c left: nobody is waited for
        ("abc", "a", "bc", 0, None),  # too few answered: they may come back
        ("abc", "ab", "", 100, Event.DEADLINE),
        ("abc", "a", "", 100, Event.SHORT),
        ("abc", "", "abc", 100, Event.SHORT),
        ("a", "a", "", 0, Event.ALL_IN),  # fewer planned than the quorum: all of them are enough
    ],
)
def test_close(planned: str, answered: str, left: str, now: float, event: Event | None) -> None:
    """A round closes when all are in, at its deadline with enough, or waits once more."""
    opened = Opened(frozenset(planned), frozenset(answered), frozenset(left), 100, now)
    assert may_close(opened, RULES) is event


@pytest.mark.parametrize(
    ("answered", "left", "again", "event"),
    [
        ("a", "bc", "b", Event.SHORT),  # nobody trains, and b can
        ("a", "bc", "", None),  # b and c may come back
        ("a", "b", "b", None),  # c still trains
        ("ab", "c", "c", Event.ALL_IN),  # c takes part in the next round
    ],
)
def test_devices_whose_plan_was_taken_back_get_another_when_they_are_needed(
    answered: str, left: str, again: str, event: Event | None
) -> None:
    """Before the deadline, when the quorum cannot be reached without them."""
    opened = Opened(frozenset("abc"), frozenset(answered), frozenset(left), 100, 0, frozenset(again))
    assert may_close(opened, RULES) is event
