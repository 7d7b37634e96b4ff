"""What a round's contributions count for: one liar among honest devices, late deltas, cut updates."""

from __future__ import annotations

import numpy as np
import pytest

from broker_server.rules.aggregate import Contribution
from broker_server.rules.capping import Limited, cap, cut
from broker_server.rules.weights import Caps
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert

CAPS = Caps(multiple=10, share=0.25, norm=2)
A = ExpertId(0, 0)


def one(device: str, examples: float, staleness: int = 0, **fields: object) -> Contribution:
    """Return a contribution without deltas."""
    return Contribution(device, 1, examples, staleness, {}, **fields)


def examples(contributions: list[Contribution]) -> list[float]:
    """Return what each counts for."""
    return [round(one.examples, 6) for one in contributions]


def test_a_liar_weighs_a_quarter() -> None:
    """Of 2^32 - 1 examples among eleven times 70 a quarter of all stays: 770 / 3; it is told of."""
    honest = [one(f"d{number:02d}", 70) for number in range(11)]
    counted, limited = cap([*honest, one("liar", 2**32 - 1)], CAPS, 0)
    assert examples(counted) == [70] * 11 + [round(770 / 3, 6)]
    assert limited == [Limited("liar", "examples", 2**32 - 1, pytest.approx(770 / 3))]


def test_two_deltas_of_one_device_are_capped_together() -> None:
    """A late one, 3 merges behind, counts half: 6000 of one device; two thirds of all are 40, shared by the two."""
    late = [one("liar", 4000, 3), one("liar", 4000), one("a", 10), one("b", 10)]
    counted, _ = cap(late, CAPS, 0)
    assert examples(counted) == [round(4000 * 40 / 6000, 6)] * 2 + [10, 10]


def test_honest_contributions_keep_every_bit() -> None:
    """Nothing is capped, nothing is told."""
    rows = {"a": (3.0, 5.0), "b": (20.0, 20.0), "c": (35.0, 35.0)}
    before = [one(device, sum(counts), label_counts=counts) for device, counts in rows.items()]
    counted, limited = cap(before, CAPS, 0)
    assert counted == before
    assert limited == []


def test_one_to_twenty_is_not_capped_among_devices_of_every_size() -> None:
    """Ten times the median 80 is more than 160, and 160 of 740 is less than a quarter."""
    sizes = [8, 16, 40, 60, 80, 96, 130, 150, 160]
    counted, limited = cap([one(f"d{size:03d}", size) for size in sizes], CAPS, 0)
    assert examples(counted) == sizes
    assert limited == []


def test_label_counts_are_capped_by_rows() -> None:
    """All of a liar's capped total in one row is cut to two thirds of that row."""
    rows = [one("a", 9, label_counts=(3.0, 6.0)), one("b", 9, label_counts=(3.0, 6.0))]
    counted, _ = cap([*rows, one("liar", 9000, label_counts=(9000.0, 0.0))], CAPS, 0)
    assert counted[2].label_counts == (pytest.approx(12.0), 0.0)
    assert counted[0].label_counts == (3.0, 6.0)


def test_tokens_are_capped_with_top_k_gates_only() -> None:
    """A claim of 1e30 tokens seen would set the use of every expert alone."""
    use = {A: (50.0, 100.0)}
    liar = {A: (1e30, 1e30)}
    honest = [one("a", 5, use=use), one("b", 5, use=use)]
    assert cap([*honest, one("c", 5, use=liar)], CAPS, 0)[0][2].use == liar
    counted = cap([*honest, one("c", 5, use=liar)], CAPS, 2)[0]
    assert counted[0].use == use
    assert counted[2].use[A] == (pytest.approx(400.0), pytest.approx(400.0))  # 2/3 of 100 + 100 + x


def test_a_round_of_nothing() -> None:
    """Every device of a round may have been removed."""
    assert cap([], CAPS, 2) == ([], [])


def test_long_updates_are_cut_and_keep_their_direction() -> None:
    """A block of norm 5 to 4; a shared expert within its limit, and a head without one, stay."""
    deltas = {
        A: np.array([3, 4], np.float32),
        shared_expert(0): np.array([1, 0], np.float32),
        HEAD: np.array([30, 40], np.float32),
    }
    update, limited = cut(Contribution("a", 1, 1, 0, deltas), {"expert": 4.0, "shared": 4.0})
    np.testing.assert_allclose(update.deltas[A], [2.4, 3.2], rtol=1e-6)
    assert update.deltas[shared_expert(0)].tolist() == [1, 0]
    assert update.deltas[HEAD].tolist() == [30, 40]
    assert limited == [Limited("a", "norm of expert", 5.0, 4.0)]


def test_uncut_updates_are_the_same_objects() -> None:
    """What needs no cutting is not touched."""
    update = Contribution("a", 1, 1, 0, {A: np.array([3, 4], np.float32)})
    assert cut(update, {"expert": 5.0}) == (update, [])
    assert cut(update, {}) == (update, [])
