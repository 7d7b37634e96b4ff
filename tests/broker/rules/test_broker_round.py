"""The round's table, complete; and when a round starts and closes."""

from __future__ import annotations

from itertools import product

import pytest

from broker_server.config_tables import RoundRules
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

RULES = RoundRules(quorum=2, deadline_s=100, join_wait_s=2, grace_s=30, max_staleness=1, newcomer_wait_s=10)
EXPECTED = {
    ("gathering", "quorum"): "open",
    ("gathering", "delta"): "gathering",
    ("open", "delta"): "open",
    ("open", "all in"): "merging",
    ("open", "expected in"): "merging",
    ("open", "deadline"): "merging",
    ("open", "buffer full"): "merging",
    ("open", "failed"): "gathering",
    ("open", "spent"): "finished",
    ("open", "short"): "open",
    ("merging", "delta"): "merging",
    ("merging", "merged"): "gathering",
    ("merging", "goes on"): "open",
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
    """All pairs, no others."""
    assert len(NEXT) == len(EXPECTED)


def test_finished_has_no_way_out() -> None:
    """What is over stays over."""
    assert not [pair for pair in NEXT if pair[0] is State.FINISHED]


def here(*devices: tuple[str, float, float | None]) -> dict[str, Present]:
    """Return devices that are here: (name, arrived at, ready at)."""
    return {name: Present(arrived, at) for name, arrived, at in devices}


@pytest.mark.parametrize(
    ("devices", "now", "starts"),
    [
        ([], 100, False),
        ([("a", 0, 0)], 100, False),  # below the quorum
        ([("a", 0, 0), ("b", 0, 0)], 1.9, False),  # others may start with them
        ([("a", 0, 0), ("b", 0, 0)], 2, True),
        ([("a", 0, 0), ("b", 0, 0), ("c", 99, 99)], 100, True),  # who comes later moves nothing
        ([("a", 0, 0), ("b", 99, 99)], 100, False),  # the quorum is one second old
        ([("a", 0, 0), ("b", 0, 0), ("c", 0, None)], 29, False),  # its statistics may still come
        ([("a", 0, 0), ("b", 0, 0), ("c", 0, None)], 30, True),
        ([("a", 0, 0), ("b", 0, 0), ("c", 29, None)], 30, True),  # the wait is over, whoever promises now
        ([("a", 0, 0), ("b", 0, 50), ("c", 49, None)], 79, True),  # its own grace is over
        ([("a", 0, 0), ("b", 0, 50), ("c", 49, None)], 78, False),
        ([("a", 0, None), ("b", 0, None)], 30, False),  # no head could know their labels
    ],
)
def test_start(devices: list[tuple[str, float, float | None]], now: float, *, starts: bool) -> None:
    """A round starts when the quorum has been ready for a while that nobody who comes later can stretch."""
    assert (may_start(Gathering(here(*devices), now), RULES) is Event.QUORUM) == starts


@pytest.mark.parametrize("every_s", [1.0, 7.0, 0.6])
def test_no_stream_of_arrivals_keeps_a_round_from_starting(every_s: float) -> None:
    """A new name that promises statistics every so often: the round starts 30 s after its quorum, as with one."""
    names = here(("a", 0, 0), ("b", 0, 0))
    strangers = here(*((f"s{i}", i * every_s, None) for i in range(int(60 / every_s))))

    def starts(now: float) -> bool:
        came = {name: one for name, one in strangers.items() if one.arrived_at <= now}
        return may_start(Gathering(names | came, now), RULES) is Event.QUORUM

    assert not starts(29.9)
    assert starts(30.0)


def test_device_without_its_statistics_is_not_planned_for() -> None:
    """However long it has been here: the head would not know its labels."""
    assert ready(here(("a", 0, 0), ("b", 0, None))) == {"a"}


def test_device_that_rests_has_no_place_in_a_quorum() -> None:
    """It is not planned for either."""
    present = here(("a", 0, 0)) | {"b": Present(0, 0, rests=True)}
    assert ready(present) == {"a"}
    assert may_start(Gathering(present, 100), RULES) is None


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
    ("answered", "left", "can_join", "event"),
    [
        ("a", "bc", "b", Event.SHORT),  # nobody trains, and b can
        ("a", "bc", "d", Event.SHORT),  # a newcomer can
        ("a", "bc", "", None),  # b and c may come back
        ("a", "b", "b", None),  # c still trains
        ("ab", "c", "c", Event.ALL_IN),  # c takes part in the next round
    ],
)
def test_devices_that_can_train_get_a_plan_when_nobody_does(
    answered: str, left: str, can_join: str, event: Event | None
) -> None:
    """Before the deadline, when the quorum cannot be reached without them."""
    opened = Opened(frozenset("abc"), frozenset(answered), frozenset(left), 100, 0, frozenset(can_join))
    assert may_close(opened, RULES) is event


@pytest.mark.parametrize(
    ("answered", "left", "expected", "now", "event"),
    [
        ("ab", "", "ab", 14.9, None),  # c and d have ten seconds from b's answer, at 5
        ("ab", "", "ab", 15, Event.EXPECTED_IN),
        ("ac", "", "ab", 15, None),  # b is waited for
        ("ac", "b", "ab", 15, Event.EXPECTED_IN),  # it left
        ("a", "", "a", 15, None),  # two are needed
        ("ab", "", "", 99, None),  # nobody has proven anything: all are waited for
        ("ab", "", "", 100, Event.DEADLINE),
        ("abcd", "", "ab", 5, Event.ALL_IN),
    ],
)
def test_round_waits_for_strangers_a_bounded_time(
    answered: str, left: str, expected: str, now: float, event: Event | None
) -> None:
    """To its deadline it waits for devices that answered a plan before, however many others hold one."""
    opened = Opened(
        frozenset("abcd"), frozenset(answered), frozenset(left), 100, now, expected=frozenset(expected), expected_at=5
    )
    assert may_close(opened, RULES) is event
