"""Execute a method of a program on an emulated ARM64 processor, or here, through the same runner."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.arm64 import tools
from edge_runtime.native import build
from edge_runtime.wire.program_interface import MethodSpec

Arrays = dict[str, npt.NDArray[Any]]
I8MM: Final = "max,sve=off,sme=off"
"""A processor with the int8 matrix product, as a Pixel 8 has; no phone of today has SME for us, and QEMU 7.2 emulates
it wrongly (gradients off by 3e8)."""
DOTPROD: Final = "cortex-a76"
"""One with int8 dot products only: Raspberry Pi 5, phones of 2019."""
_SECONDS: Final = 900


class EmulationError(RuntimeError):
    """A program could not be executed, or not on the processor that was meant."""


@dataclass(frozen=True)
class Call:
    """One method to execute.

    Args:
        program: a .pte file.
        method: its name.
        spec: its tensors.
        inputs: by name.
        steps: calls on the same inputs; outputs are those of the last.
        threads: for kernels and XNNPACK.
    """

    program: Path
    method: str
    spec: MethodSpec
    inputs: Mapping[str, npt.NDArray[Any]]
    steps: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Ran:
    """What came.

    Args:
        outputs: by name.
        features: instruction sets that the processor told the program of; empty here.
        ms: of each step; of no meaning under emulation.
        counts: executed instructions of the last step, all and by kind; empty unless asked for.
    """

    outputs: Arrays
    features: tuple[str, ...]
    ms: tuple[float, ...]
    counts: dict[str, int] = field(default_factory=dict)


def run_here(call: Call) -> Ran:
    """Execute on this machine."""
    return _run(call, [str(build.ensure_runner())], dict(os.environ))


def run_arm64(call: Call, cpu: str = I8MM, *, count: bool = False) -> Ran:
    """Execute on an emulated processor.

    Args:
        call: what.
        cpu: of QEMU's ``-cpu``.
        count: count the instructions of the last step; one thread only.

    Raises:
        EmulationError: also when the processor has SME.
        ToolsError: when something is not installed.
    """
    if count and call.threads != 1:
        raise EmulationError(f"got {call.threads} threads, expected 1: counts of several threads do not repeat")
    with tempfile.TemporaryDirectory(prefix="arm64-") as scratch:
        counts = Path(scratch) / "counts.json"
        plugin = ["-plugin", f"{tools.counter()},out={counts}"] if count else []
        command = [tools.EMULATOR, *plugin, "-L", str(tools.root()), "-cpu", cpu, str(tools.runner())]
        ran = _run(call, command, _clean_environment())
        if "sme" in ran.features:
            raise EmulationError(
                f"the emulated processor {cpu} has SME, which QEMU emulates wrongly and no supported device has;"
                f" say -cpu {I8MM}"
            )
        if not count:
            return ran
        counted = json.loads(counts.read_text())
    if counted.pop("stretches") != call.steps:
        raise EmulationError(f"{call.method}: the marks around {call.steps} steps were not all seen")
    return Ran(ran.outputs, ran.features, ran.ms, counted)


def _clean_environment() -> dict[str, str]:
    """Return what the emulated program may see: a preloaded library of this machine would be none of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LD_")}


def _run(call: Call, command: Sequence[str], environment: Mapping[str, str]) -> Ran:
    with tempfile.TemporaryDirectory(prefix="fl-run-") as scratch:
        inputs, outputs = Path(scratch) / "inputs", Path(scratch) / "outputs"
        with inputs.open("wb") as file:
            for spec in call.spec.inputs:
                file.write(np.ascontiguousarray(call.inputs[spec.name], spec.dtype).tobytes())
        files = ("--inputs", str(inputs), "--outputs", str(outputs))
        counts = ("--steps", str(call.steps), "--threads", str(call.threads))
        arguments = [*command, str(call.program), call.method, *files, *counts]
        try:
            done = subprocess.run(
                arguments, capture_output=True, text=True, check=False, timeout=_SECONDS, env=environment
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EmulationError(f"{command[0]} did not finish: {error}") from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise EmulationError(f"{call.method} on {command[0]} failed: {lines[-1]}")
        said = json.loads(done.stdout)
        return Ran(_outputs(call.spec, outputs.read_bytes()), tuple(said["features"]), tuple(said["ms"]))


def _outputs(spec: MethodSpec, data: bytes) -> Arrays:
    outputs, start = {}, 0
    for tensor in spec.outputs:
        kind, count = np.dtype(tensor.dtype), int(np.prod(tensor.shape, dtype=np.int64))
        outputs[tensor.name] = np.frombuffer(data, kind, count, start).reshape(tensor.shape)
        start += count * kind.itemsize
    return outputs
