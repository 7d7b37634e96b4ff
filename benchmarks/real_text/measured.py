"""Measure steps in the process of an arm until it has trained a number of texts; print one JSON line."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.real_text import BATCH, energy
from benchmarks.train_step import timing
from edge_runtime.program.memory import peak_rss_mib


@dataclass(frozen=True)
class Step:
    """What a step did. Args: loss: of it; texts: trained; tokens: of these texts; places: for tokens, computed."""

    loss: float
    texts: int
    tokens: int
    places: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every arm's process takes: ``--steps`` counts batches of 16 texts."""
    timing.add_arguments(parser)


def measure(step: Callable[[], Step], texts: int) -> dict[str, Any]:
    """Run steps until ``texts`` were trained.

    Returns:
        Of each step ms (wall) and cpu_ms (all threads); in all texts, tokens, places, joules (null where the machine
        does not tell) and peak_rss_mib; ``first``: the losses.
    """
    wall: list[float] = []
    work: list[float] = []
    steps: list[Step] = []
    counters = energy.read()
    while sum(done.texts for done in steps) < texts:
        started, used = time.perf_counter(), time.process_time()
        steps.append(step())
        wall.append(1e3 * (time.perf_counter() - started))
        work.append(1e3 * (time.process_time() - used))
    sums = {name: sum(getattr(done, name) for done in steps) for name in ("texts", "tokens", "places")}
    told = {"joules": energy.joules(counters, energy.read()), "peak_rss_mib": peak_rss_mib()}
    return {"ms": wall, "cpu_ms": work, **sums, **told, "first": [done.loss for done in steps]}


def report(step: Callable[[], Step], arguments: argparse.Namespace, warm_up: Callable[[], None]) -> int:
    """Warm up, measure and print; the exit code."""
    warm_up()
    sys.stdout.write(json.dumps(measure(step, arguments.steps * BATCH)) + "\n")
    return 0
