"""Texts in the rows of a call: where each stands, and what a program is told of it. For proofs, not for speed.

Axes: B texts of a call at most, R rows, S places of a row, N = R * S places.

Written apart from what devices pack with: texts are not placed here to fill rows, but so that a row has several, one
row none, and one slot is not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.program_interface import MethodShape

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Place:
    """Where a text stands. Args: slot: its number in the call; row; start: first of its places; length: in tokens."""

    slot: int
    row: int
    start: int
    length: int

    @property
    def places(self) -> tuple[int, slice]:
        """The index of its tokens in a tensor [R, S, ..]."""
        return self.row, slice(self.start, self.start + self.length)


def draw_places(method: MethodShape, generator: torch.Generator) -> list[Place]:
    """Return texts of random lengths for a call: of several rows the last is empty, of several slots the last.

    Texts go round the rows, so those of a row are not neighbours; each has its share of the row or less.
    """
    texts, rows = max(1, method.batch - 1), max(1, method.rows - 1)
    places, ends = [], [0] * rows
    for slot in range(texts):
        row = slot % rows
        most = method.sequence // len(range(row, texts, rows))
        if most:
            length = int(torch.randint(min(2, most), most + 1, (1,), generator=generator))
            places.append(Place(slot, row, ends[row], length))
            ends[row] += length
    return places


def text_inputs(places: Sequence[Place], method: MethodShape, *, last: bool = False) -> dict[str, Tensor]:
    """Return what says where the texts stand: ``positions``, ``attend``, ``mask`` and ``readout``.

    Args:
        places: of the texts.
        method: sizes of the call.
        last: read a text at its last token, as a language model's; else all its tokens alike.
    """
    shape = method.rows, method.sequence
    owners = torch.full(shape, -1)
    positions = torch.zeros(shape, dtype=torch.int64)
    readout = torch.zeros(method.batch, *shape)
    for place in places:
        owners[place.places] = place.slot
        positions[place.places] = torch.arange(place.length)
        readout[place.slot][place.places] = 1.0 / place.length
        if last:
            readout[place.slot][place.places] = torch.eye(place.length)[-1]
    mask = (owners >= 0).to(torch.float32)
    attend = (owners.unsqueeze(2) == owners.unsqueeze(1)) * mask.unsqueeze(2)
    return {
        ports.POSITIONS: positions,
        ports.ATTEND: attend,
        ports.MASK: mask,
        ports.READOUT: readout.reshape(method.batch, -1),
    }


def places_of(inputs: Inputs) -> list[Place]:
    """Return where the texts of a call stand, read from its inputs, by slot; without a readout, by place."""
    attend, positions = inputs[ports.ATTEND], inputs[ports.POSITIONS]
    size = attend.shape[2]
    begins = ((attend.diagonal(dim1=1, dim2=2) > 0) & (positions == 0)).nonzero().tolist()
    places = []
    for number, (row, start) in enumerate(begins):
        length = int(attend[row, start].sum())
        slot = number
        if ports.READOUT in inputs:
            slot = int(inputs[ports.READOUT][:, row * size + start + length - 1].argmax())
        places.append(Place(slot, row, start, length))
    return sorted(places, key=lambda place: place.slot)


def trunk_inputs(trunk: MethodShape, inputs: Inputs, texts: Sequence[Place]) -> tuple[Tensor, ...]:
    """Return the inputs of a trunk's call for some texts, each at the beginning of a row, in order.

    They are ``ids``, ``positions`` and ``attend``; before them the experts below where ``inputs`` have some.
    """
    alone = [replace(text, slot=row, row=row, start=0) for row, text in enumerate(texts)]
    told = text_inputs(alone, replace(trunk, batch=trunk.rows))
    ids = torch.zeros(trunk.rows, trunk.sequence, dtype=torch.int64)
    for own, text in zip(alone, texts, strict=True):
        ids[own.places] = inputs[ports.IDS][text.places]
    lower = (inputs[name] for name in (ports.LOWER_EXPERTS, ports.LOWER_SHARED) if name in inputs)
    return *lower, ids, told[ports.POSITIONS], told[ports.ATTEND]


def joined_prefixes(inputs: Inputs, calls: Sequence[tuple[Sequence[Place], Sequence[Tensor]]]) -> dict[str, Tensor]:
    """Return ``prefix`` and ``residual`` [R, S, d] of packed texts.

    Args:
        inputs: of the call that they are for.
        calls: of trunks: the texts of each and what it gave.
    """
    _, outputs = calls[0]
    shape = *inputs[ports.POSITIONS].shape, outputs[0].shape[2]
    joined = {name: torch.zeros(shape) for name in ports.BOUNDARY}
    for texts, outputs in calls:
        for row, text in enumerate(texts):
            for name, values in zip(ports.BOUNDARY, outputs, strict=True):
                joined[name][text.places] = values[row, : text.length]
    return joined
