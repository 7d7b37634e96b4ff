"""Cosines between devices, and the trust that is kept of them."""

from __future__ import annotations

import numpy as np
import pytest

from broker_server.rules import agreement
from broker_server.rules.aggregate import PIECE, Contribution
from broker_server.rules.agreement import Agreement, Products, left_out, scores
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert

BLOCK, OTHER = ExpertId(0, 0), ExpertId(0, 1)


def update(name: str, **blocks: object) -> Contribution:
    """Return an update. Args: name: of its device; blocks: values, by a name of this module."""
    places = {"block": BLOCK, "other": OTHER, "head": HEAD, "shared": shared_expert(0)}
    deltas = {places[place]: np.asarray(values, np.float32) for place, values in blocks.items()}
    return Contribution(name, 1, 10.0, 0, deltas)


def test_score_is_the_mean_cosine_with_all_others() -> None:
    """A score is the mean cosine with each of the others."""
    rows = {"a": [1, 0], "b": [0, 2], "c": [3, 3], "d": [-1, 0], "e": [1, 1]}
    half = 1 / np.sqrt(2)
    told = scores([update(name, block=values) for name, values in rows.items()])
    assert told == pytest.approx(
        {
            "a": (0 + half - 1 + half) / 4,
            "b": (0 + half + 0 + half) / 4,
            "c": (half + half - half + 1) / 4,
            "d": (-1 + 0 - half - half) / 4,
            "e": (half + half + 1 - half) / 4,
        }
    )


def test_cosines_are_of_what_both_trained() -> None:
    """Only blocks that both trained are compared."""
    # `a` and `b` have `block` in common, in which they agree; that `b` trained another block does not weaken that.
    updates = [update("a", block=[1, 0]), update("b", block=[5, 0], other=[7, 7])]
    updates += [update(name, shared=[1, 1]) for name in "cde"]
    assert scores(updates) == pytest.approx({"a": 1 / 4, "b": 1 / 4, "c": 2 / 4, "d": 2 / 4, "e": 2 / 4})


def test_lengths_and_heads_count_nothing() -> None:
    """A device that shouts and one whose head differs score like the others."""
    plain = [update(name, block=[1, 2], head=[1, 1]) for name in "abcd"]
    loud = [*plain, update("e", block=[1e6, 2e6], head=[-9, -9])]
    assert scores(loud) == pytest.approx(dict.fromkeys("abcde", 1.0))


def test_long_blocks_are_read_in_pieces() -> None:
    """Pieces add up to the whole block."""
    values = np.random.default_rng(1).normal(size=(5, PIECE + 70)).astype(np.float32)
    updates = [update(name, block=row) for name, row in zip("abcde", values, strict=True)]
    wide = values.astype(np.float64) / np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    means = ((wide @ wide.T).sum(axis=1) - 1) / 4
    assert list(scores(updates).values()) == pytest.approx(means.tolist(), abs=1e-12)


def test_a_device_does_not_agree_with_itself() -> None:
    """Two updates of one device are not held for agreement."""
    honest = [update(name, block=[1, 0]) for name in "abcd"]
    told = scores([*honest, update("liar", block=[-1, 0]), update("liar", block=[-2, 0])])
    assert told["liar"] == pytest.approx(-1.0)


def test_many_devices_are_multiplied_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one group of values at a time the sums are the same."""
    values = np.random.default_rng(2).normal(size=(6, 200)).astype(np.float32)
    updates = [update(name, block=row) for name, row in zip("abcdef", values, strict=True)]
    whole = scores(updates)
    monkeypatch.setattr(agreement, "STACK_BYTES", 1)
    assert scores(updates) == pytest.approx(whole, abs=1e-12)


def test_blocks_that_are_added_one_by_one_say_what_the_whole_says() -> None:
    """A gateway never holds all updates at once."""
    updates = [update(name, block=[1, place], other=[place, 2]) for place, name in enumerate("abcde")]
    updates += [update("e", other=[1, -1])]
    products = Products([one.device for one in updates])
    products.add(range(5), [one.deltas[BLOCK] for one in updates[:5]])
    products.add(range(6), [one.deltas[OTHER] for one in updates])
    assert products.scores() == scores(updates)


def test_updates_of_zeros_score_nothing() -> None:
    """An update without any change is neither for nor against the others."""
    told = scores([update(name, block=[0, 0]) for name in "ab"] + [update(name, block=[1, 1]) for name in "cde"])
    assert told["a"] == 0.0
    assert told["c"] == pytest.approx(2 / 4)


def test_few_devices_are_not_compared() -> None:
    """Without a majority nothing is said."""
    assert scores([update(name, block=[1, 1]) for name in "abcd"]) == {}
    assert scores([]) == {}
    # Five updates of four devices have no more of a majority.
    assert scores([update(name, block=[1, 1]) for name in "abcdd"]) == {}


def test_trust_remembers_and_is_bounded() -> None:
    """Trust fades, adds up, and cannot be saved beyond its bound."""
    rule = Agreement(remember=0.5, most=0.3)
    after = rule.after({"a": 0.2, "away": -0.4}, {"a": 0.1, "new": -0.1, "good": 0.9})
    assert after == pytest.approx({"a": 0.2, "away": -0.4, "new": -0.1, "good": 0.3})


def test_left_out_is_who_lost_trust_and_never_a_majority() -> None:
    """Who is below zero is left out, unless that is half of all."""
    updates = [update(name, block=[1, 1]) for name in "abcde"]
    assert left_out({"a": -0.1, "b": 0.0, "c": 0.2, "absent": -1.0}, updates) == {"a"}
    assert left_out({"a": -0.1, "b": -0.1}, updates) == {"a", "b"}
    assert left_out(dict.fromkeys("abc", -0.1), updates) == set()
    # Of four devices two are half, however many updates the others sent.
    assert left_out(dict.fromkeys("ab", -0.1), [*updates[:4], updates[3]]) == set()
