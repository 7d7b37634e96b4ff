"""Execute a method on Android's runtime, through the Java classes that an app uses, on this machine's Java."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from android_demo.errors import BuildError
from android_demo.runtime_on_jvm.build import Runtime
from edge_runtime.wire.program_interface import MethodSpec

Arrays = dict[str, npt.NDArray[Any]]
MODES: Final = ("FILE", "MMAP")
"""How an app can have the file opened: read into memory, or mapped."""
_SECONDS: Final = 300
_HEAP: Final = "-Xmx1g"


@dataclass(frozen=True)
class Call:
    """A method to execute some times.

    Args:
        program: a .pte file.
        method: its name.
        spec: its tensors. An output that is named like an input is that input in the next step.
        inputs: of the first step, by name.
        steps: calls.
        threads: for kernels and XNNPACK.
        mode: one of ``MODES``.
    """

    program: Path
    method: str
    spec: MethodSpec
    inputs: Mapping[str, npt.NDArray[Any]]
    steps: int = 1
    threads: int = 1
    mode: str = "FILE"


@dataclass(frozen=True)
class Ran:
    """What came. Args: outputs: by name, of each step; ms: of each step."""

    outputs: tuple[Arrays, ...]
    ms: tuple[float, ...]


def execute(runtime: Runtime, call: Call) -> Ran:
    """Execute a call in a Java process of its own.

    Raises:
        BuildError: with the runtime's own words when it does not load or execute the method.
    """
    with tempfile.TemporaryDirectory(prefix="android-call-") as scratch:
        folder = Path(scratch)
        (folder / "call.txt").write_text("\n".join(_lines(call)) + "\n")
        with (folder / "inputs.bin").open("wb") as file:
            for tensor in call.spec.inputs:
                file.write(np.ascontiguousarray(call.inputs[tensor.name], tensor.dtype).tobytes())
        said = java(runtime, str(folder))
        ms = tuple(float(line.split()[1]) for line in said if line.startswith("ms "))
        return Ran(_outputs(call, (folder / "outputs.bin").read_bytes()), ms)


def facts(runtime: Runtime) -> dict[str, str]:
    """Return what the runtime says of itself: the number of its ``operators``, its ``backends``."""
    return dict(line.split(" ", 1) for line in java(runtime))


def java(runtime: Runtime, *arguments: str) -> list[str]:
    """Run the Java side; return the lines that it printed."""
    options = [_HEAP, f"-Djava.library.path={runtime.folder}", "-cp", runtime.class_path]
    command = ["java", *options, "Execute", str(runtime.bridge), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"Android's runtime on this machine's Java did not finish: {error}") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("\tat ")] or ["it said nothing"]
        raise BuildError(f"Android's runtime ended with {done.returncode}: {'; '.join(lines[-3:])}")
    return done.stdout.splitlines()


def _lines(call: Call) -> list[str]:
    places = {tensor.name: place for place, tensor in enumerate(call.spec.inputs)}
    facts = [f"program {call.program}", f"method {call.method}", f"mode {call.mode}"]
    counts = [f"threads {call.threads}", f"steps {call.steps}"]
    inputs = [" ".join(["input", tensor.dtype, *map(str, tensor.shape)]) for tensor in call.spec.inputs]
    feeds = [
        f"feed {place} {places[tensor.name]}" for place, tensor in enumerate(call.spec.outputs) if tensor.name in places
    ]
    return [*facts, *counts, *inputs, *feeds]


def _outputs(call: Call, data: bytes) -> tuple[Arrays, ...]:
    values = np.frombuffer(data, "<f4").reshape(call.steps, -1)
    sizes = [int(np.prod(tensor.shape, dtype=np.int64)) for tensor in call.spec.outputs]
    if values.shape[1] != sum(sizes):
        raise BuildError(f"{call.method}: got {values.shape[1]} output values a step, expected {sum(sizes)}")
    ends = np.cumsum(sizes)
    return tuple(_named(call, np.split(step, ends[:-1])) for step in values)


def _named(call: Call, parts: Sequence[npt.NDArray[Any]]) -> Arrays:
    return {tensor.name: part.reshape(tensor.shape) for tensor, part in zip(call.spec.outputs, parts, strict=True)}
