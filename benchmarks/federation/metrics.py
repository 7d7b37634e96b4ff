"""From runs to numbers that compare arms: accuracies, costs to a target, load, paired differences. Pure.

Runs of one cell and seed differ in their arm only (split, fleet, luck and order of texts are the same), so arms are
compared by their differences seed by seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np

from benchmarks.federation.figures import Cell, Run, worst_decile

BOUNDS: Final = ("class_means", "linear_probe", "local_only", "centralized")
"""Arms that are no rivals: what stands below and above a federation."""
DENSE: Final = "adapter_dense"
"""The arm that ignores what small devices can do; its last accuracy is the target of costs."""
OURS: Final = "ours"
DEAD: Final = 0.1
"""An expert is dead whose share of the tokens is below a tenth of an equal share."""
SKEWED_ALPHA: Final = 0.5
Figure = Callable[[Run], float]


def last(run: Run) -> float:
    """Return the test accuracy after the last round."""
    return run.curve.test[-1]


def best(run: Run) -> float:
    """Return the best test accuracy of any round: nobody could have chosen that round, so it never stands alone."""
    return max(run.curve.test)


def chosen(run: Run) -> float:
    """Return the test accuracy of the round with the best validation accuracy, the last of them."""
    validation = run.curve.validation
    return run.curve.test[max(range(len(validation)), key=lambda number: (validation[number], number))]


def own_mean(run: Run) -> float:
    """Return the mean over clients of the accuracy on their own distributions."""
    return float(np.mean(run.own))


def own_worst_decile(run: Run) -> float:
    """Return the mean of the worst tenth of clients."""
    return worst_decile(run.own)


def own_worst(run: Run) -> float:
    """Return the worst client's."""
    return min(run.own)


def load_cv(run: Run) -> float:
    """Return the coefficient of variation of the experts' load, mean over layers; of trainings where none was routed.

    Raises:
        ValueError: for a run without experts.
    """
    rows = np.array(run.load or run.trained, np.float64)
    rows = rows[rows.sum(axis=1) > 0] if rows.size else rows
    if not rows.size:
        raise ValueError(f"{run.arm}: neither load nor trainings of experts")
    return float((rows.std(axis=1) / rows.mean(axis=1)).mean())


def dead_experts(run: Run) -> int:
    """Return how many experts get less than a tenth of an equal share of tokens, or were never trained."""
    rows = np.array(run.load or run.trained, np.float64)
    if not rows.size:
        return 0
    equal = rows.sum(axis=1, keepdims=True) / rows.shape[1]
    return int((rows < DEAD * equal).sum() + rows.shape[1] * (rows.sum(axis=1) == 0).sum())


@dataclass(frozen=True)
class Cost:
    """What it took to reach an accuracy.

    Args:
        rounds: until then.
        mb: 10^6 bytes, up and down, mean over all devices.
        device_s: seconds of all devices together.
        wall_s: seconds.
    """

    rounds: int
    mb: float
    device_s: float
    wall_s: float


def cost(run: Run, target: float) -> Cost | None:
    """Return what it took until the test accuracy was first ``target``; None where it never was."""
    number = next((place for place, accuracy in enumerate(run.curve.test) if accuracy >= target), None)
    return None if number is None else spent(run, number)


def spent(run: Run, number: int | None = None) -> Cost:
    """Return what the first rounds took. Args: number: of rounds; all of them when left out."""
    rounds = len(run.curve.wall_s) if number is None else number
    curve = run.curve
    moved = sum(curve.bytes_up[:rounds]) + sum(curve.bytes_down[:rounds])
    return Cost(rounds, moved / run.cell.clients / 1e6, sum(curve.device_s[:rounds]), sum(curve.wall_s[:rounds]))


def cumulated(values: Sequence[float]) -> list[float]:
    """Return 0 and the sums of the first 1, 2, ... values."""
    return list(accumulate(values, initial=0.0))


@dataclass(frozen=True)
class Spread:
    """Args: mean; deviation: of the sample, 0 for one value; count: of values."""

    mean: float
    deviation: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Return mean and standard deviation of some values, one at least."""
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, len(values))


def newest(runs: Iterable[Run]) -> list[Run]:
    """Return the last run of each experiment, cell, arm and seed, in order of first appearance."""
    return list({(run.experiment, run.cell, run.arm, run.seed): run for run in runs}.values())


def of(runs: Iterable[Run], cell: Cell, arm: str) -> list[Run]:
    """Return the runs of an arm in a cell, by seed."""
    return sorted((run for run in runs if run.cell == cell and run.arm == arm), key=lambda run: run.seed)


def paired(runs: Sequence[Run], cell: Cell, arms: tuple[str, str], figure: Figure = last) -> list[float]:
    """Return first minus second arm, seed by seed, over the seeds that both have."""
    first, second = ({run.seed: figure(run) for run in of(runs, cell, arm)} for arm in arms)
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def cells(runs: Iterable[Run]) -> list[Cell]:
    """Return the cells in order of first appearance."""
    return list(dict.fromkeys(run.cell for run in runs))


def arms(runs: Iterable[Run]) -> list[str]:
    """Return the arms in order of first appearance."""
    return list(dict.fromkeys(run.arm for run in runs))


def skewed(cell: Cell) -> bool:
    """Return whether clients of a cell differ much: Dirichlet of at most 0.5, shards, persons, a mixture."""
    name, _, number = cell.split.partition(":")
    return name in ("shards", "natural", "mixed") or (name == "dirichlet" and float(number) <= SKEWED_ALPHA)


def everywhere(runs: Sequence[Run]) -> list[Run]:
    """Return the runs of the arms that ran in every cell: others' means are of other cells."""
    whole = set(cells(runs))
    there = {arm for arm in arms(runs) if {run.cell for run in runs if run.arm == arm} == whole}
    return [run for run in runs if run.arm in there]


def ignores(runs: Iterable[Run], arm: str) -> bool:
    """Return whether an arm trains as if all devices were strong."""
    return arm == DENSE or any(run.options.get("ignore_budgets") for run in runs if run.arm == arm)


def rivals(runs: Sequence[Run], *, respectful: bool) -> list[str]:
    """Return the arms that are neither ours nor bounds. Args: respectful: those that keep to what devices can do."""
    others = [arm for arm in arms(runs) if not arm.startswith(OURS) and arm not in BOUNDS]
    return [arm for arm in others if ignores(runs, arm) != respectful]
