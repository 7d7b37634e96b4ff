"""Arrays of texts that share rows: numbers by hand, and what holds of any texts."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.data.packed import Packed
from edge_runtime.wire.packing import Capacity, Stand

HAND = Packed(Capacity(2, 4, 4), (Stand(0, 0, 4), Stand(1, 0, 3), Stand(0, 0, 0), Stand(1, 3, 1)))
"""Texts of 4, 3, 0 and 1 tokens in two rows of 4; the last stands behind the second."""


def test_where_tokens_stand_by_hand() -> None:
    """Positions count from 0 in each text; a place looks at those of its own text; padding at nothing."""
    frame = HAND.frame()
    assert frame["positions"].tolist() == [[0, 1, 2, 3], [0, 1, 2, 0]]
    assert frame["attend"][0].tolist() == [[1] * 4] * 4
    assert frame["attend"][1].tolist() == [[1, 1, 1, 0]] * 3 + [[0, 0, 0, 1]]
    assert HAND.mask().tolist() == [[1] * 4, [1] * 4]
    assert (HAND.tokens, len(HAND)) == (8, 4)


def test_how_texts_are_read_by_hand() -> None:
    """The mean of a text's tokens, or its last one; a text without tokens, and a slot without a text, read nothing."""
    third = np.float32(1) / np.float32(3)
    assert HAND.means().tolist() == [[0.25] * 4 + [0] * 4, [0] * 4 + [third] * 3 + [0], [0] * 8, [0] * 7 + [1]]
    assert HAND.lasts().tolist() == [[0, 0, 0, 1] + [0] * 4, [0] * 6 + [1, 0], [0] * 8, [0] * 7 + [1]]
    alone = Packed(Capacity(1, 4, 2), (Stand(0, 0, 2),))
    assert alone.means().tolist() == [[0.5, 0.5, 0, 0], [0] * 4]


def test_values_stand_at_the_places_of_their_text() -> None:
    """Longer values are cut, shorter ones leave places at 0."""
    ids = HAND.spread([[1, 2, 3, 4, 5], [6, 7], [], [9]], np.int64)
    assert ids.tolist() == [[1, 2, 3, 4], [6, 7, 0, 9]]
    assert ids.dtype == np.int64


def test_a_text_longer_than_a_row_is_cut_and_goes_alone() -> None:
    """Nine tokens in rows of four: four of them, and the next text stands in the other row."""
    packed = Packed.next([9, 3, 4], Capacity(2, 4, 3))
    assert packed.stands == (Stand(0, 0, 4), Stand(1, 0, 3))


def test_a_call_takes_no_more_texts_than_it_may() -> None:
    """10,000 texts of one token: two rows of eight would hold 16, a call of four takes four."""
    assert len(Packed.next([1] * 10_000, Capacity(2, 8, 4))) == 4


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=30),
    rows=st.integers(1, 4),
    length=st.integers(1, 9),
    batch=st.integers(1, 6),
)
def test_no_text_is_lost_and_no_place_is_taken_twice(counts: list[int], rows: int, length: int, batch: int) -> None:
    """Calls take all texts in order, at least one each, and every token has a place of its own."""
    capacity, first = Capacity(rows, length, batch), 0
    while first < len(counts):
        packed = Packed.next(counts[first : first + batch], capacity)
        assert 1 <= len(packed) <= batch
        assert [stand.count for stand in packed.stands] == [
            min(count, length) for count in counts[first : first + len(packed)]
        ]
        mask = packed.mask()
        assert mask.sum() == packed.tokens
        assert np.allclose(packed.means().sum(0) > 0, mask.reshape(-1) > 0)
        first += len(packed)
