"""What updates of unequal steps are cut to, by hand-computed numbers."""

from __future__ import annotations

from broker_server.rules.aggregate import Contribution
from broker_server.rules.norm_cuts import norm_cuts
from broker_server.rules.robust import Robust, UsualNorms
from broker_server.rules.server_rules import PLAIN, ServerRules
from broker_server.rules.weights import Caps

CAPS = Caps(norm=2)


def claims(*steps: int) -> list[Contribution]:
    """Return updates of so many steps."""
    return [Contribution(f"d{place}", 1, 1, 0, {}, steps=number) for place, number in enumerate(steps)]


def test_who_makes_more_steps_than_others_may_move_further() -> None:
    """Norms 1, 3, 4 of 10, 10 and 40 steps: twice the median is 6, four times that for the last; less for nobody."""
    one, two, many = updates = claims(10, 10, 40)
    cuts, _ = norm_cuts([{"expert": norm} for norm in (1.0, 3.0, 4.0)], updates, CAPS, PLAIN)
    assert [cuts.of(update)["expert"] for update in (one, two, many)] == [6, 6, 24]
    few = claims(1, 10, 10)
    cuts, _ = norm_cuts([{"expert": 3.0}] * 3, few, CAPS, PLAIN)
    assert cuts.of(few[0]) == {"expert": 6}


def test_where_steps_are_taken_out_few_are_no_excuse() -> None:
    """1, 2 and 30 for 10, 10 and 1 steps are 0.1, 0.2 and 30 a step: twice the median is 0.4 a step."""
    updates = claims(10, 10, 1)
    norms = [{"expert": norm} for norm in (1.0, 2.0, 30.0)]
    cuts, usual = norm_cuts(norms, updates, CAPS, ServerRules(normalized=True))
    assert [cuts.of(update)["expert"] for update in updates] == [4.0, 4.0, 0.4]
    assert usual == UsualNorms()


def test_robust_merging_goes_by_what_was_usual() -> None:
    """The rounds before had 1; this one has 9: the median of both is 5."""
    usual = UsualNorms({"expert": (1.0,)})
    cuts, after = norm_cuts([{"expert": 9.0}] * 3, claims(5, 5, 5), CAPS, ServerRules(robust=Robust()), usual)
    assert cuts.norms == {"expert": 10.0}
    assert after == UsualNorms({"expert": (1.0, 9.0)})


def test_two_devices_are_cut_to_nothing_that_either_says() -> None:
    """Without a majority there is no usual norm; without devices there is nothing."""
    assert norm_cuts([{"expert": 9.0}] * 2, claims(5, 50), CAPS, PLAIN)[0].norms == {}
    assert norm_cuts([], [], CAPS, PLAIN)[0].norms == {}
