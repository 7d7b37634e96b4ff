"""Sizes of a backbone with a bank on it, and of a tier: what the cost model counts with. Pure.

Axes: L adapted layers, k of them that a tier trains, m trained and f frozen slots, V rows of a language head, B texts
of a step at most, R rows, S places of a row, N = R * S places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import ModelShape
from export.source.families import BackboneSizes


@dataclass(frozen=True)
class Sizes:
    """Sizes of a backbone and of the bank on it.

    Args:
        backbone: of the frozen network.
        model: of the bank and of the language head.
        quantize: how what is frozen is rounded; the embedding table has 8 bits at least.
        cut: a step begins at the experts of the lowest layer that it trains; what is below is the trunk's, once a text.
        upper: k, adapted layers that are trained, counted from the top; 0 for all.
    """

    backbone: BackboneSizes
    model: ModelShape
    quantize: Quantization = Quantization.INT8
    cut: bool = False
    upper: int = 0

    def at_depth(self, layers: int) -> Sizes:
        """Return the sizes of a tier that trains so many adapted layers, counted from the top; 0 for all.

        Only a step of all layers can run without a trunk.
        """
        return replace(self, upper=layers, cut=True) if layers else self

    @property
    def bank(self) -> BankShape:
        """Sizes of the bank."""
        return self.model.bank

    @property
    def adapted(self) -> int:
        """Adapted layers that are trained: k, or L."""
        return self.upper or len(self.bank.layers)

    @property
    def below(self) -> int:
        """L - k: adapted layers whose experts run in the trunk."""
        return len(self.bank.layers) - self.adapted

    @property
    def lowest(self) -> int:
        """Number of the lowest layer that is trained; below it nothing is differentiated."""
        return self.bank.layers[-self.adapted]

    @property
    def rounded(self) -> bool:
        """Whether the embedding table and the frozen linears are of integers."""
        return self.quantize != Quantization.NONE

    @property
    def forward(self) -> int:
        """Layers whose frozen linears a step runs forward."""
        return self.differentiated if self.cut else self.backbone.depth

    @property
    def differentiated(self) -> int:
        """Layers whose frozen linears a step runs backward: in the lowest trained one only the experts learn."""
        return self.backbone.depth - self.lowest - 1

    @property
    def frozen_weights(self) -> int:
        """Weights of the frozen linears of one layer."""
        return sum(count * outputs * inputs for count, outputs, inputs in self.backbone.linears)

    @property
    def language_weights(self) -> int:
        """Weights of the frozen language head; 0 for a classifier."""
        return self.model.vocabulary * self.backbone.width


@dataclass(frozen=True)
class TierShape:
    """Size of a training program.

    Args:
        trained: m.
        frozen: f.
        sequence: S.
        rows: R.
        batch: B, texts of an optimizer step at most.
        recompute: what a step computes twice instead of keeping it (``recompute``).
        micro_batches: parts; a call takes R / parts rows.
        layers: k; 0 for all adapted layers.
    """

    trained: int
    frozen: int
    sequence: int
    rows: int
    batch: int
    recompute: str = "none"
    micro_batches: int = 1
    layers: int = 0

    @property
    def places(self) -> int:
        """N."""
        return self.rows * self.sequence

    @property
    def rows_per_call(self) -> int:
        """Rows that are in memory at a time."""
        return self.rows // self.micro_batches
