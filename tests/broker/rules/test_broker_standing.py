"""What may be expected of a device: pauses that double, answers that make up for misses."""

from __future__ import annotations

from broker_server.config_tables import RoundRules
from broker_server.rules.standing import NEWCOMER, Standing, answered, missed

RULES = RoundRules(deadline_s=100, missed_plans=2)


def after_misses(count: int, standing: Standing = NEWCOMER, now: float = 0.0) -> Standing:
    """Return a standing after so many misses in a row, all at ``now``."""
    for _ in range(count):
        standing = missed(standing, now, RULES)
    return standing


def test_silent_name_rests_twice_as_long_each_time() -> None:
    """Two misses in a row are 100 s of rest, then 200, 400 ... up to an hour."""
    pauses = [after_misses(count).again_at for count in range(1, 9)]
    assert pauses == [0, 100, 200, 400, 800, 1600, 3200, 3600]
    assert after_misses(1000).again_at == 3600


def test_rest_ends() -> None:
    """Nobody is shut out for good."""
    standing = after_misses(2, now=50.0)
    assert standing.rests(149.9)
    assert not standing.rests(150.0)


def test_an_answer_ends_the_rest() -> None:
    """Also one that came late."""
    assert answered(after_misses(5)) == Standing(proven=True, missed=0, misses=5, owed=4)


def test_only_who_answered_is_expected() -> None:
    """A certificate is as good as an answer until a plan is missed."""
    assert not NEWCOMER.expected(certified=False)
    assert answered(NEWCOMER).expected(certified=False)
    assert NEWCOMER.expected(certified=True)
    assert not after_misses(1).expected(certified=True)


def test_answering_every_other_plan_makes_no_round_wait_for_long() -> None:
    """The n-th miss costs n answers: of 60 alternate rounds few expect the device, and ever fewer."""
    standing, expected = answered(NEWCOMER), []
    for number in range(60):
        if number % 2:
            standing = answered(standing)
        else:
            expected.append(standing.expected(certified=False))
            standing = missed(standing, 0.0, RULES)
    assert expected[0]
    assert sum(expected) <= 3


def test_one_miss_costs_an_honest_phone_one_answer() -> None:
    """It is waited for again after its next delta."""
    assert answered(missed(answered(NEWCOMER), 0.0, RULES)).expected(certified=False)


def test_rests_can_be_switched_off() -> None:
    """With 0 a silent device is planned for in every round, as a federation of one's own devices may want."""
    assert missed(after_misses(5), 0.0, RoundRules(missed_plans=0)).again_at == 0.0
