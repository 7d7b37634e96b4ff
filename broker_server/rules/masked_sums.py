"""The gateway's part in sums under masks: masked values are added as they come, and the sum of a circle is opened.

Pure. Rules: SPEC.md, "Sums under masks"; of a sum that is open, only what one of honest devices can be is
taken. What is taken off is the self mask of each member that stayed, and what
members that dropped out would have taken off: their halves of the masks that they share with neighbours that stayed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.secure.agreement import public_key
from edge_runtime.wire.secure.fixed_point import Integers, Scale, Wide, rows_of
from edge_runtime.wire.secure.member import Share, pair_seed, self_seed
from edge_runtime.wire.secure.members import Attendance, Circle, MemberList
from edge_runtime.wire.secure.noise import TAIL, most_of_sum
from edge_runtime.wire.secure.ring import Words
from edge_runtime.wire.secure.shamir import join

Answers = Mapping[int, Mapping[Share, bytes]]
"""By the place of the member that answered."""


@dataclass(frozen=True)
class BlockSum:
    """What the sum of a block is checked against.

    Args:
        scale: the plan's step, limit and largest weight.
        size: P, values of the block.
        weights: 1, or C where each row of a head has a weight.
        norm: that an honest device's update of the block has at most.
        variance: of the noise that each device added; 0: none.
    """

    scale: Scale
    size: int
    weights: int
    norm: float
    variance: int = 0


def mean_of(sums: Integers, block: BlockSum, devices: int) -> tuple[Wide, Integers]:
    """Return the weighted mean of a block, float64 [P], and the sums of weights, [1] or [C].

    A device can add any integers under its mask, and a wrong share leaves a mask in the sum: then values are spread
    over the ring, an eighth of which no sum of honest devices reaches.

    Args:
        sums: of a circle's values as signed integers, of this block: P values, then its weights.
        block: what they are checked against.
        devices: whose values are in them.

    Raises:
        SecureError: for a value or weight that so many honest devices cannot add up to, and for a mean that is longer
            than an honest update, rounding apart.
    """
    values, weights = sums[: block.size], sums[block.size :]
    if sums.size != block.size + block.weights:
        msg = f"{sums.size} values of a block that has {block.size} and {block.weights} weights"
        raise SecureError(msg)
    scale = block.scale
    least = devices if block.weights == 1 else 0
    if (np.abs(values) > most_of_sum(devices, scale.limit, block.variance)).any():
        msg = f"a value of the sum is beyond {devices} times {scale.limit}: a device or a share lied"
        raise SecureError(msg)
    if (weights < least).any() or (weights > devices * scale.most_weight).any():
        msg = f"{devices} devices of weights up to {scale.most_weight} cannot weigh {weights[:8].tolist()}"
        raise SecureError(msg)
    total = int(weights.sum())
    length = math.sqrt(float(np.square(values.astype(np.float64)).sum())) * scale.step * scale.most_weight
    rounding = devices * math.sqrt(block.size) * scale.step * scale.most_weight / 2
    # The norm of P Gaussian values is within TAIL deviations of one of them of sqrt(P).
    noise = math.sqrt(devices * block.variance) * (math.sqrt(block.size) + TAIL) * scale.step
    if length > total * block.norm + rounding + noise:
        msg = f"the sum of a block has norm {length:.4g}, {total} units of {block.norm:.4g} are expected at most"
        raise SecureError(msg)
    return scale.mean(values, weights if block.weights == 1 else rows_of(weights, block.size)), weights


def masks_of(members: MemberList, number: int, attendance: Attendance) -> int:
    """Return how many masks at most are left in the sum of a circle. Args: as ``opened``."""
    circle = members.circles[number]
    stayed = len(attendance.stayed(circle))
    dropped = len((attendance.dealt - attendance.survivors).intersection(circle.places))
    return stayed + dropped * min(stayed, circle.sizes.neighbours)


def opened(
    total: Words, members: MemberList, number: int, attendance: Attendance, answers: Answers,
    *, goes_on: Callable[[], None] = lambda: None,
) -> Words:  # fmt: skip
    """Return the sum of the survivors' values.

    Args:
        total: of their masked values, [n].
        members: of the round.
        number: of the circle.
        attendance: whose survivors' values are in ``total``.
        answers: of members.
        goes_on: called before each mask; what it raises ends this.

    Raises:
        SecureError: for fewer survivors than ``least``, fewer shares of somebody's secret than are needed, or shares
            that do not give the key that a member had listed.
    """
    circle = members.circles[number]
    ring, result = circle.ring, total.astype(circle.ring.word)
    for seed, negative in _masks(members, circle, attendance, answers):
        goes_on()
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
    """Return a secret of as many shares as are needed and one more, which shows that one of them is wrong.

    To compare all would take minutes in a round of 500, and would let a share that is not needed keep a sum closed.
    """
    key = (circle.number, place)
    shares = {
        circle.holder(holder): answers[holder][key]
        for holder in circle.holders(place)
        if holder in answers and key in answers[holder]
    }
    try:
        return join(dict(sorted(shares.items())[: circle.sizes.threshold + 1]), circle.sizes.threshold)
    except SecureError as error:
        msg = f"member {place} in circle {circle.number}: {error}"
        raise SecureError(msg) from error
