"""A step in k micro-batches: the inputs of k calls of ``accumulate`` and one of ``apply``, from those of one ``train``.

Axes: B batch, k micro-batches, B / k texts each, S sequence length, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.program_interface import BOUNDARY, TRAINABLE, MethodShape, ModelShape, input_ports, output_ports

_BY_TEXT: Final = (ports.IDS, *BOUNDARY, ports.MASK, ports.LABELS, ports.TARGETS, ports.WEIGHTS)


def accumulate_inputs(model: ModelShape, micro: MethodShape, inputs: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the inputs of each call of ``accumulate`` for one batch, all sums 0.

    Args:
        model: sizes.
        micro: the method.
        inputs: inputs of the ``train`` method, by name; its batch is a multiple of the micro-batch.
    """
    names = [port.name for port in input_ports(model, micro)]
    counted = inputs[ports.LABELS] if ports.LABELS in inputs else inputs[ports.WEIGHTS]
    weights = counted.reshape(-1, micro.batch * counted.shape[1]).sum(1).tolist()
    calls = []
    for place, weight in enumerate(weights):
        rows = slice(place * micro.batch, (place + 1) * micro.batch)
        fresh = {name: inputs[name][rows] for name in _BY_TEXT if name in inputs}
        fresh[ports.SHARE] = torch.tensor([weight / (sum(weights) or 1.0)])
        fresh |= {ports.gradient_sum(name): torch.zeros_like(inputs[name]) for name in TRAINABLE if name in inputs}
        calls.append({name: fresh[name] if name in fresh else inputs[name] for name in names})
    return calls


def apply_inputs(
    model: ModelShape, apply: MethodShape, inputs: Mapping[str, Tensor], outputs: Sequence[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Return the inputs of ``apply`` after calls of ``accumulate`` that each started from sums of 0.

    Args:
        model: sizes.
        apply: the method.
        inputs: inputs of the ``train`` method, by name.
        outputs: what each call returned, by name.
    """
    names = [port.name for port in input_ports(model, apply)]
    return {
        name: torch.stack([one[name] for one in outputs]).sum(0) if name in ports.GRADIENT_SUMS else inputs[name]
        for name in names
    }


def whole_outputs(
    model: ModelShape,
    train: MethodShape,
    calls: Sequence[Mapping[str, Tensor]],
    outputs: Sequence[Mapping[str, Tensor]],
    applied: Mapping[str, Tensor],
) -> tuple[Tensor, ...]:
    """Return the outputs that one call of ``train`` would give, in its order.

    Args:
        model: sizes.
        train: the method that the micro-batches stand for.
        calls: inputs of each call of ``accumulate``.
        outputs: its outputs.
        applied: outputs of ``apply``.
    """
    tokens = torch.stack([call[ports.MASK].sum() for call in calls])
    whole = dict(applied)
    whole[ports.LOSS] = torch.stack(
        [call[ports.SHARE] * one[ports.LOSS] for call, one in zip(calls, outputs, strict=True)]
    ).sum(0)
    for name in ports.ROUTER_STATISTICS:  # means over tokens
        if name in outputs[0]:
            whole[name] = torch.einsum("k,klh->lh", tokens / tokens.sum(), torch.stack([one[name] for one in outputs]))
    if ports.LOGITS in outputs[0]:
        whole[ports.LOGITS] = torch.cat([one[ports.LOGITS] for one in outputs])
    return tuple(whole[port.name] for port in output_ports(model, train))
