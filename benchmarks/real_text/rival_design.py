"""Packed tiers against sorted batches over padded tiers: time, memory, and the accuracy that either reaches."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.real_text import accuracy, arms
from benchmarks.seeds import run

ABOUT: Final = {"packed": "packed", arms.SORTED: "sorted batches over padded tiers of 16, 24, 32 and 64 tokens"}
_MODULES: Final = {"packed": "learn_ours", arms.SORTED: "learn_sorted"}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of both designs by set; options are those of `accuracy.measure`.

    Raises:
        RunError: when an export or a run fails.
    """
    told = {}
    for name in accuracy.names_of(options):
        plan = arms.Plan(name, tuple(ABOUT), options.data, options.folder / name, 1, options.exported)
        accuracy.prepare(plan, options)
        runs: dict[str, list[dict[str, Any]]] = {design: [] for design in ABOUT}
        for seed in range(options.seeds):
            for design, of_design in runs.items():
                of_design.append(_run(design, plan, seed, options))
        told[name] = {design: summary(of_design) for design, of_design in runs.items()}
    about = {"texts": accuracy.TEXTS, "epochs": accuracy.EPOCHS, "held_out": accuracy.HELD_OUT, "seeds": options.seeds}
    return {**about, "sets": told}


def _run(design: str, plan: arms.Plan, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    package = plan.folder / ("package-all" if design == "packed" else f"package-{design}")
    words = ["--package", str(package), "--epochs", str(accuracy.EPOCHS), "--seed", str(seed)]
    words += ["--train", str(plan.folder / f"train-{seed}.csv"), "--test", str(plan.folder / "test.csv")]
    words += ["--threads", str(options.threads)]
    line = run(f"{plan.name}, {design}, seed {seed}", f"benchmarks.real_text.{_MODULES[design]}", words)
    told: dict[str, Any] = json.loads(line)
    rate, right = told["texts"] / told["train_seconds"], told["curve"][-1][2]
    print(f"{plan.name}, {design}, seed {seed}: {rate:.0f} texts/s, {100 * right:.1f} %", file=sys.stderr)
    return told


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return medians of texts a second, peak memory and fill, and the accuracies at the end with mean and spread."""
    ends = [run["curve"][-1][2] for run in runs]
    return {
        "examples_s": statistics.median(run["texts"] / run["train_seconds"] for run in runs),
        "peak_rss_mib": statistics.median(run["peak_rss_mib"] for run in runs),
        "fill": statistics.median(run["fill"] for run in runs),
        "accuracy": ends,
        "mean": statistics.fmean(ends),
        "spread": statistics.stdev(ends) if len(ends) > 1 else 0.0,
    }


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print one table."""
    title = f"{result['epochs']} epochs of {result['texts']} texts, {result['seeds']} seeds"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for column in ("set", "design", "texts/s", "MiB", "full, %", "accuracy, %"):
        table.add_column(column, justify="left" if column in ("set", "design") else "right", no_wrap=True)
    for name, designs in result["sets"].items():
        for design, figures in designs.items():
            end = f"{100 * figures['mean']:.1f} ± {100 * figures['spread']:.1f}"
            sizes = (f"{figures['peak_rss_mib']:.0f}", f"{100 * figures['fill']:.0f}")
            table.add_row(name, ABOUT[design], f"{figures['examples_s']:,.0f}", *sizes, end)
    console.print(table)
