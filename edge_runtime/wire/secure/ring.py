"""Integers modulo 2^b: what is added under masks, the masks, and how they are packed.

Sums are taken in words of 16 bits for b <= 16, else of 32; what is above b falls away when they are packed. A mask is
the stream of AES-256 in counter mode (counter from 0) under its seed, as little-endian words: as many words as there
are values. Axes: n values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from edge_runtime.wire.errors import SecureError

Words = npt.NDArray[np.unsignedinteger[Any]]
LEAST_BITS: Final = 8
MOST_BITS: Final = 32
_GROUP: Final = 8
_PIECE: Final = 1 << 16
"""Values that a mask is made of at once: so that they stay in the processor's cache."""
_ZEROS: Final = bytes(4 * _PIECE)


@dataclass(frozen=True)
class Ring:
    """Integers modulo 2^bits. Args: bits: 8 to 32. Raises: SecureError: for others."""

    bits: int

    def __post_init__(self) -> None:
        if not LEAST_BITS <= self.bits <= MOST_BITS:
            msg = f"a ring of {self.bits} bits, expected {LEAST_BITS} to {MOST_BITS}"
            raise SecureError(msg)

    @property
    def word(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Type of the words that sums are taken in."""
        return np.dtype("<u2") if self.bits <= 16 else np.dtype("<u4")

    def holds(self, most: int) -> bool:
        """Return whether a sum between -most and most stands in the ring and leaves an eighth of it free."""
        return 8 * (2 * most + 1) <= 7 << self.bits

    def words(self, values: npt.ArrayLike) -> Words:
        """Return integers, negative ones too, as words [n]."""
        wide = np.asarray(values, np.int64)
        result: Words = (wide & ((1 << self.bits) - 1)).astype(self.word)
        return result

    def signed(self, words: Words) -> npt.NDArray[np.int64]:
        """Return words as the integers between -2^(b-1) and 2^(b-1) - 1 that they stand for, [n]."""
        wide = words.astype(np.int64) & ((1 << self.bits) - 1)
        half = np.int64(1) << np.int64(self.bits - 1)
        return (wide ^ half) - half

    def unsigned(self, words: Words) -> npt.NDArray[np.int64]:
        """Return words as integers from 0 to 2^b - 1, [n]."""
        return words.astype(np.int64) & ((1 << self.bits) - 1)

    def size(self, count: int) -> int:
        """Return the bytes of ``count`` packed values."""
        return -(-count * self.bits // 8)

    def pack(self, words: Words) -> bytes:
        """Return values in b bits each: value i from bit i * b on, bit j of all in byte j / 8, the lowest bit first."""
        if self.bits == 8 * self.word.itemsize:
            return words.astype(self.word).tobytes()
        groups = -(-words.size // _GROUP)  # eight values are b bytes, so what stands where is the same in each
        values = np.zeros((groups, _GROUP), np.uint64)
        values.reshape(-1)[: words.size] = words
        columns = np.ascontiguousarray(values.T) & np.uint64((1 << self.bits) - 1)
        octets = np.zeros((self.bits, groups), np.uint8)
        for place, column in enumerate(columns):
            first, shift = divmod(place * self.bits, 8)
            shifted = column << np.uint64(shift)
            for number in range(-(-(shift + self.bits) // 8)):
                octets[first + number] |= (shifted >> np.uint64(8 * number)).astype(np.uint8)
        return octets.T.tobytes()[: self.size(words.size)]

    def unpack(self, data: bytes, count: int) -> Words:
        """Return ``count`` values as words.

        Raises:
            SecureError: for another number of bytes, or bits behind the last value.
        """
        if len(data) != self.size(count):
            msg = f"{len(data)} bytes of {count} values of {self.bits} bits, expected {self.size(count)}"
            raise SecureError(msg)
        if self.bits == 8 * self.word.itemsize:
            return np.frombuffer(data, self.word).copy()
        groups = -(-count // _GROUP)
        padded = np.frombuffer(data.ljust(groups * self.bits, b"\0"), np.uint8).reshape(groups, self.bits)
        octets = np.ascontiguousarray(padded.T).astype(np.uint64)
        values = np.empty((groups, _GROUP), self.word)
        for place in range(_GROUP):
            first, shift = divmod(place * self.bits, 8)
            wide = np.zeros(groups, np.uint64)
            for number in range(-(-(shift + self.bits) // 8)):
                wide |= octets[first + number] << np.uint64(8 * number)
            values[:, place] = (wide >> np.uint64(shift)) & np.uint64((1 << self.bits) - 1)
        flat: Words = values.reshape(-1)
        if flat[count:].any():
            msg = "bits are set behind the last value"
            raise SecureError(msg)
        return flat[:count].copy()

    def add_mask(self, words: Words, seed: bytes, *, negative: bool = False) -> None:
        """Add a seed's mask to words, or take it off; in place. Args: seed: 32 bytes."""
        stream = Cipher(AES256(seed), CTR(bytes(16))).encryptor()
        buffer = bytearray(_PIECE * self.word.itemsize + 15)
        change = np.subtract if negative else np.add
        for start in range(0, words.size, _PIECE):
            piece = words[start : start + _PIECE]
            size = stream.update_into(memoryview(_ZEROS)[: piece.nbytes], buffer)
            change(piece, np.frombuffer(buffer, self.word, size // self.word.itemsize), out=piece)


def bits_for(devices: int, most: int) -> int:
    """Return the fewest bits of a ring for the sum of ``devices`` integers between -most and most.

    Raises:
        SecureError: when 32 bits are too few.
    """
    for bits in range(LEAST_BITS, MOST_BITS + 1):
        if Ring(bits).holds(devices * most):
            return bits
    msg = f"{devices} integers of up to {most} need more than {MOST_BITS} bits: take a smaller limit"
    raise SecureError(msg)
