"""From what each process printed to the figures that are kept. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.usual_tools import LORA, OURS

_RATES: Final = ("texts_s", "steps_s", "cpu_s")


def with_speed(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run with ``texts_s``, ``steps_s`` and ``epoch_s``, all by its median step, where it made steps."""
    if "step_ms" not in told:
        return dict(told)
    step_s = told["step_ms"] / 1e3
    speed = {"texts_s": told["texts_per_step"] / step_s, "steps_s": 1 / step_s, "epoch_s": told["steps"] * step_s}
    return {**told, **speed}


def of_arm(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return accuracies by seed, their mean, the highest peak of memory, and medians of what took time."""
    accuracies = [run["accuracy"] for run in runs]
    names = ("texts_s", "steps_s", "step_ms", "texts_per_step", "epoch_s", "process_s", "cpu_s")
    medians = {name: statistics.median(run[name] for run in runs) for name in names if name in runs[0]}
    memory = {"peak_rss_mib": max(run["peak_rss_mib"] for run in runs)}
    return {"accuracies": accuracies, "accuracy": statistics.mean(accuracies), **memory, **medians}


def ratios(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Return ours / LoRA of texts a second, steps a second and processor seconds: medians over seeds of paired runs."""
    if not (runs.get(OURS) and runs.get(LORA)):
        return {}
    pairs = list(zip(runs[OURS], runs[LORA], strict=True))
    return {name: statistics.median(ours[name] / lora[name] for ours, lora in pairs) for name in _RATES}
