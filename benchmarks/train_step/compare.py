"""Run arms in turns, each in a process of its own, and compare their medians. Standard library only."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

OURS: Final = "ours"
FLOOR: Final = "floor"
LONGEST_S: Final = 900


class ArmError(Exception):
    """An arm's process failed; the text has its last words."""


@dataclass(frozen=True)
class Arm:
    """One way to do the work.

    Args:
        command: of its process; ``--steps``, ``--warm-up`` and ``--threads`` are added.
        steps: timed in one run.
        warm_up: steps before them.
        file_mb: size of the model's file, in 10^6 bytes.
        about: one line.
    """

    command: tuple[str, ...]
    steps: int
    warm_up: int
    file_mb: float
    about: str


def run(name: str, arm: Arm, threads: int) -> dict[str, Any]:
    """Run an arm once.

    Raises:
        ArmError: when it fails, takes too long, or computes nonsense.
    """
    rest = ("--steps", str(arm.steps), "--warm-up", str(arm.warm_up), "--threads", str(threads))
    try:
        done = subprocess.run([*arm.command, *rest], capture_output=True, text=True, check=False, timeout=LONGEST_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ArmError(f"{name}: {error}") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        words = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise ArmError(f"{name} ended with status {done.returncode}: {words[-1] if words else 'no message'}")
    result: dict[str, Any] = json.loads(lines[-1])
    if not all(isinstance(value, float | int) and math.isfinite(value) for value in result["first"]):
        raise ArmError(f"{name}: first outputs {result['first']}; a step must give a finite loss")
    return result


def interleaved(
    arms: Mapping[str, Arm], repeats: int, threads: int, say: Callable[[str], None]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Run every arm ``repeats`` times, in turns, so that a busy minute of the machine falls on all of them.

    Returns:
        What each arm printed, and why others failed: those are not tried again.
    """
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    failed: dict[str, str] = {}
    for repeat in range(repeats):
        for name in [name for name in arms if name not in failed]:
            try:
                runs[name].append(run(name, arms[name], threads))
            except ArmError as error:
                failed[name] = str(error)
                say(f"failed: {error}")
                continue
            say(f"run {repeat + 1} of {repeats}: {name} {statistics.median(runs[name][-1]['ms']):.1f} ms")
    return {name: of_arm for name, of_arm in runs.items() if name not in failed}, failed


def summary(arms: Mapping[str, Arm], runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return figures of each arm, and how they compare with ours: arm / ours, and ours / floor."""
    figures = {name: _figures(arms[name], of_arm) for name, of_arm in runs.items()}
    if OURS not in figures:
        return {"arms": figures, "ratios": {}}
    ours = figures[OURS]["ms_median"]
    ratios = {name: arm["ms_median"] / ours for name, arm in figures.items() if name not in (OURS, FLOOR)}
    if FLOOR in figures:
        ratios[FLOOR] = ours / figures[FLOOR]["ms_median"]
    return {"arms": figures, "ratios": ratios}


def _figures(arm: Arm, runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    wall = [ms for run in runs for ms in run["ms"]]
    return {
        "ms_median": statistics.median(wall),
        "ms_min": min(wall),
        "cpu_ms_median": statistics.median(ms for run in runs for ms in run["cpu_ms"]),
        "peak_rss_mib": statistics.median(run["peak_rss_mib"] for run in runs),
        "file_mb": arm.file_mb,
    }
