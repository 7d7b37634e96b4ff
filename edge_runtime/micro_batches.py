"""One optimizer step in k parts: each part of the batch adds its gradients to sums, then the optimizer takes the sums.

Axes: B batch, k parts, B / k texts each. Between two steps nothing is left over: sums start at 0, so a checkpoint
between steps needs none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.manifest import Manifest, MethodSpec, Tier

Arrays = dict[str, npt.NDArray[Any]]
Execute = Callable[[str, Mapping[str, npt.NDArray[Any]]], Arrays]


def run_step(execute: Execute, manifest: Manifest, tier: Tier, given: Arrays) -> Arrays:
    """Make one optimizer step and return its outputs: in one call, or as the tier says.

    Args:
        execute: runs a method.
        manifest: of the package.
        tier: whose step.
        given: inputs of the whole step by name: values, moments, batch, and what steers them.

    Returns:
        New values and moments; ``loss`` [1] of the batch; ``usage`` and, with top-k, ``affinity`` [L, H], means over
        the batch's tokens.
    """
    if tier.micro_batches == 1:
        return execute(tier.method, given)
    spec = manifest.methods[tier.method]
    made = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in spec.inputs if tensor.name.endswith("_sum")}
    sums, told = list(made), _Means()
    for part, share in enumerate(_shares(given, tier.micro_batches)):
        call = {**{name: made[name] for name in sums}, **_cut(spec, given, part, share)}
        made = execute(tier.method, call)
        told.add(made, share, float(call["mask"].sum()))
    steady = {**given, **{name: made[name] for name in sums}}
    wanted = [tensor.name for tensor in manifest.methods[tier.apply_method].inputs]
    return {**told.means(), **execute(tier.apply_method, {name: steady[name] for name in wanted})}


def _shares(given: Arrays, parts: int) -> list[float]:
    """Return each part's share of the batch's sum of label weights; they add up to 1, or all are 0."""
    counted = given["labels"] if "labels" in given else given["weights"]
    weights = counted.reshape(parts, -1).astype(np.float64).sum(1)
    total = float(weights.sum())
    return [float(weight) / total if total else 0.0 for weight in weights]


def _cut(spec: MethodSpec, given: Arrays, part: int, share: float) -> Arrays:
    """Return one part's inputs: what is longer than the method takes is the batch, and is cut."""
    call: Arrays = {"share": np.array([share], np.float32)}
    for tensor in spec.inputs:
        if tensor.name in given:
            whole, rows = given[tensor.name], tensor.shape[0]
            call[tensor.name] = whole if whole.shape == tensor.shape else whole[part * rows : (part + 1) * rows]
    return call


class _Means:
    """Losses and statistics of the parts, added up in float64 in the order of the calls."""

    def __init__(self) -> None:
        self._loss = 0.0
        self._tokens = 0.0
        self._sums: Arrays = {}

    def add(self, made: Arrays, share: float, tokens: float) -> None:
        self._loss += share * float(made["loss"][0])
        self._tokens += tokens
        for name in ("usage", "affinity"):
            if name in made:
                self._sums[name] = self._sums.get(name, 0.0) + made[name].astype(np.float64) * tokens

    def means(self) -> Arrays:
        found = {name: (total / max(self._tokens, 1.0)).astype(np.float32) for name, total in self._sums.items()}
        return {"loss": np.array([self._loss], np.float32), **found}
