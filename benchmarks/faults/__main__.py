"""Faults on purpose: ``python -m benchmarks.faults``. What an operator trusts is struck where it could break.

Every commit point of the gateway and of the device is found by counting, and struck by each fault; files at rest are
damaged; the network between devices and broker misbehaves. After each fault the last version is compared, byte by byte,
with that of an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks import record
from benchmarks.faults import shim
from benchmarks.faults.device_walk import device_at_rest, device_walk
from benchmarks.faults.gateway_walk import (
    gateway_at_rest,
    gateway_buffer,
    gateway_directions,
    gateway_gate,
    gateway_history,
    gateway_pairs,
    gateway_private,
    gateway_walk,
)
from benchmarks.faults.live import live
from benchmarks.faults.tally import Injection, Tally

EXAMPLES: Final = """examples:
  python -m benchmarks.faults --only walk --count 1            every commit point of the gateway, each fault once
  python -m benchmarks.faults --only rest --count 500          500 damaged files
  python -m benchmarks.faults --only walk --count 0.1 --json   a tenth of the points, as JSON
"""
Injections = Iterator[tuple[str, str, Injection]]


Part = Callable[[Path, random.Random, float], Injections]


def _times(inject: Callable[[Path, random.Random, int], Injections]) -> Part:
    """Return a part whose count is a number of times, not a share."""
    return lambda folder, chance, count: inject(folder, chance, int(count))


PARTS: Final[dict[str, tuple[str, str, float, Part]]] = {
    "walk": ("the gateway's commit points", "forked, real calls, no sockets", 1.0, gateway_walk),
    "history": (
        "the gateway's commit points while rows of old rounds go",
        "forked, real calls, no sockets",
        0.2,
        gateway_history,
    ),
    "gate": ("the gateway's commit points with a gate", "forked, real calls, no sockets", 0.2, gateway_gate),
    "directions": (
        "the gateway's commit points with a liar",
        "forked, real calls, no sockets",
        0.2,
        gateway_directions,
    ),
    "buffer": ("the gateway's commit points with a buffer", "forked, real calls, no sockets", 0.2, gateway_buffer),
    "private": ("the gateway's commit points with privacy", "forked, real calls, no sockets", 0.05, gateway_private),
    "pairs": (
        "the gateway's commit points, two in a row",
        "forked, real calls, no sockets",
        400,
        _times(gateway_pairs),
    ),
    "rest": ("the gateway's files, damaged at rest", "forked, real calls, no sockets", 400, _times(gateway_at_rest)),
    "device": ("the device's commit points", "forked, real calls, no sockets", 0.2, device_walk),
    "live": ("whole runs of the real commands", "real processes and sockets", 44, _times(live)),
    "device-rest": (
        "the device's files, damaged at rest",
        "forked, real calls, no sockets",
        200,
        _times(device_at_rest),
    ),
}
"""By name: what it does, what runs, its default count, and the work."""


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    command = argparse.ArgumentParser(
        prog="python -m benchmarks.faults",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    about = "; ".join(f"{name}: {about}" for name, (about, *_) in PARTS.items())
    command.add_argument("--only", choices=PARTS, action="append", help=f"parts to do (default: all); {about}")
    command.add_argument("--count", type=float, metavar="N", help="faults of a part; of a walk: share of its points")
    command.add_argument("--seconds", type=float, metavar="S", help="begin no fault of a part after so long")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="seed of every random choice (%(default)s)")
    command.add_argument(
        "--json", action="store_true", help="print one JSON line for each kind of fault, and no progress"
    )
    command.add_argument("--record", action="store_true", help="add them to benchmarks/results/faults.jsonl")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Do it; exit code 1 when a delta was lost, counted twice, or a version has other bytes."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words)
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of our own is made in it
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        if shim.LIBRARY not in os.environ:
            return shim.run_preloaded(shim.compiled(Path(scratch)), words)
        lines = [line for name in arguments.only or PARTS for line in _part(name, arguments, Path(scratch))]
    for line in lines:
        if arguments.json:
            sys.stdout.write(json.dumps(line) + "\n")
        if arguments.record:
            record.append("faults", "python -m benchmarks.faults " + " ".join(words), line)
    return int(any(line["lost"] or line["double"] or line["wrong"] for line in lines))


def _part(name: str, arguments: argparse.Namespace, scratch: Path) -> list[dict[str, object]]:
    about, process, count, work = PARTS[name]
    folder = scratch / name
    folder.mkdir()
    tallies: dict[tuple[str, str], Tally] = {}
    began = told = time.monotonic()
    for where, fault, injection in work(folder, random.Random(arguments.seed), arguments.count or count):  # noqa: S311
        tallies.setdefault((where, fault), Tally(where, fault, process)).injections.append(injection)
        if injection.wrong and not arguments.json:
            sys.stderr.write(f"{where}, {fault}: {injection.wrong}\n")
        if arguments.seconds and time.monotonic() - began > arguments.seconds:
            break
        if time.monotonic() - told > 5 and not arguments.json:
            told = time.monotonic()
            done = sum(len(tally.injections) for tally in tallies.values())
            sys.stderr.write(f"{about}: {done} faults in {told - began:.0f} s\n")
    lines = [tally.figures() for tally in tallies.values()]
    if not arguments.json:
        for line in lines:
            sys.stdout.write(
                f"{line['where']}: {line['fault']}: {line['injected']} injected, {line['lost']} lost, "
                f"{line['double']} double, {line['identical']} with the same bytes, {line['refused']} refused by name, "
                f"back in {line['recover_ms']} ms\n"
            )
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
