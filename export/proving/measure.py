"""Run methods of a program in a process of their own: outputs, step time, memory.

A process of its own, because PyTorch's thread pool and XNNPACK's would fight for the cores, and because memory is
what the process gained, not what the exporter holds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from export.errors import ProofError

REPEATS: Final = 9


@dataclass(frozen=True)
class Run:
    """What is asked for: one call of ``method`` on ``inputs`` (in order), then ``repeats`` timed calls."""

    method: str
    inputs: tuple[Tensor, ...]
    repeats: int = REPEATS


@dataclass(frozen=True)
class Timing:
    """How long a call takes, or several one after another; all 0 where none was timed.

    Args:
        median_ms: of the timed calls.
        least_ms: of the fastest.
        most_ms: of the slowest.
        threads: that the runtime used: those of this machine, as a device uses its own.
        other_cores: cores that other processes kept busy meanwhile.
    """

    median_ms: float = 0.0
    least_ms: float = 0.0
    most_ms: float = 0.0
    threads: int = 0
    other_cores: float = 0.0

    def then(self, other: Timing, times: int = 1) -> Timing:
        """Return this, ``times`` times, and ``other`` after it."""
        return Timing(
            times * self.median_ms + other.median_ms,
            times * self.least_ms + other.least_ms,
            times * self.most_ms + other.most_ms,
            max(self.threads, other.threads),
            max(self.other_cores, other.other_cores),
        )


@dataclass(frozen=True)
class Measurement:
    """What came.

    Args:
        outputs: of the first call.
        gained_mib: peak resident memory that the process gained until then.
        timing: of the timed calls.
    """

    outputs: tuple[Tensor, ...]
    gained_mib: float
    timing: Timing


def run_methods(program: Path, runs: Sequence[Run], scratch: Path) -> list[Measurement]:
    """Execute methods one after another in one child process.

    Args:
        program: a .pte file.
        runs: the first is the one whose memory is meant.
        scratch: an existing folder for the tensors that pass between the processes.

    Raises:
        ProofError: when the runtime refuses the program.
    """
    request: list[dict[str, Any]] = []
    for number, run in enumerate(runs):
        source = scratch / f"inputs-{number}.safetensors"
        save_file({f"{place:03d}": tensor.contiguous() for place, tensor in enumerate(run.inputs)}, source)
        target = scratch / f"outputs-{number}.safetensors"
        request.append({"method": run.method, "source": str(source), "target": str(target), "repeats": run.repeats})
    command = [sys.executable, "-m", "export.proving.measure", str(program), json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = done.stderr.strip().splitlines()
        raise ProofError(
            f"the runtime cannot execute {program.name}: {tail[-1] if tail else f'exit {done.returncode}'}"
        )
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return [
        Measurement(_ordered(load_file(asked["target"])), got["gained_mib"], Timing(**got["timing"]))
        for asked, got in zip(request, figures, strict=True)
    ]


def _ordered(tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensors[key] for key in sorted(tensors))


def _resident_mib(field: str) -> float:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []  # elsewhere than on Linux: not known
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), 0.0)


def _execute(program: Any, asked: dict[str, Any], before: float) -> dict[str, Any]:  # noqa: ANN401 - ExecuTorch's
    inputs = list(_ordered(load_file(asked["source"])))
    method = program.load_method(asked["method"])
    outputs = [tensor.clone() for tensor in method(inputs)]
    timing = _timed(lambda: method(inputs), int(asked["repeats"]))
    save_file({f"{place:03d}": tensor.contiguous() for place, tensor in enumerate(outputs)}, asked["target"])
    return {
        "timing": timing,
        "gained_mib": max(0.0, _resident_mib("VmHWM") - before),
    }


def _timed(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return the fields of the ``Timing`` of so many calls."""
    if not repeats:
        return {}
    from executorch.extension.pybindings import portable_lib  # noqa: PLC0415 - not in the exporter's own process

    times = []
    before, own, began = _busy_seconds(), time.process_time(), time.perf_counter()
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - started))
    wall, busy = time.perf_counter() - began, _busy_seconds() - before
    return {
        "median_ms": statistics.median(times),
        "least_ms": min(times),
        "most_ms": max(times),
        "threads": int(portable_lib._threadpool_get_thread_count()),  # noqa: SLF001 - the runtime's only way
        "other_cores": other_cores(busy, time.process_time() - own, wall),
    }


def other_cores(busy: float, own: float, wall: float) -> float:
    """Return how many cores others kept busy in ``wall`` seconds: of all processors' ``busy`` seconds, not ``own``."""
    return max(0.0, busy - own) / wall if wall > 0 else 0.0


def _busy_seconds() -> float:
    """Return the seconds that the processors of this machine worked so far; 0 where Linux is not there to tell."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0.0
    user, nice, system, _, _, irq, soft, *_ = map(int, path.read_text().splitlines()[0].split()[1:])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def main(program: str, request: str) -> int:
    """Entry of the child process: prints one JSON list of figures."""
    # What `executorch.runtime` wraps; importing that would import the whole compiler, which takes six seconds.
    from executorch.extension.pybindings import _C  # noqa: PLC0415 - not in the exporter's own process

    torch.zeros(1)
    before = _resident_mib("VmRSS")
    opened = _C._load_program(program)  # noqa: SLF001 - the library's own name for it
    print(json.dumps([_execute(opened, asked, before) for asked in json.loads(request)]))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
