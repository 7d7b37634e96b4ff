"""Run methods of a program in a process of their own: outputs, step time, memory (`python -m export.measure`, internal).

A process of its own, because PyTorch's thread pool and XNNPACK's would fight for the cores, and because memory is
what the process gained, not what the exporter holds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from export.errors import ProofError

WARM_UP: Final = 2
REPEATS: Final = 9


@dataclass(frozen=True)
class Measurement:
    """Args: outputs: of one call on the given inputs. step_ms: median. gained_mib: peak resident memory that loading
    and running the method added to the process."""

    outputs: tuple[Tensor, ...]
    step_ms: float
    gained_mib: float


def run_method(program: Path, method: str, inputs: tuple[Tensor, ...], scratch: Path, repeats: int = REPEATS) -> Measurement:
    """Execute a method in a child process.

    Args:
        program: a .pte file.
        method: its method.
        inputs: in order.
        scratch: an existing folder for the tensors that pass between the processes.
        repeats: timed calls.

    Raises:
        ProofError: when the runtime refuses the program.
    """
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    source, target = scratch / "inputs.safetensors", scratch / "outputs.safetensors"
    save_file({f"{place:03d}": tensor.contiguous() for place, tensor in enumerate(inputs)}, source)
    command = [sys.executable, "-m", "export.measure", str(program), method, str(source), str(target), str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = done.stderr.strip().splitlines()
        raise ProofError(f"the runtime cannot execute {method}: {tail[-1] if tail else f'exit code {done.returncode}'}")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    outputs = load_file(target)
    return Measurement(tuple(outputs[key] for key in sorted(outputs)), figures["step_ms"], figures["gained_mib"])


def _resident_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def main(arguments: list[str]) -> int:
    """Entry of the child process."""
    from executorch.runtime import Runtime  # noqa: PLC0415 - heavy
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    program, method_name, source, target, repeats = arguments
    tensors = load_file(source)
    inputs = [tensors[key] for key in sorted(tensors)]
    before = _resident_mib("VmRSS")
    method = Runtime.get().load_program(program).load_method(method_name)
    if method is None:
        raise ProofError(f"no method {method_name} in {program}")
    outputs = [tensor.clone() for tensor in method.execute(inputs)]
    times = []
    for _ in range(WARM_UP - 1 + int(repeats)):
        started = time.perf_counter()
        method.execute(inputs)
        times.append(1e3 * (time.perf_counter() - started))
    save_file({f"{place:03d}": tensor.contiguous() for place, tensor in enumerate(outputs)}, target)
    gained = max(0.0, _resident_mib("VmHWM") - before)
    print(json.dumps({"step_ms": statistics.median(times[WARM_UP - 1 :]), "gained_mib": gained}))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
