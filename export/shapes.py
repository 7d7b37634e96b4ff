"""Methods as parts of one another: what stands below a cut, what makes a step in micro-batches. No torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape

GROUP: Final = 32
"""Inputs of a 4-bit weight that share a scale: the fewest that XNNPACK takes, so the finest rounding."""


def trunk_of(method: MethodShape) -> MethodShape:
    """Return the trunk of a cut method: one text at a time, so that a text's prefix depends on no other."""
    return MethodShape(MethodKind.TRUNK, 0, 0, method.sequence, 1)


def uncut(method: MethodShape, model: ModelShape) -> MethodShape:
    """Return the method that takes ids, which this one is a part of; a trunk is a part of the inference."""
    if method.kind == MethodKind.TRUNK:
        return replace(method, kind=MethodKind.PREDICT, trained=model.bank.experts)
    return replace(method, cut=False)


def halves(train: MethodShape, parts: int) -> tuple[MethodShape, MethodShape]:
    """Return the methods that make a step of ``train`` in ``parts`` micro-batches: accumulate, apply."""
    micro = replace(train, kind=MethodKind.ACCUMULATE, batch=train.batch // parts, parts=parts)
    return micro, MethodShape(MethodKind.APPLY, train.trained, 0, 0, 0)


def whole(micro: MethodShape) -> MethodShape:
    """Return the method that an ``ACCUMULATE`` is a part of."""
    return replace(micro, kind=MethodKind.TRAIN, batch=micro.batch * micro.parts, parts=1)
