"""Replays cases of sums under masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from cryptography import x509

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import decode
from edge_runtime.wire.secure import graph, shamir
from edge_runtime.wire.secure.agreement import agree, public_key
from edge_runtime.wire.secure.fixed_point import Scale
from edge_runtime.wire.secure.member import Member
from edge_runtime.wire.secure.members import Attendance, Circle, MemberKeys, MemberList
from edge_runtime.wire.secure.ring import Ring
from edge_runtime.wire.secure.signed_keys import Authority, Federation

Meaning = dict[str, Any]


def _agreement(data: bytes) -> Meaning:
    private, public = data[:32], data[32:]
    return {"secret": agree(private, public).hex(), "public": public_key(private).hex()}


def _shares(data: bytes, holders: Sequence[int]) -> Meaning:
    numbers = [data[start : start + 32] for start in range(0, len(data), 32)]
    shares = shamir.split(numbers[0], numbers[1:], holders)
    return {"shares": [shares[holder].hex() for holder in holders]}


def _mask(data: bytes, bits: int, count: int, *, negative: bool) -> Meaning:
    ring = Ring(bits)
    words = ring.words(np.arange(count))
    ring.add_mask(words, data, negative=negative)
    return {"values": ring.unsigned(words).tolist()}


def _packed(data: bytes, bits: int) -> Meaning:
    ring = Ring(bits)
    return {"hex": ring.pack(ring.words(np.frombuffer(data, "<i8"))).hex()}


def _neighbours(data: bytes, members: int, neighbours: int, threshold: int) -> Meaning:
    del data
    graph.Sizes(neighbours, threshold).check(members)
    return {"neighbours": [graph.neighbours(place, members, neighbours) for place in range(members)]}


def _order(data: bytes) -> Meaning:
    digests = [data[start : start + 32] for start in range(0, len(data), 32)]
    return {"order": [digest.hex() for digest in graph.in_order(digests)]}


def _integers(data: bytes, **scale: Any) -> Meaning:  # noqa: ANN401 - numbers of Scale
    integers, left = Scale(**scale).integers(np.frombuffer(data, "<f4"))
    return {"integers": integers.tolist(), "left": left.tolist()}


def _keys(told: Mapping[str, Any]) -> MemberKeys:
    masking = {int(number): bytes.fromhex(key) for number, key in told["masking"].items()}
    return MemberKeys(bytes.fromhex(told["digest"]), bytes.fromhex(told["sharing"]), masking)


def _member(data: bytes, **told: Any) -> Meaning:  # noqa: ANN401 - as README.md says
    del data
    circles = {
        number: Circle(
            number,
            tuple(one["places"]),
            graph.Sizes(one["neighbours"], one["threshold"]),
            one["least"],
            told["bits"],
        )
        for number, one in enumerate(told["circles"])
    }
    keys = tuple(map(_keys, told["keys"]))
    members, place = MemberList(bytes.fromhex(told["context"]), keys, circles), told["place"]
    device = Member(bytes.fromhex(told["root"]), members, place)
    dealt = told["dealt"]
    others = {other: Member(bytes.fromhex(told["roots"][other]), members, other) for other in dealt if other != place}
    inbox = {other: one.dealt() for other, one in others.items()}
    held = device.opened({other: sealed[place] for other, sealed in inbox.items() if place in sealed})
    answer = device.answer(held, Attendance(frozenset(dealt), frozenset(told["survivors"])))
    masked = {}
    for circle in members.circles_of(place):
        words = device.masked(circle.number, circle.ring.words(told["values"]), dealt)
        masked[str(circle.number)] = circle.ring.unsigned(words).tolist()
    return {
        "dealt": {str(other): sealed.hex() for other, sealed in device.dealt().items()},
        "masked": masked,
        "answer": [[number, other, answer[number, other].hex()] for number, other in sorted(answer)],
    }


def _signed_keys(data: bytes, authority: str, federation: str, federation_digest: str, at: int) -> Meaning:
    known = Authority([x509.load_der_x509_certificate(bytes.fromhex(authority))])
    listed, of = decode(pb.MaskMembers, data), Federation(federation, bytes.fromhex(federation_digest))
    known.check_list(listed, of, datetime.fromtimestamp(at, UTC))
    return {"devices": [decode(pb.MaskKeys, member.keys).device for member in listed.members]}


SECURE: Final[dict[str, Callable[..., Meaning]]] = {
    "Agreement": _agreement,
    "Shares": _shares,
    "Mask": _mask,
    "Packed": _packed,
    "Neighbours": _neighbours,
    "MemberOrder": _order,
    "Integers": _integers,
    "SecureMember": _member,
    "SignedKeys": _signed_keys,
}
