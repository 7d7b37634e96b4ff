"""Windows of a stream of texts, with places worked out by hand."""

from __future__ import annotations

import pytest

from edge_runtime.wire.windows import PIECE, pieces, windows

TEXTS = [[1, 2, 3], [], [4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("end_token", "length", "expected"),
    [
        # 1 2 3 9 4 9 5 6 7 8 9: 11 tokens, ceil(10 / 4) = 3 windows
        (9, 4, [[1, 2, 3, 9, 4], [4, 9, 5, 6, 7], [7, 8, 9]]),
        (9, 5, [[1, 2, 3, 9, 4, 9], [9, 5, 6, 7, 8, 9]]),
        (-1, 3, [[1, 2, 3, 4], [4, 5, 6, 7], [7, 8]]),
        (-1, 100, [[1, 2, 3, 4, 5, 6, 7, 8]]),
    ],
)
def test_windows_overlap_by_one_token(end_token: int, length: int, expected: list[list[int]]) -> None:
    """Each token but the first is a target once; a text without tokens adds nothing."""
    assert list(windows(TEXTS, end_token, length)) == expected


def test_a_lone_token_is_no_window() -> None:
    """Nothing follows it, so there is nothing to learn."""
    assert list(windows([[1]], -1, 4)) == []
    assert list(windows([], 9, 4)) == []
    assert list(windows([[1, 2, 3, 4, 5]], -1, 4)) == [[1, 2, 3, 4, 5]]


def test_pieces_end_behind_white_space() -> None:
    """Behind the last of it in reach, after 16,384 characters where there is none; none is empty, no word is lost."""
    assert list(pieces("")) == list(pieces(" \n")) == []
    assert list(pieces(" a b ")) == ["a b"]
    word = "x" * PIECE
    assert list(pieces("a " + word)) == ["a", word]
    assert list(pieces(word + "yz")) == [word, "yz"]
    assert list(pieces("a" + " " * (2 * PIECE) + "b\tc")) == ["a", "b\tc"]
    words = [f"w{number}" for number in range(20_000)]
    parts = list(pieces("\r\n".join(words)))
    assert [word for part in parts for word in part.split()] == words
    assert max(map(len, parts)) <= PIECE
