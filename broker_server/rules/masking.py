"""A round under masks at the gateway, without I/O or clock: who is listed, who dealt, whose deltas can be summed.

KEYS      plans are out, and keys come; who sends none is not listed.
SHARES    the list is out, and shares come.
DELTAS    who dealt is known, and masked deltas come.
ANSWERS   survivors are named, and their answers come.
OPENED    sums are open, and a version is made of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.limits import MEMBERS_LIMIT
from edge_runtime.wire.messages import encode
from edge_runtime.wire.secure.graph import LEAST_MEMBERS, MOST_MEMBERS, in_order, least_for, sizes_for
from edge_runtime.wire.secure.lists import keys_of, sealed, to_bits, write_members
from edge_runtime.wire.secure.member import PAIR_BYTES, TAG_BYTES, Share
from edge_runtime.wire.secure.members import Attendance, Circle, MemberKeys, MemberList
from edge_runtime.wire.secure.noise import most_of_sum
from edge_runtime.wire.secure.ring import MOST_BITS, bits_for
from edge_runtime.wire.secure.terms import Terms


class Phase(StrEnum):
    """How far a round under masks is."""

    KEYS = "keys"
    SHARES = "shares"
    DELTAS = "deltas"
    ANSWERS = "answers"
    OPENED = "opened"


@dataclass(frozen=True)
class Assumed:
    """What a round is made to bear.

    Args:
        dropouts, colluding: shares of its members.
        limit: R of an integer.
        variances, least: of the noise that devices add, and the survivors that it is enough of; by circle.
        of_classes: circles of class sums, whose rings have 32 bits.
    """

    dropouts: float
    colluding: float
    limit: int
    variances: Mapping[int, int] = field(default_factory=dict)
    least: Mapping[int, int] = field(default_factory=dict)
    of_classes: Collection[int] = ()

    @classmethod
    def of(cls, terms: Terms, dropouts: float, colluding: float) -> Self:
        """Return it by a round's terms. Args: dropouts, colluding: shares of its members."""
        of_classes = [circle for circle in terms.circles if terms.of_classes(circle)]
        return cls(dropouts, colluding, terms.limit, terms.variances, terms.least, of_classes)

    def opened_from(self, circle: int, members: int) -> int:
        """Return from how many survivors on a circle is opened. Args: members: that are listed."""
        return max(least_for(members), self.least.get(circle, 0))

    def bits(self, circle: int, members: int) -> int:
        """Return the bits of a circle's ring."""
        if circle in self.of_classes:
            return MOST_BITS
        return bits_for(1, most_of_sum(members, self.limit, self.variances.get(circle, 0)))


def write_list(number: int, bodies: Iterable[bytes], assumed: Assumed) -> bytes | None:
    """Return the list of a round's members; None where no circle has enough of them, or the list would be too large.

    A circle of fewer than LEAST_MEMBERS, or of fewer than its noise is for, is not listed, nor who is in no other. Of
    two members that sent one key the second is left out: together they would make the list unsafe for all. Who
    signs masks only with others that do, so of those who did and those who did not the fewer are left out.

    Args:
        number: of the round.
        bodies: MaskKeys that came.
        assumed: what the round is made to bear.
    """
    keys = _alike(_unlike(map(keys_of, bodies)))
    sizes = Counter(circle for one in keys for circle in one.masking)
    listed = {circle for circle, size in sizes.items() if size >= max(LEAST_MEMBERS, assumed.opened_from(circle, size))}
    by_digest = {one.digest: one for one in keys if listed & one.masking.keys()}
    members = [by_digest[digest] for digest in in_order(by_digest)]
    if not members or len(members) > MOST_MEMBERS:
        return None
    circles = []
    for circle in sorted(listed):
        places = tuple(place for place, one in enumerate(members) if circle in one.masking)
        some = sizes_for(len(places), len(members), assumed.dropouts, assumed.colluding)
        least, bits = assumed.opened_from(circle, len(places)), assumed.bits(circle, len(places))
        circles.append(Circle(circle, places, some, least, bits))
    data = write_members(number, members, circles)
    return data if len(data) <= MEMBERS_LIMIT else None


def _alike(keys: Iterable[MemberKeys]) -> list[MemberKeys]:
    listed = list(keys)
    signed = [one for one in listed if one.signed]
    return signed if 2 * len(signed) >= len(listed) else [one for one in listed if not one.signed]


def _unlike(keys: Iterable[MemberKeys]) -> Iterator[MemberKeys]:
    seen: set[bytes] = set()
    for one in keys:
        public = {one.sharing, *one.masking.values()}
        if seen.isdisjoint(public):
            seen |= public
            yield one


def who_dealt(members: MemberList, dealt: Collection[int]) -> frozenset[int]:
    """Return who of those that dealt takes part further: of whom enough holders dealt, too, and a circle runs.

    Whoever is left out leaves fewer holders to others, so it is looked again until nobody goes.
    """
    left = frozenset(dealt)
    while True:
        running = [circle for circle in members.circles.values() if circle.runs(left)]
        at_work = {place for circle in running for place in circle.places} & left
        stays = {
            place for place in at_work if all(circle.supports(place, left) for circle in running if circle.has(place))
        }
        if stays == left:
            return left
        left = frozenset(stays)


def masked_by(members: MemberList, place: int, dealt: Collection[int]) -> list[Circle]:
    """Return the circles that a member's delta has, by number."""
    return [circle for circle in members.circles_of(place) if circle.runs(dealt)]


def check_shares(members: MemberList, place: int, shares: Sequence[pb.SealedShares]) -> None:
    """Refuse what a member deals when it is not for just its neighbours, or of another size.

    Raises:
        WireError: MALFORMED or WRONG_SIZE.
    """
    others = {other for circle in members.circles_of(place) for other in circle.neighbours(place)}
    if {one.place for one in shares} != others:
        raise WireError(pb.MALFORMED, f"shares for {len(shares)} members, expected one for each of {len(others)}")
    for one in shares:
        want = PAIR_BYTES * len(members.common(place, one.place)) + TAG_BYTES
        if len(one.data) != want:
            raise WireError(pb.WRONG_SIZE, f"shares for place {one.place}: {len(one.data)} bytes, expected {want}")


def write_dealt(
    members: MemberList, place: int, dealt: Collection[int], shares: Mapping[int, Mapping[int, bytes]]
) -> bytes:
    """Return what a member is told of who dealt.

    Args:
        members: of the round.
        place: of the member.
        dealt: who takes part further.
        shares: what each of them dealt, by its place and the holder's.
    """
    mine = {other: shares[other][place] for other in dealt if place in shares.get(other, {})}
    bits = to_bits(dealt, len(members.keys))
    return encode(pb.MaskDealt(members=members.context, dealt=bits, shares=sealed(mine)))


def write_survivors(members: MemberList, attendance: Attendance) -> bytes:
    """Return what members are told of whose deltas are summed."""
    count = len(members.keys)
    dealt, survivors = to_bits(attendance.dealt, count), to_bits(attendance.survivors, count)
    return encode(pb.MaskSurvivors(members=members.context, dealt=dealt, survivors=survivors))


def to_open(members: MemberList, attendance: Attendance) -> list[Circle]:
    """Return the circles with enough survivors, by number."""
    circles = [members.circles[number] for number in sorted(members.circles)]
    return [circle for circle in circles if len(attendance.stayed(circle)) >= circle.least]


def told(members: MemberList, place: int, attendance: Attendance, answer: pb.MaskAnswer) -> dict[Share, bytes]:
    """Return the shares of an answer.

    Raises:
        WireError: MALFORMED for a share of whom the member holds none, or of who did not deal.
    """
    shares = {}
    for one in answer.shares:
        circle = members.circles.get(one.circle)
        holds = circle is not None and circle.has(place) and one.place in circle.holders(place)
        if not holds or one.place not in attendance.dealt:
            raise WireError(pb.MALFORMED, f"a share of member {one.place} in circle {one.circle}, which it has not")
        shares[one.circle, one.place] = one.share
    return shares


class Lacking:
    """The shares that are still needed to open all circles that can be opened; each answer is looked at once.

    Args:
        members: of the round.
        attendance: whose deltas are summed.
    """

    def __init__(self, members: MemberList, attendance: Attendance) -> None:
        self._left = {
            (circle.number, place): circle.sizes.threshold
            for circle in to_open(members, attendance)
            for place in _needed(circle, attendance)
        }

    def __bool__(self) -> bool:
        """Return whether any are."""
        return bool(self._left)

    def take(self, shares: Iterable[Share]) -> None:
        """Take an answer, checked by ``told``. Args: shares: whose shares it has; of a device once."""
        for share in shares:
            left = self._left.get(share)
            if left == 1:
                del self._left[share]
            elif left is not None:
                self._left[share] = left - 1


def _needed(circle: Circle, attendance: Attendance) -> Iterator[int]:
    """Yield the members of a circle whose secret opens it: survivors, and who dealt and has one for a neighbour."""
    for place in circle.places:
        near = () if place not in attendance.dealt else circle.neighbours(place)
        if place in attendance.survivors or any(one in attendance.survivors for one in near):
            yield place
