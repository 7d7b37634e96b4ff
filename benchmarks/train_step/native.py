"""Arms that run natively: a program, its inputs as raw bytes, and what is fed back, for the runner fl_run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.program_interface import MethodSpec, TensorSpec

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
    if name in (ports.IDS, ports.TARGETS):
        return random.integers(1000, 20000, shape)
    if name in _BY_SHAPE:
        return _BY_SHAPE[name](*shape)
    if name == ports.HYPER:  # AdamW far from its start: bias corrections of 1
        rates = {"head_learning_rate": RATE / 10, "shared_learning_rate": RATE}
        return np.array(ports.hyper_values(100_000, RATE, **rates), np.float32)
    if name in _CONSTANT:
        return np.full(shape, _CONSTANT[name], np.float32)
    return random.normal(0, 0.02, shape).astype(np.float32)


def _positions(rows: int, places: int) -> Array:
    """Return positions of texts that fill a row each, int64 [R, S]."""
    return np.tile(np.arange(places), (rows, 1))


def _readout(texts: int, places: int) -> Array:
    """Return weights [B, N] of texts of about the same length, one behind the other."""
    owner = np.arange(places) * texts // places
    own = (owner == np.arange(texts)[:, None]).astype(np.float32)
    weights: Array = own / own.sum(1, keepdims=True)
    return weights


def _labels(texts: int, labels: int) -> Array:
    """Return one-hot labels [B, C], in turn."""
    return np.eye(labels, dtype=np.float32)[np.arange(texts) % labels]


_BY_SHAPE: Final = {ports.POSITIONS: _positions, ports.READOUT: _readout, ports.LABELS: _labels}
"""Inputs whose values follow from their shape."""
_CONSTANT: Final = {
    ports.MASK: 1.0,
    ports.ATTEND: 1.0,
    ports.UPDATE_MASK: 1.0,
    ports.GATE_SCALE: 1.0,
    ports.WEIGHTS: 1.0,
    **{
        moment: value
        for name in ports.TRAINABLE
        for moment, value in zip(ports.moments(name), (0.0, 1e-6), strict=True)
    },
}
"""Values of inputs by name; the others are random."""
