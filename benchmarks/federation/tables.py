"""Tables of an experiment's runs, in Markdown: ``python -m benchmarks.federation tables RUNS.jsonl``.

Accuracies in per cent. Each is after the last round, the best of any round beside it; mean and sample deviation over
seeds. Differences are taken seed by seed before their mean is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.federation import metrics
from benchmarks.federation.figures import Cell, Run, worst_decile
from benchmarks.federation.metrics import DENSE, OURS, Cost, Figure, Spread
from benchmarks.markdown import percent, table

EMPTY = "-"


def shown(value: Spread) -> str:
    """Return a mean with its deviation over seeds, and how many they are where it is not three or more."""
    return _over_seeds(percent(value.mean), value)


def signed(value: Spread) -> str:
    """Return a mean difference in points with its deviation over seeds."""
    return _over_seeds(f"{100 * value.mean:+.1f}", value)


def _over_seeds(mean: str, value: Spread) -> str:
    spread = "" if value.count == 1 else f" ± {percent(value.deviation)}"
    seeds = {1: ", one seed", 2: ", two seeds"}.get(value.count, "")
    return f"{mean}{spread}{seeds}"


def quality(runs: Sequence[Run]) -> str:
    """Return accuracy after the last round (best beside it), arms by cells, best arm first."""
    columns = metrics.cells(runs)
    rows = [[name, *(_accuracy(runs, cell, name) for cell in columns)] for name in ranked(runs)]
    return table(("last (best), %", *map(str, columns)), rows)


def _accuracy(runs: Sequence[Run], cell: Cell, arm: str) -> str:
    own = metrics.of(runs, cell, arm)
    if not own:
        return EMPTY
    best = percent(float(np.mean([*map(metrics.best, own)])))
    return f"{shown(metrics.spread([*map(metrics.last, own)]))} ({best})"


def ranked(runs: Sequence[Run]) -> list[str]:
    """Return the arms by mean over the cells of the difference to the mean of all arms there, best first."""
    scores: dict[str, list[float]] = {arm: [] for arm in metrics.arms(runs)}
    for cell in metrics.cells(runs):
        means = {arm: np.mean([*map(metrics.last, own)]) for arm in scores if (own := metrics.of(runs, cell, arm))}
        for arm, mean in means.items():
            scores[arm].append(float(mean - np.mean([*means.values()])))
    return sorted(scores, key=lambda arm: -float(np.mean(scores[arm])))


def differences(runs: Sequence[Run], ours: str = OURS, figure: Figure = metrics.last) -> str:
    """Return ours minus each arm in points, seed by seed; the last columns are means over cells."""
    columns = metrics.cells(runs)
    head = (f"{ours} minus", *map(str, columns), "skewed cells", "all cells", "worst cell")
    rows = [_against(runs, columns, (ours, arm), figure) for arm in ranked(runs) if arm != ours]
    return table(head, rows)


def _against(runs: Sequence[Run], columns: Sequence[Cell], arms: tuple[str, str], figure: Figure) -> list[str]:
    each = {cell: metrics.paired(runs, cell, arms, figure) for cell in columns}
    means = {cell: float(np.mean(values)) for cell, values in each.items() if values}
    skewed = [mean for cell, mean in means.items() if metrics.skewed(cell)]
    ends = [_points(skewed, np.mean), _points([*means.values()], np.mean), _points([*means.values()], np.min)]
    return [arms[1], *(signed(metrics.spread(values)) if values else EMPTY for values in each.values()), *ends]


def _points(values: Sequence[float], over: Callable[[Sequence[float]], float]) -> str:
    return f"{100 * over(values):+.1f}" if values else EMPTY


def clients(runs: Sequence[Run]) -> str:
    """Return what clients see on their own labels, load and dead experts: means over an arm's cells and seeds."""
    head = (
        "accuracy on a client's own labels, %",
        "mean",
        "worst decile",
        "worst client",
        "load CV",
        "dead experts",
        "runs",
    )
    rows = []
    for name in ranked(runs):
        own = [run for run in runs if run.arm == name and run.own]
        if own:
            views = (metrics.own_mean, metrics.own_worst_decile, metrics.own_worst)
            rows.append([name, *(percent(_mean(own, view)) for view in views), *_load(own), str(len(own))])
    return table(head, rows)


def _load(runs: Sequence[Run]) -> tuple[str, str]:
    experts = [run for run in runs if run.load or run.trained]
    if not experts:
        return EMPTY, EMPTY
    return f"{_mean(experts, metrics.load_cv):.2f}", f"{_mean(experts, metrics.dead_experts):.1f}"


def _mean(runs: Sequence[Run], figure: Figure) -> float:
    return float(np.mean([figure(run) for run in runs]))


def costs(runs: Sequence[Run], goal: str = DENSE) -> str:
    """Return what each arm took to the last accuracy of the arm ``goal`` of the same cell and seed.

    Means over the runs that got there, beside how many did and what all rounds take; times also as a share of what the
    goal itself took for all its rounds.
    """
    head = (
        f"to the last accuracy of {goal}", "got there", "rounds", "MB a device", "device-seconds", "wall clock, s",
        "share of its wall clock", "all rounds: MB a device", "device-seconds", "wall clock, s",
    )  # fmt: skip
    goals = {(run.cell, run.seed): run for run in runs if run.arm == goal}
    return table(head, [_cost(runs, name, goals) for name in ranked(runs)] if goals else [])


def _cost(runs: Sequence[Run], arm: str, goals: dict[tuple[Cell, int], Run]) -> list[str]:
    pairs = [(run, goals[run.cell, run.seed]) for run in runs if run.arm == arm and (run.cell, run.seed) in goals]
    reached = [(metrics.cost(run, metrics.last(goal)), metrics.spent(goal)) for run, goal in pairs]
    there = [(cost, whole) for cost, whole in reached if cost is not None]
    shares = [cost.wall_s / whole.wall_s for cost, whole in there if whole.wall_s]
    share = f"{np.mean(shares):.2f}" if shares else EMPTY
    count = f"{len(there)} of {len(pairs)}"
    return [
        arm,
        count,
        *_each([cost for cost, _ in there]),
        share,
        *_each([metrics.spent(run) for run, _ in pairs])[1:],
    ]


def _each(spent: Sequence[Cost]) -> list[str]:
    if not spent:
        return [EMPTY] * 4
    columns = ([getattr(one, name) for one in spent] for name in ("rounds", "mb", "device_s", "wall_s"))
    return [f"{np.mean(column):,.1f}" for column in columns]


def personal(runs: Sequence[Run]) -> str:
    """Return accuracy of each way to make a model personal: mean and worst decile over clients, and on all labels."""
    held = [run for run in runs if run.personal]
    keys = list(dict.fromkeys((str(run.cell), run.arm, method) for run in held for method in run.personal))
    head = ("own labels, %", "arm", "method", "mean", "worst decile", "all labels alike")
    return table(head, [_personal(held, *key) for key in keys])


def _personal(runs: Sequence[Run], cell: str, arm: str, method: str) -> list[str]:
    own = [run for run in runs if str(run.cell) == cell and run.arm == arm and method in run.personal]
    views = [
        shown(metrics.spread([view(run.personal[method]) for run in own]))
        for view in (lambda values: float(np.mean(values)), worst_decile)
    ]
    everybody = [run.everybody[method] for run in own if method in run.everybody]
    return [cell, arm, method, *views, shown(metrics.spread(everybody)) if everybody else EMPTY]


def page(runs: Sequence[Run]) -> str:
    """Return all tables of an experiment for which it has runs."""
    kept = metrics.newest(runs)
    parts = [quality(kept), differences(kept) if OURS in metrics.arms(kept) else "", clients(kept)]
    parts.append(costs(kept) if DENSE in metrics.arms(kept) else "")
    parts.append(personal(kept) if any(run.personal for run in kept) else "")
    return "\n".join(part for part in parts if part)
