"""What a training method takes in place of token ids: prefixes of texts, from the cache or from the trunk.

Axes: R rows of S places of a trunk method, n tokens of a text, d width, g values that share a scale, k layers of L that
a tier trains.

A prefix is rounded before it is used, also when it was computed a moment ago: so a run ends with the same bytes whether
its prefixes were found or computed, and whether the cache was deleted in between. Only a text's own tokens are kept,
and they say how many it has: a text that is found is not cut into tokens.

Below a tier of fewer layers than are adapted, the trunk runs the experts of the layers below as a version has them.
Their values are part of a prefix's key, so no prefix of another version is ever used, and name its generation in the
cache, so that older ones are removed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from edge_runtime.data.packed import Packed, method_capacity
from edge_runtime.data.prefix_cache import CacheUse, PrefixCache
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.program import slots as placement
from edge_runtime.program.signature import Executor
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.manifest import Manifest, Tier
from edge_runtime.wire.tensors import Array

ROUNDINGS: Final = ("int8", "fp16")
DEFAULT_ROUNDING: Final = "int8"
_GROUP: Final = 64
_FP16_MAX: Final = 65504.0
_FAMILY: Final = 8
_GENERATION: Final = 32
"""Hex digits of a package, and of the experts below, in the name of a generation."""


def encode(values: Array, rounding: str) -> bytes:
    """Return [2, n, d] as bytes: "int8" with one scale for each g = gcd(d, 64) values of a token, or "fp16"."""
    if rounding == "fp16":
        halves: bytes = values.clip(-_FP16_MAX, _FP16_MAX).astype("<f2").tobytes()
        return halves
    groups = values.reshape(*values.shape[:-1], -1, math.gcd(values.shape[-1], _GROUP))
    scales = np.maximum(np.abs(groups).max(-1, keepdims=True) / np.float32(127), np.float32(1e-12))
    whole: bytes = scales.astype("<f4").tobytes() + np.rint(groups / scales).astype(np.int8).tobytes()
    return whole


def tokens_in(data: bytes, width: int, rounding: str) -> int:
    """Return n of what ``encode`` made for a width; 0 when it is not whole tokens."""
    token = len(ports.BOUNDARY) * (2 * width if rounding == "fp16" else width + 4 * (width // math.gcd(width, _GROUP)))
    count, rest = divmod(len(data), token)
    return 0 if rest else count


def decode(data: bytes, rounding: str, values: Array) -> None:
    """Fill ``values`` [2, n, d] with what ``data`` stands for."""
    if rounding == "fp16":
        values[...] = np.frombuffer(data, "<f2").reshape(values.shape)
        return
    width = values.shape[-1]
    group, grouped = math.gcd(width, _GROUP), (*values.shape[:-1], -1, math.gcd(width, _GROUP))
    scales = np.frombuffer(data, "<f4", values.size // group).reshape(*values.shape[:-1], -1, 1)
    levels = np.frombuffer(data, np.int8, offset=4 * scales.size).reshape(grouped)
    np.multiply(levels, scales, out=values.reshape(grouped), dtype=np.float32)  # a view: only the last axis is divided


@dataclass(frozen=True)
class Prefix:
    """What the frozen layers make of one text, rounded. Args: count: n; data: as the cache keeps it."""

    count: int
    data: bytes


def family_of(manifest: Manifest) -> str:
    """Return what the names of all generations of a package begin with."""
    return manifest.files["program.pte"].sha256[:_FAMILY]


def generation_of(manifest: Manifest, lower: Mapping[str, Array]) -> str:
    """Return the generation of prefixes above these experts: changed by any bit of them; empty where there are none."""
    if not lower:
        return ""
    digest = sha256(b"".join(sha256(np.ascontiguousarray(lower[name]).tobytes()) for name in sorted(lower)))
    return family_of(manifest) + digest.hex()[:_GENERATION]


def drop_older(cache: PrefixCache, manifest: Manifest, bank: Bank) -> None:
    """Remove what the cache has of a package's prefixes above the experts of other versions than this one."""
    adapted = len(manifest.architecture.adapted_layers)
    depths = {tier.layers for tier in manifest.tiers if tier.layers < adapted}
    if depths:
        kept = {generation_of(manifest, placement.lower(bank, layers)) for layers in depths}
        cache.drop_generations(family_of(manifest), kept)


@dataclass
class TrunkTimes:
    """What computing prefixes took.

    Args:
        ms: in all.
        steady_ms: without the first call of each method, which loads it; of ``steady_texts`` texts.
    """

    ms: float = 0.0
    steady_ms: float = 0.0
    steady_texts: int = 0
    _called: set[str] = field(default_factory=set)

    def add(self, method: str, ms: float, texts: int) -> None:
        """Count a call."""
        self.ms += ms
        if method in self._called:
            self.steady_ms += ms
            self.steady_texts += texts
        self._called.add(method)

    @property
    def text_ms(self) -> float:
        """Milliseconds a text; 0 when nothing was measured."""
        return self.steady_ms / self.steady_texts if self.steady_texts else 0.0


class Trunk:
    """The frozen prefix of a tier's texts, through a cache.

    Args:
        program: of the package.
        manifest: of the package.
        tier: whose trunk methods compute it, and whose texts are cut at S.
        cache: None computes every prefix.
        rounding: one of ``ROUNDINGS``.
        lower: what stands in the layers below those that the tier trains (``slots.lower``).
        clock: seconds, for ``times`` only.
    """

    def __init__(
        self,
        program: Executor,
        manifest: Manifest,
        tier: Tier,
        cache: PrefixCache | None,
        rounding: str,
        *,
        lower: Mapping[str, Array] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._program, self._cache, self._rounding = program, cache, rounding
        self._methods = {name: method_capacity(manifest.methods[name]) for name in tier.trunk_methods}
        self._length = tier.seq_len
        self._width = manifest.architecture.backbone.width
        # The program's digest stands for backbone, layers and quantization: what a prefix depends on beside the ids.
        named = " ".join(tier.trunk_methods)
        self._lower, self._clock, self.times = dict(lower or {}), clock, TrunkTimes()
        self._generation = generation_of(manifest, self._lower)
        above = f"{self._generation} " if self._generation else ""
        self._salt = f"{manifest.files['program.pte'].sha256} {named} {self._length} {rounding} {above}".encode()
        self._text_salt = self._salt + f"text {manifest.files['tokenizer.json'].sha256} ".encode()

    @property
    def use(self) -> CacheUse:
        """What the cache did so far."""
        return self._cache.use if self._cache is not None else CacheUse()

    @property
    def rows(self) -> int:
        """Texts that are computed at once, at most."""
        return max(capacity.rows for capacity in self._methods.values())

    def of_texts(self, texts: Sequence[str], tokenizer: Tokenizer) -> list[Prefix]:
        """Return the prefixes of texts.

        Only texts that are not in the cache are cut into tokens: that took a third of what such a step spends outside
        its program.
        """
        keys = [sha256(self._text_salt + text.encode()) for text in texts]
        return self._prefixes(keys, lambda places: tokenizer.encode([texts[place] for place in places], self._length))

    def of_tokens(self, tokens: Sequence[Sequence[int]]) -> list[Prefix]:
        """Return the prefixes of texts that are tokens already; of longer ones of their first S."""
        cut = [one[: self._length] for one in tokens]
        keys = [sha256(self._salt + np.array(one, "<i8").tobytes()) for one in cut]
        return self._prefixes(keys, lambda places: [cut[place] for place in places])

    def spread(self, prefixes: Sequence[Prefix], packed: Packed) -> dict[str, Array]:
        """Return prefix and residual [R, S, d] by name, of a call's texts at their places."""
        room = packed.capacity
        values = np.zeros((len(ports.BOUNDARY), room.rows, room.sequence, self._width), np.float32)
        for slot, row, start, end in packed.spans():
            decode(prefixes[slot].data, self._rounding, values[:, row, start:end])
        return dict(zip(ports.BOUNDARY, values, strict=True))

    def _prefixes(self, keys: Sequence[bytes], tokens: Callable[[list[int]], Sequence[Sequence[int]]]) -> list[Prefix]:
        """Return the prefixes of texts by key, from the cache or from the trunk.

        Args:
            keys: of the texts.
            tokens: of the texts at some places; asked once, for those that must be computed.
        """
        known = {key: prefix for key in dict.fromkeys(keys) if (prefix := self._kept(key)) is not None}
        new = {key: place for place, key in enumerate(keys) if key not in known}
        if new:
            known |= zip(new, self._computed(tokens(list(new.values()))), strict=True)
            for key in new:
                if self._cache is not None and known[key].count:
                    self._cache.put(key, known[key].data, self._generation)
        return [known[key] for key in keys]

    def _kept(self, key: bytes) -> Prefix | None:
        data = self._cache.get(key, self._generation) if self._cache is not None else None
        count = tokens_in(data, self._width, self._rounding) if data is not None else 0
        return Prefix(count, data) if data is not None and 0 < count <= self._length else None

    def _computed(self, tokens: Sequence[Sequence[int]]) -> list[Prefix]:
        """Compute the prefixes of texts: of those that one method is the shortest for, R at once.

        Each has a row of its own and begins it, so its company changes no bit.
        """
        prefixes = [Prefix(0, b"")] * len(tokens)
        own: dict[str, list[int]] = {name: [] for name in self._methods}
        for place, text in enumerate(tokens):
            if text:  # the manifest lists the method for the shortest texts first
                own[next(name for name, room in self._methods.items() if len(text) <= room.sequence)].append(place)
        for name, places in own.items():
            rows = self._methods[name].rows
            for first in range(0, len(places), rows):
                call = places[first : first + rows]
                for place, prefix in zip(call, self._call(name, [tokens[place] for place in call]), strict=True):
                    prefixes[place] = prefix
        return prefixes

    def _call(self, name: str, tokens: Sequence[Sequence[int]]) -> list[Prefix]:
        packed = Packed.in_own_rows([len(text) for text in tokens], self._methods[name])
        inputs = {**self._lower, ports.IDS: packed.spread(tokens, np.int64), **packed.frame()}
        began = self._clock()
        results = self._program.execute(name, inputs)
        self.times.add(name, (self._clock() - began) * 1000, len(tokens))
        prefixes = []
        for _, row, start, end in packed.spans():
            values = np.stack([results[port][row, start:end] for port in ports.BOUNDARY])
            prefixes.append(Prefix(end - start, encode(values, self._rounding)))
        return prefixes
