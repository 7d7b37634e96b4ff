"""Sums under masks: exact whoever drops out, closed below their thresholds; nothing is told of a single delta."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from secure_round import Round, root_of

from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.secure import ring as rings
from edge_runtime.wire.secure.graph import Sizes
from edge_runtime.wire.secure.member import Member, public_keys
from edge_runtime.wire.secure.members import Attendance
from edge_runtime.wire.secure.ring import Ring

SEVEN = Round.of([range(7)])  # complete: 4 of 7 holders give a secret back
ALL = frozenset(range(7))


def values_of(places: range | frozenset[int], count: int = 5, seed: int = 0) -> dict[int, np.ndarray]:
    """Return integers between -1000 and 1000 for each place."""
    random = np.random.default_rng(seed)
    return {place: random.integers(-1000, 1001, count) for place in places}


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_sum_is_exact_whoever_drops_out(data: st.DataObject) -> None:
    """Members go before their shares, before their delta or before their answer: what is left is summed to the unit."""
    dealt = frozenset(data.draw(st.sets(st.integers(0, 6), min_size=4)))
    survivors = frozenset(data.draw(st.sets(st.sampled_from(sorted(dealt)), min_size=4)))
    answering = frozenset(data.draw(st.sets(st.sampled_from(sorted(dealt)), min_size=1)))
    values = values_of(survivors)
    masked = SEVEN.masked(0, values, dealt)
    answers = SEVEN.answers(dealt, survivors, answering)
    if len(answering) < 4:
        with pytest.raises(SecureError, match="are needed"):
            SEVEN.opened(0, masked, dealt, answers)
    else:
        assert SEVEN.opened(0, masked, dealt, answers).tolist() == sum(values.values()).tolist()


def test_a_large_circle_needs_few_neighbours() -> None:
    """Forty members with 16 neighbours each, 12 of them gone: 30 %; the sum is that of the 28."""
    round_ = Round.of([range(40)], sizes=Sizes(16, 9))
    every, survivors = frozenset(range(40)), frozenset(range(40)) - set(range(1, 40, 4)) - {6, 22}
    assert len(survivors) == 28
    values = values_of(survivors)
    masked = round_.masked(0, values, every)
    answers = round_.answers(every, survivors, survivors)
    assert max(map(len, answers.values())) == 17
    assert round_.opened(0, masked, every, answers).tolist() == sum(values.values()).tolist()


def test_an_expert_whose_trainers_are_too_few_stays_closed_and_others_are_opened() -> None:
    """Two circles share three members: with one of them short of survivors nobody tells a share of it."""
    round_ = Round.of([range(6), [0, 1, 2, 6]])
    every = frozenset(range(7))
    small = list(round_.members.circles[1].places)
    survivors = every - set(small[:2])
    answers = round_.answers(every, survivors, survivors)
    assert {number for told in answers.values() for number, _ in told} == {0}
    stayed = frozenset(round_.members.circles[0].places) & survivors
    values = values_of(stayed)
    masked = round_.masked(0, values, every)
    assert round_.opened(0, masked, every, answers).tolist() == sum(values.values()).tolist()
    left = round_.masked(1, values_of(frozenset(small[2:])), every)
    with pytest.raises(SecureError, match="2 members of circle 1 are left, it is opened from 3 on"):
        round_.opened(1, left, every, answers)


def test_fewer_members_with_shares_than_are_opened_are_not_masked_for() -> None:
    """A device sends nothing for a circle that could not be opened, or in which it did not deal itself."""
    words = np.zeros(3, np.uint32)
    for dealt in ({0, 1}, {1, 2, 3}):
        with pytest.raises(SecureError, match="fewer members with shares"):
            SEVEN.devices[0].masked(0, words, dealt)


def test_a_device_tells_one_kind_of_share_of_each_member() -> None:
    """Of who stayed that of the self secret, of who dropped out that of the masking key, of others none."""
    dealt, survivors = frozenset({0, 1, 2, 3, 5}), frozenset({0, 1, 2, 5})
    sealed = SEVEN.sealed()
    held = SEVEN.devices[0].opened({other: sealed[other][0] for other in dealt - {0}})
    told = SEVEN.devices[0].answer(held, Attendance(dealt, survivors))
    assert told.keys() == {(0, place) for place in dealt}
    for place in dealt:
        own, key = held[0, place]
        assert own != key
        assert told[0, place] == (own if place in survivors else key)
    with pytest.raises(SecureError, match="had not dealt their shares"):
        Attendance(dealt, survivors | {6})


def test_a_member_cannot_be_left_alone_in_a_sum() -> None:
    """Of 40 members 18 stayed as they say, and all neighbours of one did not: nobody tells of its self mask.

    Nor does it send anything when it is told that most of its holders did not deal.
    """
    round_ = Round.of([range(40)], sizes=Sizes(16, 9))
    every, near = frozenset(range(40)), frozenset(round_.members.circles[0].neighbours(20))
    answers = round_.answers(every, every - near, [12, 20, 28])
    assert all((0, 20) not in told for told in answers.values())
    assert all((0, place) in answers[12] for place in (4, 20 - 16 + 1, 12))
    with pytest.raises(SecureError, match="fewer members with shares"):
        round_.devices[20].masked(0, np.zeros(3, np.uint32), (every - near) | set(sorted(near)[:7]))
    round_.devices[20].masked(0, np.zeros(3, np.uint32), (every - near) | set(sorted(near)[:8]))


def test_two_lists_of_survivors_do_not_open_one_member() -> None:
    """Half of the holders told that member 0 stayed, half that it left: neither of its secrets comes together."""
    stayed, left = SEVEN.answers(ALL, ALL, {1, 2, 3}), SEVEN.answers(ALL, ALL - {0}, {4, 5, 6})
    masked = SEVEN.masked(0, values_of(ALL), ALL)
    both = {**stayed, **left}
    with pytest.raises(SecureError):
        SEVEN.opened(0, masked, ALL, both)
    with pytest.raises(SecureError):
        SEVEN.opened(0, {place: masked[place] for place in ALL - {0}}, ALL, both)


# what the gateway sees


def test_two_inputs_with_one_sum_have_the_same_transcripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each run with the one input there is one with the other that looks the same, byte for byte.

    The stream of masks is replaced by a table of random words by seed. With other values of the same sum, the
    table's words of masks between survivors are moved along a path through them, a one-to-one map of tables: all
    that the gateway sees is the same, and it can derive none of the seeds whose words were moved. So with a random
    table both inputs give every transcript equally often.
    """
    random, table, used = np.random.default_rng(1), dict[bytes, np.ndarray](), set[bytes]()

    def add_mask(_ring: Ring, words: np.ndarray, seed: bytes, *, negative: bool = False) -> None:
        used.add(seed)
        key = seed + words.size.to_bytes(4, "little")
        mask = table.setdefault(key, random.integers(0, 2**32, words.size, np.uint32)).astype(words.dtype)
        np.subtract(words, mask, out=words) if negative else np.add(words, mask, out=words)

    monkeypatch.setattr(rings.Ring, "add_mask", add_mask)
    round_ = Round.of([range(24)], bits=32, sizes=Sizes(16, 9))
    every = frozenset(range(24))
    survivors = sorted(every - {1, 5, 6, 9, 13, 17, 22})
    one = values_of(frozenset(survivors))
    other = values_of(frozenset(survivors), seed=9)
    other[survivors[-1]] = sum(one.values()) - sum(other[place] for place in survivors[:-1])
    late = {6: np.arange(5), 22: -np.arange(5)}  # members whose deltas came too late

    def transcript(values: dict[int, np.ndarray]) -> dict[str, bytes]:
        sealed = [sorted(dealt.items()) for dealt in round_.sealed()]
        masked = round_.masked(0, {**values, **late}, every)
        answers = round_.answers(every, survivors, survivors)
        told = [(place, sorted(answers[place].items())) for place in survivors]
        total = round_.opened(0, {place: masked[place] for place in survivors}, every, answers)
        seen = {"sealed": sealed, "masked": [(p, masked[p].tobytes()) for p in sorted(masked)], "answers": told}
        return {**{name: repr(part).encode() for name, part in seen.items()}, "sum": total.tobytes()}

    first, second = transcript(one), transcript(other)
    assert second["masked"] != first["masked"]  # same masks, other values
    assert second["sum"] == first["sum"]
    used.clear()
    masked = round_.masked(0, one, every)
    from_devices = set(used)
    used.clear()
    round_.opened(0, masked, every, round_.answers(every, survivors, survivors))
    derived = used & from_devices  # by the gateway: self masks
    moved = set[bytes]()
    ring, carried = Ring(32), np.zeros(5, np.int64)
    circle = round_.members.circles[0]
    for place, following in itertools.pairwise(survivors):
        assert following in circle.neighbours(place)
        carried = carried + one[place] - other[place]
        used.clear()
        round_.devices[place].masked(0, ring.words(carried), every)
        mine = set(used)
        used.clear()
        round_.devices[following].masked(0, ring.words(carried), every)
        [seed] = mine & used  # the mask that the two have in common
        moved.add(seed)
        key = seed + (5).to_bytes(4, "little")
        table[key] = (table[key].astype(np.int64) + carried).astype(np.uint32)
    assert transcript(other) == first
    assert derived
    assert not moved & derived


def test_masked_values_are_spread_evenly() -> None:
    """Low bytes of a device's masked values over runs, for two inputs of one sum: chi-square with 255 degrees."""
    counts = np.zeros((2, 256))
    for run in range(20):
        round_ = Round.of([range(3)], bits=16, run=run)
        for number, values in enumerate(([0, 0, 0], [30_000, -30_000, 0])):
            words = round_.masked(0, {0: np.full(2000, values[0])}, frozenset(range(3)))[0]
            counts[number] += np.bincount(words & 255, minlength=256)
    expected = 20 * 2000 / 256
    for row in counts:
        # 255 + 5 sqrt(2 * 255): five deviations of the statistic above its mean.
        assert ((row - expected) ** 2 / expected).sum() < 255 + 5 * np.sqrt(2 * 255)


# hostile input


def test_shares_that_were_changed_or_swapped_do_not_open() -> None:
    """A seal is for one dealer, one holder and one list; whose shares do not open is helped by others."""
    sealed = SEVEN.sealed()
    device = SEVEN.devices[0]
    good = device.opened({1: sealed[1][0]})
    assert good.keys() == {(0, 0), (0, 1)}
    changed = bytes([sealed[1][0][0] ^ 1]) + sealed[1][0][1:]
    hostile = {1: changed, 2: sealed[1][0], 3: sealed[3][1], 4: b"", 5: sealed[5][0][:-1], 0: sealed[1][0], 99: b"x"}
    assert device.opened({place: data for place, data in hostile.items() if place < 7}).keys() == {(0, 0)}
    other = Round.of([range(7)], run=1).devices[0]  # the same list, other roots: it cannot read them
    assert other.opened({1: sealed[1][0]}).keys() == {(0, 0)}


def test_wrong_shares_do_not_open_a_sum() -> None:
    """A share of another member, of another size, or none of the field: the circle stays closed, with the member."""
    survivors = frozenset(range(1, 7))
    masked = SEVEN.masked(0, values_of(survivors), ALL)
    answers = SEVEN.answers(ALL, survivors, survivors)
    for share in (answers[1][0, 2], b"", b"\xff" * 32, answers[1][0, 1] + b"\0"):
        wrong = {**answers, 1: {**answers[1], (0, 1): share}}
        with pytest.raises(SecureError, match="member 1 in circle 0"):
            SEVEN.opened(0, masked, ALL, wrong)
    # The threshold's own number of shares of a masking key, one of them wrong: no surplus tells, the listed key does.
    four = {place: dict(answers[place]) for place in (1, 2, 3, 4)}
    four[1][0, 0] = answers[2][0, 0]
    with pytest.raises(SecureError, match="do not give the key that it had listed"):
        SEVEN.opened(0, masked, ALL, four)


def test_a_wrong_share_that_is_not_needed_keeps_nothing_closed() -> None:
    """Four of six shares are needed, and a fifth is compared with them."""
    survivors = frozenset(range(1, 7))
    masked = SEVEN.masked(0, values_of(survivors), ALL)
    answers = SEVEN.answers(ALL, survivors, survivors)
    wrong = {**answers, 6: dict.fromkeys(answers[6], answers[1][0, 2])}
    assert (SEVEN.opened(0, masked, ALL, wrong) == SEVEN.opened(0, masked, ALL, answers)).all()


def test_a_list_that_was_changed_is_refused_by_the_device_it_is_about() -> None:
    """Another key in its name, or a place that is not its own."""
    root = root_of(99)
    with pytest.raises(SecureError, match="not the keys that this device sent"):
        Member(root, SEVEN.members, 0)
    for place in (-1, 7):
        with pytest.raises(SecureError, match="not the keys"):
            Member(root, SEVEN.members, place)


def test_devices_that_were_shown_different_lists_have_nothing_in_common() -> None:
    """Neither seals nor masks: a sum of theirs is noise."""
    other = Round.of([range(7)])
    other.members = type(SEVEN.members)(bytes(32), other.members.keys, other.members.circles)
    apart = [Member(root_of_place(SEVEN, place), other.members, place) for place in range(7)]
    assert SEVEN.devices[0].opened({1: apart[1].dealt()[0]}).keys() == {(0, 0)}
    values = values_of(ALL)
    masked = SEVEN.masked(0, values, ALL)
    masked[1] = apart[1].masked(0, SEVEN.members.circles[0].ring.words(values[1]), ALL)
    total = SEVEN.opened(0, masked, ALL, SEVEN.answers(ALL, ALL, ALL))
    assert (total != sum(values.values())).all()


def root_of_place(round_: Round, place: int) -> bytes:
    """Return the root of the device at a place of the list."""
    listed = round_.members.keys[place].sharing
    return next(root_of(device) for device in range(7) if public_keys(root_of(device), []).sharing == listed)
