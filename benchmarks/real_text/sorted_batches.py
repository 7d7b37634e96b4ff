"""The rival of packing: batches of texts of like length, each in the shortest padded tier that holds them. Pure.

Of the next 128 texts of the epochs' order, sorted by length, each 16 make a batch; the batches of such a group come in
a drawn order. So a batch is no random one any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Final

from benchmarks.real_text import BATCH
from benchmarks.real_text.work import epochs
from edge_runtime.wire.order import epoch_order

TIERS: Final = (16, 24, 32, 64)
"""Tokens of a row."""
GROUP: Final = 8
"""Batches whose texts are sorted together."""


def batches(lengths: Sequence[int], seed: int) -> Iterator[tuple[list[int], int]]:
    """Yield the texts of each step, 16 of them, and the tokens of its tier, without end.

    Args:
        lengths: tokens of the N texts.
        seed: of the order of texts, and of batches in their groups.
    """
    texts = epochs(len(lengths), seed)
    for number in count():
        ranked = sorted(islice(texts, GROUP * BATCH), key=lambda text: lengths[text])
        for place in epoch_order(seed, number, GROUP).tolist():
            batch = ranked[place * BATCH : (place + 1) * BATCH]
            longest = max(lengths[text] for text in batch)
            yield batch, next((tokens for tokens in TIERS if tokens >= longest), TIERS[-1])
