"""A package's methods on Android's runtime and on this machine's: every output of every step, bit for bit.

Axes: B texts at most, R rows of S places, C labels. Values are random and in a general position: no trained block is
zero (or half of the gradients would be), a row has several texts, and places that hold no token. Training methods are
fed with what they made, so moments and values of all steps count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from android_demo.runtime_on_jvm.build import Runtime
from android_demo.runtime_on_jvm.run import MODES, Arrays, Call, execute
from edge_runtime.data.packed import Packed, method_capacity
from edge_runtime.program.program import Program
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.program_interface import MethodSpec, TensorSpec

STEPS: Final = 4
_HYPER: Final = ports.hyper_values(1, 4e-3, head_learning_rate=4e-4, shared_learning_rate=2e-3, weight_decay=0.01)
_FROM_ZERO: Final = {*ports.GRADIENT_SUMS, *(moment for name in ports.TRAINABLE for moment in ports.moments(name))}
_TOKENS: Final = 60
"""Ids that every vocabulary has."""


@dataclass(frozen=True)
class Compared:
    """One method in one mode.

    Args:
        method: its name.
        mode: how the file was opened.
        outputs: compared, over all steps.
        different: names of those that are not bit-identical, with their step.
        error: largest relative L2 distance of an output.
        ms: of the last step on Android's runtime, here.
    """

    method: str
    mode: str
    outputs: int
    different: tuple[str, ...]
    error: float
    ms: float


def compare(package: Package, runtime: Runtime, *, steps: int = STEPS, threads: int = 2) -> list[Compared]:
    """Execute every method of a package on both.

    Raises:
        BuildError: when Android's runtime refuses a method.
        ProgramError: when this machine's does.
    """
    path, comparisons = package.path("program.pte"), []
    for name, spec in package.manifest.methods.items():
        arrays = inputs(spec)
        wanted = desktop(package, name, arrays, steps=steps, threads=threads)
        for mode in MODES:
            call = Call(path, name, spec, arrays, steps, threads, mode)
            ran = execute(runtime, call)
            comparisons.append(compare_outputs(call, wanted, ran.outputs, ran.ms[-1]))
    return comparisons


def desktop(package: Package, method: str, inputs: Arrays, *, steps: int, threads: int) -> tuple[Arrays, ...]:
    """Return the outputs of each step on this machine's runtime; outputs named like inputs are fed."""
    current, outputs = dict(inputs), []
    with Program.open(package.path("program.pte"), package.manifest.methods, threads=threads) as program:
        for _ in range(steps):
            outputs.append(program.execute(method, current))
            current |= {name: array.copy() for name, array in outputs[-1].items() if name in current}
    return tuple(outputs)


def compare_outputs(call: Call, wanted: tuple[Arrays, ...], came: tuple[Arrays, ...], ms: float) -> Compared:
    """Compare the outputs of all steps."""
    different, error = [], 0.0
    for step, (here, there) in enumerate(zip(wanted, came, strict=True)):
        for name, array in here.items():
            if array.tobytes() != there[name].tobytes():
                different.append(f"{name} of step {step}")
                error = max(error, distance(array, there[name]))
    return Compared(call.method, call.mode, len(wanted) * len(wanted[0]), tuple(different), error, ms)


def distance(wanted: npt.NDArray[Any], came: npt.NDArray[Any]) -> float:
    """Return |came - wanted| / |wanted|."""
    return float(np.linalg.norm(came - wanted) / max(float(np.linalg.norm(wanted)), 1e-12))


def inputs(spec: MethodSpec, seed: int = 0) -> Arrays:
    """Return values for every input of a method."""
    generator = np.random.default_rng(seed)
    return {tensor.name: _value(tensor, generator) for tensor in spec.inputs} | _texts(spec, generator)


def _texts(spec: MethodSpec, generator: np.random.Generator) -> Arrays:
    """Return what a method takes of where its texts stand, and of the texts that stand there."""
    shapes = {tensor.name: tensor.shape for tensor in spec.inputs}
    if ports.POSITIONS not in shapes:
        return {}
    packed = _packed(spec, generator)
    texts = [generator.integers(1, _TOKENS, stand.count).tolist() for stand in packed.stands]
    ids, mask, labels = packed.spread(texts, np.int64), packed.mask(), shapes.get(ports.LABELS, (0, 0))
    wanted = np.zeros(labels, np.float32)
    if wanted.size:
        wanted[np.arange(len(texts)), generator.integers(0, labels[1], len(texts))] = 1.0
    everything = {
        **packed.frame(),
        ports.IDS: ids,
        ports.TARGETS: ids,
        ports.MASK: mask,
        ports.WEIGHTS: mask,
        ports.READOUT: packed.means(),
        ports.LABELS: wanted,
    }
    return {name: array for name, array in everything.items() if name in shapes}


def _packed(spec: MethodSpec, generator: np.random.Generator) -> Packed:
    """Return texts of up to half a row; a trunk has each alone in its row."""
    room = method_capacity(spec)
    counts = generator.integers(1, room.sequence // 2 + 1, room.batch).tolist()
    trunk = not {ports.MASK, ports.READOUT} & {tensor.name for tensor in spec.inputs}
    return Packed.in_own_rows(counts, room) if trunk else Packed.next(counts, room)


def _value(tensor: TensorSpec, generator: np.random.Generator) -> npt.NDArray[Any]:
    name, shape = tensor.name, tensor.shape
    if tensor.dtype == "int64":
        return generator.integers(1, _TOKENS, shape)
    sums = name in _FROM_ZERO
    if name == ports.HYPER or sums or name in (ports.GATE_SCALE, ports.UPDATE_MASK, ports.SHARE):
        return np.broadcast_to(np.array(_HYPER if name == ports.HYPER else 1.0 - sums, np.float32), shape).copy()
    drawn = generator.standard_normal(shape)
    if name in (ports.BALANCE_TARGET, ports.BALANCE_WEIGHT):
        return np.asarray(np.exp(drawn) / np.exp(drawn).sum(-1, keepdims=True), np.float32)
    return np.asarray(drawn * 0.04, np.float32)
