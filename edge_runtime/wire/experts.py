"""Identity of a block of the bank, and where its values stand.

Axes: M experts in each adapted layer, r rank, rs shared rank, d width, C labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from edge_runtime.wire.errors import BankError

RESERVED: Final = 0xFFFF
"""Layer of the blocks outside the layers, and index of a layer's shared expert."""
BLOCKS_LIMIT: Final = 2500
"""Blocks of a bank; so the list of them, 44 bytes each, stays one message."""
LABELS_LIMIT: Final = 65_535
BLOCK_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of a block's float32 values: it travels as one body."""
BANK_LIMIT: Final = 2**31 - 1
"""Bytes of a bank, so that every language can address it with 32 bits."""


@dataclass(frozen=True, order=True, slots=True)
class ExpertId:
    """A block's name on the wire; sorts in the order in which the wire lists blocks."""

    layer: int
    index: int

    @property
    def shared(self) -> bool:
        """Whether this is a layer's shared expert."""
        return self.index == RESERVED and self.layer != RESERVED

    def __str__(self) -> str:
        """Short form for people: ``3.5``, ``3.shared``, ``head``, ``mean``."""
        if self.layer == RESERVED:
            return {0: "head", 1: "mean", 2: "class sums"}.get(self.index, f"reserved.{self.index}")
        return f"{self.layer}.shared" if self.shared else f"{self.layer}.{self.index}"


HEAD: Final = ExpertId(RESERVED, 0)
MEAN: Final = ExpertId(RESERVED, 1)
CLASS_SUMS: Final = ExpertId(RESERVED, 2)
"""No block of a bank: what a circle of class sums has under masks."""


def shared_expert(layer: int) -> ExpertId:
    """Return the id of the shared expert of ``layer``."""
    return ExpertId(layer, RESERVED)


@dataclass(frozen=True)
class Part:
    """One tensor inside a block: ``values[offset : offset + size].reshape(shape)``; offsets count float32 values."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Return the number of values."""
        size = 1
        for axis in self.shape:
            size *= axis
        return size


def _parts(*named: tuple[str, tuple[int, ...]]) -> tuple[Part, ...]:
    parts: list[Part] = []
    offset = 0
    for name, shape in named:
        parts.append(Part(name, shape, offset))
        offset += parts[-1].size
    return tuple(parts)


def expert_parts(width: int, rank: int) -> tuple[Part, ...]:
    """Return the parts of an expert's block.

    ``in`` holds r rows of the down-projection, then the router row; ``out`` r rows of the up-projection, then the
    output bias. So a layer's experts are two matrices, each used in one GEMM.
    """
    return _parts(("in", (rank + 1, width)), ("bias", (rank,)), ("out", (rank + 1, width)))


def shared_parts(width: int, rank: int) -> tuple[Part, ...]:
    """Return the parts of a shared expert's block (no router; the last row of ``up`` is the output bias)."""
    return _parts(("down", (rank, width)), ("bias", (rank,)), ("up", (rank + 1, width)))


def head_parts(width: int, labels: int) -> tuple[Part, ...]:
    """Return the parts of the head's block."""
    return _parts(("weight", (labels, width)), ("bias", (labels,)))


def block_size(parts: tuple[Part, ...]) -> int:
    """Return the number of float32 values of a block."""
    return sum(part.size for part in parts)


@dataclass(frozen=True)
class BankShape:
    """Which blocks a bank has, and how large each is.

    Args:
        layers: numbers of the adapted layers, ascending.
        experts: M.
        rank: r.
        shared_rank: rs; 0 means that there are no shared experts.
        width: d.
        labels: C; 0 where the model continues texts: such a bank has neither head nor mean.

    Raises:
        BankError: for a size below 1, layers that are not ascending, or more than SPEC.md, "Limits", allows.
    """

    layers: tuple[int, ...]
    experts: int
    rank: int
    shared_rank: int
    width: int
    labels: int

    def __post_init__(self) -> None:
        if list(self.layers) != sorted(set(self.layers)) or not self.layers or self.layers[0] < 0:
            msg = f"adapted layers must be ascending numbers, got {list(self.layers)}"
            raise BankError(msg)
        if min(self.experts, self.rank, self.width) < 1 or min(self.shared_rank, self.labels) < 0:
            msg = f"sizes must be positive, got {self}"
            raise BankError(msg)
        if self.layers[-1] >= RESERVED or self.experts >= RESERVED:
            msg = f"layers and experts are numbered below {RESERVED}, got {self.layers[-1]} and {self.experts}"
            raise BankError(msg)
        self._check_limits()

    def _check_limits(self) -> None:
        if self.labels > LABELS_LIMIT:
            msg = f"{self.labels} labels, limit {LABELS_LIMIT}"
            raise BankError(msg)
        rows = len(self.layers)
        blocks = rows * (self.experts + (self.shared_rank > 0)) + 2 * (self.labels > 0)
        if blocks > BLOCKS_LIMIT:
            msg = f"a bank of {blocks} blocks, limit {BLOCKS_LIMIT}: adapt fewer layers or take fewer experts"
            raise BankError(msg)
        largest = 4 * max(self.expert_size, self.shared_size, self.head_size)
        if largest > BLOCK_LIMIT:
            msg = f"the largest block has {largest} bytes, limit {BLOCK_LIMIT}: take a smaller rank or fewer labels"
            raise BankError(msg)
        if self.nbytes > BANK_LIMIT:
            msg = f"a bank of {self.nbytes} bytes, limit {BANK_LIMIT}: adapt fewer layers or take fewer experts"
            raise BankError(msg)

    @cached_property
    def expert_size(self) -> int:
        """P, values of an expert's block."""
        return block_size(expert_parts(self.width, self.rank))

    @cached_property
    def shared_size(self) -> int:
        """Ps, values of a shared expert's block; 0 without shared experts."""
        return block_size(shared_parts(self.width, self.shared_rank)) if self.shared_rank else 0

    @cached_property
    def head_size(self) -> int:
        """Values of the head's block; 0 without labels."""
        return block_size(head_parts(self.width, self.labels))

    @property
    def mean_size(self) -> int:
        """Values of the mean's block; 0 without labels."""
        return self.width if self.labels else 0

    @property
    def nbytes(self) -> int:
        """Bytes of the whole bank as float32."""
        layer = self.experts * self.expert_size + self.shared_size
        return 4 * (len(self.layers) * layer + self.head_size + self.mean_size)

    def ids(self) -> tuple[ExpertId, ...]:
        """Return every block of the bank, ascending."""
        blocks = [ExpertId(layer, index) for layer in self.layers for index in range(self.experts)]
        blocks += [shared_expert(layer) for layer in self.layers if self.shared_rank]
        return tuple(sorted([*blocks, HEAD, MEAN] if self.labels else blocks))

    def depth(self, blocks: Iterable[ExpertId]) -> int:
        """Return how many adapted layers, from the top, training these blocks goes down to; 0 for the head alone."""
        rows = [self.layers.index(block.layer) for block in blocks if block.layer in self.layers]
        return len(self.layers) - min(rows) if rows else 0

    def size(self, block: ExpertId) -> int:
        """Return the values of ``block``.

        Raises:
            BankError: when the bank has no such block.
        """
        if self.labels and block in (HEAD, MEAN):
            return self.head_size if block == HEAD else self.mean_size
        if block.layer in self.layers:
            if block.shared and self.shared_rank:
                return self.shared_size
            if 0 <= block.index < self.experts:
                return self.expert_size
        msg = f"no block {block} in a bank of layers {list(self.layers)} with {self.experts} experts each"
        raise BankError(msg)
