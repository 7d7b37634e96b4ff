"""A step in k micro-batches: the inputs of k calls of ``accumulate`` and one of ``apply``, from those of one ``train``.

Axes: B batch, k micro-batches, B / k texts each, S sequence length, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from export.shapes import TRAINABLE, MethodShape, ModelShape, input_ports

_BY_TEXT = ("ids", "mask", "labels", "targets", "weights")


def halves(train: MethodShape, parts: int) -> tuple[MethodShape, MethodShape]:
    """Return the methods ``accumulate`` and ``apply`` that make a step of ``train`` in ``parts`` micro-batches."""
    micro = replace(train, kind="accumulate", batch=train.batch // parts)
    return micro, MethodShape("apply", train.trained, 0, 0, 0)


def accumulate_inputs(model: ModelShape, micro: MethodShape, given: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the inputs of each call of ``accumulate`` for one batch, all sums 0.

    Args:
        model: sizes.
        micro: the method.
        given: inputs of the ``train`` method, by name; its batch is a multiple of the micro-batch.
    """
    names = [port.name for port in input_ports(model, micro)]
    counted = given["labels"] if model.labels else given["weights"]
    weights = counted.reshape(-1, micro.batch * counted.shape[1]).sum(1).tolist()
    calls = []
    for place, weight in enumerate(weights):
        rows = slice(place * micro.batch, (place + 1) * micro.batch)
        fresh = {name: given[name][rows] for name in _BY_TEXT if name in given}
        fresh["share"] = torch.tensor([weight / (sum(weights) or 1.0)])
        fresh |= {f"{name}_sum": torch.zeros_like(given[name]) for name in TRAINABLE if name in given}
        calls.append({name: fresh[name] if name in fresh else given[name] for name in names})
    return calls


def apply_inputs(
    model: ModelShape, apply: MethodShape, given: Mapping[str, Tensor], made: Sequence[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Return the inputs of ``apply`` after calls of ``accumulate`` that each started from sums of 0.

    Args:
        model: sizes.
        apply: the method.
        given: inputs of the ``train`` method, by name.
        made: what each call returned, by name.
    """
    names = [port.name for port in input_ports(model, apply)]
    return {
        name: torch.stack([one[name] for one in made]).sum(0) if name.endswith("_sum") else given[name]
        for name in names
    }
