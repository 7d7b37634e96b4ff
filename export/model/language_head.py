"""The loss of a language model and its prediction, through the frozen language head.

Axes: B texts, R rows, S places of a row, N = R * S places, d width, V vocabulary.

With p = softmax(h W^T), the loss of a position is -log p[target], and its gradient (p - onehot) W = p W - W[target]. So
the one-hot part is a lookup, and no tensor of [N, V] but p is ever made: one product in the forward, one in the
backward. A constant added to a position's logits changes no p: so W may be any W - c with the same row c taken off, and
c is the mean of all rows. Rounded to int8, p loses what is small against its largest value; what is lost then pulls
towards the mean row, which is 0.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from export.model.frozen import FrozenEmbedding, frozen_linear, row_sum

SMALLEST: Final = 1e-37
"""A probability below it counts as it: float32 has no smaller normal number, and its logarithm must be finite."""


class LanguageHead(nn.Module):
    """The frozen head, centred, and the lookup of its rows.

    Args:
        weight: [V, d].
        table: of word embeddings, when the head is tied to it: rows are then looked up there.
        quantize: keep rows of a table of its own as int8.
    """

    def __init__(self, weight: Tensor, table: FrozenEmbedding | None, *, quantize: bool) -> None:
        super().__init__()
        self.weight: Tensor
        self.transposed: Tensor
        self.offset: Tensor
        centre = weight.mean(0)
        centred = (weight - centre).contiguous()
        self.register_buffer("weight", centred)
        self.register_buffer("transposed", centred.t().contiguous())
        self.register_buffer("offset", centre)
        own = nn.Embedding.from_pretrained(weight)  # type: ignore[no-untyped-call] # torch's own
        self.table = FrozenEmbedding(own, quantize=quantize) if table is None else table

    def rows(self, targets: Tensor) -> Tensor:
        """Return the centred rows [N, d] of targets [N]."""
        rows: Tensor = self.table(targets) - self.offset
        return rows

    def loss(self, hidden: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return sum of weight * -log p[target] / sum of weights, [1].

        Args:
            hidden: [R, S, d].
            targets: ids [R, S].
            weights: [R, S]; 0: the position does not count.
        """
        flat, wanted = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
        operands = (self.rows(wanted), wanted.unsqueeze(-1), weights.reshape(-1, 1))
        out: Tensor = _NextToken.apply(flat, *operands, self.weight, self.transposed)  # type: ignore[no-untyped-call]
        return out

    def probabilities(self, states: Tensor) -> Tensor:
        """Return the probabilities [B, V] of the token after the place at which each text's state [B, d] was read."""
        logits: Tensor = frozen_linear(states, self.weight, self.transposed, None, False)  # noqa: FBT003
        return torch.softmax(logits, dim=-1)


class _NextToken(torch.autograd.Function):
    """The loss, with the gradient of the hidden states made beside it: so p need not be kept for the backward."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, rows: Tensor, targets: Tensor, weights: Tensor, *head: Tensor) -> Tensor:  # noqa: ANN401
        weight, transposed = head
        share = weights / row_sum(weights.reshape(1, -1)).clamp(min=1e-12)  # [N, 1]
        p = torch.softmax(frozen_linear(hidden, weight, transposed, None, False), dim=-1)  # noqa: FBT003
        costs = -torch.log(p.gather(1, targets).clamp(min=SMALLEST)) * share
        ctx.save_for_backward((frozen_linear(p, transposed, weight, None, False) - rows) * share)  # noqa: FBT003
        return row_sum(costs.reshape(1, -1)).reshape(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (slope,) = ctx.saved_tensors
        return slope * grads[0], None, None, None, None, None
