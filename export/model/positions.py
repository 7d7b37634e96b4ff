"""Where a token stands in its own text: position embeddings, and rotary angles, by lookup in frozen tables.

Axes: R rows, S places of a row, d width, e width of a head.

A row holds several texts, so a token's position is an input and no constant. Looked up, positions cost no operation but
the lookup: what is added to every position (token types) goes into the table (``fuse``), cosines and sines are made at
export.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class FrozenPositions(nn.Module):
    """Stand-in of a table of position embeddings.

    Args:
        table: the stock model's.
        first: row of the position 0; RoBERTa's positions come after the padding id.
    """

    def __init__(self, table: nn.Embedding, first: int) -> None:
        super().__init__()
        self.rows: Tensor
        self.register_buffer("rows", table.weight.detach()[first:].contiguous())

    def forward(self, positions: Tensor) -> Tensor:
        """Map positions [R, S], each below S, to [R, S, d]."""
        rows: Tensor = torch.ops.aten.embedding.default(self.rows[: positions.shape[1]], positions)
        return rows


class FrozenRotary(nn.Module):
    """Stand-in of the module that makes rotary angles.

    Args:
        angles: the stock model's: hidden states and positions [1, S] -> cosines and sines [1, S, e].
    """

    def __init__(self, angles: nn.Module) -> None:
        super().__init__()
        self.angles = angles

    def forward(self, hidden: Tensor, position_ids: Tensor) -> tuple[Any, ...]:
        """Return cosines and sines [R, S, e] for positions [R, S], each below S."""
        every = torch.arange(position_ids.shape[1]).unsqueeze(0)
        tables = self.angles(hidden.new_zeros(()), position_ids=every)
        return tuple(torch.ops.aten.embedding.default(table[0], position_ids) for table in tables)
