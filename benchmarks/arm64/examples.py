"""Instructions for each text of CLINC150, packed and a text a row: the packages of ``benchmarks.real_text``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.arm64.emulator import Call, run_arm64
from benchmarks.real_text import arms, work
from benchmarks.train_step import native
from edge_runtime.data.packed import tier_capacity
from edge_runtime.wire.fill import fill_of
from edge_runtime.wire.manifest import Package

SET: Final = "clinc150"
NAMES: Final = ("packed", "padded")
_BATCHES: Final = 64
"""Of 16 texts, from which is counted how many a step takes."""


def measure(cpus: dict[str, str], data: Path, folder: Path, *, exported: bool = False) -> dict[str, dict[str, Any]]:
    """Return, packed and padded, texts of a step and instructions of each by processor.

    Args:
        cpus: QEMU's names of processors by ours.
        data: folder of the data sets; texts are drawn when the set is not there.
        folder: of what is made.
        exported: the packages are there.

    Raises:
        EmulationError, ToolsError, NativeBuildError: when a program cannot be run.
        RunError: when an export fails.
    """
    plan = arms.Plan(SET, NAMES, data, folder / SET, _BATCHES, exported)
    arms.prepare(plan, lambda line: print(line, file=sys.stderr))
    lengths = work.read(plan.folder / "train.npz").lengths.tolist()
    counts = {}
    for name in NAMES:
        package = Package.open(plan.packages[arms.PACKAGE_OF[name]])
        texts = fill_of(lengths, tier_capacity(package.manifest.tiers[0])).texts_per_step
        step = {cpu: instructions(package, emulated) for cpu, emulated in cpus.items()}
        counts[name] = {"texts": texts, "cpus": {cpu: round(count / texts) for cpu, count in step.items()}}
    return counts


def instructions(package: Package, cpu: str) -> int:
    """Return the instructions of the second step of a package's first tier."""
    manifest = package.manifest
    method = manifest.tiers[0].method
    spec = manifest.methods[method]
    inputs = dict(zip((tensor.name for tensor in spec.inputs), native.inputs_of(spec), strict=True))
    call = Call(package.path("program.pte"), method, spec, inputs, steps=2)
    return run_arm64(call, cpu, count=True).counts["instructions"]


def report(counts: dict[str, dict[str, Any]]) -> str:
    """Return the lines for people."""
    lines = [f"instructions for each text of {SET}:"]
    for name, of_name in counts.items():
        each = ", ".join(f"{count:,} on {cpu}" for cpu, count in of_name["cpus"].items())
        lines.append(f"  {name}, {of_name['texts']:.1f} texts a step: {each}")
    return "\n".join(lines) + "\n"
