"""The bank as a program multiplies it: the blocks of all layers cut once and stacked by kind of row.

Axes: L adapted layers, m trained and f frozen slots, H = m + f, P values of an expert, Ps of a shared expert, r rank,
rs shared rank, d width. U = rs + H*r hidden units: the shared expert's, the trained slots', the frozen slots'.

On the wire an expert is one block. Multiplied that way its router score would stand between hidden units, and every
tensor of tokens would have to be cut apart. So the rows of a layer are sorted, which costs a small matrix a copy:

    into [1, U + H, d]: m routers, U down rows, f routers
    out [1, U + H + 1, d]: the shared shift, m shifts, U up rows, f shifts (no shared shift where rs = 0)

What is trained comes first (and the frozen slots' last), so the gradient is that of the first rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_runtime.wire import program_interface as ports


@dataclass(frozen=True)
class Slots:
    """Sizes of what a program holds of each layer.

    Args:
        trained: m.
        frozen: f.
        rank: r.
        shared_rank: rs.
        width: d.
    """

    trained: int
    frozen: int
    rank: int
    shared_rank: int
    width: int

    @property
    def held(self) -> int:
        """H."""
        return self.trained + self.frozen

    @property
    def units(self) -> int:
        """U."""
        return self.shared_rank + self.held * self.rank

    @property
    def learning(self) -> int:
        """Hidden units that are trained; they are the first ones."""
        return self.shared_rank + self.trained * self.rank

    @property
    def always(self) -> int:
        """Rows of ``out`` that no gate multiplies: the shared shift."""
        return 1 if self.shared_rank else 0


@dataclass(frozen=True)
class Leaves:
    """The trained rows of one layer, or their gradients.

    Args:
        into: [1, m + rs + m*r, d].
        bias: [1, rs + m*r].
        out: [1, 1 + m + rs + m*r, d]; one row less where rs = 0.
    """

    into: Tensor
    bias: Tensor
    out: Tensor


@dataclass(frozen=True)
class LayerBank:
    """One layer's parameters as the program sees them.

    Args:
        slots: sizes.
        into: [1, U + H, d].
        bias: [1, U + H], 0 at the routers.
        out: [1, U + H + 1, d] or [1, U + H, d].
        leaves: the trained rows again, for autograd alone: gradients are returned for these.
        gate_scale: [H]; 0 marks an empty slot.
    """

    slots: Slots
    into: Tensor
    bias: Tensor
    out: Tensor
    leaves: Leaves
    gate_scale: Tensor


@dataclass(frozen=True)
class _Parts:
    """Rows of all layers by kind: down and up [L, n*r, d], router and shift [L, n, d], bias [L, n*r]."""

    down: Tensor
    router: Tensor | None
    bias: Tensor
    up: Tensor
    shift: Tensor


def layer_banks(
    trained: Tensor, frozen: Tensor | None, shared: Tensor | None, gate_scale: Tensor, sizes: tuple[int, int, int]
) -> list[LayerBank]:
    """Cut and stack the blocks of all layers.

    Args:
        trained: [L, m, P].
        frozen: [L, f, P] or None.
        shared: [L, Ps] or None.
        gate_scale: [L, H].
        sizes: (r, rs, d).
    """
    rank, shared_rank, width = sizes
    slots = Slots(trained.shape[1], 0 if frozen is None else frozen.shape[1], rank, shared_rank, width)
    own = _experts(trained, slots)
    others = None if frozen is None else _experts(frozen, slots)
    always = None if shared is None else _shared(shared, slots)
    every = [part for part in (always, own, others) if part is not None]
    first, last = [own.router], [others.router] if others else []
    into = _joined([*first, *(part.down for part in every), *last])
    blank = [torch.zeros(len(trained), slots.trained)], [torch.zeros(len(trained), slots.frozen)] if others else []
    bias = _joined([*blank[0], *(part.bias for part in every), *blank[1]])
    shifts = [always.shift] if always else []
    out = _joined([*shifts, own.shift, *(part.up for part in every), *([others.shift] if others else [])])
    return [_layer(slots, into[p : p + 1], bias[p : p + 1], out[p : p + 1], gate_scale[p]) for p in range(len(trained))]


def _layer(slots: Slots, into: Tensor, bias: Tensor, out: Tensor, gate_scale: Tensor) -> LayerBank:
    first = slots.trained
    learned = Leaves(
        into[:, : first + slots.learning],
        bias[:, first : first + slots.learning],
        out[:, : slots.always + first + slots.learning],
    )
    return LayerBank(slots, into.detach(), bias.detach(), out.detach(), learned, gate_scale)


def _experts(blocks: Tensor, slots: Slots) -> _Parts:
    """Cut expert blocks [L, n, P]: each value is copied once here, whatever the texts of a step cost."""
    layers, count, width, rank = blocks.shape[0], blocks.shape[1], slots.width, slots.rank
    down, router, bias, up, shift = _pieces(blocks, (rank * width, width, rank, rank * width, width))
    rows = layers, count * rank, width
    return _Parts(down.reshape(rows), router, bias.reshape(layers, -1), up.reshape(rows), shift)


def _shared(blocks: Tensor, slots: Slots) -> _Parts:
    """Cut shared experts' blocks [L, Ps]; they have no router."""
    layers, rank, width = blocks.shape[0], slots.shared_rank, slots.width
    down, bias, up, shift = _pieces(blocks, (rank * width, rank, rank * width, width))
    rows = layers, rank, width
    return _Parts(down.reshape(rows), None, bias, up.reshape(rows), shift.reshape(layers, 1, width))


def _pieces(blocks: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Cut the last axis into pieces of these sizes, one behind the other."""
    ends = itertools.accumulate(sizes)
    return [blocks[..., end - size : end] for size, end in zip(sizes, ends, strict=True)]


def block_gradients(slots: Slots, layers: Sequence[Leaves]) -> dict[str, Tensor]:
    """Put the layers' gradients back into the layout of blocks: ``trained`` [L, m, P], ``shared`` [L, Ps]."""
    count, m, rank, shared, width = len(layers), slots.trained, slots.rank, slots.shared_rank, slots.width
    into, bias, out = (torch.cat([getattr(one, name) for one in layers]) for name in ("into", "bias", "out"))
    start, begin = m + shared, slots.always + m + shared

    def cells(rows: Tensor, last: Tensor) -> Tensor:
        each = rows.reshape(count, m, rank, width), last.reshape(count, m, 1, width)
        return torch.cat(each, 2).reshape(count, m, (rank + 1) * width)

    blocks = {
        ports.TRAINED: torch.cat(
            [
                cells(into[:, start:], into[:, :m]),
                bias[:, shared:].reshape(count, m, rank),
                cells(out[:, begin:], out[:, slots.always : slots.always + m]),
            ],
            2,
        )
    }
    if shared:
        rows = [into[:, m:start], bias[:, :shared], out[:, slots.always + m : begin], out[:, :1]]
        blocks[ports.SHARED] = torch.cat([part.reshape(count, -1) for part in rows], 1)
    return blocks


def _joined(parts: Sequence[Tensor | None]) -> Tensor:
    present = [part for part in parts if part is not None]
    return present[0] if len(present) == 1 else torch.cat(present, 1)
