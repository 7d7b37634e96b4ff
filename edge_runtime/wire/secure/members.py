"""The list of members that a round is summed over: who has which keys, and which circles there are.

All of a device's masks and seals follow from its root and from ``context``, the digest of the list: who was shown
another list has other masks, and can open none of these seals. Places in the list count from 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.secure.agreement import KEY_BYTES
from edge_runtime.wire.secure.graph import MOST_MEMBERS, Sizes, in_order, least_for, neighbours
from edge_runtime.wire.secure.ring import Ring


@dataclass(frozen=True)
class MemberKeys:
    """One member's keys.

    Args:
        digest: of the message in which the device sent them.
        sharing: X25519 key by which shares are sealed for it.
        masking: X25519 key by circle, for masks.
        signed: that message as it was sent, where the device signed it; else empty.
    """

    digest: bytes
    sharing: bytes
    masking: Mapping[int, bytes]
    signed: bytes = b""


@dataclass(frozen=True)
class Circle:
    """The members who train the same blocks in a round.

    Args:
        number: in its round.
        places: of the members in the list, ascending.
        sizes: neighbours and threshold.
        least: members whose deltas must be in a sum for it to be opened.
        bits: of the ring.
    """

    number: int
    places: tuple[int, ...]
    sizes: Sizes
    least: int
    bits: int

    @cached_property
    def _indexes(self) -> dict[int, int]:
        return {place: index for index, place in enumerate(self.places)}

    @property
    def ring(self) -> Ring:
        """The ring that it adds in."""
        return Ring(self.bits)

    def has(self, place: int) -> bool:
        """Return whether a member is in it."""
        return place in self._indexes

    def holder(self, place: int) -> int:
        """Return the number of a member among holders of shares, from 1."""
        return self._indexes[place] + 1

    @cached_property
    def _near(self) -> dict[int, list[int]]:
        return {}

    def neighbours(self, place: int) -> list[int]:
        """Return the places of a member's neighbours, ascending."""
        if place not in self._near:
            indexes = neighbours(self._indexes[place], len(self.places), self.sizes.neighbours)
            self._near[place] = [self.places[index] for index in indexes]
        return self._near[place]

    def holders(self, place: int) -> list[int]:
        """Return the places of those who hold shares of a member's secrets: its neighbours and itself, ascending."""
        return sorted([place, *self.neighbours(place)])

    def runs(self, dealt: Collection[int]) -> bool:
        """Return whether enough members dealt their shares for the circle to be masked at all."""
        return sum(place in self._indexes for place in dealt) >= self.least

    def supports(self, place: int, dealt: Collection[int]) -> bool:
        """Return whether enough holders of a member's secrets dealt, so that the secrets can be recovered."""
        return sum(holder in dealt for holder in self.holders(place)) >= self.sizes.threshold

    def check(self) -> None:
        """Refuse a circle that is not safe.

        Raises:
            SecureError: for members out of order, fewer at the end than ``least_for``, or as Sizes.check and Ring.
        """
        if list(self.places) != sorted(set(self.places)):
            msg = f"members of circle {self.number} are not in ascending order, each once"
            raise SecureError(msg)
        if not least_for(len(self.places)) <= self.least <= len(self.places):
            expected = least_for(len(self.places))
            msg = f"circle {self.number} of {len(self.places)} is opened from {self.least} on, expected {expected}"
            raise SecureError(msg)
        self.sizes.check(len(self.places))
        Ring(self.bits)


@dataclass(frozen=True)
class MemberList:
    """All members of a round.

    Args:
        context: digest of the message that lists them.
        keys: of each, in order.
        circles: by number.
    """

    context: bytes
    keys: tuple[MemberKeys, ...]
    circles: Mapping[int, Circle]

    @property
    def signed(self) -> bool:
        """Whether every member signed its keys."""
        return all(one.signed for one in self.keys)

    def check(self) -> None:
        """Refuse a list that is not safe to mask with.

        Raises:
            SecureError: for too many members, the same keys twice, another order than that of ``in_order``, a member
                without the keys that it needs, or as Circle.check.
        """
        if len(self.keys) > MOST_MEMBERS:
            msg = f"a list of {len(self.keys)} members, limit {MOST_MEMBERS}"
            raise SecureError(msg)
        digests = [one.digest for one in self.keys]
        if digests != in_order(digests):
            msg = "members are listed twice, or in another order than their keys say"
            raise SecureError(msg)
        for number, circle in self.circles.items():
            circle.check()
            known = circle.places and circle.places[0] >= 0 and circle.places[-1] < len(self.keys)
            if number != circle.number or not known:
                msg = f"circle {number} has members that are not in the list"
                raise SecureError(msg)
        self._check_keys()

    def _check_keys(self) -> None:
        listed = [one.sharing for one in self.keys]
        for number, circle in self.circles.items():
            masking = [self.keys[place].masking.get(number, b"") for place in circle.places]
            if len(set(masking)) != len(masking):
                msg = f"two members of circle {number} have one masking key, or none"
                raise SecureError(msg)
            listed += masking
        if any(len(key) != KEY_BYTES for key in listed) or len(set(listed)) != len(listed):
            msg = f"keys have {KEY_BYTES} bytes, and no two are alike"
            raise SecureError(msg)

    def circles_of(self, place: int) -> list[Circle]:
        """Return a member's circles, by number."""
        return [self.circles[number] for number in sorted(self.circles) if self.circles[number].has(place)]

    def common(self, one: int, other: int) -> list[Circle]:
        """Return the circles in which two members are neighbours, by number."""
        return [circle for circle in self.circles_of(one) if other in circle.neighbours(one)]


@dataclass(frozen=True)
class Attendance:
    """Who of a list stayed until when, by place.

    Args:
        dealt: members whose shares went to their holders; others mask with these.
        survivors: members whose masked values are summed.

    Raises:
        SecureError: when somebody survived who did not deal.
    """

    dealt: frozenset[int]
    survivors: frozenset[int]

    def __post_init__(self) -> None:
        if not self.survivors <= self.dealt:
            msg = f"members {sorted(self.survivors - self.dealt)[:8]} survived, but had not dealt their shares"
            raise SecureError(msg)

    def backed(self, circle: Circle, place: int) -> bool:
        """Return whether enough holders of a survivor's secrets survived: so many have their masks in the sum, too."""
        return sum(holder in self.survivors for holder in circle.holders(place)) >= circle.sizes.threshold

    def stayed(self, circle: Circle) -> list[int]:
        """Return the survivors of a circle, ascending."""
        return [place for place in circle.places if place in self.survivors]
