"""Messages of rounds under masks: what they must be, and what hostile ones are told."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.errors import SecureError, WireError, code_name
from edge_runtime.wire.experts import CLASS_SUMS, HEAD, BankShape, ExpertId
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.secure.class_sums import ClassTerms
from edge_runtime.wire.secure.graph import Sizes, in_order, least_for
from edge_runtime.wire.secure.lists import from_bits, keys_of, read_members, to_bits, write_members
from edge_runtime.wire.secure.member import public_keys
from edge_runtime.wire.secure.members import Circle, MemberKeys
from edge_runtime.wire.secure.ring import Ring
from edge_runtime.wire.secure.terms import Terms

DIGEST, OTHER = bytes(32), bytes(range(32))
A, B = ExpertId(1, 0), ExpertId(3, 0)
SHAPE = BankShape(layers=(1, 3), experts=2, rank=1, shared_rank=0, width=2, labels=3)


def refs(*blocks: ExpertId) -> list[pb.ExpertRef]:
    """Return blocks as messages name them."""
    return [pb.ExpertRef(layer=block.layer, index=block.index) for block in blocks]


def terms(**changes: Any) -> pb.MaskTerms:
    """Return valid terms of a plan of A and B, changed."""
    circles = [pb.CircleTerms(number=0, blocks=refs(A)), pb.CircleTerms(number=2, blocks=refs(B))]
    fields: dict[str, Any] = {
        "version": 1, "circles": circles, "limit": 127, "most_weight": 15, "examples_per_weight": 4.0,
        "expert_step": 0.5, "expert_norm": 2.0,
    }  # fmt: skip
    return pb.MaskTerms(**(fields | changes))


def circles(**noise: int) -> list[pb.CircleTerms]:
    """Return A and B, a circle each, with noise."""
    return [pb.CircleTerms(number=number, blocks=refs(block), **noise) for number, block in ((0, A), (2, B))]


def noisy(**changes: Any) -> pb.MaskTerms:
    """Return valid terms with noise, changed."""
    told = {"version": 2, "whole_norm": 9, "most_weight": 1, "circles": circles(variance=400, least=3)}
    return terms(**(told | changes))


def plan(*masks: pb.MaskTerms) -> pb.Plan:
    """Return a plan of A and B."""
    return pb.Plan(device="a", version_digest=DIGEST, train=refs(A, B), steps=1, masks=masks)


def delta(**changes: Any) -> pb.Delta:
    """Return a valid delta under masks, changed."""
    fields = {"members": DIGEST, "masked": [pb.MaskedCircle(number=0, words=b"w")], "examples": 1}
    return pb.Delta(device="a", plan_digest=DIGEST, **(fields | changes))


def keys(device: int, circles: tuple[int, ...] = (0, 2)) -> pb.MaskKeys:
    """Return a device's public keys."""
    public = public_keys(hashlib.sha256(f"root {device}".encode()).digest(), circles)
    masking = [pb.CircleKey(circle=circle, key=key) for circle, key in public.masking.items()]
    return pb.MaskKeys(device=f"d{device}", plan_digest=DIGEST, sharing=public.sharing, masking=masking)


def signed(**changes: bytes) -> pb.MaskKeys:
    """Return a device's keys, signed as it seems, changed."""
    message = keys(1)
    message.round, message.certificate, message.signature = 7, bytes(2048), bytes(72)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def of_members(*members: pb.MaskMember) -> pb.MaskMembers:
    """Return a list of these."""
    circle = pb.MaskCircle(number=0, neighbours=2, threshold=2, least=3, bits=12)
    return pb.MaskMembers(members=members, circles=[circle])


def listed() -> pb.MaskMembers:
    """Return the list of three members, all in circles 0 and 2."""
    members = sorted_keys([keys_of(encode(keys(device))) for device in range(3)])
    circles = [Circle(number, (0, 1, 2), Sizes(2, 2), least_for(3), 12) for number in (0, 2)]
    return decode(pb.MaskMembers, write_members(7, members, circles))


def sorted_keys(members: list[MemberKeys]) -> list[MemberKeys]:
    """Return members in the order of a list."""
    order = in_order(one.digest for one in members)
    return sorted(members, key=lambda one: order.index(one.digest))


def refused(message: Any) -> str:
    """Return the code that a message is refused with."""
    with pytest.raises(WireError) as caught:
        decode(type(message), encode(message))
    return code_name(caught.value.code)


def test_what_is_valid_comes_back_as_it_was_said() -> None:
    """Each message, once."""
    survivors = pb.MaskSurvivors(members=DIGEST, dealt=b"\x07", survivors=b"\x03")
    told = [pb.ToldShare(circle=0, place=1, share=DIGEST), pb.ToldShare(circle=2, share=DIGEST)]
    answer = pb.MaskAnswer(device="a", survivors=DIGEST, shares=told)
    shares = [pb.SealedShares(place=1, data=b"x"), pb.SealedShares(place=4095, data=b"y")]
    for message in (
        plan(terms()), plan(noisy()), delta(), keys(1), signed(), listed(), survivors, answer,
        of_members(pb.MaskMember(keys=encode(signed()))),
        pb.MaskRound(device="a", plan_digest=DIGEST, members=DIGEST, dealt=OTHER, survivors=OTHER),
        pb.MaskShares(device="a", members=DIGEST, shares=shares),
        pb.MaskDealt(members=DIGEST, dealt=b"\x07", shares=shares),
    ):  # fmt: skip
        assert decode(type(message), encode(message)) == message


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("MALFORMED", plan(terms(), terms())),
        ("UNSUPPORTED_WIRE", plan(terms(version=3))),
        ("MALFORMED", plan(terms(version=2))),  # noise that is not told
        ("MALFORMED", plan(terms(whole_norm=9))),  # noise for a device that does not know it
        ("MALFORMED", plan(terms(circles=circles(variance=16)))),
        ("MALFORMED", plan(noisy(whole_norm=0))),
        ("MALFORMED", plan(noisy(whole_norm=2**31 + 1))),
        ("MALFORMED", plan(noisy(most_weight=2))),
        ("MALFORMED", plan(noisy(circles=circles(variance=15, least=3)))),
        ("MALFORMED", plan(noisy(circles=circles(variance=2**25 + 1, least=3)))),
        ("MALFORMED", plan(noisy(circles=circles(variance=16, least=2)))),
        ("MALFORMED", plan(noisy(circles=circles(variance=16, least=4097)))),
        ("MALFORMED", plan(terms(circles=[pb.CircleTerms(number=0, blocks=refs(A))]))),  # a block without a circle
        ("MALFORMED", plan(terms(circles=[pb.CircleTerms(number=0, blocks=refs(A, B)), pb.CircleTerms(number=1)]))),
        ("MALFORMED", plan(terms(circles=[pb.CircleTerms(number=n, blocks=refs(x)) for n, x in ((1, A), (1, B))]))),
        ("MALFORMED", plan(terms(circles=[pb.CircleTerms(number=n, blocks=refs(A, B)) for n in (0, 1)]))),
        ("TOO_LARGE", plan(terms(circles=[pb.CircleTerms(number=n, blocks=refs(A)) for n in range(65)]))),
        ("MALFORMED", plan(terms(most_weight=128))),  # W over R
        ("MALFORMED", plan(terms(most_weight=0))),
        ("MALFORMED", plan(terms(limit=2**20 + 1))),
        ("MALFORMED", plan(terms(expert_step=0.0))),
        ("NOT_FINITE", plan(terms(expert_norm=float("nan")))),
        ("NOT_FINITE", plan(terms(examples_per_weight=float("inf")))),
        ("MALFORMED", plan(terms(examples_per_weight=0.0))),
        ("MALFORMED", delta(experts=[pb.ExpertDelta(layer=1, index=0, values=bytes(4))])),
        ("MALFORMED", delta(label_counts=[1.0])),
        ("MALFORMED", delta(members=b"short")),
        ("MALFORMED", delta(masked=[])),  # a list, and nothing under masks
        ("MALFORMED", delta(masked=[pb.MaskedCircle(number=1, words=b"w")] * 2)),
        ("MALFORMED", delta(masked=[pb.MaskedCircle(number=1)])),
        ("NO_EXAMPLES", delta(examples=0)),
        ("MALFORMED", signed(signature=b"")),
        ("MALFORMED", signed(certificate=b"")),
        ("MALFORMED", signed(certificate=b"", signature=b"")),  # a round, and nobody signed for it
        ("TOO_LARGE", signed(certificate=bytes(2049))),
        ("TOO_LARGE", signed(signature=bytes(73))),
        ("TOO_LARGE", of_members(pb.MaskMember(keys=bytes(128 * 1024 + 1)))),
        ("MALFORMED", of_members(pb.MaskMember(keys=b"k", digest=DIGEST))),
        ("MALFORMED", of_members(pb.MaskMember(keys=b"k", sharing=DIGEST))),
        ("MALFORMED", pb.MaskRound(device="a", plan_digest=DIGEST, members=DIGEST, survivors=DIGEST)),
        ("MALFORMED", pb.MaskRound(device="a/b", plan_digest=DIGEST, members=DIGEST)),
        ("MALFORMED", pb.MaskShares(device="a", members=DIGEST, shares=[pb.SealedShares(place=4096)])),
        ("MALFORMED", pb.MaskShares(device="a", members=DIGEST, shares=[pb.SealedShares(place=1)] * 2)),
        ("MALFORMED", pb.MaskDealt(members=DIGEST)),
        ("MALFORMED", pb.MaskDealt(members=DIGEST, dealt=bytes(513))),
        ("MALFORMED", pb.MaskSurvivors(members=DIGEST, dealt=b"\x01")),
        ("MALFORMED", pb.MaskAnswer(device="a", survivors=DIGEST, shares=[pb.ToldShare(share=b"short")])),
        ("MALFORMED", pb.MaskAnswer(device="a", survivors=DIGEST, shares=[pb.ToldShare(share=DIGEST)] * 2)),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_refused_with_its_code(code: str, message: Any) -> None:
    """Plans, deltas and bodies of a hostile or mistaken sender."""
    assert refused(message) == code


@pytest.mark.parametrize("bad", [bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f", b"short", b""])
def test_a_key_of_small_order_or_another_size_never_gets_into_a_list(bad: bytes) -> None:
    """With one, what two devices have in common would be known to all."""
    sharing, masking = keys(1), keys(1)
    sharing.sharing = bad
    masking.masking[1].key = bad
    assert refused(sharing) == refused(masking) == "MALFORMED"


def test_one_key_for_two_uses_is_refused() -> None:
    """What is recovered of a mask would open shares, too."""
    twice = keys(1)
    twice.masking[0].key = twice.sharing
    assert refused(twice) == "MALFORMED"


def test_a_list_is_read_as_it_was_written_and_a_list_that_is_not_safe_is_refused() -> None:
    """The digest of its bytes is what masks follow from."""
    message = listed()
    members = read_members(encode(message))
    assert members.context == hashlib.sha256(encode(message)).digest()
    assert [circle.places for circle in members.circles.values()] == [(0, 1, 2)] * 2
    assert [one.digest for one in members.keys] == in_order(one.digest for one in members.keys)
    for name, value in (("least", 2), ("threshold", 1), ("neighbours", 1)):
        worse = listed()
        setattr(worse.circles[0], name, value)
        with pytest.raises(SecureError):
            read_members(encode(worse))
    empty = listed()
    empty.circles.add(number=9, neighbours=2, threshold=2, least=3, bits=12)
    with pytest.raises(SecureError, match="circle 9"):
        read_members(encode(empty))
    stranger = listed()
    stranger.members[0].masking[0].circle = 1
    assert refused(stranger) == "MALFORMED"


def test_keys_stand_in_a_list_as_they_were_signed() -> None:
    """The digest is that of what was sent; a member's keys that nobody signed, or that are none, are no member."""
    sent = sorted_keys([keys_of(encode(keys(device))) for device in range(2)])
    bodies = [encode(signed())]
    members = sorted_keys([*sent[:1], keys_of(bodies[0])])
    circle = Circle(2, (0, 1), Sizes(1, 2), 3, 12)
    message = decode(pb.MaskMembers, write_members(7, members, [circle]))
    place = next(place for place, one in enumerate(members) if one.signed)
    assert message.members[place] == pb.MaskMember(keys=bodies[0])
    with pytest.raises(SecureError, match="opened from 3"):  # all else is as a list has to be
        read_members(encode(message))
    for lie, error in ((encode(keys(1)), SecureError), (b"none", WireError), (encode(plan(terms())), WireError)):
        message.members[place].keys = lie
        with pytest.raises(error):
            read_members(encode(message))


def test_sets_of_members_are_bits_by_place() -> None:
    """The lowest bit of a byte first; no bit may stand behind the list."""
    assert to_bits({0, 2, 8}, 9) == b"\x05\x01"
    assert from_bits(b"\x05\x01", 9) == {0, 2, 8}
    for bits in (b"\x05", b"\x05\x02", b"\x05\x01\x00", b""):
        with pytest.raises(SecureError):
            from_bits(bits, 9)


def test_a_block_becomes_integers_and_its_weight() -> None:
    """It is v w / (W s): with s 0.5, W 15, R 127 and 8 examples of 4 a weight, 30 is 30 * 2 / 7.5 = 8."""
    said = Terms.of(terms(expert_norm=1000.0))
    change = np.array([30.0, -30.0, 1.0, 600.0, *[0.0] * (SHAPE.expert_size - 4)], np.float32)
    integers, left = said.integers(A, change, examples=8)
    assert integers[:4].tolist() == [8, -8, 0, 127]  # 160 is cut
    assert integers[-1] == 2
    assert integers.size == said.size(0, SHAPE) == SHAPE.expert_size + 1
    np.testing.assert_allclose(left[:4], [0.0, 0.0, 1.0, 600 - 127 * 3.75], rtol=1e-6)
    shorter, _ = Terms.of(terms(expert_norm=6.0)).integers(A, change, examples=60)
    length = float(np.sqrt(np.square(shorter[:-1].astype(float)).sum())) * 0.5
    assert abs(length - 6.0) < 0.5  # each of four values may be half a step away
    with pytest.raises(SecureError):
        said.integers(A, np.full(4, np.nan, np.float32), examples=1)


def test_with_noise_the_whole_update_is_cut_and_what_is_said_is_it_and_the_noise() -> None:
    """(3, 4) steps of A and (12, 0) of B are 13 long; a norm of 6.5 halves them. Weights are 1 and get no noise."""
    said, size = Terms.of(noisy(whole_norm=6)), SHAPE.expert_size
    changes = {A: np.zeros(size, np.float32), B: np.zeros(size, np.float32)}
    changes[A][:2], changes[B][0] = (1.5, 2.0), 6.0
    values, left = said.noised(changes, SHAPE, bytes(32))
    none, _ = said.noised({block: np.zeros(size, np.float32) for block in (A, B)}, SHAPE, bytes(32))
    cut = {circle: (values[circle] - none[circle]).tolist() for circle in (0, 2)}
    assert (cut[0][:3], cut[2][:2]) == ([1, 2, 0], [5, 0])  # times 6/13: (1.38, 1.85), 5.54; 6 would be too long
    assert 1 + 4 + 25 <= 6**2
    assert values[0][-1] == values[2][-1] == none[0][-1] == 1
    assert len({tuple(none[circle][:-1]) for circle in (0, 2)}) == 2  # each circle has noise of its own
    assert none[0][:-1].any()
    assert none[0].tolist() != said.noised(changes, SHAPE, bytes(range(32)))[0][0].tolist()
    assert np.abs(left[A][:2]).max() < 0.5 * 0.5 + 1e-6  # of rounding, half a step at most, and nothing of the noise
    with pytest.raises(SecureError, match="not finite"):
        said.noised({A: np.full(size, np.nan, np.float32), B: changes[B]}, SHAPE, bytes(32))


def test_rows_of_a_head_with_noise_all_weigh_1() -> None:
    """Whichever labels a device has: the sum of weights tells of none."""
    listed = [pb.CircleTerms(number=0, blocks=refs(HEAD), variance=16, least=3)]
    said = Terms.of(noisy(circles=listed, head_step=0.5, head_norm=9.0))
    values, _ = said.noised({HEAD: np.zeros(9, np.float32)}, SHAPE, bytes(32))
    assert values[0].size == said.size(0, SHAPE) == 12
    assert values[0][9:].tolist() == [1, 1, 1]


def class_terms(step: float, examples: float, *, among: bool = False) -> pb.Plan:
    """Return a plan that asks for class sums. Args: among: in one circle with a block of the bank."""
    sums = [CLASS_SUMS] if not among else [B, CLASS_SUMS]
    circles = [
        pb.CircleTerms(number=0, blocks=refs(A, *([] if among else [B]))),
        pb.CircleTerms(number=1, blocks=refs(*sums)),
    ]
    return plan(terms(circles=circles, class_step=step, class_examples=examples))


def test_class_sums_are_a_circle_of_their_own_with_a_step_that_is_a_power_of_two() -> None:
    """Anything else is refused, and so is a second such circle."""
    asks = class_terms(0.25, 60.0)
    read = Terms.of(decode(pb.Plan, encode(asks)).masks[0])
    assert read.of_classes(1) == ClassTerms(0.25, 60.0)
    assert (read.of_classes(0), read.size(1, SHAPE)) == (None, 3 * (2 + 1))
    for step, examples in (
        (0.3, 60.0),
        (0.0, 60.0),
        (0.25, 0.0),
        (0.25, 2.0**29),
        (float("nan"), 60.0),
        (0.25, float("inf")),
    ):
        with pytest.raises(WireError, match="class"):
            decode(pb.Plan, encode(class_terms(step, examples)))
    with pytest.raises(WireError, match="other blocks"):
        decode(pb.Plan, encode(class_terms(0.25, 60.0, among=True)))
    asks.masks[0].circles.append(pb.CircleTerms(number=2, blocks=refs(CLASS_SUMS)))
    with pytest.raises(WireError, match="2 circles of class sums"):
        decode(pb.Plan, encode(asks))


def test_class_sums_add_up_exactly_and_what_honest_devices_cannot_say_is_refused() -> None:
    """By hand: of at most 4 examples a device, of one with 8 half counts; lies are told by their counts."""
    rules = ClassTerms.of(4.0, 3)
    ring = Ring(32)
    assert ring.holds(3 * rules.limit)
    assert not ring.holds(3 * 2 * rules.limit)
    few = ClassSums(np.float32([1, 0, 2]), np.float32([[0.6, 0.8], [0, 0], [-1, 0.5]]))
    many = ClassSums(np.float32([8, 0, 0]), np.float32([[8, 0], [0, 0], [0, 0]]))
    listed = [rules.integers(few, SHAPE), rules.integers(many, SHAPE), rules.integers(None, SHAPE)]
    total = rules.sums(sum(listed[1:], listed[0]), SHAPE, 3)
    assert total.counts.tolist() == [5.0, 0.0, 2.0]
    assert total.sums[0, 0] == 4.0 + np.rint(np.float64(np.float32(0.6)) / rules.step) * rules.step
    assert total.sums[2].tolist() == [-1.0, 0.5]
    for place, value in (
        (0, -(2**31)),
        (0, 2**31 - 1),
        (3, 2**31 - 1),
        (5, 2**30),
    ):  # counts of label 0, sums of 0 and 1
        lie = listed[0].copy()
        lie[place] = value
        with pytest.raises(SecureError):
            rules.sums(lie, SHAPE, 3)
    with pytest.raises(SecureError, match="no example"):
        rules.sums(listed[2], SHAPE, 3)
    for bad in (
        ClassSums(few.counts * np.float32(np.nan), few.sums),
        ClassSums(-few.counts, few.sums),
        ClassSums(few.counts[:2], few.sums[:2]),
    ):
        with pytest.raises(SecureError):
            rules.integers(bad, SHAPE)


def test_rows_of_a_head_weigh_what_their_labels_have() -> None:
    """Three labels of width 2 with 8, 0 and 60 examples: weights 2, 0 and 15."""
    head = Terms.of(terms(circles=[pb.CircleTerms(number=0, blocks=refs(HEAD))], head_step=0.5, head_norm=1000.0))
    change = np.array([30.0, 30, 5, 5, 3, 3, 15, 5, 3], np.float32)  # rows of three labels, then their biases
    integers, left = head.integers(HEAD, change, 68, np.array([8.0, 0.0, 60.0], np.float32))
    assert integers.tolist() == [8, 8, 0, 0, 6, 6, 4, 0, 6, 2, 0, 15]
    assert not left.any()
    with pytest.raises(SecureError, match="by label"):
        head.integers(HEAD, change, 68, np.array([], np.float32))
