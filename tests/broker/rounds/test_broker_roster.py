"""Who is here, and what is usual among them, counted as devices come and go."""

from __future__ import annotations

import random
from statistics import median

from broker_server.rounds.roster import Roster
from edge_runtime.wire import wire_pb2 as pb


def test_the_usual_batch_size_is_the_median_of_those_who_are_known() -> None:
    """Held against Python's median of all, while devices come, tell another size, leave, and are forgotten."""
    roster, told, chance = Roster(), dict[str, int](), random.Random(3)
    assert roster.usual_batch_size == 0
    for turn in range(400):
        name = f"d{chance.randrange(20)}"
        if chance.random() < 0.3:
            roster.leave(name)
            roster.forget([name])
            told.pop(name, None)
        else:
            told[name] = chance.choice([1, 4, 8, 16, 33])
            roster.greet(pb.Hello(device=name, batch_size=told[name]), float(turn))
        assert roster.usual_batch_size == int(median(told.values() or [0]))
        assert [roster.batch_size(one) for one in told] == list(told.values())
    assert roster.batch_size("stranger") == 0


def test_who_said_bye_is_gone_until_a_sign_of_life() -> None:
    """Of two that came one leaves, and is here again once it is heard; a stranger is neither."""
    roster = Roster()
    for name in "ab":
        assert roster.greet(pb.Hello(device=name), 0.0)
    assert roster.leave("b")
    assert not roster.leave("b")
    assert (roster.here(), roster.gone("abx")) == ({"a"}, {"b"})
    assert roster.all_among({"a", "x"})
    roster.heard("b")
    roster.heard("x")
    assert (roster.here(), roster.gone("abx")) == ({"a", "b"}, frozenset())
    assert not roster.all_among({"a", "x"})
    roster.forget(["b"])
    assert (roster.here(), roster.joined("b")) == ({"a"}, False)
