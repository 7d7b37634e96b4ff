"""The demo's split: nothing lost, nothing twice, skew as asked."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.demo.split import Example, by_user, dirichlet, held_out, read, skew, thin, write
from edge_runtime.wire.errors import DataError

ROWS = [Example(f"text {i}", f"label{i % 5}", f"user{i % 7}") for i in range(350)]


def test_users_stay_whole_and_nothing_is_lost() -> None:
    """Each user's rows are on one device, and all rows are on some device."""
    shares = by_user(ROWS, 3)
    assert sorted(row.text for share in shares for row in share) == sorted(row.text for row in ROWS)
    homes = {
        user: {i for i, share in enumerate(shares) for row in share if row.user == user} for user in ("user0", "user6")
    }
    assert all(len(home) == 1 for home in homes.values())
    assert sorted(len(share) for share in shares) == [100, 100, 150]


def test_more_devices_than_users_gives_one_device_each() -> None:
    """A device without rows would have nothing to do."""
    assert [len(share) for share in by_user(ROWS, 100)] == [50] * 7


def test_small_alpha_is_more_skewed() -> None:
    """Dirichlet shares are a partition, and alpha rules the skew."""
    strong, mild = dirichlet(ROWS, 4, 0.1, 0), dirichlet(ROWS, 4, 100.0, 0)
    for shares in (strong, mild):
        assert Counter(row for share in shares for row in share) == Counter(ROWS)
    assert skew(strong) > skew(mild) + 0.1
    assert skew(mild) == pytest.approx(0.6, abs=0.08)


def test_too_many_devices_is_refused_with_the_numbers() -> None:
    """A split that cannot work says so."""
    with pytest.raises(DataError, match=r"350 rows with alpha 0\.1 leave one of 200 devices"):
        dirichlet(ROWS, 200, 0.1, 0)


def test_held_out_follows_the_split_column_then_the_sibling_then_every_fifth(tmp_path: Path) -> None:
    """The three sources of held-out text, in their order."""
    marked = [Example("a", "x", split="train"), Example("b", "x", split="test")]
    assert held_out(tmp_path / "any.csv", marked, 10, 0) == ([marked[0]], [marked[1]])
    write(tmp_path / "test.csv", [Example("t", "label1"), Example("u", "never seen")])
    train, test = held_out(tmp_path / "train.csv", ROWS, 10, 0)
    assert (len(train), [row.text for row in test]) == (350, ["t"])
    train, test = held_out(tmp_path / "other.csv", ROWS, 1000, 0)
    assert (len(train), len(test)) == (280, 70)
    assert Counter(row.label for row in test) == {f"label{i}": 14 for i in range(5)}
    assert not {row.text for row in train} & {row.text for row in test}


def test_limit_holds_for_devices_and_for_held_out_text(tmp_path: Path) -> None:
    """A limit keeps that many rows, and zero keeps all."""
    assert [len(share) for share in thin(by_user(ROWS, 3), 20, 0)] == [20, 20, 20]
    assert sum(len(share) for share in thin(by_user(ROWS, 3), 0, 0)) == 350
    assert len(held_out(tmp_path / "other.csv", ROWS, 12, 0)[1]) == 12


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"utterance,intent\nhello,greet\n", "has the columns utterance, intent with commas between them"),
        (b"text,label\n,\n", "has no examples"),
    ],
)
def test_unusable_files_are_refused_by_name(tmp_path: Path, content: bytes, expected: str) -> None:
    """Each kind of bad file says what came and what was expected."""
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=expected):
        read(path)


def test_gzip_and_plain_read_alike(tmp_path: Path) -> None:
    """A .csv.gz is the same file."""
    write(tmp_path / "a.csv", ROWS)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    assert read(tmp_path / "a.csv.gz") == read(tmp_path / "a.csv")
    truncated = (tmp_path / "a.csv.gz").read_bytes()[:-20]
    (tmp_path / "b.csv.gz").write_bytes(truncated)
    with pytest.raises(DataError, match="cannot read"):
        read(tmp_path / "b.csv.gz")
