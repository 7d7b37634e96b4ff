"""Whether a merged version is served: by hand."""

from __future__ import annotations

import pytest

from broker_server.errors import UsageError
from broker_server.gate_config import Gate
from broker_server.rules.gate import judge, unmeasured
from broker_server.views.wording import decided


@pytest.mark.parametrize(
    ("value", "served"),
    [(0.95, True), (0.90, True), (0.89, True), (0.8899, False)],
    ids=["better", "as good", "worse by the margin", "worse by more"],
)
def test_an_accuracy_may_fall_by_the_margin(value: float, served: bool) -> None:
    """A point below 0.90 is served although 0.90 - 0.89 is more than 0.01 in binary; 0.01 points more are not."""
    decision = judge(7, "accuracy", value, {5: 0.90}, 0.01)
    assert (decision.served, decision.against, decision.reference) == (served, 5, 0.90)
    assert decision.fall == pytest.approx(0.90 - value)


def test_a_loss_may_rise_by_the_margin() -> None:
    """Of losses less is better: 2.05 after 2.0 is within 0.1, 2.2 is not."""
    assert judge(3, "loss", 2.05, {2: 2.0}, 0.1).served
    decision = judge(3, "loss", 2.2, {2: 2.0}, 0.1)
    assert not decision.served
    assert decision.fall == pytest.approx(0.2)


def test_small_falls_do_not_add_up() -> None:
    """0.90, 0.895, 0.889: the last is only 0.006 worse than the one before it, and 0.011 worse than the best."""
    decision = judge(9, "accuracy", 0.889, {7: 0.90, 8: 0.895}, 0.01)
    assert (decision.served, decision.against) == (False, 7)


def test_of_equally_good_versions_the_newest_is_named() -> None:
    """Versions 4 and 6 have the same figure."""
    assert judge(8, "accuracy", 0.5, {4: 0.9, 6: 0.9, 7: 0.8}, 0.01).against == 6
    assert judge(8, "loss", 9.0, {4: 0.8, 6: 0.8, 7: 0.9}, 0.01).against == 6


def test_without_anything_to_compare_with_it_is_served() -> None:
    """Nothing before it was measured on these texts."""
    decision = judge(2, "accuracy", 0.1, {}, 0.01)
    assert (decision.served, decision.fall) == (True, None)
    assert decided(decision) == "version 2 is served: no version before it was measured on these texts"


def test_what_could_not_be_measured_is_not_served() -> None:
    """Nobody could look at it."""
    decision = unmeasured(2, "out of memory", 0.01)
    assert not decision.served
    assert decided(decision) == "version 2 is not served: it could not be measured: out of memory"


def test_a_decision_in_words() -> None:
    """Both figures, and the margin."""
    words = decided(judge(7, "accuracy", 0.8125, {5: 0.9}, 0.01))
    assert words == "version 7 is not served: accuracy 0.8125, version 5 has 0.9000 (margin 0.01)"


@pytest.mark.parametrize(("name", "value"), [("margin", -0.1), ("versions", 0)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    """By name, with what was expected."""
    with pytest.raises(UsageError, match=f"gate.{name} {value}, expected"):
        Gate(**{name: value})  # type: ignore[arg-type]
