"""Command: make the runs of an experiment, or show what was made of them.

``run EXPERIMENT.toml ..`` appends one JSON line for each run to ``OUT/NAME.jsonl``; runs that are there are not made
again, and one that was stopped goes on from its last round. The file of texts comes from
``python -m benchmarks.federation.texts --out F.npz``. ``tables`` and ``plots`` show runs, ``keep`` adds them to the
results that docs/results.md is written from.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import record
from benchmarks.federation import reporting
from benchmarks.federation.experiment import Experiment, ExperimentError, read
from benchmarks.federation.results import DONE, WRONG, Results

CUDA_WORKERS: Final = 6
"""Processes on a GPU by default: together they keep it busy."""


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 when all runs were made, 1 when some were not, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.federation", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print runs as JSON lines as they end, and no progress")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_run(commands.add_parser("run", help="make the runs of an experiment"))
    reporting.add_commands(commands)
    options = parser.parse_args(argv)
    try:
        return int(options.main(options))
    except (ExperimentError, reporting.RunsError) as error:
        sys.stderr.write(f"{error}\n")
        return WRONG


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("experiments", type=Path, nargs="+", metavar="EXPERIMENT.toml")
    run.add_argument("--data", type=Path, required=True, metavar="F.npz", help="texts and backbone")
    run.add_argument("--out", type=Path, default=record.RESULTS / "federation", help="folder of results and states")
    run.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: 1, on a GPU 6 each)")
    run.add_argument("--device", default="", help="cpu, cuda:0 or cuda:0,cuda:1 (default: every GPU, else cpu)")
    run.add_argument("--precision", choices=("bfloat16", "float32"), help="default: bfloat16 on a GPU")
    run.add_argument("--only", default="", metavar="ARM,..", help="arms to run")
    run.add_argument("--seeds", default="", metavar="S,..", help="instead of the experiment's")
    run.add_argument("--minutes", type=float, default=math.inf, metavar="M", help="begin no run after so many minutes")
    run.add_argument("--stop", type=float, default=math.inf, metavar="M", help="stop then, and keep what is under way")
    run.add_argument("--compile", action="store_true", help="put layers through torch.compile")
    run.set_defaults(main=lambda options: _run(options, list(map(read, options.experiments))))


def _run(options: argparse.Namespace, experiments: Sequence[Experiment]) -> int:
    from benchmarks.federation import workers  # noqa: PLC0415 - loads torch

    if not options.data.is_file():
        sys.stderr.write(
            f"no file {options.data}; make it with python -m benchmarks.federation.texts --out {options.data}\n"
        )
        return WRONG
    try:
        seeds = tuple(map(int, filter(None, options.seeds.split(","))))
    except ValueError:
        sys.stderr.write(f"--seeds {options.seeds}: expected numbers with commas between\n")
        return WRONG
    only = tuple(filter(None, options.only.split(",")))
    out = Results(options.out, options.json)
    left = [task for one in experiments for task in out.left(one.name, list(one.tasks(only, seeds)))]
    if not left:
        return DONE
    devices = tuple(filter(None, options.device.split(","))) or _devices()
    on_gpu = any(device.startswith("cuda") for device in devices)
    count = min(options.workers or (CUDA_WORKERS * len(devices) if on_gpu else 1), len(left))
    kind = options.precision or ("bfloat16" if on_gpu else "float32")
    threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or max(1, len(os.sched_getaffinity(0)) // count)
    machine = workers.Machine(options.data, devices, kind, options.out / "states", threads, options.compile)
    now = time.monotonic()
    limits = workers.Limits(now + 60 * min(options.minutes, options.stop), now + 60 * options.stop)
    said = workers.here(machine, left, limits) if count == 1 else workers.apart(machine, left, limits, count)
    return out.told(said, len(left))


def _devices() -> tuple[str, ...]:
    import torch  # noqa: PLC0415 - heavy

    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count())) or ("cpu",)


if __name__ == "__main__":
    raise SystemExit(main())
