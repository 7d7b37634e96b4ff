"""A bank in memory and on disk: every expert, shared expert, the head and the feature mean.

Axes: L adapted layers, M experts, P values of an expert, Ps of a shared expert, C labels, d width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from edge_runtime.wire.digests import sha256, version_digest
from edge_runtime.wire.errors import BankError
from edge_runtime.wire.experts import HEAD, MEAN, BankShape, ExpertId
from edge_runtime.wire.tensors import Array, encode
from edge_runtime.wire.text import shown

_HEADER_LIMIT: Final = 1024 * 1024
"""Bytes of names and shapes beside a bank's values."""


@dataclass(frozen=True, eq=False)
class Bank:
    """All trainable values of a model, float32.

    Args:
        shape: which blocks there are.
        experts: [L, M, P].
        shared: [L, Ps]; [L, 0] without shared experts.
        head: [C * (d + 1)]; [0] without labels.
        mean: [d]; [0] without labels.

    Raises:
        BankError: when an array has another shape than ``shape`` says.
    """

    shape: BankShape
    experts: Array
    shared: Array
    head: Array
    mean: Array

    def __post_init__(self) -> None:
        for name, expected in _shapes(self.shape).items():
            tensor = getattr(self, name)
            if tensor.shape != expected or tensor.dtype != np.float32:
                msg = f"bank tensor {name} is {tensor.dtype}{list(tensor.shape)}, expected float32{list(expected)}"
                raise BankError(msg)

    def block(self, block: ExpertId) -> Array:
        """Return the values of ``block``, float32 [size]; a view, not to be written to.

        Raises:
            BankError: when there is no such block.
        """
        self.shape.size(block)
        if block in (HEAD, MEAN):
            return self.head if block == HEAD else self.mean
        row = self.shape.layers.index(block.layer)
        values: Array = self.shared[row] if block.shared else self.experts[row, block.index]
        return values

    def replace(self, blocks: Mapping[ExpertId, Array]) -> Bank:
        """Return a bank with some blocks replaced.

        Raises:
            BankError: for an unknown block or a wrong size.
        """
        copies = {name: getattr(self, name).copy() for name in ("experts", "shared", "head", "mean")}
        changed = Bank(self.shape, **copies)
        for block, values in blocks.items():
            if values.shape != (self.shape.size(block),):
                msg = f"block {block} has shape {list(values.shape)}, expected [{self.shape.size(block)}]"
                raise BankError(msg)
            changed.block(block)[...] = values
        return changed

    @property
    def learned(self) -> bool:
        """Whether the head favours any label; version 0's does not. A language model's is the backbone's own."""
        return not self.head.size or bool(self.head.any())

    def digests(self) -> dict[ExpertId, bytes]:
        """Return the digest of each block's little-endian bytes.

        Raises:
            WireError: NOT_FINITE.
        """
        return {block: sha256(encode(self.block(block))) for block in self.shape.ids()}

    def digest(self) -> bytes:
        """Return the version digest of this bank."""
        return version_digest(self.digests())

    @classmethod
    def from_blocks(cls, shape: BankShape, blocks: Mapping[ExpertId, Array]) -> Bank:
        """Put a bank together.

        Raises:
            BankError: when a block lacks or has a wrong size.
        """
        missing = [str(block) for block in shape.ids() if block not in blocks]
        if missing:
            msg = f"{len(missing)} blocks of the bank are missing: {', '.join(missing[:5])}"
            raise BankError(msg)
        return cls.zeros(shape).replace(blocks)

    @classmethod
    def zeros(cls, shape: BankShape) -> Bank:
        """Return a bank of zeros: with it, a program computes the frozen backbone's own features."""
        return cls(shape, **{name: np.zeros(size, np.float32) for name, size in _shapes(shape).items()})

    def to_bytes(self) -> bytes:
        """Write as safetensors."""
        return save({name: np.ascontiguousarray(getattr(self, name)) for name in _shapes(self.shape)})

    @classmethod
    def from_bytes(cls, data: bytes, shape: BankShape, source: str = "bank") -> Bank:
        """Read safetensors bytes.

        Raises:
            BankError: for damaged bytes, missing tensors, wrong shapes, or NaN.
        """
        try:
            tensors = load(data)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:  # KeyError: a dtype that numpy lacks
            msg = f"{source} is no safetensors file ({shown(str(error), 200)})"
            raise BankError(msg) from error
        wanted = set(_shapes(shape))
        if set(tensors) != wanted:
            msg = f"{source} holds {shown(sorted(tensors), 200)}, expected {sorted(wanted)}"
            raise BankError(msg)
        bank = cls(shape, **tensors)
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            msg = f"{source} holds NaN or infinity"
            raise BankError(msg)
        return bank

    @classmethod
    def read(cls, path: Path, shape: BankShape) -> Bank:
        """Read a bank file.

        Raises:
            BankError: as ``from_bytes``, and when the file cannot be read or is larger than such a bank can be.
        """
        limit = 4 * sum(map(math.prod, _shapes(shape).values())) + _HEADER_LIMIT
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            msg = f"cannot read bank {path}: {error.strerror}"
            raise BankError(msg) from error
        if len(data) > limit:
            msg = f"bank {path} has over {limit} bytes, more than a bank of this shape can have"
            raise BankError(msg)
        return cls.from_bytes(data, shape, str(path))


def _shapes(shape: BankShape) -> dict[str, tuple[int, ...]]:
    rows = len(shape.layers)
    return {
        "experts": (rows, shape.experts, shape.expert_size),
        "shared": (rows, shape.shared_size),
        "head": (shape.head_size,),
        "mean": (shape.mean_size,),
    }
