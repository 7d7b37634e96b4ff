"""The k-th largest by maxima and minima of halves, against sorting; equal values, odd counts, and nothing to choose."""

from __future__ import annotations

import pytest
import torch

from export.model.topk import at_least, kth_largest


@pytest.mark.parametrize("columns", [1, 2, 3, 5, 8, 13])
def test_the_kth_largest_is_what_sorting_says(columns: int) -> None:
    """Rows of random order, half of them with values that occur several times, for every k."""
    draw = torch.Generator().manual_seed(columns)
    rows = torch.cat([torch.rand(40, columns, generator=draw), torch.randint(0, 3, (40, columns), generator=draw) / 2])
    ordered = rows.sort(dim=1, descending=True).values
    for k in range(1, columns + 1):
        assert torch.equal(kth_largest(rows, k, least=-1.0), ordered[:, k - 1 : k]), k


def test_two_of_five_by_hand() -> None:
    """The second of 0.1, 0.4, 0.4, 0.05, 0.05 is 0.4; both are reached, and nothing else."""
    row = torch.tensor([[0.1, 0.4, 0.4, 0.05, 0.05]])
    floor = kth_largest(row, 2, least=-1.0)
    assert floor.tolist() == [[pytest.approx(0.4)]]
    assert at_least(row, floor).tolist() == [[0, 1, 1, 0, 0]]


def test_neighbouring_floats_are_told_apart() -> None:
    """One unit in the last place below is not reached, near 1 and near 1e-20; an equal value is, 0 too."""
    for size in (0.75, 1e-20):
        floor = torch.tensor([size])
        below = torch.nextafter(floor, torch.tensor([0.0]))
        assert at_least(torch.cat([floor, below]), floor).tolist() == [1, 0]
    assert at_least(torch.zeros(1), torch.zeros(1)).tolist() == [1]
