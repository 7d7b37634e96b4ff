"""What an experiment had to show, and whether it did: one line for each claim, reached or not. Pure.

The claims and their limits are those with which this work was ordered, before any run; docs/results.md has the lines as
they come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks.federation import metrics
from benchmarks.federation.figures import Cell, Run
from benchmarks.federation.metrics import DENSE, OURS
from benchmarks.markdown import table

WALL_SHARE: Final = 0.5
NEARLY: Final = 0.005
"""A single run of an arm that is level with another ends above it half the time, below it as often."""
MARGIN: Final = 0.02
BEHIND: Final = -0.005
EQUAL_BYTES: Final = -0.003
ROBUST: Final = -0.02
LIES: Final = " lie by "
"""Of a cell's words on its fleet: a share of the clients, and the factor of their deltas."""


@dataclass(frozen=True)
class Verdict:
    """Args: claim; wanted: the limit; seen: the figure; reached: whether it is within."""

    claim: str
    wanted: str
    seen: str
    reached: bool


def of_time(runs: Sequence[Run], ours: str = OURS) -> list[Verdict]:
    """Return the claims at equal device-seconds, over rivals that ran in every cell and respect small devices.

    Raises:
        ValueError: when there are no runs of ours, of the dense adapter or of any such rival.
    """
    rivals = metrics.rivals(metrics.everywhere(runs), respectful=True)
    missing = [arm for arm in (ours, DENSE) if arm not in metrics.arms(runs)]
    if missing or not rivals:
        raise ValueError(f"no runs of {', '.join(missing) or 'rivals that respect small devices'}")
    wall_clock = [_wall_clock(runs, ours), _wall_clock(runs, ours, NEARLY)]
    return [*wall_clock, _level(runs, ours), _margin(runs, ours, rivals), _behind(runs, ours, rivals)]


def _wall_clock(runs: Sequence[Run], ours: str, short: float = 0.0) -> Verdict:
    goals = {(run.cell, run.seed): run for run in runs if run.arm == DENSE}
    pairs = [(run, goals[run.cell, run.seed]) for run in runs if run.arm == ours and (run.cell, run.seed) in goals]
    costs = [(metrics.cost(run, metrics.last(goal) - short), metrics.spent(goal)) for run, goal in pairs]
    shares = [cost.wall_s / whole.wall_s for cost, whole in costs if cost is not None]
    got = f"{len(shares)} of {len(pairs)} runs got there"
    seen = f"{np.mean(shares):.2f} in the mean; {got}" if shares else got
    reached = len(shares) == len(pairs) > 0 and float(np.mean(shares)) <= WALL_SHARE
    less = f" less {100 * short:g} points" if short else ""
    claim = f"{ours} reaches the last accuracy of {DENSE}{less}, as a share of its wall clock"
    return Verdict(claim, f"{WALL_SHARE:.2f} at most", seen, reached)


def _level(runs: Sequence[Run], ours: str) -> Verdict:
    """Return how far the last accuracies are apart, and what they took."""
    mean = _mean_difference(runs, (ours, DENSE), skewed=False)
    spent = [_whole(runs, arm) for arm in (ours, DENSE)]
    shares = f"{spent[0].wall_s / spent[1].wall_s:.2f} of its wall clock, {spent[0].device_s / spent[1].device_s:.2f}"
    claim = f"{ours} against {DENSE} after the last round, mean of all cells"
    seen = f"{_points(mean or 0.0)} at {shares} of its device-seconds"
    return Verdict(claim, _limit(0.0), seen, mean is not None and mean >= 0)


def _whole(runs: Sequence[Run], arm: str) -> metrics.Cost:
    """Return the mean cost of all rounds of an arm's runs."""
    costs = [metrics.spent(run) for run in runs if run.arm == arm]
    wall, busy, mb = (float(np.mean([getattr(one, name) for one in costs])) for name in ("wall_s", "device_s", "mb"))
    return metrics.Cost(costs[0].rounds, mb, busy, wall)


def _margin(runs: Sequence[Run], ours: str, rivals: Sequence[str]) -> Verdict:
    means = {arm: _mean_difference(runs, (ours, arm), skewed=True) for arm in rivals}
    known = {arm: mean for arm, mean in means.items() if mean is not None}
    if not known:
        return Verdict(f"{ours} over rivals, skewed cells", _limit(MARGIN), "no skewed cell in common", reached=False)
    nearest = min(known, key=lambda arm: known[arm])
    claim = f"{ours} over every rival that respects small devices, mean of the skewed cells"
    ceiling = _mean_difference(runs, (DENSE, nearest), skewed=True)
    beside = f" ({DENSE}, which ignores all limits: {_points(ceiling)})" if ceiling is not None else ""
    return Verdict(claim, _limit(MARGIN), f"{_points(known[nearest])} over {nearest}{beside}", known[nearest] >= MARGIN)


def _behind(runs: Sequence[Run], ours: str, rivals: Sequence[str]) -> Verdict:
    each = [
        (float(np.mean(values)), arm, cell)
        for arm in rivals
        for cell in metrics.cells(runs)
        if (values := metrics.paired(runs, cell, (ours, arm)))
    ]
    claim = f"{ours} against any of them in any cell"
    if not each:
        return Verdict(claim, _limit(BEHIND), "no cell in common", reached=False)
    worst, arm, cell = min(each, key=lambda one: one[0])
    return Verdict(claim, _limit(BEHIND), f"{_points(worst)} to {arm} ({cell})", worst >= BEHIND)


def of_bytes(runs: Sequence[Run], ours: str = OURS, dense: str = DENSE) -> list[Verdict]:
    """Return the claim at equal bytes.

    Raises:
        ValueError: when the two arms have no cell in common.
    """
    mean = _mean_difference(runs, (ours, dense), skewed=False)
    if mean is None:
        raise ValueError(f"no cell with runs of both {ours} and {dense}")
    claim = f"{ours} against {dense} at equal bytes, mean of all cells"
    return [Verdict(claim, _limit(EQUAL_BYTES), _points(mean), mean >= EQUAL_BYTES)]


def of_attacks(runs: Sequence[Run], clean: str = OURS) -> list[Verdict]:
    """Return, for each attack and arm, how far it is below the arm ``clean`` in the same cell without liars."""
    peaceful = {(run.cell, run.seed): metrics.last(run) for run in runs if run.arm == clean and not _attack(run.cell)}
    falls: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        before = peaceful.get((_without_attack(run.cell), run.seed))
        if _attack(run.cell) and before is not None:
            falls.setdefault((_attack(run.cell), run.arm), []).append(metrics.last(run) - before)
    return [_fallen(arm, attack, float(np.mean(values)), clean) for (attack, arm), values in falls.items()]


def _fallen(arm: str, attack: str, mean: float, clean: str) -> Verdict:
    claim = f"{arm}, {attack}, against {clean} without liars"
    return Verdict(claim, _limit(ROBUST), _points(mean), mean >= ROBUST)


def _attack(cell: Cell) -> str:
    """Return the words of a cell that say who lies; none where nobody does."""
    return next((words for words in cell.fleet.split(", ") if LIES in words), "")


def _without_attack(cell: Cell) -> Cell:
    return replace(cell, fleet=", ".join(words for words in cell.fleet.split(", ") if LIES not in words))


def _mean_difference(runs: Sequence[Run], arms: tuple[str, str], *, skewed: bool) -> float | None:
    """Return the mean over cells of the mean over seeds. Args: skewed: of those cells only."""
    cells = [cell for cell in metrics.cells(runs) if metrics.skewed(cell) or not skewed]
    means = [float(np.mean(values)) for cell in cells if (values := metrics.paired(runs, cell, arms))]
    return float(np.mean(means)) if means else None


def _points(value: float) -> str:
    return f"{100 * value:+.2f} points"


def _limit(value: float) -> str:
    return f"{100 * value:+.1f} points at least"


def shown(verdicts: Sequence[Verdict]) -> str:
    """Return claims as a table."""
    rows = [[one.claim, one.wanted, one.seen, "yes" if one.reached else "**no**"] for one in verdicts]
    return table(("claim", "wanted", "seen", "reached"), rows)
