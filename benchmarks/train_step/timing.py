"""Time steps in the process of an arm, and say so in one JSON line."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from edge_runtime.program.memory import peak_rss_mib


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every arm's process takes."""
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)


def timed(step: Callable[[], float], steps: int, warm_up: int) -> dict[str, Any]:
    """Run ``step`` and return wall time and processor time (all threads) of each timed step, and the peak memory."""
    for _ in range(warm_up):
        step()
    wall, work, first = [], [], []
    for _ in range(steps):
        started, used = time.perf_counter(), time.process_time()
        first.append(step())
        wall.append(1e3 * (time.perf_counter() - started))
        work.append(1e3 * (time.process_time() - used))
    return {"ms": wall, "cpu_ms": work, "peak_rss_mib": peak_rss_mib(), "first": first}


def report(step: Callable[[], float], arguments: argparse.Namespace) -> int:
    """Measure and print; the exit code."""
    sys.stdout.write(json.dumps(timed(step, arguments.steps, arguments.warm_up)) + "\n")
    return 0
