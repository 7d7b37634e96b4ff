"""The gateway's part in sums under masks: masked values are added as they come, and the sum of a circle is opened.

Pure. Rules: SPEC.md, "Sums under masks". What is taken off is the self mask of each member that stayed, and what
members that dropped out would have taken off: their halves of the masks that they share with neighbours that stayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.secure.agreement import public_key
from edge_runtime.wire.secure.member import Share, pair_seed, self_seed
from edge_runtime.wire.secure.members import Attendance, Circle, MemberList
from edge_runtime.wire.secure.ring import Words
from edge_runtime.wire.secure.shamir import join

Answers = Mapping[int, Mapping[Share, bytes]]
"""By the place of the member that answered."""


def opened(total: Words, members: MemberList, number: int, attendance: Attendance, answers: Answers) -> Words:
    """Return the sum of the survivors' values.

    Args:
        total: of their masked values, [n].
        members: of the round.
        number: of the circle.
        attendance: whose survivors' values are in ``total``.
        answers: of members.

    Raises:
        SecureError: for fewer survivors than ``least``, fewer shares of somebody's secret than are needed, or shares
            that do not give the key that a member had listed.
    """
    circle = members.circles[number]
    ring, result = circle.ring, total.astype(circle.ring.word)
    for seed, negative in _masks(members, circle, attendance, answers):
        ring.add_mask(result, seed, negative=negative)
    return ring.words(result)


def _masks(
    members: MemberList, circle: Circle, attendance: Attendance, answers: Answers
) -> Iterator[tuple[bytes, bool]]:
    """Yield the seeds of all masks that are left in a sum, and whether to take them off."""
    stayed = attendance.stayed(circle)
    if len(stayed) < circle.least:
        msg = f"{len(stayed)} members of circle {circle.number} are left, it is opened from {circle.least} on"
        raise SecureError(msg)
    for place in stayed:
        secret = _secret(circle, place, answers)
        yield self_seed(secret, members.context, circle.number), True
    dropped = attendance.dealt - attendance.survivors
    for place in circle.places:
        if place not in dropped:
            continue
        others = [other for other in circle.neighbours(place) if other in attendance.survivors]
        if not others:
            continue
        private = _secret(circle, place, answers)
        if public_key(private) != members.keys[place].masking[circle.number]:
            msg = f"shares of member {place} in circle {circle.number} do not give the key that it had listed"
            raise SecureError(msg)
        for other in others:
            public = members.keys[other].masking[circle.number]
            # What the survivor added stays in the sum where its partner would have taken it off, and the reverse.
            yield pair_seed(private, public, members.context, circle.number), other < place


def _secret(circle: Circle, place: int, answers: Answers) -> bytes:
    key = (circle.number, place)
    shares = {
        circle.holder(holder): answers[holder][key]
        for holder in circle.holders(place)
        if holder in answers and key in answers[holder]
    }
    try:
        return join(shares, circle.sizes.threshold)
    except SecureError as error:
        msg = f"member {place} in circle {circle.number}: {error}"
        raise SecureError(msg) from error
