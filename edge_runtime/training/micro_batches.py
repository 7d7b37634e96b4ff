"""One optimizer step in k parts: each part of the batch adds its gradients to sums, then the optimizer takes the sums.

Axes: B batch, k parts, B / k texts each. Between two steps nothing is left over: sums start at 0, so a checkpoint
between steps needs none of this.
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
        the batch's tokens.
    """
    if tier.micro_batches == 1:
        return execute(tier.method, inputs)
    spec = manifest.methods[tier.method]
    sums = {
        tensor.name: np.zeros(tensor.shape, np.float32) for tensor in spec.inputs if tensor.name in ports.GRADIENT_SUMS
    }
    means = _Means()
    for part, share in enumerate(_shares(inputs, tier.micro_batches)):
        call = {**sums, **_cut(spec, inputs, part, share)}
        outputs = execute(tier.method, call)
        sums = {name: outputs[name] for name in sums}
        means.add(outputs, share, float(call[ports.MASK].sum()))
    steady = {**inputs, **sums}
    wanted = [tensor.name for tensor in manifest.methods[tier.apply_method].inputs]
    return {**means.result(), **execute(tier.apply_method, {name: steady[name] for name in wanted})}


def _shares(inputs: Arrays, parts: int) -> list[float]:
    """Return each part's share of the batch's sum of label weights; they add up to 1, or all are 0."""
    counted = inputs[ports.LABELS] if ports.LABELS in inputs else inputs[ports.WEIGHTS]
    weights = counted.reshape(parts, -1).astype(np.float64).sum(1)
    total = float(weights.sum())
    return [float(weight) / total if total else 0.0 for weight in weights]


def _cut(spec: MethodSpec, inputs: Arrays, part: int, share: float) -> Arrays:
    """Return one part's inputs: what is longer than the method takes is the batch, and is cut."""
    call: Arrays = {ports.SHARE: np.array([share], np.float32)}
    for tensor in spec.inputs:
        if tensor.name in inputs:
            whole, rows = inputs[tensor.name], tensor.shape[0]
            call[tensor.name] = whole if whole.shape == tensor.shape else whole[part * rows : (part + 1) * rows]
    return call


class _Means:
    """Losses and statistics of the parts, added up in float64 in the order of the calls."""

    def __init__(self) -> None:
        self._loss = 0.0
        self._tokens = 0.0
        self._sums: Arrays = {}

    def add(self, outputs: Arrays, share: float, tokens: float) -> None:
        self._loss += share * float(outputs[ports.LOSS][0])
        self._tokens += tokens
        for name in ports.ROUTER_STATISTICS:
            if name in outputs:
                self._sums[name] = self._sums.get(name, 0.0) + outputs[name].astype(np.float64) * tokens

    def result(self) -> Arrays:
        means = {name: (total / max(self._tokens, 1.0)).astype(np.float32) for name, total in self._sums.items()}
        return {ports.LOSS: np.array([self._loss], np.float32), **means}
