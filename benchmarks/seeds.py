"""Accuracy by seed: the same set trained by the same steps in several arms, each run in a process of its own."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.quantization import texts
from benchmarks.quantization.texts import SETS

EPOCHS = 2
"""Passes over the training texts: steps * batch / EPOCHS of them are drawn."""


class RunError(Exception):
    """An export or a run failed; the text has its last words."""


def run(what: str, module: str, words: Sequence[str]) -> str:
    """Run a module to its end and return the last line that it printed.

    Raises:
        RunError: when it fails.
    """
    done = subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunError(f"{what}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return (done.stdout.strip().splitlines() or [""])[-1]


def accuracies(
    name: str,
    rows: Sequence[texts.Row],
    *,
    place: str,
    module: str,
    arms: Mapping[str, Sequence[str]],
    batch: int,
    options: argparse.Namespace,
) -> dict[str, list[float]]:
    """Return, for each arm, the held-out accuracy of every seed.

    Args:
        name: of the set.
        rows: its training texts.
        place: what the files with the drawn texts begin with: a folder and, perhaps, the start of a name.
        module: that makes one run and prints JSON with "accuracy".
        arms: words that each arm gives to the module, its package among them.
        batch: texts of a step.
        options: data, seeds, steps, test, threads, jobs.

    Raises:
        RunError: when a run fails.
    """
    held_out = texts.read(options.data / name / SETS[name].test)
    test = texts.write(Path(f"{place}test.csv"), texts.chosen(held_out, options.test, 0))
    count = options.steps * batch // EPOCHS
    trains = [
        texts.write(Path(f"{place}train-{seed}.csv"), texts.chosen(rows, count, seed)) for seed in range(options.seeds)
    ]

    def accuracy(seed: int, arm: str) -> float:
        words = [*arms[arm], "--train", str(trains[seed]), "--test", str(test), "--seed", str(seed)]
        words += ["--steps", str(options.steps), "--threads", str(options.threads)]
        figures = json.loads(run(f"{name}, {arm}, seed {seed}", module, words))
        sys.stderr.write(f"{name}, {arm}, seed {seed}: {100 * figures['accuracy']:.1f} %\n")
        return float(figures["accuracy"])

    wanted = [(seed, arm) for seed in range(options.seeds) for arm in arms]
    with ThreadPoolExecutor(options.jobs) as pool:
        values = list(pool.map(lambda pair: accuracy(*pair), wanted))
    return {arm: [value for (_, one), value in zip(wanted, values, strict=True) if one == arm] for arm in arms}
