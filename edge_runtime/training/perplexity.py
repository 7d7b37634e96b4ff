"""How well a language model knows a text: mean loss and perplexity over windows.

Axes: B batch, S sequence length. The program's own training method says the loss; with learning rates of 0 it changes
nothing, so a package needs no method more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.data.batches import batch_of
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
    tier, shape = tools.tier, bank.shape
    slots = placement.place((), tools.manifest.architecture, tier)
    fixed = {**placement.inputs(bank, slots), ports.GATE_SCALE: slots.gate_scale}
    specs = tools.manifest.methods[tier.method].inputs
    rows_of = next(spec.shape[0] for spec in specs if spec.name == ports.TARGETS)
    trunk = tools.trunk
    total = count = 0.0
    for first in range(0, len(source), rows_of):
        rows = list(range(first, min(first + rows_of, len(source))))
        batch = batch_of(source, rows, tools.tokenizer, shape.labels, tier.seq_len, trunk=trunk)
        inputs = fixed | _padded(batch, rows_of)
        dtypes = {"float32": np.float32, "int64": np.int64}
        inputs = {
            spec.name: inputs[spec.name] if spec.name in inputs else np.zeros(spec.shape, dtypes[spec.dtype])
            for spec in specs
        }
        weight = float(inputs[ports.WEIGHTS].sum())
        total += float(tools.program.execute(tier.method, inputs)[ports.LOSS][0]) * weight
        count += weight
        progress(len(rows))
    return TextLoss(total / count, int(count))


def _padded(batch: dict[str, npt.NDArray[Any]], rows: int) -> dict[str, npt.NDArray[Any]]:
    """Fill a batch up with rows of nothing."""
    return {
        name: np.concatenate([one, np.zeros((rows - len(one), *one.shape[1:]), one.dtype)])
        for name, one in batch.items()
    }
