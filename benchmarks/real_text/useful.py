"""Useful work: multiplications and additions of the frozen products that real tokens need; padding is none.

Axes: L layers, d width, i width inside a feed-forward. Forward, a layer multiplies a token by 4 matrices [d, d] and by
2 of d * i values, and backward by the same matrices where something below it is trained. The experts beside the lowest
adapted feed-forward read and write there, so nothing of that layer is needed backward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_FLOP: Final = 2
"""Operations of a multiply-accumulate."""


@dataclass(frozen=True)
class Encoder:
    """Sizes of the frozen encoder. Args: depth: L; width: d; inner: i."""

    depth: int
    width: int
    inner: int

    @property
    def feed_forward(self) -> int:
        """Multiply-accumulates of a token in a layer's feed-forward."""
        return 2 * self.width * self.inner

    @property
    def layer(self) -> int:
        """The same of a whole layer's products."""
        return 4 * self.width * self.width + self.feed_forward


def per_token(encoder: Encoder, lowest: int, *, cached: bool = False) -> int:
    """Return the operations of a training step for each token.

    Args:
        encoder: its sizes.
        lowest: number of the lowest adapted layer.
        cached: what lies below its feed-forward is not computed.
    """
    above = encoder.depth - 1 - lowest
    below = 0 if cached else lowest * encoder.layer + encoder.layer - encoder.feed_forward
    return _FLOP * (below + encoder.feed_forward + 2 * above * encoder.layer)


def lora_per_token(encoder: Encoder) -> int:
    """Return the same for LoRA beside q and v of every layer: backward lacks q, k and v of the first layer only."""
    return _FLOP * (2 * encoder.depth * encoder.layer - 3 * encoder.width * encoder.width)
