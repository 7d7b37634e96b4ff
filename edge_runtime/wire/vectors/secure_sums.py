"""Cases of sums under masks: their parts one by one, and a device's whole part in a small round."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from edge_runtime.wire.secure.graph import in_order
from edge_runtime.wire.secure.member import public_keys
from edge_runtime.wire.vectors.build import NAN
from edge_runtime.wire.vectors.case import Case
from edge_runtime.wire.vectors.decide import decide
from edge_runtime.wire.vectors.values import f32

_PRIME: Final = 2**256 - 189
_COHORTS: Final = ((0, 1, 2, 3, 4), (1, 2, 3, 4))


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    yield from _agreements()
    yield from _shares()
    yield from _rings()
    yield from _graphs()
    yield from _integers()
    yield from _rounds()


def _accepted(kind: str, name: str, comment: str, data: bytes, context: dict[str, Any] | None) -> Case:
    """Return a case whose meaning is what this implementation computes; tests/wire holds it against other ways."""
    draft = Case(kind, f"accept_{name}", data, "ACCEPT", comment, context, {})
    verdict, meaning = decide(draft)
    if verdict != "ACCEPT":
        msg = f"{kind}/{name} is refused here"
        raise ValueError(msg)
    return Case(kind, f"accept_{name}", data, "ACCEPT", comment, context, meaning)


def _number(value: int) -> bytes:
    return value.to_bytes(32, "little")


def _agreements() -> Iterator[Case]:
    scalar = "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"
    point = "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"
    secret = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"  # noqa: S105 - of the RFC
    yield Case(
        "Agreement", "accept_rfc_7748_scalar", bytes.fromhex(scalar + point), "ACCEPT", "RFC 7748, section 5.2", None,
        {"secret": secret, "public": "1c9fd88f45606d932a80c71824ae151d15d73e77de38e8e000852e614fae7019"},
    )  # fmt: skip
    bob = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
    alice = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    yield Case(
        "Agreement", "accept_rfc_7748_bob", bytes.fromhex(bob + alice), "ACCEPT", "RFC 7748, section 6.1", None,
        {
            "secret": "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
            "public": "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        },
    )  # fmt: skip
    order_8 = bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
    for name, public, comment in (
        ("zero", _number(0), "the public key 0 makes every secret 0"),
        ("one", _number(1), "so does 1"),
        ("minus_one", _number(2**255 - 20), "and -1"),
        ("order_8", order_8, "and a point of order 8"),
        ("zero_again", _number(2**255 - 19), "0, written as the prime"),
        ("short", bytes(31), "a key of 31 bytes"),
    ):
        yield Case("Agreement", f"refuse_{name}", bytes.fromhex(bob) + public, "REFUSED", comment)


def _shares() -> Iterator[Case]:
    line = _number(5) + _number(3)
    shares = [_number(value).hex() for value in (8, 11, 3_000_005)]
    yield Case("Shares", "accept_line", line, "ACCEPT", "5 + 3x at 1, 2 and a million",
               {"holders": [1, 2, 1_000_000]}, {"shares": shares})  # fmt: skip
    wraps = _number(_PRIME - 1) + b"\xff" * 32 + _number(2)
    yield Case(
        "Shares", "accept_wraps", wraps, "ACCEPT", "-1 + 188x + 2x^2: a coefficient is taken modulo the prime",
        {"holders": [1, 3]}, {"shares": [_number(189).hex(), _number(581).hex()]},
    )  # fmt: skip
    yield Case("Shares", "accept_constant", _number(7), "ACCEPT", "a threshold of 1: every share is the secret",
               {"holders": [9]}, {"shares": [_number(7).hex()]})  # fmt: skip
    yield Case("Shares", "refuse_holder_0", line, "REFUSED", "0 is where the secret is", {"holders": [0]})
    yield Case("Shares", "refuse_twice", line, "REFUSED", "a holder twice", {"holders": [1, 1]})
    yield Case("Shares", "refuse_no_element", b"\xff" * 32, "REFUSED", "no number of the field", {"holders": [1]})


def _rings() -> Iterator[Case]:
    seed = bytes(range(32))
    for bits in (8, 12, 16, 17, 32):
        context = {"bits": bits, "count": 19, "negative": False}
        yield _accepted("Mask", f"{bits}_bits", "added to 0, 1, 2 and so on", seed, context)
    taken = {"bits": 12, "count": 19, "negative": True}
    yield _accepted("Mask", "taken_off", "taken off 0, 1, 2 and so on", seed, taken)
    yield Case("Mask", "refuse_7_bits", seed, "REFUSED", "too small", {"bits": 7, "count": 1, "negative": False})
    yield Case("Mask", "refuse_33_bits", seed, "REFUSED", "too large", {"bits": 33, "count": 1, "negative": False})
    values = (1, -1, 2047, -2048, 5)
    data = struct.pack("<5q", *values)
    # 12 bits each, the lowest first: 001 fff 7ff 800 005, read from the right in nibbles.
    meaning = {"hex": "01f0ffff078005 00".replace(" ", "")}
    yield Case("Packed", "accept_12_bits", data, "ACCEPT", "five of 12 bits", {"bits": 12}, meaning)
    yield Case("Packed", "accept_16_bits", data, "ACCEPT", "five of 16 bits", {"bits": 16},
               {"hex": "0100ffffff0700f80500"})  # fmt: skip
    yield _accepted("Packed", "19_bits", "nine of 19 bits", struct.pack("<9q", *values, 0, 3, -(2**18), 2**18 - 1),
                    {"bits": 19})  # fmt: skip
    yield Case("Packed", "accept_wraps", struct.pack("<2q", 256, -257), "ACCEPT", "what is above the bits falls away",
               {"bits": 8}, {"hex": "00ff"})  # fmt: skip
    yield Case("Packed", "accept_none", b"", "ACCEPT", "no values", {"bits": 12}, {"hex": ""})


def _graphs() -> Iterator[Case]:
    def context(members: int, neighbours: int, threshold: int) -> dict[str, int]:
        return {"members": members, "neighbours": neighbours, "threshold": threshold}

    near = [[other for other in range(3) if other != place] for place in range(3)]
    yield Case("Neighbours", "accept_complete", b"", "ACCEPT", "all of three", context(3, 2, 2), {"neighbours": near})
    yield _accepted("Neighbours", "ring", "8 on each side of 19, taken round", b"", context(19, 16, 9))
    yield _accepted("Neighbours", "odd", "all of 4: three neighbours", b"", context(4, 3, 3))
    for name, comment, numbers in (
        ("few", "14 of 39", (40, 14, 8)),
        ("odd", "17 of 39", (40, 17, 10)),
        ("too_many", "40 of 39", (40, 40, 21)),
        ("half", "half of the 40 holders", (40, 39, 20)),
        ("all_and_more", "more shares than holders", (40, 16, 18)),
    ):
        yield Case("Neighbours", f"refuse_{name}", b"", "REFUSED", comment, context(*numbers))
    digests = b"".join(hashlib.sha256(bytes([place])).digest() for place in range(6))
    yield _accepted("MemberOrder", "six", "by SHA-256 of the digest of all and their own", digests, None)
    yield _accepted("MemberOrder", "none", "no members", b"", None)


def _integers() -> Iterator[Case]:
    data = f32(1, 0.5, -0.5, 100)
    context = {"step": 0.25, "limit": 127, "weight": 3, "most_weight": 4}
    comment = "times 3; 1.5 and -1.5 to the even 2 and -2; 300 is cut"
    left = np.array([0, 0.5 - 2 / 3, 2 / 3 - 0.5, 100 - 127 / 3], np.float32)
    meaning = {"integers": [3, 2, -2, 127], "left": left.tolist()}
    yield Case("Integers", "accept_weighted", data, "ACCEPT", comment, context, meaning)
    plain = {"step": 1.0, "limit": 1, "weight": 1, "most_weight": 1}
    yield Case("Integers", "refuse_nan", f32(NAN), "REFUSED", "NaN", plain)
    for name, change in (("step", {"step": 0.0}), ("weight", {"weight": 2}), ("limit", {"limit": 0})):
        yield Case("Integers", f"refuse_{name}", data, "REFUSED", f"no such {name}", {**plain, **change})


def _rounds() -> Iterator[Case]:
    """Five devices in two circles, of which one did not deal and one dropped out."""
    roots = [hashlib.sha256(f"root {device}".encode()).digest() for device in range(5)]
    digests = [hashlib.sha256(f"keys {device}".encode()).digest() for device in range(5)]
    order = [digests.index(digest) for digest in in_order(digests)]
    trains = [[number for number, one in enumerate(_COHORTS) if device in one] for device in range(5)]
    keys = []
    for device in order:
        told = public_keys(roots[device], trains[device])
        masking = {str(number): key.hex() for number, key in told.masking.items()}
        keys.append({"digest": digests[device].hex(), "sharing": told.sharing.hex(), "masking": masking})
    context = hashlib.sha256(b"list").digest()

    def places(circle: Sequence[int]) -> list[int]:
        return [place for place, device in enumerate(order) if device in circle]

    listed = [
        {"places": places(circle), "neighbours": len(circle) - 1, "threshold": len(circle) // 2 + 1, "least": 3}
        for circle in _COHORTS
    ]
    place = places(_COHORTS[1])[1]
    dealt = [other for other in range(5) if other != places(_COHORTS[1])[0]]
    gone = next(other for other in dealt if other != place)
    base = {
        "context": context.hex(), "root": roots[order[place]].hex(), "place": place, "keys": keys, "circles": listed,
        "bits": 12, "values": [1, -2, 2047], "dealt": dealt, "survivors": [one for one in dealt if one != gone],
        "roots": [roots[device].hex() for device in order],
    }  # fmt: skip
    comment = "one did not deal, one dropped out: the small circle has too few survivors, and nothing of it is told"
    yield _accepted("SecureMember", "five", comment, b"", base)
    everyone = {**base, "dealt": [0, 1, 2, 3, 4], "survivors": [0, 1, 2, 3, 4]}
    yield _accepted("SecureMember", "all_stayed", "self secrets of everybody", b"", everyone)
    for name, comment, change in (
        ("other_root", "the list has other keys for this device", {"root": bytes(32).hex()}),
        ("order", "members in another order", {"keys": keys[::-1]}),
        ("survivors", "a survivor who did not deal", {"survivors": [0, 1, 2, 3, 4]}),
        ("few_dealt", "two members with shares", {"dealt": dealt[:2], "survivors": dealt[:2]}),
        ("least", "opened from two members on", {"circles": [{**listed[0], "least": 2}, listed[1]]}),
        ("same_key", "two members with one key",
         {"keys": [keys[0], {**keys[1], "sharing": keys[0]["sharing"]}, *keys[2:]]}),
    ):  # fmt: skip
        yield Case("SecureMember", f"refuse_{name}", b"", "REFUSED", comment, {**base, **change})
    yield from _large_round()


def _large_round() -> Iterator[Case]:
    """Nineteen devices of 16 neighbours each: all but the two that stand opposite."""
    roots = {hashlib.sha256(f"keys {device}".encode()).digest(): device for device in range(19)}
    order = [(digest, hashlib.sha256(f"root {roots[digest]}".encode()).digest()) for digest in in_order(roots)]
    told = [(digest, public_keys(root, [0])) for digest, root in order]
    few = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10]
    circle = {"places": [*range(19)], "neighbours": 16, "threshold": 9, "least": 10}
    base = {
        "context": hashlib.sha256(b"list").hexdigest(), "root": order[1][1].hex(), "place": 1, "bits": 9,
        "keys": [
            {"digest": digest.hex(), "sharing": keys.sharing.hex(), "masking": {"0": keys.masking[0].hex()}}
            for digest, keys in told
        ],
        "circles": [circle],
        "values": [7], "dealt": [*range(19)], "survivors": few, "roots": [root.hex() for _, root in order],
    }  # fmt: skip
    comment = "of member 0, whose opposites 9 and 10 survived, too few holders did: nothing is told"
    yield _accepted("SecureMember", "nineteen", comment, b"", base)
    alone = {**base, "root": order[0][1].hex(), "place": 0, "dealt": few}
    comment = "ten members with shares, of the device's own holders eight"
    yield Case("SecureMember", "refuse_few_holders", b"", "REFUSED", comment, alone)
    half = [{**circle, "least": 9}]
    comment = "opened from less than half of the members on"
    yield Case("SecureMember", "refuse_least_half", b"", "REFUSED", comment, {**base, "circles": half})
