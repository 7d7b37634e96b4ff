"""Own texts on a device: the windows of a file are those of the contract, and nothing but an index is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import WORDS, write_tokenizer

from edge_runtime.data.batches import Reader, label_counts
from edge_runtime.data.lengths import lengths_of
from edge_runtime.data.packed import Packed
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.data.windows import open_windows, windows_of
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.packing import Capacity
from edge_runtime.wire.windows import windows

TEXTS = ["wake me at seven", "  ", "play song, now", "rain", "sun please rain sun"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Return the toy tokenizer."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    write_tokenizer(path)
    return Tokenizer(path)


def _write(folder: Path, kind: str, texts: list[str]) -> Path:
    path = folder / f"own.{kind}"
    if kind == "csv":
        quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
        path.write_text("day,text\n" + "\n".join(f"1,{text}" for text in quoted) + "\n", encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps({"text": text, "day": 1}) for text in texts), encoding="utf-8")
    else:
        path.write_text("\n".join(texts), encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt"])
@pytest.mark.parametrize("length", [2, 3, 5, 50])
def test_windows_of_a_file_are_those_of_the_contract(
    tmp_path: Path, tokenizer: Tokenizer, kind: str, length: int
) -> None:
    """A CSV's column, JSON lines, lines of text and a list give the same stream; windows come in any order."""
    expected = list(windows([tokenizer.tokens(text) for text in TEXTS if text.strip()], 2, length))
    for source in (
        open_windows(_write(tmp_path, kind, TEXTS), tokenizer, 2, length),
        windows_of([f"{text}\n" for text in TEXTS], tokenizer, 2, length),
    ):
        backwards = range(len(source) - 1, -1, -1)
        assert source.windows(backwards) == expected[::-1]
        assert source.skipped == 1


def test_a_long_text_counts_as_several(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """40,000 characters are cut behind the last space of each 16,384; no window reads the whole text again."""
    text = "wake me " * 5000
    texts = ["rain", text, "sun"]
    cut = [text[:16384], text[16384:32768], text[32768:]]  # 8 divides 16,384
    expected = list(windows([tokenizer.tokens(part.strip()) for part in ("rain", *cut, "sun")], 2, 7))
    from_file = open_windows(_write(tmp_path, "jsonl", texts), tokenizer, 2, 7)
    for source in (from_file, windows_of(texts, tokenizer, 2, 7)):
        assert len(source) == len(expected)
        some = range(0, len(source), 97)  # each looks for its part again
        assert source.windows(some) == expected[::97]
        assert sorted(set(source.parts.tolist())) == [0, 1, 2]


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=8),
    length=st.integers(1, 9),
    end_token=st.sampled_from([-1, 2]),
)
def test_any_stream_is_cut_alike(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer, counts: list[int], length: int, end_token: int
) -> None:
    """However long texts and windows are, the index finds what walking the stream finds."""
    texts = [" ".join(WORDS[(row + place) % len(WORDS)] for place in range(n)) for row, n in enumerate(counts)]
    expected = list(windows([tokenizer.tokens(text) for text in texts if text], end_token, length))
    path = _write(tmp_path_factory.mktemp("any"), "txt", texts)
    if not expected:
        with pytest.raises(DataError, match="has no two tokens of text"):
            open_windows(path, tokenizer, end_token, length)
        return
    source = open_windows(path, tokenizer, end_token, length)
    assert source.windows(range(len(source))) == expected


def test_a_batch_has_targets_and_no_labels(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """What a language model's training method takes, and no count of labels for the gateway."""
    source = open_windows(_write(tmp_path, "txt", TEXTS[:1]), tokenizer, 2, 4)  # seven tokens: five, and three
    reader = Reader(source, tokenizer, 0, 4)
    texts = reader.texts([0, len(source) - 1])
    last = source.windows([len(source) - 1])[0]
    assert [text.count for text in texts] == [4, len(last)] == [4, 3]
    batch = reader.inputs(texts, Packed.next([4, 3], Capacity(2, 4, 2)))
    assert set(batch) == {"ids", "positions", "attend", "mask", "targets", "weights"}
    first = source.windows([0])[0]
    assert batch["ids"].tolist() == [first[:4], [*last, 0]]
    assert batch["targets"].tolist() == [first[1:5], [*last[1:], 0, 0]]
    assert batch["mask"].tolist() == [[1] * 4, [1, 1, 1, 0]]
    assert batch["weights"].tolist() == [[1] * 4, [1, 1, 0, 0]]
    assert label_counts(source, np.arange(2), 0).shape == (0,)


@pytest.mark.parametrize("length", [2, 3, 5, 50])
def test_lengths_of_windows_are_told_without_reading_them(tmp_path: Path, tokenizer: Tokenizer, length: int) -> None:
    """All are full but the last; what a tier of shorter rows cuts does not count."""
    source = open_windows(_write(tmp_path, "txt", TEXTS), tokenizer, 2, length)
    windows = source.windows(range(len(source)))
    for tokens in (length, 2):
        expected = [min(len(window), tokens) for window in windows]
        assert lengths_of(source, 10**6, tokenizer, tokens).tolist() == expected
        assert lengths_of(source, 1, tokenizer, tokens).tolist() == expected[:1]


def test_what_cannot_be_used_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Another column, a file that is not there, and one that was changed under way."""
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("note\nhello\n")
    with pytest.raises(DataError, match="has the column note alone in its first line, the header; expected text; name"):
        open_windows(wrong, tokenizer, 2, 4)
    with pytest.raises(DataError, match="cannot read"):
        open_windows(tmp_path / "none.txt", tokenizer, 2, 4)
    path = _write(tmp_path, "txt", TEXTS)
    source = open_windows(path, tokenizer, 2, 4)
    path.write_text("something else\n")
    with pytest.raises(DataError, match="was changed while it was in use"):
        source.windows([0])


def test_digest_tells_files_and_lengths_apart(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """A checkpoint of other windows must not be gone on with."""
    path = _write(tmp_path, "txt", TEXTS)
    digests = {open_windows(path, tokenizer, end, length).digest for end, length in ((2, 4), (2, 5), (-1, 4))}
    assert len(digests) == 3
    assert open_windows(path, tokenizer, 2, 4).digest in digests
    lists = {windows_of(texts, tokenizer, 2, 4).digest for texts in (TEXTS, TEXTS[:-1], TEXTS[::-1])}
    assert len(lists) == 3
