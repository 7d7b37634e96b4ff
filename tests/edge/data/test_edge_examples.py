"""Files of examples: what is read, what is refused and in which words."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path

import pytest

from edge_runtime.data.examples import EntryOrder, open_source
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.order import epoch_order

LABELS = ("alarm", "music", "weather")


def write(path: Path, text: str | bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> str:
    """Return the error's text, which must be one line."""
    with pytest.raises(DataError) as caught:
        open_source(path, LABELS)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_csv_with_quotes_newlines_and_more_columns(tmp_path: Path) -> None:
    """Each text comes back as csv reads it, in any order, also when it holds commas, quotes or line breaks."""
    rows = [("nora", "wake me, at 7", "alarm"), ("ben", 'play "blue"\nnow', "music"), ("io", "größe ☂ rain", "weather")]
    path = tmp_path / "data.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("user", "text", "label"), *rows])
    source = open_source(path, LABELS)
    assert source.labels.tolist() == [0, 1, 2]
    assert source.texts([2, 0, 1, 1]) == [rows[2][1], rows[0][1], rows[1][1], rows[1][1]]


def test_csv_with_a_mark_and_windows_line_ends(tmp_path: Path) -> None:
    """A byte-order mark before the header and CRLF are no part of any value."""
    source = open_source(write(tmp_path / "d.csv", b"\xef\xbb\xbftext,label\r\nhi,music\r\n\r\nyo,alarm\r\n"), LABELS)
    assert (source.texts([0, 1]), source.labels.tolist()) == (["hi", "yo"], [1, 0])


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_json_lines(tmp_path: Path, mark: bytes) -> None:
    """One object on each line, with or without a mark; other keys are ignored."""
    lines = [
        json.dumps({"text": text, "label": label, "n": 1}) for text, label in (("rain?", "weather"), ("song", "music"))
    ]
    source = open_source(write(tmp_path / "d.jsonl", mark + "\n\n".join(lines).encode()), LABELS)
    assert (source.texts([1, 0]), source.labels.tolist()) == (["song", "rain?"], [2, 1])


def test_rows_without_a_text_are_left_out_and_counted(tmp_path: Path) -> None:
    """They can teach nothing; the count is told."""
    source = open_source(write(tmp_path / "d.csv", "text,label\n ,music\nhi,music\n"), LABELS)
    assert (len(source), source.skipped) == (1, 1)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("d.csv", "text,label\n", "has no examples"),
        ("d.csv", "text,label\n,music\n", "has no examples (1 row without a text)"),
        ("d.csv", "text,label\nhi there, you,music\n", "line 2: 3 fields, the header has 2"),
        ("d.jsonl", '{"text": "hi", "label": "music"}\n{"text": 3}\n', "line 2: text is the number 3; expected a"),
        ("d.jsonl", "", "has no examples"),
    ],
)
def test_bad_files_are_refused_by_line(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    """Each refusal says what came and what was expected."""
    assert expected in refusal(write(tmp_path / name, content))


def test_unknown_labels_are_counted_and_the_known_ones_named(tmp_path: Path) -> None:
    """Which, how many, and what the package knows."""
    path = write(tmp_path / "d.csv", "text,label\na,jazz\nb,music\nc,jazz\nd,polka\n")
    text = refusal(path)
    assert '3 rows have labels that the package does not know ("jazz", "polka")' in text
    assert "it knows 3: alarm, music, weather" in text


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The system's own words, with the path."""
    assert "No such file" in refusal(tmp_path / "none.csv")
    assert "is no regular file" in refusal(tmp_path)


def test_a_file_that_changed_is_not_read_by_old_places(tmp_path: Path) -> None:
    """The index would point into the middle of other rows."""
    path = write(tmp_path / "d.csv", "text,label\nhi,music\n")
    source = open_source(path, LABELS)
    write(path, "text,label\nhello there,music\n")
    with pytest.raises(DataError, match="was changed while it was in use"):
        source.texts([0])
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        source.texts([0])


def test_the_digest_follows_data_and_labels(tmp_path: Path) -> None:
    """Same bytes, same digest; another byte or another label list, another."""
    one = open_source(write(tmp_path / "a.csv", "text,label\nhi,music\n"), LABELS)
    same = open_source(write(tmp_path / "b.csv", "text,label\nhi,music\n"), LABELS)
    other = open_source(write(tmp_path / "c.csv", "text,label\nho,music\n"), LABELS)
    relabelled = open_source(tmp_path / "a.csv", LABELS[::-1])
    assert one.digest == same.digest
    assert len({one.digest, other.digest, relabelled.digest}) == 3


def test_memory_grows_with_an_index_only(tmp_path: Path) -> None:
    """4,000 texts of 1 kB are 4 MB on disk and cost less than 0.5 MB to index."""
    path = tmp_path / "big.csv"
    with path.open("w") as file:
        file.write("text,label\n")
        file.writelines(f"{'x' * 1000} {row},music\n" for row in range(4000))
    tracemalloc.start()
    source = open_source(path, LABELS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000
    assert source.texts([3999])[0].endswith(" 3999")


def test_an_epoch_visits_every_example_once_in_an_order_of_its_own() -> None:
    """A permutation; another for another epoch or seed; the same again for the same."""
    orders = [epoch_order(seed, epoch, 50).tolist() for seed, epoch in ((1, 0), (1, 1), (2, 0), (2**64 - 1, 0))]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert orders[0] == epoch_order(1, 0, 50).tolist()


def test_the_order_is_what_splitmix_says() -> None:
    """Keys worked out with Python's own integers, so that Kotlin can hold to the same rule."""

    def mix(state: int) -> int:
        z = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    # The generator's published first value for a state of 0.
    assert mix(0) == 0xE220A8397B1DCDAF
    keys = [mix((mix(42) + mix(3) + row) % 2**64) for row in range(9)]
    assert epoch_order(42, 3, 9).tolist() == sorted(range(9), key=keys.__getitem__)


def test_entries_are_epochs_laid_end_to_end() -> None:
    """5 examples: each stands once among five entries; any entry can be asked alone."""
    order = EntryOrder(seed=9, count=5)
    rows = [order.row(entry) for entry in range(20)]
    assert [sorted(rows[start : start + 5]) for start in range(0, 20, 5)] == [[0, 1, 2, 3, 4]] * 4
    assert rows[:5] != rows[5:10]
    assert EntryOrder(9, 5).row(13) == rows[13]
    assert {EntryOrder(9, 1).row(entry) for entry in range(4)} == {0}
