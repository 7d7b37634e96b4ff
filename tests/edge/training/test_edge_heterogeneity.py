"""The auxiliary loss's target and weight, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.training.heterogeneity import balance_target, balance_weight, divergence
from edge_runtime.wire.tensors import Array


def f32(*values: float) -> Array:
    """Return a vector."""
    return np.array(values, np.float32)


def test_even_use_gives_an_even_target() -> None:
    """All ratios are 1: q = 0.1/4 + 0.9/4 = 1/4."""
    assert balance_target(f32(0.5, 0.5, 0.5, 0.5), 0.5) == pytest.approx([0.25] * 4)


def test_an_expert_used_half_as_much_is_wanted_twice_as_much() -> None:
    """With u = (0.2, 0.4), mean 0.4: ratios 2 and 1; q = 0.05 + 0.9 * (2/3, 1/3) = (0.65, 0.35)."""
    assert balance_target(f32(0.2, 0.4), 0.4) == pytest.approx([0.65, 0.35], abs=1e-5)


def test_ratios_are_cut_at_four_and_a_quarter() -> None:
    """A dead and an overused expert: ratios 4 and 1/4; q = 0.05 + 0.9 * (16/17, 1/17)."""
    assert balance_target(f32(0.0, 1.0), 0.1) == pytest.approx([0.05 + 0.9 * 16 / 17, 0.05 + 0.9 / 17], abs=1e-6)


def test_a_device_like_the_federation_has_no_divergence() -> None:
    """Equal shares up to their sum: 0 bits; disjoint ones: 1 bit."""
    assert divergence(f32(0.2, 0.6), f32(1, 3)) == pytest.approx(0, abs=1e-7)
    assert divergence(f32(1, 0), f32(0, 1)) == pytest.approx(1)


def test_divergence_by_hand() -> None:
    """F = (1, 0), u = (1/2, 1/2): mean (3/4, 1/4); (log2(4/3) + (log2(2/3) + log2 2)/2)/2 = 0.3113."""
    assert divergence(f32(1, 0), f32(0.5, 0.5)) == pytest.approx(0.31127812, abs=1e-6)


def test_nothing_to_compare_is_no_divergence() -> None:
    """Before the first token, or without statistics."""
    assert divergence(f32(0, 0), f32(1, 1)) == divergence(f32(1, 1), f32(0, 0)) == 0


def test_the_weight_falls_with_both_kinds_of_heterogeneity() -> None:
    """0.02 * (1 - 0.5) * 4/8 = 0.005; never above 0.1; none for a single expert or a one-class device."""
    assert balance_weight(0.02, 0.5, 4, 8) == pytest.approx(0.005)
    assert balance_weight(1.0, 0.0, 8, 8) == 0.1
    assert balance_weight(0.02, 0.0, 1, 8) == 0
    assert balance_weight(0.02, 1.0, 8, 8) == 0


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=8))
def test_a_target_is_a_distribution_with_a_floor(use: list[float]) -> None:
    """Sum 1, and every held expert gets at least kappa/S, so the KL stays finite."""
    target = balance_target(f32(*use), float(np.mean(use)))
    assert target.sum() == pytest.approx(1, abs=1e-5)
    assert target.min() >= 0.1 / len(use) - 1e-6
