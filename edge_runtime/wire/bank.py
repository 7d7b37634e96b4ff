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

from edge_runtime.wire import strict_json
from edge_runtime.wire.digests import sha256, version_digest
from edge_runtime.wire.errors import BankError, PackageError
from edge_runtime.wire.experts import HEAD, MEAN, BankShape, ExpertId
from edge_runtime.wire.tensors import Array, encode
from edge_runtime.wire.text import readable, shown

FEDERATION_KEY: Final = "federation_digest"
"""Of a bank file's metadata: in hex, lower case."""
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

    def to_bytes(self, federation: bytes) -> bytes:
        """Write as safetensors; the metadata keep the digest of the ``federation`` that the bank is for."""
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _shapes(self.shape)}
        return save(tensors, metadata={FEDERATION_KEY: federation.hex()})

    @classmethod
    def from_bytes(cls, data: bytes, shape: BankShape, federation: bytes, source: str = "bank") -> Bank:
        """Read safetensors bytes.

        Args:
            data: of a file.
            shape: that the bank must have.
            federation: digest of the federation that it must be for: its labels stand in the same order, too.
            source: of the bytes, for errors.

        Raises:
            BankError: for damaged bytes, no or another federation, missing tensors, wrong shapes, or NaN.
        """
        try:
            tensors = load(data)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:  # KeyError: a dtype that numpy lacks
            msg = f"{source} is no safetensors file ({shown(str(error), 200)})"
            raise BankError(msg) from error
        _check_federation(data, federation, source)
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
    def read(cls, path: Path, shape: BankShape, federation: bytes) -> Bank:
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
        return cls.from_bytes(data, shape, federation, str(path))


def _check_federation(data: bytes, federation: bytes, source: str) -> None:
    """Hold the metadata of a safetensors file against a federation's digest."""
    try:
        header = strict_json.parse(data[8 : 8 + int.from_bytes(data[:8], "little")], "the header")
    except PackageError as error:
        msg = f"{source} is no safetensors file ({error})"
        raise BankError(msg) from error
    metadata = header.get("__metadata__")
    told = metadata.get(FEDERATION_KEY) if isinstance(metadata, dict) else None  # safetensors reads null as none
    if told is None:
        msg = (
            f"{source} does not say which federation it is for (its metadata have no {FEDERATION_KEY}), so its labels"
            " may be others than this package's; train it again, or export the version again"
        )
        raise BankError(msg)
    if told != federation.hex():
        msg = (
            f"{source} is for federation {readable(told, 13)}, this package is of {federation.hex()[:12]}…: labels or"
            " their order, backbone or initial bank differ; use the package that the bank was trained with"
        )
        raise BankError(msg)


def _shapes(shape: BankShape) -> dict[str, tuple[int, ...]]:
    rows = len(shape.layers)
    return {
        "experts": (rows, shape.experts, shape.expert_size),
        "shared": (rows, shape.shared_size),
        "head": (shape.head_size,),
        "mean": (shape.mean_size,),
    }
