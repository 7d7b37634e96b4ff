"""Splits: nothing twice, everybody has texts, skew as asked, the same for every arm of a seed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.federation.splits import label_counts, split
from benchmarks.federation.texts import Part, TextSet, mixture

KINDS = ("iid", "dirichlet:0.1", "shards:2", "natural")


def texts(count: int = 600, labels: int = 6, users: int = 60) -> TextSet:
    """Return texts of which every tenth is held out; user u writes more the smaller u is."""
    place = np.arange(count)
    writer = np.minimum((place % 97) ** 2 % users, place % users)
    return TextSet(
        labels=np.array([f"label {i}" for i in range(labels)]),
        ids=np.ones((count, 4), np.uint16),
        lengths=np.full(count, 4, np.uint8),
        targets=(place % labels).astype(np.uint16),
        users=writer.astype(np.int32),
        parts=np.where(place % 10 == 9, Part.TEST, Part.TRAIN).astype(np.uint8),
        origins=np.zeros(count, np.uint8),
    )


def largest_label(kind: str) -> float:
    """Return the mean share of a client's texts that its most frequent label makes up."""
    counts = label_counts(split(kind, texts(), 10, 3), texts())
    return float(np.mean(counts.max(axis=1) / counts.sum(axis=1)))


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_given_twice_or_held_out_and_everybody_has_enough(kind: str) -> None:
    """What is split are training texts, each to one client at most, and 20 at least to each."""
    shares = split(kind, texts(), 10, 0)
    rows = np.concatenate(shares)
    assert len(shares) == 10
    assert min(map(len, shares)) >= 20
    assert len(np.unique(rows)) == len(rows)
    assert set(rows) <= set(texts().rows(Part.TRAIN))
    if kind != "natural":
        assert len(rows) == 540


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_shares_again_and_another_seed_others(kind: str) -> None:
    """Paired runs differ in their arm only."""
    first, again, other = (split(kind, texts(), 10, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_skew_is_as_asked() -> None:
    """Of six equal labels the largest is a sixth where nothing is skewed; shards of 27 of 90 texts cut few labels."""
    assert largest_label("iid") < 0.35
    assert largest_label("iid") < largest_label("dirichlet:1") < largest_label("dirichlet:0.1")
    assert largest_label("shards:2") > 0.5


def test_a_client_of_persons_has_all_texts_of_each() -> None:
    """A natural client is whole persons: nobody's texts are on two clients, and none of theirs is missing."""
    held = texts()
    homes: dict[int, set[int]] = {}
    shares = split("natural", held, 10, 0)
    for client, share in enumerate(shares):
        for user in held.users[share]:
            homes.setdefault(int(user), set()).add(client)
    train = held.rows(Part.TRAIN)
    assert all(len(home) == 1 for home in homes.values())
    assert sum(map(len, shares)) == int(np.isin(held.users[train], list(homes)).sum())


def test_clients_of_a_mixture_have_one_or_two_sets() -> None:
    """A phone's owner does one or two things; all sets together have all clients."""
    held = mixture([texts(), texts(labels=3), texts(labels=2)])
    assert len(held.labels) == 11
    shares = split("mixed:100", held, 12, 0, at_least=5)
    kinds = [set(held.origins[share].tolist()) for share in shares]
    assert {len(kind) for kind in kinds} == {1, 2}
    assert set.union(*kinds) == {0, 1, 2}


def test_what_cannot_be_split_is_refused_with_the_reason() -> None:
    """An experiment that asks for too much says so at once."""
    nobody = texts().take(np.arange(600))
    nobody.users[:] = -1
    with pytest.raises(ValueError, match="540 training texts give 28 clients less than 20 each"):
        split("iid", texts(), 28, 0)
    with pytest.raises(ValueError, match="unknown split 'sorted'"):
        split("sorted", texts(), 10, 0)
    with pytest.raises(ValueError, match="0 users for 10 clients"):
        split("natural", nobody, 10, 0)
    with pytest.raises(ValueError, match="1 sets for 10 clients"):
        split("mixed:1", texts(), 10, 0)
