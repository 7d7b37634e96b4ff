"""What a training method takes in place of token ids: prefixes of texts, from the cache or from the trunk.

Axes: B texts, S sequence length, n real tokens of a text, d width, g values that share a scale.

A prefix is rounded before it is used, also when it was computed a moment ago: so a run ends with the same bytes whether
its prefixes were found or computed, and whether the cache was deleted in between. Padding is not kept; the step masks
it, and takes zeros there.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_runtime.cache import CacheUse, PrefixCache
from edge_runtime.signature import Executor
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.manifest import Manifest
from edge_runtime.wire.tensors import Array

BOUNDARY: Final = ("prefix", "residual")
"""Outputs of a trunk, and the inputs of the training method that take them."""
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


def decode(data: bytes, shape: tuple[int, int, int], rounding: str) -> Array | None:
    """Return the values [2, n, d] that ``data`` stands for, float32; None when it is not of that size."""
    size, group = math.prod(shape), math.gcd(shape[-1], _GROUP)
    if rounding == "fp16":
        return np.frombuffer(data, "<f2").reshape(shape).astype(np.float32) if len(data) == 2 * size else None
    cut = 4 * (size // group)
    if len(data) != cut + size:
        return None
    scales = np.frombuffer(data, "<f4", size // group).reshape(*shape[:-1], -1, 1)
    levels = np.frombuffer(data, np.int8, offset=cut).reshape(*shape[:-1], -1, group)
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

    @property
    def use(self) -> CacheUse:
        """What the cache did so far."""
        return self._cache.use if self._cache is not None else CacheUse()

    def __call__(self, ids: npt.NDArray[np.int64], mask: Array) -> dict[str, Array]:
        """Return prefix and residual, [B, S, d] each, of texts as the tokenizer gives them ([B, S] both)."""
        made = np.zeros((len(BOUNDARY), *ids.shape, self._width), np.float32)
        for row in range(len(ids)):
            count = int(mask[row].sum())
            made[:, row, :count] = self._one(ids[row : row + 1], mask[row : row + 1], count)
        return dict(zip(BOUNDARY, made, strict=True))

    def in_place_of_ids(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return a batch that a cut method takes, for one with ``ids`` and ``mask``."""
        rest = {name: array for name, array in batch.items() if name != "ids"}
        return {**self(batch["ids"], batch["mask"]), **rest}

    def _one(self, ids: npt.NDArray[np.int64], mask: Array, count: int) -> Array:
        """Return [2, n, d] of one text, n = ``count``: texts are computed one by one, so company changes no bit."""
        key = sha256(self._salt + ids[0, :count].astype("<i8").tobytes())
        shape = (len(BOUNDARY), count, self._width)
        kept = self._cache.get(key) if self._cache is not None else None
        found = decode(kept, shape, self._rounding) if kept is not None else None
        if found is None:
            data = encode(self._computed(ids, mask, count), self._rounding)
            if self._cache is not None:
                self._cache.put(key, data)
            found = decode(data, shape, self._rounding)
        assert found is not None  # noqa: S101 - what encode made
        return found

    def _computed(self, ids: npt.NDArray[np.int64], mask: Array, count: int) -> Array:
        given: dict[str, npt.NDArray[Any]] = {"ids": ids, "mask": mask}
        results = self._program.execute(self._method, given)
        return np.stack([results[name][0, :count] for name in BOUNDARY])
