"""One optimizer step in k parts: each part of the rows adds its gradients to sums, then the optimizer takes the sums.

Axes: B texts at most, R rows of S places, N = R*S, k parts of R / k rows. Between two steps nothing is left over: sums
start at 0, so a checkpoint between steps needs none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.manifest import Manifest, Tier
from edge_runtime.wire.program_interface import MethodSpec

Arrays = dict[str, npt.NDArray[Any]]
Execute = Callable[[str, Mapping[str, npt.NDArray[Any]]], Arrays]


def run_step(execute: Execute, manifest: Manifest, tier: Tier, inputs: Arrays) -> Arrays:
    """Make one optimizer step and return its outputs: in one call, or as the tier says.

    Args:
        execute: runs a method.
        manifest: of the package.
        tier: whose step.
        inputs: of the whole step by name: values, moments, batch, and what steers them.

    Returns:
        New values and moments; ``loss`` [1] of the batch; ``usage`` and, with top-k, ``affinity`` [L, H], means over
        the batch's tokens; 0 without any.
    """
    if tier.micro_batches == 1:
        return execute(tier.method, inputs)
    spec = manifest.methods[tier.method]
    sums = {
        tensor.name: np.zeros(tensor.shape, np.float32) for tensor in spec.inputs if tensor.name in ports.GRADIENT_SUMS
    }
    means = _Means({one.name: one.shape for one in spec.outputs if one.name in ports.ROUTER_STATISTICS})
    total = _weight(inputs)
    for part in range(tier.micro_batches):
        call = {**sums, **_cut(spec, inputs, part)}
        tokens = float(call[ports.MASK].sum())
        if not tokens:
            continue  # nothing to learn from, and nothing to tell
        share = _weight(call) / total if total else 0.0
        outputs = execute(tier.method, {**call, ports.SHARE: np.array([share], np.float32)})
        sums = {name: outputs[name] for name in sums}
        means.add(outputs, share, tokens)
    steady = {**inputs, **sums}
    wanted = [tensor.name for tensor in manifest.methods[tier.apply_method].inputs]
    return {**means.result(), **execute(tier.apply_method, {name: steady[name] for name in wanted})}


def _weight(inputs: Arrays) -> float:
    """Return the sum of label weights: of a batch, or of one part."""
    counted = inputs[ports.LABELS] if ports.LABELS in inputs else inputs[ports.WEIGHTS]
    return float(counted.sum(dtype=np.float64))


def _cut(spec: MethodSpec, inputs: Arrays, part: int) -> Arrays:
    """Return one part's inputs: its rows, what its texts are read by, and the labels of its texts alone."""
    call: Arrays = {}
    for tensor in spec.inputs:
        whole = inputs.get(tensor.name)
        if whole is None:
            continue
        if tensor.name == ports.READOUT:
            places = tensor.shape[1]
            call[tensor.name] = np.ascontiguousarray(whole[:, part * places : (part + 1) * places])
        else:
            rows = tensor.shape[0]
            call[tensor.name] = whole if whole.shape == tensor.shape else whole[part * rows : (part + 1) * rows]
    if ports.LABELS in call:
        here = call[ports.READOUT].any(axis=1, keepdims=True)  # a text stands in one row, so in one part
        call[ports.LABELS] = call[ports.LABELS] * here.astype(np.float32)
    return call


class _Means:
    """Losses and statistics of the parts, added up in float64 in the order of the calls."""

    def __init__(self, told: Mapping[str, tuple[int, ...]]) -> None:
        self._loss = 0.0
        self._tokens = 0.0
        self._sums: Arrays = {name: np.zeros(shape, np.float64) for name, shape in told.items()}

    def add(self, outputs: Arrays, share: float, tokens: float) -> None:
        self._loss += share * float(outputs[ports.LOSS][0])
        self._tokens += tokens
        for name in self._sums:
            self._sums[name] += outputs[name].astype(np.float64) * tokens

    def result(self) -> Arrays:
        means = {name: (total / max(self._tokens, 1.0)).astype(np.float32) for name, total in self._sums.items()}
        return {ports.LOSS: np.array([self._loss], np.float32), **means}
