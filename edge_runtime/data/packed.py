"""Texts packed into rows: what a method takes beside what the texts say, from where each of them stands.

Axes: B texts at most, R rows of S places, N = R*S, T texts of a call, n tokens of a text, C labels. The contract says
which texts a call takes and where they stand (``wire.packing``); here are the arrays that follow from it. Places that
hold no token are 0 in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.manifest import Tier
from edge_runtime.wire.packing import Capacity, Stand, pack
from edge_runtime.wire.program_interface import MethodSpec
from edge_runtime.wire.tensors import Array


def tier_capacity(tier: Tier) -> Capacity:
    """Return what a step of a tier has room for."""
    return Capacity(tier.rows, tier.seq_len, tier.batch_size)


def method_capacity(spec: MethodSpec) -> Capacity:
    """Return what a call has room for: of positions [R, S], and of readout [B, N] where it has one (else B = R)."""
    shapes = {tensor.name: tensor.shape for tensor in spec.inputs}
    rows, sequence = shapes[ports.POSITIONS]
    return Capacity(rows, sequence, shapes[ports.READOUT][0] if ports.READOUT in shapes else rows)


@dataclass(frozen=True)
class Packed:
    """Where the T texts of a call stand. Args: capacity: of the call; stands: one for each text, in their order."""

    capacity: Capacity
    stands: tuple[Stand, ...]

    @classmethod
    def next(cls, counts: Sequence[int], capacity: Capacity) -> Self:
        """Return the call that the next texts make: as many of them as fit, at least one.

        Args:
            counts: tokens of the next texts, B of them or fewer at the end of the data; longer ones are cut at S.
            capacity: of the call.
        """
        return cls(capacity, tuple(pack(counts, capacity)))

    @classmethod
    def in_own_rows(cls, counts: Sequence[int], capacity: Capacity) -> Self:
        """Return a call of at most R texts of at most S tokens, each alone at the beginning of a row."""
        return cls(capacity, tuple(Stand(row, 0, count) for row, count in enumerate(counts)))

    def __len__(self) -> int:
        """Return T."""
        return len(self.stands)

    @property
    def tokens(self) -> int:
        """Places that hold a token."""
        return sum(stand.count for stand in self.stands)

    def spans(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield slot, row, beginning and end of each text that has tokens."""
        for slot, stand in enumerate(self.stands):
            if stand.count:
                yield slot, stand.row, stand.first, stand.first + stand.count

    def frame(self) -> dict[str, npt.NDArray[Any]]:
        """Return positions int64 [R, S] and attend [R, S, S] by name: what every method takes of where texts stand."""
        rows, length = self.capacity.rows, self.capacity.sequence
        positions, attend = np.zeros((rows, length), np.int64), np.zeros((rows, length, length), np.float32)
        along = np.arange(length)
        for _, row, start, end in self.spans():
            positions[row, start:end] = along[: end - start]
            attend[row, start:end, start:end] = 1.0
        return {ports.POSITIONS: positions, ports.ATTEND: attend}

    def spread(self, values: Sequence[Sequence[int] | Array], dtype: type[np.int64 | np.float32]) -> npt.NDArray[Any]:
        """Return [R, S]: the first n of each text's values at its places; of shorter ones what there is."""
        spread = np.zeros((self.capacity.rows, self.capacity.sequence), dtype)
        for slot, row, start, end in self.spans():
            own = values[slot][: end - start]
            spread[row, start : start + len(own)] = own
        return spread

    def mask(self) -> Array:
        """Return [R, S]: 1 at tokens."""
        mask = np.zeros((self.capacity.rows, self.capacity.sequence), np.float32)
        for _, row, start, end in self.spans():
            mask[row, start:end] = 1.0
        return mask

    def means(self) -> Array:
        """Return the readout [B, N] by which a text is the mean of its tokens: 1/n at each."""
        readout = self._readout()
        for slot, row, start, end in self.spans():
            readout[slot, row, start:end] = np.float32(1) / np.float32(end - start)
        return readout.reshape(self.capacity.batch, -1)

    def lasts(self) -> Array:
        """Return the readout [B, N] by which a text is what its last token is: 1 there."""
        readout = self._readout()
        for slot, row, _, end in self.spans():
            readout[slot, row, end - 1] = 1.0
        return readout.reshape(self.capacity.batch, -1)

    def _readout(self) -> Array:
        return np.zeros((self.capacity.batch, self.capacity.rows, self.capacity.sequence), np.float32)
