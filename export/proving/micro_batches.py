"""A step in k micro-batches: the inputs of k calls of ``accumulate`` and one of ``apply``, from those of one ``train``.

Axes: B texts of a step, k micro-batches, R rows of a step, R / k of each, S places of a row, N = R * S, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.program_interface import BOUNDARY, TRAINABLE, MethodShape, ModelShape, input_ports, output_ports

_BY_ROW: Final = (
    *(ports.IDS, *BOUNDARY, ports.POSITIONS, ports.ATTEND, ports.MASK),
    *(ports.TARGETS, ports.WEIGHTS),
)


def accumulate_inputs(model: ModelShape, micro: MethodShape, inputs: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the inputs of each call of ``accumulate`` for one batch, all sums 0; a part without a token is no call.

    Args:
        model: sizes.
        micro: the method.
        inputs: inputs of the ``train`` method, by name; its rows are a multiple of the micro-batch's.
    """
    names = [port.name for port in input_ports(model, micro)]
    counted = (inputs[ports.LABELS] if ports.LABELS in inputs else inputs[ports.WEIGHTS]).sum()
    sums = {ports.gradient_sum(name): torch.zeros_like(inputs[name]) for name in TRAINABLE if name in inputs}
    calls = []
    for first in range(0, len(inputs[ports.MASK]), micro.rows):
        fresh = sums | _part(inputs, slice(first, first + micro.rows))
        if not fresh[ports.MASK].any():
            continue
        weight = (fresh[ports.LABELS] if ports.LABELS in fresh else fresh[ports.WEIGHTS]).sum()
        fresh[ports.SHARE] = (weight / counted.clamp(min=1e-12)).reshape(1)
        calls.append({name: fresh[name] if name in fresh else inputs[name] for name in names})
    return calls


def _part(inputs: Mapping[str, Tensor], rows: slice) -> dict[str, Tensor]:
    """Return what belongs to some rows; a text that stands in others has zeros in its slot."""
    part = {name: inputs[name][rows] for name in _BY_ROW if name in inputs}
    if ports.READOUT in inputs:
        count, size = inputs[ports.MASK].shape
        readout = inputs[ports.READOUT].reshape(-1, count, size)[:, rows].flatten(1)
        part[ports.READOUT] = readout
        part[ports.LABELS] = inputs[ports.LABELS] * readout.any(1, keepdim=True)
    return part


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
        whole[ports.LOGITS] = _by_slot(calls, [one[ports.LOGITS] for one in outputs])
    return tuple(whole[port.name] for port in output_ports(model, train))


def _by_slot(calls: Sequence[Mapping[str, Tensor]], logits: Sequence[Tensor]) -> Tensor:
    """Return each text's logits from the call that had it; of a slot that none used, the first call's."""
    merged = logits[0]
    for call, own in zip(calls[1:], logits[1:], strict=True):
        merged = torch.where(call[ports.READOUT].any(1, keepdim=True), own, merged)
    return merged
