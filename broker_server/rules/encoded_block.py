"""The values of one block of a delta as they came: read piece by piece, without a float32 copy of the whole delta.

Axes: P values of a block, in groups of 64 that share a scale (``wire/tensors``). What a piece says is bit for bit what
``tensors.decode`` says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.tensors import GROUP, Array

_SAFE_SCALE: Final = np.finfo(np.float32).max / np.float32(128)
"""Times any byte it is finite."""


@dataclass(frozen=True, eq=False)
class EncodedBlock:
    """Values as they came.

    Args:
        data: bytes of the values.
        size: P, how many they are.
        codec: of the bytes.
        factor: that each value is multiplied with, in float32; None: not at all.

    Raises:
        WireError: WRONG_SIZE or UNSUPPORTED_CODEC. Whether the values are finite is for ``values`` to say.
    """

    data: bytes
    size: int
    codec: int
    factor: np.float32 | None = None
    _scales: Array = field(init=False, repr=False)
    _quanta: npt.NDArray[np.float32 | np.int8] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        expected = tensors.encoded_size(self.size, self.codec)
        if len(self.data) != expected:
            detail = f"{len(self.data)} bytes of values, expected {expected} for {self.size} values"
            raise WireError(pb.WRONG_SIZE, detail)
        groups = -(-self.size // GROUP) if self.codec == pb.INT8 else 0
        kind = np.int8 if self.codec == pb.INT8 else np.dtype("<f4")
        object.__setattr__(self, "_scales", np.frombuffer(self.data, np.dtype("<f4"), groups))
        object.__setattr__(self, "_quanta", np.frombuffer(self.data, kind, self.size, 4 * groups))

    def values(self) -> Array:
        """Return all values, float32 [P], checked.

        Raises:
            WireError: NOT_FINITE, or MALFORMED for a negative scale or the byte -128.
        """
        if not self._plain():
            values = tensors.decode(self.data, self.size, self.codec)
            return values if self.factor is None else values * self.factor
        values = np.empty(self.size, np.float32)
        self.fill(0, values)
        return values

    def _plain(self) -> bool:
        """Return whether these are int8 values that a glance shows to be right; NaN compares as wrong."""
        return (
            self.codec == pb.INT8
            and bool(self._scales.min() >= 0 and self._scales.max() <= _SAFE_SCALE)
            and int(self._quanta.min()) > -128
        )

    def piece(self, start: int, stop: int) -> Array:
        """Return the values from ``start`` to ``stop``, float32, not checked again."""
        first = start // GROUP * GROUP
        whole = np.empty(-(-(stop - first) // GROUP) * GROUP, np.float32)
        self.fill(first, whole[: min(self.size, first + whole.size) - first])
        return whole[start - first : stop - first]

    def fill(self, start: int, into: Array) -> None:
        """Write as many values as ``into`` has places, from ``start`` on, not checked again.

        Args:
            start: a multiple of GROUP.
            into: float32; whole groups, but for the last of the block.
        """
        np.copyto(into, self._quanta[start : start + into.size])
        if self.codec == pb.INT8:
            whole = into.size // GROUP * GROUP
            groups = into[:whole].reshape(-1, GROUP)
            first = start // GROUP
            np.multiply(groups, self._scales[first : first + groups.shape[0], None], out=groups)
            if whole < into.size:
                np.multiply(into[whole:], self._scales[first + groups.shape[0]], out=into[whole:])
        if self.factor is not None:
            np.multiply(into, self.factor, out=into)

    def times(self, factor: float) -> Self:
        """Return a block, as it came, with each value times ``factor``, rounded to float32."""
        return replace(self, factor=np.float32(factor))


Block = Array | EncodedBlock
"""Values of a block, as an array or as they came."""


def values_of(block: Block) -> Array:
    """Return the values of a block, float32 [P]; for the time that they are needed."""
    return block.values() if isinstance(block, EncodedBlock) else block


def piece_of(block: Block, start: int, stop: int) -> Array:
    """Return some values of a block, float32 [stop - start]."""
    return block.piece(start, stop) if isinstance(block, EncodedBlock) else block[start:stop]


def fill_from(block: Block, start: int, into: Array) -> None:
    """Write values of a block into a buffer; see ``EncodedBlock.fill``."""
    if isinstance(block, EncodedBlock):
        block.fill(start, into)
    else:
        np.copyto(into, block[start : start + into.size])
