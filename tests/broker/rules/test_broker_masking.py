"""What lacks of the answers of a round under masks: counted as they come, against counting all of them each time."""

from __future__ import annotations

import random
from collections.abc import Mapping

from broker_server.rules.masking import Lacking
from edge_runtime.wire.secure.graph import Sizes
from edge_runtime.wire.secure.member import Share
from edge_runtime.wire.secure.members import Attendance, Circle, MemberKeys, MemberList

KEYS = MemberKeys(b"", b"", {})


def lacks(members: MemberList, attendance: Attendance, answers: Mapping[int, set[Share]]) -> bool:
    """Return whether a secret that opens a circle has too few shares, all looked through."""
    for circle in members.circles.values():
        for place in circle.places if len(attendance.stayed(circle)) >= circle.least else ():
            near = [one for one in circle.neighbours(place) if one in attendance.survivors]
            wanted = place in attendance.survivors or (place in attendance.dealt and near)
            came = sum((circle.number, place) in shares for shares in answers.values())
            if wanted and came < circle.sizes.threshold:
                return True
    return False


def enough(seed: int) -> bool:
    """Let twenty members answer; return whether that was enough. Circles of all and of some; one never dealt."""
    chance = random.Random(seed)
    every, some = tuple(range(20)), tuple(range(0, 20, 3))
    circles = {0: Circle(0, every, Sizes(16, 9), 11, 12), 4: Circle(4, some, Sizes(6, 4), 4, 12)}
    members = MemberList(b"", (KEYS,) * 20, circles)
    dealt = frozenset(every) - {chance.randrange(20)}
    survivors = frozenset(chance.sample(sorted(dealt), 15))
    attendance = Attendance(dealt, survivors)
    lacking, answers = Lacking(members, attendance), dict[int, set[Share]]()
    assert lacking
    for place in chance.sample(sorted(survivors), len(survivors)):
        own = [circle for circle in circles.values() if circle.has(place)]
        holds = {(circle.number, other) for circle in own for other in circle.holders(place) if other in dealt}
        answers[place] = {share for share in holds if chance.random() < 0.95}
        lacking.take(answers[place])
        assert bool(lacking) == lacks(members, attendance, answers)
    few = Attendance(dealt, frozenset(sorted(survivors)[:2]))
    assert not Lacking(members, few)  # none of the circles can be opened: nothing is waited for
    return not lacking


def test_answers_are_counted_once_and_enough_is_said_when_it_is_enough() -> None:
    """After each answer, in rounds that get enough and in such that do not."""
    assert {enough(seed) for seed in range(8)} == {True, False}
