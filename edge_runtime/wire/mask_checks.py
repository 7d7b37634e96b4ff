"""What each message of a round under masks must be beyond its schema; SPEC.md, "Rounds under masks".

Which devices are members, and of which circles, is not known here: that is for ``secure/members`` and admission.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

from edge_runtime.wire import limits
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import MalformedMessage, SecureError, WireError
from edge_runtime.wire.experts import CLASS_SUMS, HEAD, ExpertId
from edge_runtime.wire.field_checks import ascending, digest_size, need, number
from edge_runtime.wire.secure.agreement import KEY_BYTES, check_public
from edge_runtime.wire.secure.graph import LEAST_MEMBERS, MOST_MEMBERS
from edge_runtime.wire.secure.noise import LEAST_VARIANCE, MOST_VARIANCE
from edge_runtime.wire.secure.ring import LEAST_BITS, MOST_BITS
from edge_runtime.wire.secure.shamir import ELEMENT_BYTES
from edge_runtime.wire.topics import check_name

MASKS_VERSION: Final = 1
"""Of the rules for rounds under masks, as a Hello and a plan's terms name them."""
NOISE_VERSION: Final = 2
"""Likewise, with noise: the newest that is known here, and all of version 1."""
NORM_MOST: Final = 1 << 31
LIMIT_MOST: Final = 1 << 20
"""R at most: with as many members as a list has, no ring would hold the sum of larger ones."""
STEP_MOST: Final = 1e6
CLASS_STEP_LEAST: Final = 2.0**-30
CLASS_LIMIT_MOST: Final = 1 << 30
"""Integers of class sums at most: what a device says once stands in a ring of 32 bits."""


def knows_masks(hello: pb.Hello, version: int, *, signed: bool) -> bool:
    """Return whether a device can be planned for in a round under masks.

    Args:
        hello: what it said of itself.
        version: of the rules that plans need; 0: they have no masks.
        signed: whether keys have to be signed.
    """
    return hello.masks >= version and (hello.signs_keys or not signed)


def check_terms(plan: pb.Plan) -> None:
    """Refuse a plan's terms of masks.

    Raises:
        WireError: UNSUPPORTED_WIRE for rules of another version, else MALFORMED, TOO_LARGE or NOT_FINITE.
    """
    need(len(plan.masks) == 1, f"{len(plan.masks)} terms of masks, expected one")
    terms = plan.masks[0]
    if terms.version not in (MASKS_VERSION, NOISE_VERSION):
        known = f"{MASKS_VERSION} and {NOISE_VERSION} are known here"
        raise WireError(pb.UNSUPPORTED_WIRE, f"masks of version {terms.version}, {known}")
    _noise(terms)
    _circles([circle.number for circle in terms.circles], "circles of a plan")
    listed: list[ExpertId] = []
    asked = 0  # circles of class sums
    for circle in terms.circles:
        need(len(circle.blocks) > 0, f"circle {circle.number} has no blocks")
        blocks = ascending(circle.blocks, "blocks of a circle")
        asked += blocks == (CLASS_SUMS,)
        listed += [] if blocks == (CLASS_SUMS,) else blocks
    need(asked <= 1, f"{asked} circles of class sums, expected one")
    need(sorted(listed) == list(ascending(plan.train, "planned experts")), "circles have other blocks than the plan")
    need(1 <= terms.limit <= LIMIT_MOST, f"integers of up to {terms.limit}, expected 1 to {LIMIT_MOST}")
    need(1 <= terms.most_weight <= terms.limit, f"weights up to {terms.most_weight}, expected 1 to {terms.limit}")
    number(terms.examples_per_weight, "examples_per_weight", high=STEP_MOST)
    need(terms.examples_per_weight > 0, "a weight that stands for no examples")
    for kind in {_kind(block) for block in listed}:
        for what in ("step", "norm"):
            value = getattr(terms, f"{kind}_{what}")
            number(value, f"{kind}_{what}", high=STEP_MOST)
            need(value > 0, f"{kind}_{what} is 0, and such a block is trained")
    if asked:
        _class_terms(terms)


def _class_terms(terms: pb.MaskTerms) -> None:
    number(terms.class_step, "class_step", low=CLASS_STEP_LEAST, high=STEP_MOST)
    need(math.frexp(terms.class_step)[0] == 0.5, f"class_step {terms.class_step} is no power of two")
    number(terms.class_examples, "class_examples", high=CLASS_LIMIT_MOST * terms.class_step)
    need(terms.class_examples > 0, "class sums of no examples")


def _noise(terms: pb.MaskTerms) -> None:
    """Refuse noise that is not told whole, and none where it is asked for."""
    if terms.version == MASKS_VERSION:
        told = terms.whole_norm or any(circle.variance or circle.least for circle in terms.circles)
        need(not told, f"noise in terms of version {MASKS_VERSION}")
        return
    need(1 <= terms.whole_norm <= NORM_MOST, f"a norm of {terms.whole_norm}, expected 1 to {NORM_MOST}")
    need(terms.most_weight == 1, f"weights up to {terms.most_weight} beside noise, expected 1")
    for circle in terms.circles:
        need(
            LEAST_VARIANCE <= circle.variance <= MOST_VARIANCE,
            f"noise of variance {circle.variance}, expected {LEAST_VARIANCE} to {MOST_VARIANCE}",
        )
        need(
            LEAST_MEMBERS <= circle.least <= MOST_MEMBERS,
            f"noise for {circle.least} survivors, expected {LEAST_MEMBERS} to {MOST_MEMBERS}",
        )


def check_masked(delta: pb.Delta) -> None:
    """Refuse a delta under masks that tells of itself what masks should hide, or whose circles are not in order."""
    digest_size(delta.members, "digest of a list of members")
    _circles([circle.number for circle in delta.masked], "circles of a delta")
    need(not (delta.experts or delta.use or delta.label_counts), "a delta under masks with values that are not")
    need(all(circle.words for circle in delta.masked), "a circle without values")


def _kind(block: ExpertId) -> str:
    return "head" if block == HEAD else "shared" if block.shared else "expert"


def _circles(numbers: Sequence[int], what: str) -> None:
    if len(numbers) > limits.CIRCLES_LIMIT:
        raise WireError(pb.TOO_LARGE, f"{len(numbers)} {what}, limit {limits.CIRCLES_LIMIT}")
    need(len(numbers) > 0, f"no {what}")
    need(all(one < other for one, other in pairwise(numbers)), f"{what} are not ascending and unique")


def _key(public: bytes, what: str) -> None:
    need(len(public) == KEY_BYTES, f"{what} has {len(public)} bytes, expected {KEY_BYTES}")


def _places(places: Iterable[int], what: str) -> None:
    listed = list(places)
    need(all(one < other for one, other in pairwise(listed)), f"{what} are not ascending and unique")
    need(not listed or listed[-1] < MOST_MEMBERS, f"{what} name a place above {MOST_MEMBERS - 1}")


def _bits(bits: bytes, what: str) -> None:
    size = len(bits)
    need(0 < size <= MOST_MEMBERS // 8, f"{what} have {size} bytes, expected 1 to {MOST_MEMBERS // 8}")


def _round(message: pb.MaskRound) -> None:
    check_name(message.device, "device")
    digest_size(message.plan_digest, "plan digest")
    digest_size(message.members, "digest of a list of members")
    for what in ("dealt", "survivors"):
        if getattr(message, what):
            digest_size(getattr(message, what), f"digest of {what}")
    need(bool(message.dealt) or not message.survivors, "survivors, and nobody dealt")


def _keys(keys: pb.MaskKeys) -> None:
    check_name(keys.device, "device")
    digest_size(keys.plan_digest, "plan digest")
    _circles([key.circle for key in keys.masking], "masking keys")
    public = [keys.sharing, *(key.key for key in keys.masking)]
    for key in public:
        _key(key, "a public key")
        try:
            check_public(key)
        except SecureError as error:
            raise MalformedMessage(str(error)) from error
    need(len(set(public)) == len(public), "one key is sent twice")
    certificate, signature = len(keys.certificate), len(keys.signature)
    need(bool(certificate) == bool(signature), "a certificate and a signature go together; one of them is missing")
    need(bool(certificate) or not keys.round, "a round, and no signature for it")
    for size, limit, what in (
        (certificate, limits.CERTIFICATE_LIMIT, "a certificate"),
        (signature, limits.KEYS_SIGNATURE_LIMIT, "a signature"),
    ):
        if size > limit:
            raise WireError(pb.TOO_LARGE, f"{what} of {size} bytes, limit {limit}")


def _members(listed: pb.MaskMembers) -> None:
    count = len(listed.members)
    if count > MOST_MEMBERS:
        raise WireError(pb.TOO_LARGE, f"a list of {count} members, limit {MOST_MEMBERS}")
    need(count > 0, "a list without members")
    numbers = [circle.number for circle in listed.circles]
    need(len(numbers) > 0, "a list without circles")
    need(all(one < other for one, other in pairwise(numbers)), "listed circles are not ascending and unique")
    for circle in listed.circles:
        need(LEAST_BITS <= circle.bits <= MOST_BITS, f"a ring of {circle.bits} bits")
        largest = max(circle.neighbours, circle.threshold, circle.least)
        need(largest <= MOST_MEMBERS, f"circle {circle.number} names {largest} members, limit {MOST_MEMBERS}")
    every = set(numbers)
    for member in listed.members:
        if member.keys:  # what is in them is checked where they are decoded
            size = len(member.keys)
            need(not (member.digest or member.sharing or member.masking), "a member that signed its keys, and others")
            if size > limits.MESSAGE_LIMIT:
                raise WireError(pb.TOO_LARGE, f"keys of {size} bytes, limit {limits.MESSAGE_LIMIT}")
            continue
        digest_size(member.digest, "digest of keys")
        _key(member.sharing, "a public key")
        own = [key.circle for key in member.masking]
        _circles(own, "masking keys of a member")
        need(every.issuperset(own), "a member has a key for a circle that is not listed")
        for key in member.masking:
            _key(key.key, "a public key")


def _shares(shares: pb.MaskShares) -> None:
    check_name(shares.device, "device")
    digest_size(shares.members, "digest of a list of members")
    _places((one.place for one in shares.shares), "shares")


def _dealt(dealt: pb.MaskDealt) -> None:
    digest_size(dealt.members, "digest of a list of members")
    _bits(dealt.dealt, "bits of who dealt")
    _places((one.place for one in dealt.shares), "shares")


def _survivors(survivors: pb.MaskSurvivors) -> None:
    digest_size(survivors.members, "digest of a list of members")
    _bits(survivors.dealt, "bits of who dealt")
    _bits(survivors.survivors, "bits of survivors")


def _answer(answer: pb.MaskAnswer) -> None:
    check_name(answer.device, "device")
    digest_size(answer.survivors, "digest of survivors")
    keys = [(share.circle, share.place) for share in answer.shares]
    need(all(one < other for one, other in pairwise(keys)), "shares of an answer are not ascending and unique")
    for share in answer.shares:
        need(len(share.share) == ELEMENT_BYTES, f"a share of {len(share.share)} bytes, expected {ELEMENT_BYTES}")


MASK_CHECKS: Final[dict[type[Any], Callable[[Any], None]]] = {
    pb.MaskRound: _round,
    pb.MaskKeys: _keys,
    pb.MaskMembers: _members,
    pb.MaskShares: _shares,
    pb.MaskDealt: _dealt,
    pb.MaskSurvivors: _survivors,
    pb.MaskAnswer: _answer,
}
