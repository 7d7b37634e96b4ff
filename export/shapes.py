"""Methods as parts of one another: what stands below a cut, what makes a step in micro-batches. No torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape

GROUP: Final = 32
"""Inputs of a 4-bit weight that share a scale: the fewest that XNNPACK takes, so the finest rounding."""
HEAD_SLICE: Final = 4096
"""Words whose logits a language head makes at a time, at most: of 128 places they are 2 MB."""


def uncut(method: MethodShape, model: ModelShape) -> MethodShape:
    """Return the method that takes ids, which this one is a part of; a trunk is a part of an inference.

    One of fewer layers than all takes the experts below beside the ids, and trains none of them.
    """
    if method.kind == MethodKind.TRUNK:
        return replace(method, kind=MethodKind.PREDICT, trained=model.bank.experts, batch=1)
    return replace(method, cut=False)


def halves(train: MethodShape, parts: int) -> tuple[MethodShape, MethodShape]:
    """Return the methods that make a step of ``train`` in ``parts`` micro-batches: accumulate, apply.

    A micro-batch is a part of the step's rows, with a slot for every text of the step.
    """
    micro = replace(train, kind=MethodKind.ACCUMULATE, rows=train.rows // parts, parts=parts)
    return micro, MethodShape(MethodKind.APPLY, train.trained, 0, 0, 0, 0, layers=train.layers)


def whole(micro: MethodShape) -> MethodShape:
    """Return the method that an ``ACCUMULATE`` is a part of."""
    return replace(micro, kind=MethodKind.TRAIN, rows=micro.rows * micro.parts, parts=1)
