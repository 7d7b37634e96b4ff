"""Time to a given accuracy: curves of held-out accuracy over time, each in a process of its own, several seeds."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.quantization import texts
from benchmarks.real_text import ABOUT, OURS, arms, sets, work
from benchmarks.real_text.learning import time_to
from benchmarks.seeds import RunError, run
from edge_runtime.data.tokenizer import Tokenizer
from export.source import backbone as backbones

ARMS: Final = ("packed", "last", "cached", "eager", "eager_last")
TARGETS: Final = {"clinc150": 0.80, "ag_news": 0.87}
"""Sets, and the accuracy whose time is told: what all layers reach with the default texts and epochs."""
TEXTS: Final = 2000
EPOCHS: Final = 4
HELD_OUT: Final = 1000
Curve = list[tuple[float, int, float]]
NAMED: Final = ABOUT | {
    "last": "ours, packed, last two layers",
    "cached": "ours, packed, last two layers, prefixes cached",
}
"""What the arms are here: each runs all epochs, the first included."""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return curves and times of every set, arm and seed; what does not fit into ``options.minutes`` is left out.

    Args:
        options: sets, seeds, minutes, threads, data, folder, exported.

    Raises:
        RunError: when an export or a run fails.
    """
    began = time.monotonic()
    names = names_of(options)
    curves: dict[str, dict[str, list[Curve]]] = {name: {arm: [] for arm in ARMS} for name in names}
    left_out = 0
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("runs", total=len(names) * len(ARMS) * options.seeds)
        for name in names:
            plan = arms.Plan(name, ARMS, options.data, options.folder / name, 1, options.exported)
            prepare(plan, options)
            for seed in range(options.seeds):
                for arm in ARMS:
                    progress.update(task, advance=1, description=f"{name}, {arm}, seed {seed}")
                    if time.monotonic() - began > 60 * options.minutes:
                        left_out += 1
                        continue
                    curves[name][arm].append(_curve(arm, plan, seed, options.threads))
    told = {name: summary(of_arms, TARGETS[name]) for name, of_arms in curves.items()}
    about = {"texts": TEXTS, "epochs": EPOCHS, "held_out": HELD_OUT, "seeds": options.seeds}
    return {**about, "left_out": left_out, "sets": told}


def names_of(options: argparse.Namespace) -> list[str]:
    """Return the sets to learn from.

    Raises:
        RunError: when one is not there: drawn texts have nothing to learn from.
    """
    names = [name for name in options.sets if name in TARGETS]
    if missing := [name for name in names if not sets.is_there(name, options.data)]:
        raise RunError(f"accuracy needs the texts themselves: no {', '.join(missing)} in {options.data}; see --data")
    return names


def prepare(plan: arms.Plan, options: argparse.Namespace) -> None:
    """Export, and write the texts of every seed and the held-out ones, as text and as ids."""
    files = sets.SETS[plan.name]
    rows = texts.read(options.data / plan.name / files.train)
    package = arms.export(plan, rows, lambda line: print(line, file=sys.stderr))
    tokenizer = Tokenizer(package.path("tokenizer.json"))
    held_out = texts.read(options.data / plan.name / files.test)
    drawn = {f"train-{seed}": texts.chosen(rows, TEXTS, seed) for seed in range(options.seeds)}
    for name, some in {**drawn, "test": texts.chosen(held_out, HELD_OUT, 0)}.items():
        texts.write(plan.folder / f"{name}.csv", some)
        ids = work.encoded(some, package.manifest.architecture.labels, tokenizer, package.manifest.tiers[0].seq_len)
        work.write(plan.folder / f"{name}.npz", ids)


def _curve(arm: str, plan: arms.Plan, seed: int, threads: int) -> Curve:
    """Run one process."""
    ours = arm in OURS
    package = plan.packages[arms.PACKAGE_OF[arm]]
    ending = "csv" if ours else "npz"
    words = ["--package", str(package), "--epochs", str(EPOCHS), "--seed", str(seed), "--threads", str(threads)]
    words += ["--train", str(plan.folder / f"train-{seed}.{ending}"), "--test", str(plan.folder / f"test.{ending}")]
    if not ours:
        words += ["--arm", arm, "--model", str(backbones.find(None).folder)]
    elif arm == "cached":
        words += ["--cached"]
    line = run(f"{plan.name}, {arm}, seed {seed}", f"benchmarks.real_text.learn_{'ours' if ours else 'torch'}", words)
    curve: Curve = [(seconds, count, right) for seconds, count, right in json.loads(line)["curve"]]
    print(f"{plan.name}, {arm}, seed {seed}: {100 * curve[-1][2]:.1f} % in {curve[-1][0]:.0f} s", file=sys.stderr)
    return curve


def summary(curves: Mapping[str, Sequence[Curve]], target: float) -> dict[str, Any]:
    """Return, by arm, the curves, the seconds to the target of each seed, and the accuracy at the end."""
    return {"target": target, "arms": {arm: _of_arm(of_seeds, target) for arm, of_seeds in curves.items() if of_seeds}}


def _of_arm(curves: Sequence[Curve], target: float) -> dict[str, Any]:
    seconds = [time_to(curve, target) for curve in curves]
    reached = [passed for passed in seconds if passed is not None]
    ends = [curve[-1][2] for curve in curves]
    return {
        "curves": [list(curve) for curve in curves],
        "seconds": seconds,
        "seconds_mean": statistics.fmean(reached) if len(reached) == len(seconds) else None,
        "end_mean": statistics.fmean(ends),
        "end_spread": statistics.stdev(ends) if len(ends) > 1 else 0.0,
        "seconds_end": statistics.fmean(curve[-1][0] for curve in curves),
    }


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print a table for each set."""
    for name, of_set in result["sets"].items():
        title = f"{name}: seconds of training to {100 * of_set['target']:.0f} % of {result['held_out']} held-out texts"
        table = Table(box=None, pad_edge=False, title=title, title_justify="left")
        for column in ("arm", "seconds", "of each seed", "whole run, s", "at its end, %"):
            table.add_column(column, justify="left" if column == "arm" else "right", no_wrap=True)
        for arm, figures in of_set["arms"].items():
            mean = figures["seconds_mean"]
            each = ", ".join("never" if passed is None else f"{passed:.1f}" for passed in figures["seconds"])
            end = f"{100 * figures['end_mean']:.1f} ± {100 * figures['end_spread']:.1f}"
            whole = f"{figures['seconds_end']:.0f}"
            table.add_row(NAMED[arm], "" if mean is None else f"{mean:.1f}", each, whole, end)
        console.print(table)
    if result["left_out"]:
        console.print(f"{result['left_out']} runs were left out: the time was over (--minutes)")
