"""The loss of a language model and its prediction, through the frozen language head, in slices of the vocabulary.

Axes: B texts, R rows, S places of a row, N = R * S places, d width, V vocabulary, v words of a slice, k slices.

With p = softmax(h W^T), the loss of a position is -log p[target], and its gradient (p - onehot) W = p W - W[target]. So
the one-hot part is a lookup, and the target's logit is h W[target]. A constant added to a position's logits changes no
p: so W may be any W - c with the same row c taken off, and c is the mean of all rows. Rounded to int8, p loses what is
small against its largest value; what is lost then pulls towards the mean row, which is 0.

No tensor of [N, V] is ever made. Each slice ends with a row of zeros and a bias c = log V, so that its softmax also
tells its sum: the last of its v + 1 values is e = exp(c) / (exp(c) + sum exp(logits)). With u = 1 / e,

    sum over all words of exp(logit - c) = sum_j u_j - k = t
    p W = (sum_j u_j softmax_j W_j) / t
    -log p[target] = c + log t - (the target's logit)

The logits' mean is 0, so t is at least 1 (Jensen), and nothing cancels in the difference.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.model.frozen import FrozenEmbedding, frozen_linear, row_sum
from export.shapes import HEAD_SLICE

SMALLEST: Final = 1e-36
"""A value e below it counts as it: its inverse, and the sum of hundreds of them, must be float32 numbers. So a logit
that is 82 above c, log V above the mean logit, is the largest that is told apart."""


class LanguageHead(nn.Module):
    """The frozen head, centred and sliced, and the lookup of its rows.

    Args:
        weight: [V, d].
        table: of word embeddings, when the head is tied to it: rows are then looked up there.
        quantize: keep rows of a table of its own as int8.
        words: v, words of a slice at most.
    """

    def __init__(
        self, weight: Tensor, table: FrozenEmbedding | None, *, quantize: bool, words: int = HEAD_SLICE
    ) -> None:
        super().__init__()
        self.offset: Tensor
        centre = weight.mean(0)
        slices = (weight - centre).tensor_split(math.ceil(len(weight) / words))
        self.sizes = [len(one) for one in slices]
        self.constant = math.log(len(weight))
        for place, one in enumerate(slices):
            rows = functional.pad(one, (0, 0, 0, 1))
            self.register_buffer(f"weight_{place}", rows)
            self.register_buffer(f"transposed_{place}", rows.t().contiguous())
            self.register_buffer(f"bias_{place}", functional.pad(torch.zeros(len(one)), (0, 1), value=self.constant))
        self.register_buffer("offset", centre)
        own = nn.Embedding.from_pretrained(weight)  # type: ignore[no-untyped-call] # torch's own
        self.table = FrozenEmbedding(own, quantize=quantize) if table is None else table

    def slices(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return weight [v + 1, d], its transpose and bias [v + 1] of each slice."""
        kinds = ("weight", "transposed", "bias")
        places = range(len(self.sizes))
        return [tuple(self.get_buffer(f"{kind}_{place}") for kind in kinds) for place in places]  # type: ignore[misc]

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
        flat, rows = hidden.reshape(-1, hidden.shape[-1]), self.rows(targets.reshape(-1))
        out: Tensor = _NextToken.apply(flat, rows, weights.reshape(-1, 1), self)  # type: ignore[no-untyped-call]
        return out

    def probabilities(self, states: Tensor) -> Tensor:
        """Return the probabilities [B, V] of the token after the place at which each text's state [B, d] was read."""
        logits = [_logits(states, part)[:, :-1] for part in self.slices()]
        return torch.softmax(torch.cat(logits, 1), dim=-1)


def _logits(hidden: Tensor, part: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return the logits [N, v + 1] of a slice."""
    weight, transposed, bias = part
    out: Tensor = frozen_linear(hidden, weight, transposed, bias, False)  # noqa: FBT003
    return out


class _NextToken(torch.autograd.Function):
    """The loss, with the gradient of the hidden states made beside it: so no logits are kept for the backward."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, rows: Tensor, weights: Tensor, head: LanguageHead) -> Tensor:  # noqa: ANN401
        share = weights / row_sum(weights.reshape(1, -1)).clamp(min=1e-12)  # [N, 1]
        mean, total = _expectation(hidden, head)
        costs = torch.log(total) + head.constant - row_sum(hidden * rows)
        ctx.save_for_backward((mean - rows) * share)
        # Rounded to int8, the sum may fall below the target's own part.
        return row_sum((costs.clamp(min=0.0) * share).reshape(1, -1)).reshape(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (slope,) = ctx.saved_tensors
        return slope * grads[0], None, None, None


def _expectation(hidden: Tensor, head: LanguageHead) -> tuple[Tensor, Tensor]:
    """Return p W [N, d], and t [N, 1], the sum of exp(logit - c) over all words, for hidden states [N, d]."""
    sums: list[Tensor] = []
    for part in head.slices():
        weight, transposed, _ = part
        p = torch.softmax(_logits(hidden, part), dim=-1)
        inverse = torch.ones(1, 1) / p[:, -1:].clamp(min=SMALLEST)
        moved = frozen_linear(p, transposed, weight, None, False) * inverse  # noqa: FBT003
        sums = [moved, inverse] if not sums else [sums[0] + moved, sums[1] + inverse]
    total = sums[1] - float(len(head.sizes))
    return sums[0] / total, total
