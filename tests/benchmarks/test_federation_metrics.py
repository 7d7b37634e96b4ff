"""Numbers that compare arms, computed by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.federation import metrics
from benchmarks.federation.figures import Cell, Curve, Run
from benchmarks.federation.metrics import Cost

CELL = Cell("trec", "dirichlet:0.1", 2)


def run(arm: str, seed: int, test: Sequence[float], **more: object) -> Run:
    """Return a run whose rounds take 4 MB, 6 device-seconds and 2 seconds each."""
    rounds = len(test) - 1
    curve = Curve(tuple(test), tuple(test), (1e6,) * rounds, (3e6,) * rounds, (6.0,) * rounds, (2.0,) * rounds)
    return Run("grid", CELL, arm, seed, curve, **more)  # type: ignore[arg-type]


def test_costs_are_counted_to_the_first_round_that_reaches_the_target() -> None:
    """Two rounds to 0.8: 2 MB a device and round, 6 device-seconds, 2 s; nobody is asked what came after."""
    one = run("ours", 0, (0.5, 0.7, 0.8, 0.6))
    assert metrics.cost(one, 0.8) == Cost(2, 4.0, 12.0, 4.0)
    assert metrics.cost(one, 0.4) == Cost(0, 0.0, 0.0, 0.0)
    assert metrics.cost(one, 0.9) is None
    assert metrics.spent(one) == Cost(3, 6.0, 18.0, 6.0)


def test_the_last_accuracy_is_not_the_best_nor_the_chosen_one() -> None:
    """The chosen round is the one that validation names, though another has the better test."""
    one = run("ours", 0, (0.5, 0.9, 0.8))
    other = Run("grid", CELL, "ours", 0, Curve((0.1, 0.2, 0.3, 0.3), (0.5, 0.9, 0.6, 0.7), (), (), (), ()))
    assert (metrics.last(one), metrics.best(one)) == (0.8, 0.9)
    assert metrics.chosen(other) == 0.7


def test_arms_are_compared_seed_by_seed() -> None:
    """Of three seeds two are paired; the sample's deviation of +0.1 and +0.3 is 0.1414."""
    runs = [run("ours", seed, (0.0, value)) for seed, value in ((0, 0.8), (1, 0.9), (2, 0.1))]
    runs += [run("dense", seed, (0.0, value)) for seed, value in ((0, 0.7), (1, 0.6))]
    differences = metrics.paired(runs, CELL, ("ours", "dense"))
    assert differences == pytest.approx([0.1, 0.3])
    result = metrics.spread(differences)
    assert [result.mean, result.deviation] == pytest.approx([0.2, 0.1414], abs=1e-4)
    assert result.count == 2
    assert metrics.spread([0.5]).deviation == 0.0


def test_a_run_that_was_repeated_counts_once() -> None:
    """The newest line of the same arm, cell and seed is the one that counts."""
    kept = metrics.newest([run("ours", 0, (0.0, 0.1)), run("ours", 1, (0.0, 0.2)), run("ours", 0, (0.0, 0.3))])
    assert [metrics.last(one) for one in kept] == [0.3, 0.2]


def test_clients_are_seen_one_by_one() -> None:
    """Mean, worst tenth and worst of ten clients."""
    one = run("ours", 0, (0.0, 0.1), own=(0.9,) * 9 + (0.4,))
    assert metrics.own_mean(one) == pytest.approx(0.85)
    assert (metrics.own_worst_decile(one), metrics.own_worst(one)) == (0.4, 0.4)


def test_load_is_even_or_not_and_dead_experts_are_counted() -> None:
    """Of loads 0.5, 0.45 and 0.05 the third is alive, of 0.69, 0.3 and 0.01 it is dead; equal trainings vary by 0."""
    alive, dead = (run("topk", 0, (0.0, 0.1), load=(row,)) for row in ((0.5, 0.45, 0.05), (0.69, 0.3, 0.01)))
    assert (metrics.dead_experts(alive), metrics.dead_experts(dead)) == (0, 1)
    assert metrics.load_cv(run("ours", 0, (0.0, 0.1), trained=((4.0, 4.0), (0.0, 0.0)))) == 0.0
    assert metrics.load_cv(run("ours", 0, (0.0, 0.1), trained=((1.0, 3.0),))) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="fedit: neither load nor trainings"):
        metrics.load_cv(run("fedit", 0, (0.0, 0.1)))


@pytest.mark.parametrize(
    ("split", "skewed"),
    [("iid", False), ("dirichlet:1", False), ("dirichlet:0.5", True), ("shards:2", True), ("natural", True)],
)
def test_which_cells_are_skewed(split: str, *, skewed: bool) -> None:
    """The acceptance means Dirichlet of at most 0.5, shards, persons and mixtures."""
    assert metrics.skewed(Cell("trec", split, 20)) is skewed


def test_who_respects_small_devices() -> None:
    """Bounds and our own arms are no rivals; an arm says by an option that it ignores budgets."""
    runs = [run(arm, 0, (0.0, 0.1)) for arm in ("ours", "ours_topk", "centralized", "fedit_qv", "adapter_dense")]
    runs.append(run("hetlora", 0, (0.0, 0.1), options={"ignore_budgets": True}))
    assert metrics.rivals(runs, respectful=True) == ["fedit_qv"]
    assert metrics.rivals(runs, respectful=False) == ["adapter_dense", "hetlora"]
