"""What a training method takes in place of token ids: prefixes of texts, from the cache or from the trunk.

Axes: B texts, S sequence length, n real tokens of a text, d width, g values that share a scale.

A prefix is rounded before it is used, also when it was computed a moment ago: so a run ends with the same bytes whether
its prefixes were found or computed, and whether the cache was deleted in between. Padding is not kept; the step masks
it, and takes zeros there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_runtime.data.prefix_cache import CacheUse, PrefixCache
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.program.signature import Executor
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.manifest import Manifest
from edge_runtime.wire.tensors import Array

ROUNDINGS: Final = ("int8", "fp16")
DEFAULT_ROUNDING: Final = "int8"
_GROUP: Final = 64
_FP16_MAX: Final = 65504.0


def encode(values: Array, rounding: str) -> bytes:
    """Return [2, n, d] as bytes: "int8" with one scale for each g = gcd(d, 64) values of a token, or "fp16"."""
    if rounding == "fp16":
        halves: bytes = values.clip(-_FP16_MAX, _FP16_MAX).astype("<f2").tobytes()
        return halves
    groups = values.reshape(*values.shape[:-1], -1, math.gcd(values.shape[-1], _GROUP))
    scales = np.maximum(np.abs(groups).max(-1, keepdims=True) / np.float32(127), np.float32(1e-12))
    whole: bytes = scales.astype("<f4").tobytes() + np.rint(groups / scales).astype(np.int8).tobytes()
    return whole


def decode(data: bytes, width: int, rounding: str) -> Array | None:
    """Return the values [2, n, d] that ``data`` stands for, float32; None when it is not whole tokens."""
    group = math.gcd(width, _GROUP)
    token = len(ports.BOUNDARY) * (2 * width if rounding == "fp16" else width + 4 * (width // group))
    count, rest = divmod(len(data), token)
    if rest or not count:
        return None
    shape = (len(ports.BOUNDARY), count, width)
    if rounding == "fp16":
        return np.frombuffer(data, "<f2").reshape(shape).astype(np.float32)
    size = math.prod(shape)
    scales = np.frombuffer(data, "<f4", size // group).reshape(*shape[:-1], -1, 1)
    levels = np.frombuffer(data, np.int8, offset=4 * (size // group)).reshape(*shape[:-1], -1, group)
    values: Array = np.multiply(levels, scales, dtype=np.float32).reshape(shape)
    return values


class Trunk:
    """The frozen prefix of one method, through a cache.

    Args:
        program: of the package.
        manifest: of the package.
        method: the trunk.
        cache: None computes every prefix.
        rounding: one of ``ROUNDINGS``.
    """

    def __init__(
        self, program: Executor, manifest: Manifest, method: str, cache: PrefixCache | None, rounding: str
    ) -> None:
        self._program, self._method, self._cache, self._rounding = program, method, cache, rounding
        self._width = manifest.architecture.backbone.width
        # The program's digest stands for backbone, layers and quantization: what a prefix depends on beside the ids.
        self._salt = f"{manifest.files['program.pte'].sha256} {method} {rounding} ".encode()
        self._text_salt = self._salt + f"text {manifest.files['tokenizer.json'].sha256} ".encode()

    @property
    def use(self) -> CacheUse:
        """What the cache did so far."""
        return self._cache.use if self._cache is not None else CacheUse()

    def __call__(self, ids: npt.NDArray[np.int64], mask: Array) -> dict[str, Array]:
        """Return prefix and residual, [B, S, d] each, of texts as the tokenizer gives them ([B, S] both)."""
        counts = [int(row.sum()) for row in mask]
        real = [row[:count].astype("<i8") for row, count in zip(ids, counts, strict=True)]
        keys = [sha256(self._salt + row.tobytes()) for row in real]
        rows = self._rows(
            keys,
            lambda place, prefix: prefix.shape[1] == counts[place],
            lambda places: (ids[places], mask[places]),
        )
        return self._padded(rows, ids.shape[1])

    def of_texts(self, texts: Sequence[str], tokenizer: Tokenizer, length: int) -> dict[str, Array]:
        """Return prefix and residual, [B, S, d] each, and mask [B, S], S = ``length``.

        Only texts that are not in the cache are cut into tokens: that took a third of what such a step spends outside
        its program.
        """
        rows = self._rows(
            [sha256(self._text_salt + text.encode()) for text in texts],
            lambda _, prefix: prefix.shape[1] <= length,
            lambda places: tokenizer.encode([texts[place] for place in places], length),
        )
        return self._padded(rows, length) | {ports.MASK: _mask(rows, length)}

    def in_place_of_ids(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return a batch that a cut method takes, for one with ``ids`` and ``mask``."""
        rest = {name: array for name, array in batch.items() if name != ports.IDS}
        return {**self(batch[ports.IDS], batch[ports.MASK]), **rest}

    def _rows(
        self,
        keys: Sequence[bytes],
        fits: Callable[[int, Array], bool],
        tokens: Callable[[list[int]], tuple[npt.NDArray[np.int64], Array]],
    ) -> list[Array]:
        """Return [2, n, d] of each text, from the cache or from the trunk.

        Args:
            keys: of the texts.
            fits: whether what the cache has for the text at a place can be its prefix.
            tokens: ids and mask [.., S] of the texts at some places; asked once, for those that must be computed.
        """
        kept = {place: self._kept(key) for place, key in enumerate(keys)}
        rows = {place: row for place, row in kept.items() if row is not None and fits(place, row)}
        new = [place for place in kept if place not in rows]
        if new:
            ids, mask = tokens(new)
            for row, place in enumerate(new):
                rows[place] = self._computed(keys[place], ids[row : row + 1], mask[row : row + 1])
        return [rows[place] for place in kept]

    def _kept(self, key: bytes) -> Array | None:
        """Return [2, n, d] from the cache."""
        data = self._cache.get(key) if self._cache is not None else None
        return decode(data, self._width, self._rounding) if data is not None else None

    def _computed(self, key: bytes, ids: npt.NDArray[np.int64], mask: Array) -> Array:
        """Compute [2, n, d] of one text and keep it: texts are computed one by one, so company changes no bit."""
        results = self._program.execute(self._method, {ports.IDS: ids, ports.MASK: mask})
        count = int(mask.sum())
        data = encode(np.stack([results[name][0, :count] for name in ports.BOUNDARY]), self._rounding)
        if self._cache is not None:
            self._cache.put(key, data)
        rounded = decode(data, self._width, self._rounding)
        assert rounded is not None  # noqa: S101 - of what encode wrote
        return rounded

    def _padded(self, rows: Sequence[Array], length: int) -> dict[str, Array]:
        """Return prefix and residual [B, S, d] of texts [2, n, d], zeros after their n tokens."""
        padded = np.zeros((len(ports.BOUNDARY), len(rows), length, self._width), np.float32)
        for place, row in enumerate(rows):
            padded[:, place, : row.shape[1]] = row
        return dict(zip(ports.BOUNDARY, padded, strict=True))


def _mask(rows: Sequence[Array], length: int) -> Array:
    """Return [B, S]: 1 at the n tokens of each row [2, n, d]."""
    return (np.arange(length) < np.array([row.shape[1] for row in rows])[:, None]).astype(np.float32)
