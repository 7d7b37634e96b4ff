"""Which tier holds a device's texts, how full its steps are, and how many an epoch has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import toy

from edge_runtime.program.slots import Need
from edge_runtime.training.capacity import suiting
from edge_runtime.training.local import steps_of_epochs
from edge_runtime.training.watch import Watch
from edge_runtime.wire.fill import fill_of
from edge_runtime.wire.packing import Capacity

FOUR_ROWS = replace(toy.TIERS[1], method="four", rows=4)
TWO_ROWS = toy.TIERS[1]
ONE_ROW = replace(toy.TIERS[1], method="one", rows=1)
OTHER = toy.TIERS[2]
ALL = (FOUR_ROWS, TWO_ROWS, ONE_ROW, OTHER)
"""Four texts in rows of 16."""


def test_steps_are_as_full_as_texts_pack() -> None:
    """Texts of 7 tokens, two in a row of 16: four a step, 28 of 32 places; of 9 tokens one in a row, two a step."""
    short = fill_of([7] * 8, Capacity(2, 16, 4))
    assert (short.steps, short.texts_per_step, short.share) == (2, 4.0, 28 / 32)
    long = fill_of([9] * 8, Capacity(2, 16, 4))
    assert (long.steps, long.texts_per_step, long.share) == (4, 2.0, 18 / 32)
    assert long.figures() == {"fill": 0.5625, "texts_per_step": 2.0}
    assert str(long) == "2.0 texts a step, 56% of its places filled"


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        ([4] * 40, (ONE_ROW, OTHER)),  # four in one row of 16
        ([7] * 40, (TWO_ROWS, ONE_ROW, OTHER)),
        ([12] * 40, ALL),
        ([99] * 40, ALL),  # none holds more, so the most rows
    ],
)
def test_a_device_takes_the_fewest_rows_that_hold_its_texts(counts: list[int], kept: Sequence[object]) -> None:
    """Tiers of more rows are left out; smaller ones stay for want of memory; other sizes are not compared."""
    assert suiting(ALL, lambda: counts) == kept


def test_texts_are_not_read_where_no_tiers_differ_in_rows_only() -> None:
    """Nothing is to be chosen."""
    assert suiting(toy.TIERS, lambda: pytest.fail("read")) == toy.TIERS


def test_a_watch_begins_with_the_chosen_tier() -> None:
    """And never goes above it."""
    watch = Watch(ALL, FOUR_ROWS).for_texts(lambda: [7] * 40)
    assert (watch.largest, watch.begin(Need(2, 2))) == (TWO_ROWS, TWO_ROWS)
    assert Watch(ALL, FOUR_ROWS).for_texts(lambda: [99] * 40).begin(Need(2, 2)) == FOUR_ROWS


SEED = 3


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 6), (0.5, 3), (2.0, 12), (0.0, 1), (0.55, 4)])
def test_an_epochs_steps_are_counted_by_packing(epochs: float, steps: int) -> None:
    """24 texts, four a step; half an epoch is 12 texts, 0.55 are 13; no epoch at all is one step."""
    assert steps_of_epochs(epochs, [7] * 24, Capacity(2, 16, 4), seed=SEED) == steps


def test_long_texts_make_an_epoch_of_more_steps() -> None:
    """One text in a row, two rows: 24 texts are 12 steps."""
    assert steps_of_epochs(1, [9] * 24, Capacity(2, 16, 4), seed=SEED) == 12


def test_rotating_stretches_count_their_own_orders() -> None:
    """Stretches of two steps begin anew, so short and long texts meet in other ways; texts taken decide."""
    assert steps_of_epochs(1, [7] * 24, Capacity(2, 16, 4), seed=SEED, rotate_every=2) == 6
    assert steps_of_epochs(3, [9] * 5, Capacity(2, 16, 4), seed=SEED, rotate_every=2) == 8
