"""The picture of one comparison: time and memory of every arm, logarithmic time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

OURS, OTHER, SCALE = "#2563eb", "#9ca3af", "#15803d"
"""Our program; other ways to the same step; what only gives the scale."""


def draw(result: Mapping[str, Any], about: Mapping[str, str], stem: Path) -> list[Path]:
    """Write ``stem``.svg and ``stem``.png; return their paths."""
    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "step"})
    names = sorted(result["arms"], key=lambda name: result["arms"][name]["ms_median"], reverse=True)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(13, 1.9 + 0.5 * len(names)), width_ratios=(1.5, 1), layout="constrained", sharey=True
    )
    _bars(left, result, names, "ms_median", "ms")
    left.set_yticks(range(len(names)), [about[name] for name in names])
    left.set(xscale="log", xlabel="one training step, ms (median; logarithmic)")
    left.set_title("Time of a training step", loc="left", fontweight="bold")
    _bars(right, result, names, "peak_rss_mib", "MiB")
    right.set(xlabel="peak resident memory of the process, MiB")
    right.set_title("Memory", loc="left", fontweight="bold")
    figure.suptitle(result["work"], x=0.01, ha="left", fontsize=10, color="#4b5563")
    paths = [stem.with_suffix(suffix) for suffix in (".svg", ".png")]
    for path in paths:
        figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
    return paths


def _bars(axes: Axes, result: Mapping[str, Any], names: list[str], figure: str, unit: str) -> None:
    values = [result["arms"][name][figure] for name in names]
    axes.barh(range(len(names)), values, color=[_color(name) for name in names], height=0.62)
    for place, value in enumerate(values):
        text = f"{value:,.1f}" if value < 1000 and unit == "ms" else f"{value:,.0f}"
        axes.annotate(f"{text} {unit}", (value, place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.margins(x=0.2)
    axes.tick_params(axis="y", length=0)


def _color(name: str) -> str:
    if name.startswith("ours"):
        return OURS
    return SCALE if name in ("floor", "onnx_inference") else OTHER
