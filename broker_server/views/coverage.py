"""Which experts were trained, and by how many devices: the rows of a heat map of layers and experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_server.state.readings import Readings
from edge_runtime.wire.experts import ExpertId, shared_expert


@dataclass(frozen=True)
class Trained:
    """Of one block. Args: devices: whose training of it became part of a version; times: how often."""

    devices: int = 0
    times: int = 0


@dataclass(frozen=True)
class Coverage:
    """Who trained what.

    Args:
        layers: numbers of the adapted layers.
        experts: in each layer.
        shared: each has a shared expert, too.
        blocks: those that were trained.
    """

    layers: tuple[int, ...]
    experts: int
    shared: bool
    blocks: Mapping[ExpertId, Trained]

    def of(self, layer: int, index: int) -> Trained:
        """Return what is known of an expert."""
        return self.blocks.get(ExpertId(layer, index), Trained())

    def shared_of(self, layer: int) -> Trained:
        """Return what is known of a layer's shared expert."""
        return self.blocks.get(shared_expert(layer), Trained())

    @property
    def trained(self) -> int:
        """Return how many experts were trained, shared ones left out."""
        return sum(self.of(layer, index).devices > 0 for layer in self.layers for index in range(self.experts))

    @property
    def total(self) -> int:
        """Return how many experts there are, shared ones left out."""
        return len(self.layers) * self.experts

    @property
    def most(self) -> int:
        """Return the largest number of devices that trained one expert."""
        devices = (self.of(layer, index).devices for layer in self.layers for index in range(self.experts))
        return max(devices, default=0)

    @property
    def fewest(self) -> int:
        """Return the smallest number of devices that trained one expert."""
        devices = (self.of(layer, index).devices for layer in self.layers for index in range(self.experts))
        return min(devices, default=0)

    def plain(self) -> dict[str, Any]:
        """Return it for JSON: devices by layer, in the order of its experts."""
        rows = {str(layer): [self.of(layer, index).devices for index in range(self.experts)] for layer in self.layers}
        return {"trained": self.trained, "total": self.total, "devices": rows}


def read_coverage(ledger: Readings) -> Coverage:
    """Read who trained what. Args: ledger: of a state directory.

    Raises:
        StateError: when the ledger cannot be read.
    """
    shape = ledger.architecture().bank_shape
    blocks = {block: Trained(*counts) for block, counts in ledger.trainers_by_block().items()}
    return Coverage(shape.layers, shape.experts, shape.shared_rank > 0, blocks)
