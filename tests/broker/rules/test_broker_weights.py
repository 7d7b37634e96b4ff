"""What one device may weigh, by hand-computed numbers and by law."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_server.rules.weights import (
    Caps,
    bounded_use,
    capped,
    capped_sums,
    factors,
    label_factors,
    norm_limits,
    share_capped,
)
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.experts import ExpertId

CAPS = Caps(multiple=10, share=0.25, norm=2)
ANY = Caps(multiple=0, share=1, norm=0)


@pytest.mark.parametrize(
    ("claimed", "counted"),
    [
        ([7], [7]),  # alone: there is nobody to be compared with
        ([20, 400], [20, 200]),  # of two: ten times the lower one; 2 / k is 1
        ([70, 2.0**32], [70, 700]),
        ([1, 1, 100], [1, 1, 4]),  # ten times the median 1 is 10; two thirds of the total: 2 * 2 = 4
        ([1] * 7 + [2.0**32], [1] * 7 + [7 / 3]),  # a quarter of 7 + 7/3
        ([1] * 11 + [3], [1] * 11 + [3]),  # 3 of 14 is less than a quarter
        ([0, 0, 5, 5, 5, 5], [0, 0, 5, 5, 5, 5]),
        ([1e30, 1e30, 1, 1, 1, 1], [4, 4, 1, 1, 1, 1]),  # two liars of six: a third each
        ([], []),
    ],
)
def test_claims_are_capped(claimed: list[float], counted: list[float]) -> None:
    """By ten times the median, then by a quarter of the total, or two equal parts where that is more."""
    np.testing.assert_allclose(capped(claimed, CAPS), counted, rtol=1e-12)


def test_claims_count_as_they_are_without_caps() -> None:
    """Bit for bit: an operator may trust every device."""
    claimed = [1.0, 3.7, 2.0**32]
    assert capped(claimed, ANY).tolist() == claimed
    assert factors(claimed, ANY).tolist() == [1, 1, 1]


@given(
    st.lists(st.floats(1e-3, 1e30), min_size=3, max_size=40),
    st.floats(0.01, 1.0),
    st.sampled_from([0.0, 1.0, 3.0, 10.0]),
)
def test_nobody_weighs_more_than_the_share(claimed: list[float], share: float, multiple: float) -> None:
    """Whatever is claimed; and who was below the largest that is left keeps all."""
    counted = capped(claimed, Caps(multiple, share))
    part = max(share, 2 / len(claimed))
    assert counted.max() <= part * counted.sum() * (1 + 1e-9)
    assert (counted <= claimed).all()
    kept = np.array(claimed)[np.array(claimed) < counted.max()]
    assert set(kept) <= set(counted)


def test_share_cap_is_no_lower_than_it_must_be() -> None:
    """Who is capped has exactly the share: 6 of 6 + 18."""
    counted = share_capped([100, 6, 6, 6], 0.25)
    assert counted.tolist() == [18, 6, 6, 6]  # of four devices the share is two equal parts, a half
    counted = share_capped([100] + [2] * 9, 0.25)
    assert counted[0] / counted.sum() == pytest.approx(0.25)


def test_label_counts_are_capped_label_by_label() -> None:
    """A liar's total is capped to ten of the usual 9; all of it in one label is cut to two thirds of that label."""
    counts = [[3, 3, 3], [3, 3, 3], [9000, 0, 0]]
    left = label_factors(counts, CAPS)
    np.testing.assert_allclose(left[:2], 1)
    # Total: 10 * 9 = 90, then 2/3 of (18 + x): 36. Label: 36 of 42 is more than 2/3 of (6 + x): 12.
    assert left[2][0] == pytest.approx(12 / 9000)


def test_label_that_one_device_has_stays_its_own() -> None:
    """Skewed data are no attack: nobody else could say what this label looks like."""
    counts = [[5, 0], [5, 0], [0, 5]]
    assert label_factors(counts, CAPS).tolist() == [[1, 1], [1, 1], [1, 1]]


def test_capped_class_sums_keep_their_means() -> None:
    """Count and sum of a label are scaled by one factor."""
    honest = ClassSums(np.array([2, 2], np.float32), np.array([[2, 0], [0, 2]], np.float32))
    liar = ClassSums(np.array([1e30, 0], np.float32), np.array([[0, 1e30], [0, 0]], np.float32))
    parts = capped_sums([honest, honest, liar], CAPS)
    assert parts[0].counts.tolist() == [2, 2]
    # Total: 10 * 4 = 40, then 2/3 of (8 + x) = 16; label: 2/3 of (4 + x) = 8.
    np.testing.assert_allclose(parts[2].counts, [8, 0], rtol=1e-6)
    np.testing.assert_allclose(parts[2].sums, [[0, 8], [0, 0]], rtol=1e-6)
    assert capped_sums([], CAPS) == []


def test_honest_class_sums_are_the_same_numbers() -> None:
    """Uncapped they add up bit for bit as before."""
    rng = np.random.default_rng(0)
    parts = [ClassSums(np.full(3, 5, np.float32), rng.normal(size=(3, 4)).astype(np.float32)) for _ in range(5)]
    after = ClassSums.total(capped_sums(parts, CAPS))
    before = ClassSums.total(parts)
    assert after.sums.tobytes() == before.sums.tobytes()
    assert after.counts.tobytes() == before.counts.tobytes()


def test_norms_are_limited_by_the_rounds_median() -> None:
    """Of three devices the median of a kind is 2, twice that is 4; two devices have no majority."""
    norms = [{"expert": 1.0, "head": 1.0}, {"expert": 2.0}, {"expert": 50.0, "head": 9.0}]
    assert norm_limits(norms, CAPS) == {"expert": 4.0}
    assert norm_limits(norms, ANY) == {}


def test_tokens_make_at_most_k_choices_each() -> None:
    """10 tokens, 2 choices each, are 20; who claims 40 has each expert's claim halved."""
    a, b, c = ExpertId(0, 0), ExpertId(0, 1), ExpertId(1, 0)
    use = {a: (30.0, 10.0), b: (10.0, 10.0), c: (5.0, 10.0)}
    assert bounded_use(use, 2, 1.0) == {a: (15.0, 10.0), b: (5.0, 10.0), c: (5.0, 10.0)}
    assert bounded_use(use, 2, 0.5)[c] == (2.5, 5.0)


def test_honest_tokens_keep_every_bit() -> None:
    """Sums of float32 come out a little over k T; that is rounding, and no claim."""
    use = {ExpertId(0, 0): (12.0005, 10.0), ExpertId(0, 1): (8.0005, 10.0)}
    assert bounded_use(use, 2, 1.0) == use
