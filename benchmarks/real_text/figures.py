"""From what the arms' processes printed to the figures of a set. Standard library only."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.real_text import BATCH
from benchmarks.real_text.useful import Encoder, lora_per_token, per_token

AGAINST: Final = ("padded", "eager", "eager_bf16", "compile", "compile_bf16", "eager_last", "lora")
"""Arms that the others are held against."""
_LAST: Final = 2

Run = Mapping[str, Any]


def operations(arm: str, encoder: Encoder) -> int:
    """Return useful operations of an arm for each token."""
    if arm == "lora":
        return lora_per_token(encoder)
    lowest = encoder.depth - _LAST if arm in ("last", "cached", "eager_last") else 0
    return per_token(encoder, lowest, cached=arm == "cached")


def of_arm(arm: str, runs: Sequence[Run], encoder: Encoder) -> dict[str, float | None]:
    """Return an arm's figures: medians over its runs.

    Returns:
        examples_s (wall) and examples_cpu_s (a second of processor time); ms of 16 texts; gflop_s, useful;
        joules_per_1000 texts, None where the machine does not tell; peak_rss_mib; fill, share of places with tokens;
        texts_step, of a step.
    """
    seconds = [sum(run["ms"]) / 1e3 for run in runs]
    rates = [run["texts"] / passed for run, passed in zip(runs, seconds, strict=True)]
    useful = [operations(arm, encoder) * run["tokens"] / passed for run, passed in zip(runs, seconds, strict=True)]
    joules = [1000 * run["joules"] / run["texts"] for run in runs if run["joules"] is not None]
    return {
        "examples_s": statistics.median(rates),
        "examples_cpu_s": statistics.median(1e3 * run["texts"] / sum(run["cpu_ms"]) for run in runs),
        "ms": statistics.median(1e3 * BATCH / rate for rate in rates),
        "gflop_s": statistics.median(useful) / 1e9,
        "joules_per_1000": statistics.median(joules) if joules else None,
        "peak_rss_mib": statistics.median(run["peak_rss_mib"] for run in runs),
        "fill": statistics.median(run["tokens"] / run["places"] for run in runs),
        "texts_step": statistics.median(run["texts"] / len(run["ms"]) for run in runs),
    }


def ratios(arms: Mapping[str, Mapping[str, float | None]], rate: str = "examples_s") -> dict[str, dict[str, float]]:
    """Return every arm's examples a second, wall or processor time, as a multiple of those that it is held against."""
    rates = {name: figures[rate] or 0.0 for name, figures in arms.items()}
    return {
        name: {other: rate / rates[other] for other in AGAINST if other in rates and other != name}
        for name, rate in rates.items()
    }
