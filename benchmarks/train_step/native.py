"""Arms that run natively: a program, its inputs as raw bytes, and what is fed back, for the runner fl_run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.manifest import MethodSpec, TensorSpec

Array = npt.NDArray[Any]
RATE: Final = 1e-3


def command(
    runner: Path, program: Path, method: str, inputs: Path, feeds: Sequence[tuple[int, int]]
) -> tuple[str, ...]:
    """Return the runner's command; ``feeds`` are pairs (output, input): the one is the other in the next step."""
    words = [str(runner), str(program), method, "--inputs", str(inputs)]
    for output, input_ in feeds:
        words += ["--carry", f"{output}:{input_}"]
    return tuple(words)


def write_inputs(path: Path, arrays: Sequence[Array]) -> Path:
    """Write arrays one after the other, as the runner reads them."""
    path.write_bytes(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays))
    return path


def feeds_of(spec: MethodSpec) -> list[tuple[int, int]]:
    """Return the pairs of a method of a package: an output named like an input replaces it."""
    places = {tensor.name: place for place, tensor in enumerate(spec.inputs)}
    return [(place, places[tensor.name]) for place, tensor in enumerate(spec.outputs) if tensor.name in places]


def inputs_of(spec: MethodSpec) -> list[Array]:
    """Return plausible inputs of a package's training method, in order; time does not depend on their values."""
    random = np.random.default_rng(0)
    return [_filled(tensor, random) for tensor in spec.inputs]


def _filled(tensor: TensorSpec, random: np.random.Generator) -> Array:
    name, shape = tensor.name, tensor.shape
    if name in ("ids", "targets"):
        return random.integers(1000, 20000, shape)
    if name == "labels":
        return np.eye(shape[1], dtype=np.float32)[np.arange(shape[0]) % shape[1]]
    if name == "hyper":  # AdamW far from its start: bias corrections of 1
        return np.array([RATE, RATE / 10, 0, 1, 1, RATE, 0, 0], np.float32)
    for ending, constant in _CONSTANT.items():
        if name.endswith(ending):
            return np.full(shape, constant, np.float32)
    return random.normal(0, 0.02, shape).astype(np.float32)


_CONSTANT: Final = {"mask": 1.0, "gate_scale": 1.0, "_m1": 0.0, "_m2": 1e-6, "weights": 1.0}
"""Values of inputs by how their name ends."""
