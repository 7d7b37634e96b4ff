"""What a build says of the texts it counted, and of how full steps will be."""

from __future__ import annotations

import pytest

from edge_runtime.wire.fill import Fill
from export.planning.row_choice import HALF, RowChoice
from export.planning.text_lengths import TextLengths
from export.report.rows import rows_object, rows_sentences

FILLS = {"train_a": Fill(100, 1524, 913, 1000), "train_b": Fill(1, 8, 3, 5)}


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        ((9,) * 7429 + (40,) * 12, "rows of 32 tokens: 12 of 7,441 texts (0.2 %) are longer and are cut; 9.0 tokens a"),
        ((9, 33), "rows of 32 tokens: 1 of 2 texts (50.0 %) is longer and is cut; 20.5 tokens a text in the mean"),
        ((9,) * 1999 + (40,), "1 of 2,000 texts (under 0.1 %) is longer and is cut"),
        ((9,) * 1000, "no one of 1,000 texts is longer than 32 tokens; 9.0 tokens a text in the mean"),
    ],
)
def test_texts_that_are_cut_are_told(tokens: tuple[int, ...], told: str) -> None:
    """How many of how many, in percent, and the mean of what is left: (9 + 32) / 2 = 20.5."""
    assert told in rows_sentences(RowChoice(texts=TextLengths(tokens)), {}, 32)[0]


def test_the_fill_of_each_tier_is_told() -> None:
    """Share of places that hold tokens, and texts a step; the same as plain values."""
    row_choice = RowChoice(texts=TextLengths((9, 33)))
    assert rows_sentences(row_choice, FILLS, 32)[1:] == [
        "fill of train_a: 15.2 texts a step, 91% of its places hold tokens",
        "fill of train_b: 8.0 texts a step, 60% of its places hold tokens",
    ]
    assert rows_object(row_choice, FILLS, 32) == {
        "rows_by": "data",
        "data": {"texts": 2, "longer": 1, "mean_tokens": 20.5},
        "steps": {
            "train_a": {"fill": 0.913, "texts_per_step": 15.24},
            "train_b": {"fill": 0.6, "texts_per_step": 8.0},
        },
    }


@pytest.mark.parametrize(
    ("row_choice", "by", "told"),
    [
        (HALF, "default", "rows: a default, half as many as texts in a step, for there were no texts to count; --data"),
        (RowChoice((256,)), "tokens", "rows: as --tokens says; --data FILE tells how full steps"),
        (RowChoice(windows=True), "windows", "rows: each window of a language model's texts fills one"),
    ],
)
def test_without_texts_nobody_promises_a_fill(row_choice: RowChoice, by: str, told: str) -> None:
    """A default is called one, with what to do about it."""
    (sentence,) = rows_sentences(row_choice, {}, 32)
    assert sentence.startswith(told)
    assert rows_object(row_choice, {}, 32) == {"rows_by": by, "data": None, "steps": {}}
