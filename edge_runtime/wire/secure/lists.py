"""Lists of a round under masks between bytes and values: members, and sets of them as bits by place. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.secure.graph import Sizes
from edge_runtime.wire.secure.members import Circle, MemberKeys, MemberList


def keys_of(body: bytes) -> MemberKeys:
    """Return a device's public keys. Args: body: of its MaskKeys. Raises: WireError."""
    message = decode(pb.MaskKeys, body)
    masking = {key.circle: key.key for key in message.masking}
    return MemberKeys(sha256(body), message.sharing, masking, body if message.signature else b"")


def write_members(number: int, keys: Sequence[MemberKeys], circles: Iterable[Circle]) -> bytes:
    """Return the bytes of a list.

    Args:
        number: of the round.
        keys: of the members, in order; those of circles that are not listed are left out, unless they are signed.
        circles: whose members are those with a key for it.
    """
    listed = sorted(circles, key=lambda circle: circle.number)
    numbers = {circle.number for circle in listed}
    return encode(
        pb.MaskMembers(
            round=number,
            members=[_member(one, numbers) for one in keys],
            circles=[
                pb.MaskCircle(
                    number=circle.number,
                    neighbours=circle.sizes.neighbours,
                    threshold=circle.sizes.threshold,
                    least=circle.least,
                    bits=circle.bits,
                )
                for circle in listed
            ],
        )
    )


def _member(keys: MemberKeys, circles: Collection[int]) -> pb.MaskMember:
    if keys.signed:
        return pb.MaskMember(keys=keys.signed)
    masking = [
        pb.CircleKey(circle=circle, key=keys.masking[circle]) for circle in sorted(keys.masking.keys() & circles)
    ]
    return pb.MaskMember(digest=keys.digest, sharing=keys.sharing, masking=masking)


def _keys(member: pb.MaskMember, circles: Collection[int]) -> MemberKeys:
    if not member.keys:
        return MemberKeys(member.digest, member.sharing, {key.circle: key.key for key in member.masking})
    keys = keys_of(member.keys)
    if not keys.signed:
        msg = "a member's keys stand in the list as it sent them, and are not signed"
        raise SecureError(msg)
    return replace(keys, masking={number: keys.masking[number] for number in circles if number in keys.masking})


def read_members(data: bytes) -> MemberList:
    """Return the list of a round, checked.

    Args:
        data: of its MaskMembers.

    Raises:
        WireError: when the bytes are none.
        SecureError: for a list that is not safe. Whose signatures stand in it is for ``signed_keys`` to check.
    """
    message = decode(pb.MaskMembers, data)
    numbers = [one.number for one in message.circles]
    keys = tuple(_keys(one, numbers) for one in message.members)
    circles = {
        one.number: Circle(
            one.number,
            tuple(place for place, member in enumerate(keys) if one.number in member.masking),
            Sizes(one.neighbours, one.threshold),
            one.least,
            one.bits,
        )
        for one in message.circles
    }
    members = MemberList(sha256(data), keys, circles)
    members.check()
    return members


def to_bits(places: Collection[int], count: int) -> bytes:
    """Return a set of members. Args: places: of them; count: of the list."""
    bits = bytearray(-(-count // 8))
    for place in places:
        bits[place // 8] |= 1 << place % 8
    return bytes(bits)


def from_bits(bits: bytes, count: int) -> frozenset[int]:
    """Return the places of a set of members.

    Raises:
        SecureError: for another size than a list of ``count`` has, or bits behind it.
    """
    places = frozenset(place for place in range(8 * len(bits)) if bits[place // 8] >> place % 8 & 1)
    if len(bits) != -(-count // 8) or any(place >= count for place in places):
        msg = f"{len(bits)} bytes do not say who of {count} members is meant"
        raise SecureError(msg)
    return places


def sealed(shares: Mapping[int, bytes]) -> list[pb.SealedShares]:
    """Return sealed shares, by place, as messages have them."""
    return [pb.SealedShares(place=place, data=shares[place]) for place in sorted(shares)]
