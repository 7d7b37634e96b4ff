"""Packing: which texts a call takes, and where they stand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.wire.packing import Capacity, Stand, holds, pack, steps

_LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=24)
_CAPACITY = st.builds(Capacity, st.integers(1, 5), st.integers(1, 16), st.integers(1, 12))


@given(_LENGTHS, _CAPACITY)
def test_every_text_stands_alone_in_its_places(lengths: list[int], capacity: Capacity) -> None:
    """No place is taken twice, none lies outside its row, every text has all its tokens or S of them."""
    stands = pack(lengths, capacity)
    places = [(stand.row, stand.first + token) for stand in stands for token in range(stand.count)]
    assert len(set(places)) == len(places)
    assert all(row in range(capacity.rows) and place in range(capacity.sequence) for row, place in places)
    assert [stand.count for stand in stands] == [min(n, capacity.sequence) for n in lengths[: len(stands)]]


@given(_LENGTHS, _CAPACITY)
def test_steps_lose_no_text(lengths: list[int], capacity: Capacity) -> None:
    """Each step takes at least one text and at most B, and together they take all."""
    taken = steps(lengths, capacity)
    assert sum(taken) == len(lengths)
    assert all(1 <= count <= capacity.batch for count in taken)


def test_a_step_takes_as_many_texts_as_fit() -> None:
    """Rows of 10: 7 and 3, 6 and 4 fill two rows; the fifth text begins the next step."""
    capacity = Capacity(rows=2, sequence=10, batch=8)
    assert pack([3, 7, 4, 6, 1], capacity) == [Stand(0, 7, 3), Stand(0, 0, 7), Stand(1, 6, 4), Stand(1, 0, 6)]


def test_ten_thousand_texts_of_one_token_take_full_batches() -> None:
    """The batch bounds a step where places do not: 625 steps of 16."""
    assert steps([1] * 10_000, Capacity(rows=2, sequence=32, batch=16)) == [16] * 625


def test_a_capacity_holds_texts_if_it_takes_nine_tenths_of_a_batch() -> None:
    """A row of 8 takes two texts of 4; with rows of 7 it takes one, and twice the steps."""
    assert holds([4] * 20, Capacity(rows=1, sequence=8, batch=2))
    assert not holds([4] * 20, Capacity(rows=1, sequence=7, batch=2))
