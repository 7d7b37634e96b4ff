"""What training has learned so far, apart from the tier it is trained in: how it starts, and how it moves on.

Axes: k adapted layers that a tier trains, m trained slots, H held slots, P values of an expert; a plan needs n slots in
the top d layers. ``slots.place`` puts a plan's experts into the first slots, in the same order for every tier. So the
first n trained slots of the top d layers, with their shared experts, the head and all moments, are the whole of what
was learned; everything else is the bank's. Carried over to any tier with at least n slots and d layers, it is the same
to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from edge_runtime.program import slots as placement
from edge_runtime.program.slots import Need, Slots
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.tensors import Array

_BY_SLOT: Final = (ports.TRAINED, *ports.moments(ports.TRAINED))
_BY_LAYER: Final = (*_BY_SLOT, ports.SHARED, *ports.moments(ports.SHARED))


def start(bank: Bank, slots: Slots) -> dict[str, Array]:
    """Return a method's values before the first step: the bank's, and moments of zero."""
    values = placement.inputs(bank, slots)
    for name in [name for name in ports.TRAINABLE if name in values]:
        values |= {moment: np.zeros_like(values[name]) for moment in ports.moments(name)}
    return values


def learned(values: Mapping[str, Array], need: Need) -> dict[str, Array]:
    """Return what training has made of a method's values, in the shapes that all tiers share: d layers, n slots."""
    return {name: np.ascontiguousarray(_part(name, values[name], need)) for name in ports.LEARNED if name in values}


def carry(kept: Mapping[str, Array], bank: Bank, slots: Slots, need: Need) -> dict[str, Array]:
    """Return the values of a method in whose slots training goes on.

    Args:
        kept: what was ``learned``.
        bank: that training started from.
        slots: of the tier to go on in, with room for ``need``.
        need: n and d.
    """
    values = start(bank, slots)
    for name, value in kept.items():
        _part(name, values[name], need)[...] = value
    return values


def _part(name: str, value: Array, need: Need) -> Array:
    """Return a view of the top layers of a tensor [k, ..], of the first slots of one [k, m, P]; else of the whole."""
    upper = value[len(value) - need.layers :] if name in _BY_LAYER else value
    return upper[:, : need.slots] if name in _BY_SLOT else upper
