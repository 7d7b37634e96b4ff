"""Instructions of one training step on 64-bit ARM.

The program is the one of ``benchmarks.train_step``. Its second step is counted, one thread, on an emulated processor
with the int8 matrix product (i8mm, as a Pixel 8 has) and on one with dot products only (as a Raspberry Pi 5 has). A
count repeats exactly, so it shows what a change costs on a phone's instruction set. It does not model cycles: cache,
bandwidth, issue width and heat are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import record
from benchmarks.arm64 import examples, tools
from benchmarks.arm64.emulator import DOTPROD, I8MM, Call, EmulationError, run_arm64
from benchmarks.real_text.sets import DATA
from benchmarks.seeds import RunError
from benchmarks.train_step import arms, native
from benchmarks.train_step.arms import WORK, Plan
from benchmarks.train_step.compare import ArmError
from edge_runtime.native.sdk import NativeBuildError
from edge_runtime.wire.manifest import Package

COMMAND: Final = "python -m benchmarks.arm64 --record"
CPUS: Final = {"i8mm": I8MM, "dotprod": DOTPROD}
KINDS: Final = ("instructions", "smmla", "sdot", "fmla", "load_store")
TOLERANCE: Final = 0.02
"""More instructions than this share above the last record fail ``--check``."""


def measure(package: Package) -> dict[str, dict[str, int]]:
    """Return the counts of a steady step of the package's first tier, by processor.

    Raises:
        EmulationError, ToolsError, NativeBuildError.
    """
    manifest = package.manifest
    method = manifest.tiers[0].method
    spec = manifest.methods[method]
    inputs = dict(zip((tensor.name for tensor in spec.inputs), native.inputs_of(spec), strict=True))
    call = Call(package.path("program.pte"), method, spec, inputs, steps=2)
    counts_by_cpu = {}
    for name, cpu in CPUS.items():
        sys.stderr.write(f"counting on an emulated {name} processor ...\n")
        counts = run_arm64(call, cpu, count=True).counts
        counts_by_cpu[name] = {kind: counts[kind] for kind in KINDS}
    return counts_by_cpu


def changes(cpus: dict[str, dict[str, int]], records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return, by processor, instructions now as a multiple of those of the last record; nothing without records."""
    if not records:
        return {}
    last = records[-1]["cpus"]
    return {cpu: counts["instructions"] / last[cpu]["instructions"] for cpu, counts in cpus.items()}


def report(cpus: dict[str, dict[str, int]], since: dict[str, float]) -> str:
    """Return the table for people."""
    lines = [WORK, f"{'':10}" + "".join(f"{kind:>16}" for kind in KINDS)]
    lines += [f"{cpu:10}" + "".join(f"{counts[kind]:16,}" for kind in KINDS) for cpu, counts in cpus.items()]
    lines += [f"{cpu}: {100 * (ratio - 1):+.2f} % against the last record" for cpu, ratio in since.items()]
    lines.append("A count does not model cycles: cache, bandwidth, issue width and heat are left out.")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print; exit status 1 when it cannot, or when ``--check`` finds more than the last record."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.arm64", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--record", action="store_true", help="keep the result in benchmarks/results/arm64.jsonl")
    parser.add_argument(
        "--check", action="store_true", help=f"fail when a count is {100 * TOLERANCE:.0f} %% above the last record"
    )
    parser.add_argument(
        "--examples",
        action="store_true",
        help="count the instructions for each text of CLINC150 as well, packed and not",
    )
    parser.add_argument(
        "--exported", action="store_true", help="for these take what an earlier run of benchmarks.real_text exported"
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help="folder of the data sets (default: ../shared/data)"
    )
    parser.add_argument("--prepare", action="store_true", help="only fetch and build what emulation needs")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/train_step"), metavar="DIR", help="working folder (%(default)s)"
    )
    arguments = parser.parse_args(argv)
    try:
        tools.prepare()
        if arguments.prepare:
            return 0
        plan = Plan((), arguments.folder, 1)
        arms.prepare(plan, lambda line: print(line, file=sys.stderr))
        counts = measure(Package.open(plan.package))
        work = Path("runs/real_text")
        by_text = (
            examples.measure(CPUS, arguments.data, work, exported=arguments.exported) if arguments.examples else {}
        )
    except (ArmError, RunError, EmulationError, tools.ToolsError, NativeBuildError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    since = changes(counts, record.read("arm64"))
    figures = {"work": WORK, "cpus": counts, **({"examples": by_text} if by_text else {})}
    if arguments.record:
        record.append("arm64", COMMAND + (" --examples" if by_text else ""), figures)
    shown = report(counts, since) + (examples.report(by_text) if by_text else "")
    sys.stdout.write(json.dumps(figures | {"since_last": since}) + "\n" if arguments.json else shown)
    worse = [cpu for cpu, ratio in since.items() if ratio > 1 + TOLERANCE]
    if arguments.check and worse:
        sys.stderr.write(f"error: more instructions than the last record on {', '.join(worse)}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
