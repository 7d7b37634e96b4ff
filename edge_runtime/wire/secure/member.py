"""A device's part: its keys, shares for others, its masked values, and what it tells of others at the end. Pure.

Everything follows from one random root of 32 bytes, so that what is sent again after a kill has the same bytes. A root
is for one plan, one list and one set of survivors: to keep that is the caller's.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.secure.agreement import agree, derive, public_key
from edge_runtime.wire.secure.members import Attendance, Circle, MemberKeys, MemberList
from edge_runtime.wire.secure.ring import Ring, Words
from edge_runtime.wire.secure.shamir import ELEMENT_BYTES, element, split

Share = tuple[int, int]
"""Circle and place of the member whose secrets are shared."""
Pair = tuple[bytes, bytes]
"""A share of its self secret, and one of its masking key."""
_DOMAIN: Final = b"edge-experts secure 1 "
_NONCE: Final = bytes(12)  # each key seals one text
TAG_BYTES: Final = 16
PAIR_BYTES: Final = 2 * ELEMENT_BYTES


def info(what: str, *numbers: int) -> bytes:
    """Return what bytes are derived for. Args: what: in words; numbers: written as u32."""
    return _DOMAIN + what.encode() + b"\0" + struct.pack(f"<{len(numbers)}I", *numbers)


def sharing_key(root: bytes) -> bytes:
    """Return the private key by which shares are sealed for a device. Args: root: its 32 secret bytes."""
    return element(derive(root, b"", info("sharing key")))


def masking_key(root: bytes, circle: int) -> bytes:
    """Return the private key of a device's masks in a circle. Args: as sharing_key; circle: its number."""
    return element(derive(root, b"", info("masking key", circle)))


def public_keys(root: bytes, circles: Iterable[int], digest: bytes = b"") -> MemberKeys:
    """Return what a device tells of its keys. Args: root: of the device; circles: of its plan; digest: see there."""
    masking = {number: public_key(masking_key(root, number)) for number in circles}
    return MemberKeys(digest, public_key(sharing_key(root)), masking)


def pair_seed(private: bytes, public: bytes, context: bytes, circle: int) -> bytes:
    """Return the seed of the mask that two neighbours have in common. Raises: SecureError: as agree."""
    return derive(agree(private, public), context, info("pair mask", circle))


def self_seed(secret: bytes, context: bytes, circle: int) -> bytes:
    """Return the seed of a device's own mask. Args: secret: its self secret in the circle."""
    return derive(secret, context, info("self mask", circle))


class Member:
    """One device in a round.

    Args:
        root: 32 random bytes that nobody else knows, for this plan alone.
        members: as the gateway listed them.
        place: of this device in the list.

    Raises:
        SecureError: for a list that is not safe, or that has other keys for this device than it sent.
    """

    def __init__(self, root: bytes, members: MemberList, place: int) -> None:
        members.check()
        self._root, self._members, self._place = root, members, place
        self._sharing = sharing_key(root)
        self._circles = members.circles_of(place) if 0 <= place < len(members.keys) else []
        own = public_keys(root, (circle.number for circle in self._circles))
        listed = members.keys[place] if self._circles else own
        masking = {circle.number: listed.masking[circle.number] for circle in self._circles}
        if not self._circles or (listed.sharing, masking) != (own.sharing, own.masking):
            msg = "the list of members has not the keys that this device sent"
            raise SecureError(msg)

    @property
    def place(self) -> int:
        """Of this device in the list."""
        return self._place

    @property
    def count(self) -> int:
        """Members of the list."""
        return len(self._members.keys)

    @property
    def context(self) -> bytes:
        """Digest of the list."""
        return self._members.context

    @property
    def circles(self) -> list[Circle]:
        """The circles that this device is in, by number."""
        return list(self._circles)

    # shares

    def dealt(self) -> dict[int, bytes]:
        """Return the shares of this device's secrets, sealed for each neighbour, by its place."""
        shares = {circle.number: self._split(circle) for circle in self._circles}
        texts: dict[int, bytes] = {}
        for circle in self._circles:  # by number, as both ends read them
            for other in circle.neighbours(self._place):
                texts[other] = texts.get(other, b"") + b"".join(shares[circle.number][other])
        return {other: self._cipher(self._place, other).encrypt(_NONCE, texts[other], None) for other in sorted(texts)}

    def opened(self, sealed: Mapping[int, bytes]) -> dict[Share, Pair]:
        """Return the shares that this device holds, its own among them.

        Args:
            sealed: by the place of who dealt. What does not open, or is of another size, is left out: its dealer is
                helped by others.
        """
        held: dict[Share, Pair] = {}
        for circle in self._circles:
            held[circle.number, self._place] = self._split(circle)[self._place]
        for other, data in sealed.items():
            common = self._members.common(self._place, other) if other != self._place else []
            if not common or len(data) != PAIR_BYTES * len(common) + TAG_BYTES:
                continue
            try:
                text = self._cipher(other, self._place).decrypt(_NONCE, data, None)
            except (InvalidTag, SecureError):
                continue
            for circle, start in zip(common, range(0, len(text), PAIR_BYTES), strict=True):
                middle, end = start + ELEMENT_BYTES, start + PAIR_BYTES
                held[circle.number, other] = text[start:middle], text[middle:end]
        return held

    def _split(self, circle: Circle) -> dict[int, Pair]:
        """Return this device's shares in a circle, by the holder's place."""
        places = circle.holders(self._place)
        secrets = self._self_secret(circle.number), masking_key(self._root, circle.number)
        numbers = [circle.holder(place) for place in places]
        one, other = (split(secret, self._coefficients(circle, kind), numbers) for kind, secret in enumerate(secrets))
        return {place: (one[number], other[number]) for place, number in zip(places, numbers, strict=True)}

    def _self_secret(self, circle: int) -> bytes:
        return element(derive(self._root, self._members.context, info("self secret", circle)))

    def _coefficients(self, circle: Circle, kind: int) -> list[bytes]:
        seed = derive(self._root, self._members.context, info("coefficients", circle.number, kind))
        ring, count = Ring(32), 8 * (circle.sizes.threshold - 1)
        words = ring.words([0] * count)
        ring.add_mask(words, seed)
        stream = words.tobytes()
        return [stream[start : start + ELEMENT_BYTES] for start in range(0, len(stream), ELEMENT_BYTES)]

    def _cipher(self, dealer: int, holder: int) -> AESGCM:
        """Return the cipher of the shares that one member seals for another, of whom this device is one."""
        other = holder if dealer == self._place else dealer
        secret = agree(self._sharing, self._members.keys[other].sharing)
        return AESGCM(derive(secret, self._members.context, info("shares", dealer, holder)))

    # values

    def masked(self, number: int, words: Words, dealt: Collection[int]) -> Words:
        """Return a circle's values under this device's masks.

        Args:
            number: of the circle.
            words: [n].
            dealt: places of the members whose shares went to their holders; nobody else is masked with.

        Raises:
            SecureError: when this device is not in the circle, or too few of it, or of this device's holders, dealt.
        """
        circle = self._circle(number)
        if self._place not in dealt or not circle.runs(dealt) or not circle.supports(self._place, dealt):
            msg = f"circle {number} has fewer members with shares than the {circle.least} that it is opened from"
            raise SecureError(msg)
        ring, result = circle.ring, words.astype(circle.ring.word)
        ring.add_mask(result, self_seed(self._self_secret(number), self._members.context, number))
        private = masking_key(self._root, number)
        for other in circle.neighbours(self._place):
            if other in dealt:
                public = self._members.keys[other].masking[number]
                seed = pair_seed(private, public, self._members.context, number)
                ring.add_mask(result, seed, negative=self._place > other)
        return ring.words(result)

    def _circle(self, number: int) -> Circle:
        for circle in self._circles:
            if circle.number == number:
                return circle
        msg = f"this device is not in circle {number}"
        raise SecureError(msg)

    # the end

    def answer(self, held: Mapping[Share, Pair], attendance: Attendance) -> dict[Share, bytes]:
        """Return one share of each member that dealt: of its self secret if it stayed, else of its masking key.

        Circles with fewer survivors than ``least`` are left out, and so is a survivor whose holders too often left:
        its values would be almost alone in what is left of the masks.

        Args:
            held: as ``opened`` returned it.
            attendance: the one of this list that the device answers.
        """
        told: dict[Share, bytes] = {}
        for circle in self._circles:
            if len(attendance.stayed(circle)) < circle.least:
                continue
            for place in circle.holders(self._place):
                pair = held.get((circle.number, place)) if place in attendance.dealt else None
                if pair is None:
                    continue
                if place not in attendance.survivors:
                    told[circle.number, place] = pair[1]
                elif attendance.backed(circle, place):
                    told[circle.number, place] = pair[0]
        return told
