"""How well a language model knows a text: mean loss and perplexity over windows.

The program's own training method says the loss; with learning rates of 0 it changes
nothing, so a package needs no method more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_runtime.data.packed import Packed, method_capacity
from edge_runtime.data.windows import WindowSource
from edge_runtime.program import slots as placement
from edge_runtime.training.trainer import Tools
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank


@dataclass(frozen=True)
class TextLoss:
    """Args: loss: mean of -log p over all targets; targets: how many there were."""

    loss: float
    targets: int

    @property
    def perplexity(self) -> float:
        """exp(loss): between so many tokens the model would have to guess."""
        return math.exp(min(self.loss, 700.0))


def text_loss(tools: Tools, bank: Bank, source: WindowSource, progress: Callable[[int], None]) -> TextLoss:
    """Measure a bank on every window of ``source``; ``progress`` gets the windows of each batch.

    Args:
        tools: program, manifest and tier; its source is not used.
        bank: with the experts that the tier's slots hold when nothing is trained.
        source: windows of held-out text.
        progress: told after each batch.
    """
    tier, reader = tools.tier, tools.reader(bank, source)
    slots = placement.place((), tools.manifest.architecture, tier)
    fixed = {**placement.inputs(bank, slots), ports.GATE_SCALE: slots.gate_scale}
    specs = tools.manifest.methods[tier.method].inputs
    fixed = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs} | fixed
    capacity = method_capacity(tools.manifest.methods[tier.method])
    total = count = 0.0
    first = 0
    while first < len(source):
        texts = reader.texts(range(first, min(first + capacity.batch, len(source))))
        packed = Packed.next([text.count for text in texts], capacity)
        inputs = fixed | reader.inputs(texts[: len(packed)], packed)
        weight = float(inputs[ports.WEIGHTS].sum())
        total += float(tools.program.execute(tier.method, inputs)[ports.LOSS][0]) * weight
        count += weight
        first += len(packed)
        progress(len(packed))
    return TextLoss(total / count, int(count))
