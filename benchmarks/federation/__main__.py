"""Command: make the runs of an experiment, or show what was made of them.

``run EXPERIMENT.toml`` appends one JSON line for each run to ``OUT/NAME.jsonl``; runs that are there are not made
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks import record
from benchmarks.federation import reporting
from benchmarks.federation.experiment import Experiment, ExperimentError, Task, read
from benchmarks.federation.figures import run_of

DONE, FAILED, WRONG = 0, 1, 2
CUDA_WORKERS: Final = 6
"""Processes on a GPU unless told: together they keep it busy."""


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 when all runs were made, 1 when some were not, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.federation", description=__doc__)
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
    run.add_argument("experiment", type=Path, metavar="EXPERIMENT.toml")
    run.add_argument("--data", type=Path, required=True, metavar="F.npz", help="texts and backbone")
    run.add_argument("--out", type=Path, default=record.RESULTS / "federation", help="folder of results and states")
    run.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: 1, on a GPU 6 each)")
    run.add_argument("--device", default="", help="cpu, cuda:0 or cuda:0,cuda:1 (default: every GPU, else cpu)")
    run.add_argument("--precision", choices=("bfloat16", "float32"), help="default: bfloat16 on a GPU")
    run.add_argument("--only", default="", metavar="ARM,..", help="arms to run")
    run.add_argument("--seeds", default="", metavar="S,..", help="instead of the experiment's")
    run.add_argument("--minutes", type=float, default=math.inf, metavar="M", help="begin no run after so many minutes")
    run.add_argument("--compile", action="store_true", help="put layers through torch.compile")
    run.set_defaults(main=lambda options: _run(options, read(options.experiment)))


def _run(options: argparse.Namespace, experiment: Experiment) -> int:
    from benchmarks.federation import workers  # noqa: PLC0415 - loads torch

    if not options.data.is_file():
        sys.stderr.write(
            f"no file {options.data}; make it with python -m benchmarks.federation.texts --out {options.data}\n"
        )
        return WRONG
    lines = options.out / f"{experiment.name}.jsonl"
    try:
        seeds = tuple(map(int, filter(None, options.seeds.split(","))))
    except ValueError:
        sys.stderr.write(f"--seeds {options.seeds}: expected numbers with commas between\n")
        return WRONG
    tasks = list(experiment.tasks(tuple(filter(None, options.only.split(","))), seeds))
    there = set(_there(lines))
    left = [task for task in tasks if _name(task) not in there]
    sys.stdout.write(f"{experiment.name}: {len(tasks)} runs, {len(tasks) - len(left)} there, {len(left)} to make\n")
    if not left:
        return DONE
    devices = tuple(filter(None, options.device.split(","))) or _devices()
    on_gpu = any(device.startswith("cuda") for device in devices)
    count = options.workers or (CUDA_WORKERS * len(devices) if on_gpu else 1)
    count = min(count, len(left))
    kind = options.precision or ("bfloat16" if on_gpu else "float32")
    threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or max(1, len(os.sched_getaffinity(0)) // count)
    machine = workers.Machine(options.data, devices, kind, options.out / "states", threads, options.compile)
    until = time.monotonic() + 60 * options.minutes
    said = workers.here(machine, left, until) if count == 1 else workers.apart(machine, left, until, count)
    return _told(said, lines, len(left))


def _devices() -> tuple[str, ...]:
    import torch  # noqa: PLC0415 - heavy

    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count())) or ("cpu",)


def _name(task: Task) -> tuple[str, str, int]:
    return str(task.cell), task.arm.name, task.seed


def _there(lines: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the runs that a file of results has; a line that was cut off is none."""
    if not lines.is_file():
        return
    for line in lines.read_text(encoding="utf-8").splitlines():
        try:
            run = run_of(line)
        except ValueError:
            continue
        yield str(run.cell), run.arm, run.seed


def _told(said: Iterator[object], lines: Path, count: int) -> int:
    """Write results as they come and say how far it is; return the exit code."""
    from benchmarks.federation.workers import Said  # noqa: PLC0415 - loads torch

    made = failed = 0
    began = time.monotonic()
    rounds: dict[str, int] = {}
    for one in said:
        assert isinstance(one, Said)  # noqa: S101 - for the type checker
        if one.what == "round":
            rounds[one.key] = one.number
            if sys.stdout.isatty():
                under_way = ", ".join(f"{key} round {number}" for key, number in rounds.items())
                sys.stdout.write(f"\r\033[K{under_way[:150]}")
            continue
        rounds.pop(one.key, None)
        if one.what == "done":
            made += 1
            _append(lines, one.text)
        failed += one.what == "failed"
        told = f"{100 * one.right:.1f} %" if one.what == "done" else one.what
        start = "\r\033[K" if sys.stdout.isatty() else ""
        sys.stdout.write(f"{start}{made}/{count} {time.monotonic() - began:5.0f} s  {one.key}  {told}\n")
        if one.what == "failed":
            sys.stderr.write(one.text)
        sys.stdout.flush()
    sys.stdout.write(f"{made} of {count} runs made, {failed} failed; {lines}\n")
    return DONE if made == count else FAILED


def _append(lines: Path, line: str) -> None:
    lines.parent.mkdir(parents=True, exist_ok=True)
    with lines.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
