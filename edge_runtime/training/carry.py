"""What training has learned so far, apart from the tier it is trained in: how it starts, and how it moves on.

Axes: L adapted layers, m trained slots, H held slots, P values of an expert, n slots that the plan needs.
``slots.place`` puts a plan's experts into the first slots, in the same order for every tier. So the first n trained
slots, with the shared experts, the head and all moments, are the whole of what was learned; everything else is the
bank's. Carried over to any tier with at least n slots, it is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from edge_runtime.program import slots as placement
from edge_runtime.program.slots import Slots
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.tensors import Array

_BY_SLOT: Final = (ports.TRAINED, *ports.moments(ports.TRAINED))


def start(bank: Bank, slots: Slots) -> dict[str, Array]:
    """Return a method's values before the first step: the bank's, and moments of zero."""
    values = placement.inputs(bank, slots)
    for name in [name for name in ports.TRAINABLE if name in values]:
        values |= {moment: np.zeros_like(values[name]) for moment in ports.moments(name)}
    return values


def learned(values: Mapping[str, Array], needed: int) -> dict[str, Array]:
    """Return the part of a method's values that training has made, in the shapes that all tiers share: n slots."""
    return {name: np.ascontiguousarray(_first(name, values[name], needed)) for name in ports.LEARNED if name in values}


def carry(kept: Mapping[str, Array], bank: Bank, slots: Slots, needed: int) -> dict[str, Array]:
    """Return the values of a method in whose slots training goes on.

    Args:
        kept: what was ``learned``.
        bank: that training started from.
        slots: of the tier to go on in, with room for ``needed``.
        needed: n.
    """
    values = start(bank, slots)
    for name, value in kept.items():
        _first(name, values[name], needed)[...] = value
    return values


def _first(name: str, value: Array, needed: int) -> Array:
    """Return a view of the first slots of a tensor [L, m, P]; of the whole of one that has no slots."""
    return value[:, :needed] if name in _BY_SLOT else value
