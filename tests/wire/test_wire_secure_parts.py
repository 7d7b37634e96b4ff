"""What sums under masks are made of: shares, keys, rings, neighbours, integers and noise."""

from __future__ import annotations

import dataclasses
import math
from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st
from secure_round import Round

from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.secure import graph, noise, shamir
from edge_runtime.wire.secure.agreement import agree, check_public, derive, public_key
from edge_runtime.wire.secure.fixed_point import Scale, cut_whole, weight_of
from edge_runtime.wire.secure.graph import Sizes, in_order, neighbours, sizes_for
from edge_runtime.wire.secure.noise import Stream, discrete_gaussian, most_of_sum, multiplier
from edge_runtime.wire.secure.ring import Ring, bits_for

# shares


def test_the_prime_is_one() -> None:
    """2^256 - 189 passes Fermat's test for the first prime bases, and nothing between it and 2^256 does."""
    bases = (2, 3, 5, 7, 11, 13)
    assert all(pow(base, shamir.PRIME - 1, shamir.PRIME) == 1 for base in bases)
    assert not any(pow(2, number - 1, number) == 1 for number in range(shamir.PRIME + 2, 2**256, 2))


def test_shares_of_a_line_are_its_points() -> None:
    """Secret 5, slope 3: 8 at holder 1, 11 at holder 2, 3000005 at holder one million."""
    shares = shamir.split(number(5), [number(3)], [1, 2, 1_000_000])
    assert shares == {1: number(8), 2: number(11), 1_000_000: number(3_000_005)}
    assert shamir.join({1: number(8), 2: number(11)}, 2) == number(5)


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 5), st.data())
def test_any_threshold_of_holders_gives_the_secret_back(secret: bytes, threshold: int, data: st.DataObject) -> None:
    """And one share less says nothing: for every secret there is a polynomial through those that are there."""
    secret = shamir.element(secret)
    coefficients = [data.draw(st.binary(min_size=32, max_size=32)) for _ in range(threshold - 1)]
    shares = shamir.split(secret, coefficients, range(1, 8))
    few = data.draw(st.sampled_from([*combinations(range(1, 8), threshold)]))
    assert shamir.join({holder: shares[holder] for holder in few}, threshold) == secret
    assert shamir.join(shares, threshold) == secret
    less = {holder: shares[holder] for holder in few[1:]}
    with pytest.raises(SecureError, match="are needed"):
        shamir.join(less, threshold)
    if threshold > 1:
        other = number(42)
        through = {**less, 8: lagrange(8, {0: other, **less})}
        assert shamir.join(through, threshold) == other


def lagrange(place: int, points: dict[int, bytes]) -> bytes:
    """Return the value at a place of the polynomial through points; the secret is the point at 0."""
    moved = {holder + 1: value for holder, value in points.items()}  # holders count from 1
    weights = shamir._lagrange(place + 1, tuple(sorted(moved)))
    total = sum(w * int.from_bytes(moved[h], "little") for w, h in zip(weights, sorted(moved), strict=True))
    return number(total % shamir.PRIME)


def number(value: int) -> bytes:
    """Return a number of the field as bytes."""
    return value.to_bytes(32, "little")


def test_what_is_no_share_is_refused() -> None:
    """A number that is none of the field, another size, holder 0, a holder twice, a share beside the polynomial."""
    shares = shamir.split(number(5), [number(3)], [1, 2, 3])
    for wrong in ({0: shares[1], 2: shares[2]}, {1: b"\xff" * 32, 2: shares[2]}, {1: b"", 2: shares[2]}):
        with pytest.raises(SecureError):
            shamir.join(wrong, 2)
    with pytest.raises(SecureError, match="holder 3 does not fit"):
        shamir.join({**shares, 3: shares[1]}, 2)
    for holders in ([0, 1], [1, 1]):
        with pytest.raises(SecureError, match="each once"):
            shamir.split(number(5), [], holders)
    with pytest.raises(SecureError, match="no number of the field"):
        shamir.split(b"\xff" * 32, [], [1])


# keys


def test_agreement_is_that_of_the_rfc() -> None:
    """RFC 7748, the first of section 5.2, and Bob's keys with Alice's public one of section 6.1."""
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert agree(scalar, point).hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    alice = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    assert public_key(bob).hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    assert agree(bob, alice).hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


def test_keys_of_small_order_and_of_another_size_are_refused() -> None:
    """They would make what two devices have in common known to all."""
    # Of order 1, 2, 4 and 8, and their like modulo 2^255 - 19 (Bernstein, cr.yp.to/ecdh.html).
    small = [
        number(0),
        number(1),
        number(2**255 - 20),
        number(2**255 - 19),
        number(2**255 - 18),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    ]
    for key in [*small, b"", bytes(31), bytes(33)]:
        with pytest.raises(SecureError):
            check_public(key)
    with pytest.raises(SecureError, match="private key of 31"):
        public_key(bytes(31))
    check_public(public_key(number(7)))
    assert agree(number(7), public_key(number(9))) == agree(number(9), public_key(number(7)))


def test_what_is_derived_is_that_of_the_rfc() -> None:
    """RFC 5869, test case 1."""
    secret, salt, info = b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA))
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    assert derive(secret, salt, info, 42).hex() == expected


# rings


@given(st.integers(8, 32), st.lists(st.integers(-(2**40), 2**40), max_size=70))
def test_packed_values_come_back(bits: int, values: list[int]) -> None:
    """Each takes its bits and no more; what is above them falls away."""
    ring = Ring(bits)
    words = ring.words(np.array(values, np.int64))
    data = ring.pack(words)
    assert len(data) == math.ceil(len(values) * bits / 8)
    assert int.from_bytes(data, "little") == sum((value % 2**bits) << bits * i for i, value in enumerate(values))
    assert ring.unpack(data, len(values)).tolist() == words.tolist()
    assert ring.signed(words).tolist() == [(value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1) for value in values]
    assert ring.unsigned(words).tolist() == [value % 2**bits for value in values]


def test_what_is_no_packed_value_is_refused() -> None:
    """Too few bytes, too many, and bits behind the last value."""
    for data in (b"\0", b"\0\0\0", b"\0\x10"):
        with pytest.raises(SecureError):
            Ring(12).unpack(data, 1)
    assert Ring(12).unpack(b"\xff\x0f", 1).tolist() == [4095]
    for bits in (7, 33):
        with pytest.raises(SecureError, match="expected 8 to 32"):
            Ring(bits)


@pytest.mark.parametrize("bits", [12, 16, 19, 32])
def test_a_mask_is_the_stream_of_its_seed(bits: int) -> None:
    """AES in counter mode, here block by block; longer than the pieces that it is computed in; taken off again."""
    ring, count, seed = Ring(bits), 70_001, bytes(range(32))
    words = ring.words(np.arange(count))
    before = words.copy()
    ring.add_mask(words, seed)
    size = ring.word.itemsize
    block = Cipher(AES256(seed), ECB()).encryptor()  # noqa: S305 - counter mode, written out
    stream = b"".join(block.update(i.to_bytes(16, "big")) for i in range(count * size // 16 + 1))
    assert (words - before).tolist() == np.frombuffer(stream, ring.word, count).tolist()
    ring.add_mask(words, seed, negative=True)
    assert words.tolist() == before.tolist()


def test_the_smallest_ring_leaves_an_eighth_free() -> None:
    """Sums of n values of 127 or less: 12 bits for ten devices, 15 for a hundred, 19 for a thousand."""
    assert [bits_for(n, 127) for n in (3, 10, 100, 1000)] == [10, 12, 15, 19]
    assert Ring(8).holds(111)  # 223 of 256 values, 7/8 are 224
    assert not Ring(8).holds(112)
    with pytest.raises(SecureError, match="more than 32 bits"):
        bits_for(4096, 2**20)


# neighbours


@given(st.integers(3, 60), st.data())
def test_neighbours_are_mutual(members: int, data: st.DataObject) -> None:
    """Each has k of them, not itself, and is one of theirs."""
    count = data.draw(st.sampled_from([members - 1, *range(2, members - 1, 2)]))
    near = [neighbours(place, members, count) for place in range(members)]
    for place, others in enumerate(near):
        assert len(others) == len(set(others)) == count
        assert place not in others
        assert all(place in near[other] for other in others)


def test_enough_neighbours_by_another_count() -> None:
    """The bounds of 200 members, 30 % of them gone and a tenth colluding, by drawing one after the other."""
    sizes = sizes_for(200, 200, 0.3, 0.1)
    assert sizes == Sizes(96, 49)

    def tail(marked: int, least: int) -> float:
        """Probability of ``least`` or more marked ones among 96 neighbours of 199 others, draw by draw."""
        chances = np.zeros(97)
        chances[0] = 1.0
        for drawn in range(96):
            seen = np.arange(97)
            hit = (marked - seen) / (199 - drawn) * chances
            chances = np.roll(np.clip(hit, 0, None), 1) + chances - hit
        return float(chances[least:].sum())

    assert 200 * tail(60, 96 - 49 + 1) <= 2**-20
    assert 200 * tail(20, 49) <= 2**-40
    assert [sizes_for(n, n, 0.3, 0.1).neighbours for n in (3, 5, 10, 50, 100, 1000)] == [2, 4, 9, 42, 60, 174]
    # Half of a hundred: by chance more than 30 % of them may be gone, so all are needed.
    assert sizes_for(50, 100, 0.3, 0.1) == Sizes(49, 26)
    assert sizes_for(500, 1000, 0.3, 0.1).neighbours == 168


def test_a_list_follows_from_all_keys() -> None:
    """Another key anywhere is another order; who is twice in it stands once."""
    digests = [bytes([i]) * 32 for i in range(20)]
    order = in_order(digests)
    assert sorted(order) == digests
    assert in_order([*digests[5:], *digests]) == order
    assert [one for one in in_order([*digests, b"x" * 32]) if one != b"x" * 32] != order


def test_what_is_not_safe_is_refused() -> None:
    """Too few or an odd number of neighbours, a threshold of half the holders, circles of two, rings, order, keys."""
    for members, sizes in (
        (40, Sizes(14, 8)), (40, Sizes(17, 10)), (40, Sizes(40, 21)), (40, Sizes(39, 20)), (40, Sizes(16, 8)),
        (40, Sizes(16, 18)), (3, Sizes(1, 2)),
    ):  # fmt: skip
        with pytest.raises(SecureError):
            sizes.check(members)
    Sizes(16, 9).check(40)
    Sizes(39, 21).check(40)
    members = Round.of([range(5)]).members
    members.check()
    circle, keys = members.circles[0], members.keys
    same = dataclasses.replace(keys[1], sharing=keys[0].sharing)
    masked_alike = dataclasses.replace(keys[1], masking=keys[0].masking)
    short = dataclasses.replace(keys[1], sharing=b"x")
    for wrong in (
        {"keys": (keys[1], keys[0], *keys[2:])},
        {"keys": (keys[0], keys[0], *keys[2:])},
        *({"keys": (keys[0], other, *keys[2:])} for other in (same, masked_alike, short)),
        {"keys": keys[:4]},
        {"circles": {1: circle}},
        {"circles": {0: dataclasses.replace(circle, least=2)}},
        {"circles": {0: dataclasses.replace(circle, least=6)}},
        {"circles": {0: dataclasses.replace(circle, bits=40)}},
        {"circles": {0: dataclasses.replace(circle, places=(0, 2, 1, 3, 4))}},
        {"circles": {0: dataclasses.replace(circle, places=(-1, 0, 1, 2, 3))}},
    ):
        with pytest.raises(SecureError):
            dataclasses.replace(members, **wrong).check()
    with pytest.raises(SecureError, match="of 7 is opened from 3 on, expected 4"):
        dataclasses.replace(Round.of([range(7)]).members.circles[0], least=3).check()
    many = dataclasses.replace(members, keys=keys * (graph.MOST_MEMBERS // 5 + 1))
    with pytest.raises(SecureError, match="limit 4096"):
        many.check()


# integers


def test_values_of_a_device_become_integers_and_what_is_left() -> None:
    """Weight 3 of 4, step 0.25: v times 3, half to even; 127 at most; the rest goes into the next delta."""
    integers, left = Scale(0.25, 127, 3, 4).integers(np.array([1, 0.5, -0.5, 100], np.float32))
    assert integers.tolist() == [3, 2, -2, 127]  # 1.5 and -1.5 go to 2 and -2
    assert left.tolist() == [0.0, np.float32(0.5 - 2 / 3), np.float32(2 / 3 - 0.5), np.float32(100 - 127 / 3)]
    mean = Scale(0.25, 127, 1, 4).mean(np.array([9, -4, 0]), np.array([3, 2, 0]))
    assert mean.tolist() == [3.0, -2.0, 0.0]
    assert [weight_of(n, 10, 16) for n in (1, 14, 15, 1000)] == [1, 1, 2, 16]
    for wrong in ({"step": 0.0}, {"step": math.inf}, {"limit": 0}, {"weight": 0}, {"weight": 5}):
        with pytest.raises(SecureError):
            Scale(**{"step": 1.0, "limit": 1, "most_weight": 4, **wrong})
    with pytest.raises(SecureError, match="1 of 2 values"):
        Scale(1.0, 1).integers(np.array([math.nan, 0], np.float32))


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30), st.integers(1, 100))
def test_an_update_in_integers_is_no_longer_than_its_limit(values: list[float], norm: int) -> None:
    """Exactly, rounding and all; what was short enough is rounded only."""
    parts = [np.array(values), np.array(values[:3])]
    cut, factor = cut_whole(parts, norm, 1000)
    assert sum(int((part**2).sum()) for part in cut) <= norm**2
    whole = [np.rint(part) for part in parts]
    if sum(float((part**2).sum()) for part in whole) <= norm**2 and norm > 2 * np.linalg.norm(values):
        assert [part.tolist() for part in cut] == [part.tolist() for part in whole]
        assert factor == 1.0


def test_an_update_in_integers_is_cut_at_each_value_first() -> None:
    """Norm 5 of (3, 300), 4 at most each: (3, 4) is just so long; (3, 9) with 9 allowed is shortened until it fits."""
    assert [part.tolist() for part in cut_whole([np.array([3.0, 300.0])], 5, 4)[0]] == [[3, 4]]
    cut, factor = cut_whole([np.array([3.0, 9.0])], 5, 9)
    assert [part.tolist() for part in cut] == [[1, 4]]  # times 0.527: (1.58, 4.74) rounds to (2, 5), which is too long
    assert factor == pytest.approx(5 / math.sqrt(90) * 5 / math.sqrt(29))


# noise


def share(x: int, variance: int) -> float:
    """Return P[x], by the formula."""
    return math.exp(-x * x / (2 * variance)) / sum(math.exp(-y * y / (2 * variance)) for y in range(-400, 401))


@pytest.mark.parametrize("variance", [1, 4, 300])
def test_noise_is_discrete_and_gaussian(variance: int) -> None:
    """How often each value came against the formula, five deviations of each count; mean and variance likewise."""
    count = 100_000
    drawn = discrete_gaussian(bytes(range(32)), variance, count)
    assert drawn.shape == (count,)
    reach = 3 * math.isqrt(variance)
    for x in range(-reach, reach + 1):
        expected = count * share(x, variance)
        assert abs(int((drawn == x).sum()) - expected) < 5 * math.sqrt(expected)
    assert abs(drawn.mean()) < 5 * math.sqrt(variance / count)
    assert drawn.var() == pytest.approx(sum(x * x * share(x, variance) for x in range(-400, 401)), rel=0.03)


def test_wide_noise_is_that_of_a_gaussian() -> None:
    """Shares within one, two and three deviations of the widest; chi-squared quantiles bound its variance."""
    drawn = discrete_gaussian(bytes(32), 1 << 25, 50_000) / math.sqrt(1 << 25)
    for reach in (1, 2, 3):
        inside = math.erf(reach / math.sqrt(2))
        assert abs((np.abs(drawn) < reach).mean() - inside) < 5 * math.sqrt(inside * (1 - inside) / 50_000)
    assert abs(drawn.var() - 1) < 5 * math.sqrt(2 / 50_000)


def test_noise_follows_from_its_seed_alone() -> None:
    """The same seed, the same values; another seed, others. No other seed or variance is taken."""
    drawn = discrete_gaussian(bytes(32), 100, 500).tolist()
    assert drawn == discrete_gaussian(bytes(32), 100, 500).tolist()
    assert drawn != discrete_gaussian(bytes(range(32)), 100, 500).tolist()
    for seed, variance in ((bytes(32), 0), (bytes(32), (1 << 25) + 1), (bytes(31), 4)):
        with pytest.raises(SecureError):
            discrete_gaussian(seed, variance, 1)


def test_integers_below_a_bound_are_all_as_likely() -> None:
    """Of 3, and of a bound that a third of all words are beyond: without taking those again, small ones came twice."""
    for most in (3, (1 << 62) // 3 * 2):
        drawn = Stream(bytes(32)).below(most, 30_000) * 3 // most if most > 3 else Stream(bytes(32)).below(3, 30_000)
        for third in range(3):
            assert abs(int((drawn == third).sum()) - 10_000) < 5 * math.sqrt(10_000 * 2 / 3)


def test_a_value_so_far_off_that_its_square_has_no_room_is_judged_in_whole_numbers() -> None:
    """Its chance is exp(-2^13 and more): never taken, where an overflow would have made some of them likely."""
    scale = math.isqrt(1 << 25) + 1
    far = np.arange(1 << 20, (1 << 20) + 1000, dtype=np.int64)
    assert not noise._accepted(Stream(bytes(32)), far, 1 << 25, scale).any()


def test_what_noise_of_many_devices_promises() -> None:
    """Wide noise is a Gaussian's; of narrow noise the theorem takes something off: tau by hand for two devices."""
    assert multiplier(1.0, 16, 70, 400_000) == 1.0
    assert multiplier(1.0, 1, 1, 400_000) == 1.0  # one alone is a discrete Gaussian
    tau = 10 * math.exp(-2 * math.pi**2 / 2)
    assert multiplier(2.0, 1, 2, 100) == pytest.approx(1 / (0.5 + 10 * tau))


def test_sums_with_noise_need_room_for_it() -> None:
    """Three of 127, and twelve deviations of three times variance 16."""
    assert most_of_sum(3, 127, 0) == 381
    assert most_of_sum(3, 127, 16) == 381 + 12 * 7
