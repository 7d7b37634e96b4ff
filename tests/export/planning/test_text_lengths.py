"""Length and rows that suit texts, and how full steps of them are: all by hand."""

from __future__ import annotations

import pytest

from export.planning.row_choice import HALF, RowChoice
from export.planning.text_lengths import TextLengths


@pytest.mark.parametrize(
    ("tokens", "most", "length"),
    [
        ((18,) * 999 + (60,), 64, 24),  # the 999th of 1,000 texts has 18 tokens; 24 is the next multiple of 8
        ((18,) * 998 + (60,) * 2, 64, 64),  # here it has 60
        ((18,) * 998 + (60,) * 2, 40, 40),  # the profile's at most
        ((24,), 64, 24),
        ((3, 5), 64, 16),  # 16 at least
        ((3, 5), 12, 12),  # but no more than there may be
        ((0, 0), 64, 16),
    ],
)
def test_the_length_holds_999_of_1000_texts(tokens: tuple[int, ...], most: int, length: int) -> None:
    """The smallest multiple of 8 from the 99.9th percentile on, from 16 to what the profile says."""
    assert TextLengths(tokens).suiting_length(most) == length


def test_texts_that_are_cut_are_counted() -> None:
    """Longer than the row, not as long; a mean is of what is left of them."""
    texts = TextLengths((4, 8, 9, 33))
    assert texts.longer(8) == 2
    assert texts.mean(8) == (4 + 8 + 8 + 8) / 4


@pytest.mark.parametrize(
    ("tokens", "sequence", "batch", "rows", "fill"),
    [
        ((16,), 16, 8, 8, (1.0, 8.0)),  # each text fills its row: padding to S would do the same
        ((99,), 16, 8, 8, (1.0, 8.0)),  # so does each that is cut
        ((8,), 16, 8, 4, (1.0, 8.0)),  # two in a row
        ((5,), 16, 8, 3, (5 * 8 / (3 * 16), 8.0)),  # three in a row: three rows would take nine
        ((9,), 16, 8, 8, (9 / 16, 8.0)),  # two do not fit into a row
        ((1,), 64, 16, 1, (16 / 64, 16.0)),  # one row holds more than a step takes
        ((0,), 16, 8, 1, (0.0, 8.0)),  # texts without a token take no place
    ],
)
def test_the_fewest_rows_for_texts_of_like_lengths(
    tokens: tuple[int, ...], sequence: int, batch: int, rows: int, fill: tuple[float, float]
) -> None:
    """Such texts need no calculator: so many go into a row, so many rows hold a step's."""
    texts = TextLengths(tokens)
    assert texts.fewest_rows(sequence, batch) == rows
    steps = texts.fill(sequence, rows, batch)
    assert (steps.share, steps.texts_per_step) == pytest.approx(fill)


@pytest.mark.parametrize("tokens", [(3, 5, 8, 13, 21), (12, 4), tuple(range(1, 25)), (24, 1, 1, 1, 1)])
def test_with_one_row_fewer_steps_would_take_too_few_texts(tokens: tuple[int, ...]) -> None:
    """Nine tenths of 16 texts are 14.4; the places are full of what a step takes, no more."""
    texts = TextLengths(tokens)
    rows = texts.fewest_rows(24, 16)
    fill = texts.fill(24, rows, 16)
    assert texts.fill(24, rows - 1, 16).texts_per_step < 14.4 <= fill.texts_per_step <= 16
    assert fill.share == pytest.approx(fill.texts_per_step * texts.mean(24) / (24 * rows), rel=0.01)


def test_capacity_by_hand_by_texts_and_by_default() -> None:
    """250 tokens in rows of 64 are 4 rows; without a wish or texts half as many rows as texts, rounded up."""
    texts = TextLengths((8,))
    assert RowChoice((250, 64, 512), texts).rows(64, 16) == (8, 4, 1)
    assert RowChoice((4096,)).rows(64, 16) == (16,)  # a row more than texts would stay empty
    assert RowChoice(texts=texts).rows(16, 16) == (8,)
    assert HALF.rows(64, 16) == (8,)
    assert HALF.rows(64, 5) == (3,)
    assert RowChoice(texts=texts, windows=True).rows(64, 16) == (16,)
    assert HALF.fill(64, 8, 16) is None
    assert RowChoice(texts=texts).suiting_length(64) == 16
    assert HALF.suiting_length(64) == 64
