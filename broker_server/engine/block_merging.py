"""From accepted deltas and the blocks of a version to the next: the arithmetic of a merge, for any set of blocks.

Blocks know nothing of each other, so each has the same bits whoever computes it, and beside whichever others. What says
something of several of them (inner products of updates, the norm of a whole one) is returned by block, and added up in
their order by who asked. Deltas are read a few at a time, so memory does not grow with their number.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, Protocol

from broker_server.rules.aggregate import (
    Contribution,
    Part,
    Sums,
    Wide,
    Work,
    combine,
    fold_all,
    parts_of,
    router_row,
)
from broker_server.rules.agreement import compared, gram_of
from broker_server.rules.capping import Limited, cut
from broker_server.rules.encoded_block import Block
from broker_server.rules.exact_folding import ByStaleness, discounted, fold_exact
from broker_server.rules.norm_cuts import NormCuts
from broker_server.rules.norms import norm_of
from broker_server.rules.privacy import Private, cut_whole, norm_left, private_sums
from broker_server.rules.robust import Robust, add_robust
from broker_server.rules.server_optimizer import optimized
from broker_server.rules.server_rules import PLAIN, ServerRules
from broker_server.rules.summed_block import SummedBlock
from broker_server.rules.updates import next_blocks
from broker_server.state.rows import DeltaRow
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.tensors import Array

FOLD_BYTES: Final = 32 * 1024 * 1024
"""Deltas that are folded together; so much of them is in memory."""
THREADS: Final = min(4, os.cpu_count() or 1)
"""That share the blocks of deltas which are folded together; NumPy computes without Python's lock."""
ROBUST_BYTES: Final = 64 * 1024 * 1024
"""Blocks of all deltas that are compared together; for each such part every body is read again."""


def at_once(works: Sequence[Work]) -> None:
    """Do pieces of work in threads, THREADS at most; return when all are done."""
    with ThreadPoolExecutor(max(1, min(THREADS, len(works)))) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()


class Counted(NamedTuple):
    """An accepted delta and what it counts for. Args: row: of the ledger; claims: capped, without deltas."""

    row: DeltaRow
    claims: Contribution


@dataclass(frozen=True)
class BlockMerge:
    """What a merge asks of whoever holds the blocks.

    Args:
        counted: the deltas, in the order of folding.
        rules: beyond the mean, those of this round's steps.
        limits: what updates are cut to; None: private merging cuts each as a whole.
        rounded: whether the version goes down in steps of int8.
        private: what is promised of it, of private merging.
        lengths: of private merging the norm of each whole update by its digest; None: every block of it is here.
    """

    counted: Sequence[Counted]
    rules: ServerRules = PLAIN
    limits: NormCuts | None = None
    rounded: bool = False
    private: Private | None = None
    lengths: Mapping[bytes, float] | None = None


@dataclass(frozen=True)
class BlocksBefore:
    """What the next version of some blocks is made from.

    Args:
        values: of the version before, float32 [P] by block, as devices have them.
        residuals: that it left out.
        moments: of the gateway's optimizer after it.
    """

    values: Mapping[ExpertId, Array]
    residuals: Mapping[ExpertId, Array] = field(default_factory=dict)
    moments: Mapping[ExpertId, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class MergedBlocks:
    """What a merge made of some blocks.

    Args:
        values: of those that changed, float32 [P].
        residuals: that are left out now, changed or not.
        updates: in codec INT8: they make new blocks of those before.
        moments: of the gateway's optimizer, changed or not.
        devices: how many deltas went into each block.
        limited: by digest of a delta, the block of each kind that was cut most.
    """

    values: Mapping[ExpertId, Array] = field(default_factory=dict)
    residuals: Mapping[ExpertId, Array] = field(default_factory=dict)
    updates: Mapping[ExpertId, bytes] = field(default_factory=dict)
    moments: Mapping[ExpertId, Array] = field(default_factory=dict)
    devices: Mapping[ExpertId, int] = field(default_factory=dict)
    limited: Mapping[bytes, Sequence[Limited]] = field(default_factory=dict)


class Gram(NamedTuple):
    """Inner products of the updates of one block. Args: holders: places of its deltas; products: float64 [k, k]."""

    block: ExpertId
    holders: list[int]
    products: Wide


class Bodies(Protocol):
    """Where the values of accepted deltas are."""

    def blocks(self, row: DeltaRow) -> Mapping[ExpertId, Block]:
        """Return the blocks of a delta that are here, ascending, as they came; none of a site's sum.

        Raises:
            BodyError: when they are damaged or gone.
        """
        ...

    def sums(self, row: DeltaRow) -> Mapping[ExpertId, SummedBlock]:
        """Return the blocks of a site's sum that are here, ascending. Raises: as blocks."""
        ...


_Limits = dict[bytes, Sequence[Limited]]


class BlockMerging:
    """Merges blocks.

    Args:
        bodies: of deltas.
        shape: of the bank.
        topk: whether routers chose experts. Then a delta's blocks of a layer must all be here or none: what their
            router rows have in common is taken out.
    """

    def __init__(self, bodies: Bodies, shape: BankShape, *, topk: bool) -> None:
        self._bodies, self._shape, self._topk = bodies, shape, topk

    def merge(self, merge: BlockMerge, before: BlocksBefore) -> MergedBlocks:
        """Return the next version of the blocks of ``before``; the deltas have no others here.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        sums, limited = self.sums(merge)
        sums, moments = optimized(sums, before.moments, merge.rules.optimizer)
        blocks = next_blocks(before.values.__getitem__, before.residuals, sums, rounded=merge.rounded)
        return MergedBlocks(blocks.values, blocks.residuals, blocks.updates, moments, dict(sums.devices), limited)

    def sums(self, merge: BlockMerge) -> tuple[Sums, Mapping[bytes, Sequence[Limited]]]:
        """Return the deltas folded, and what was cut of each.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        robust = merge.rules.robust
        if merge.private is not None:
            return self._private(merge, merge.private), {}
        if robust is None or not robust.by_value:
            return self._means(merge)
        return self._robust(merge, robust)

    def grams(self, rows: Sequence[DeltaRow]) -> Iterator[Gram]:
        """Yield the inner products of deltas as they came, ascending by block, of those that directions compare.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        for every in self._in_blocks([row for row in rows if not row.summed]):
            blocks = compared(every)
            deltas: dict[ExpertId, dict[int, Block]] = {block: {} for block in blocks}
            for place, row in enumerate(rows):
                if deltas.keys().isdisjoint(row.blocks):
                    continue
                update = self._bodies.blocks(row)
                for block in deltas.keys() & update.keys():
                    deltas[block][place] = update[block]
            for block in blocks:
                yield Gram(block, [*deltas[block]], gram_of([*deltas[block].values()]))

    def squares(self, rows: Sequence[DeltaRow]) -> dict[bytes, list[float]]:
        """Return the squared norm of each block that is here of deltas, ascending by block; by digest.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        return {row.digest: [norm_of(one) ** 2 for one in self._bodies.blocks(row).values()] for row in rows}

    def _private(self, merge: BlockMerge, private: Private) -> Sums:
        """Fold into noisy sums, whatever devices claim; one with several deltas shares its norm among them."""
        norm, sums = norm_left(private.privacy, self._shape.nbytes // 4), Sums()
        times, lengths = Counter(one.row.device for one in merge.counted), merge.lengths
        for some in _in_parts(merge.counted):
            whole = [
                cut_whole(
                    self._with_deltas(one),
                    norm / times[one.row.device],
                    None if lengths is None else lengths[one.row.digest],
                )
                for one in some
            ]
            fold_all(sums, whole, self._shape, topk=False, shares=THREADS, run=at_once)
        return private_sums(sums, private.planned, private.privacy, private.key, self._shape)

    def _means(self, merge: BlockMerge) -> tuple[Sums, _Limits]:
        """Fold into weighted means: a few deltas at a time, all of their blocks."""
        sums, limited, normalized = Sums(), _Limits(), merge.rules.normalized
        if merge.rules.exact:
            return discounted(self.exact_sums(merge)), {}
        for some in _in_parts(merge.counted):
            whole = []
            for one in some:
                update, limited[one.row.digest] = self._cut(one, merge.limits)
                whole.append(update)
            fold_all(sums, whole, self._shape, topk=self._topk, normalized=normalized, shares=THREADS, run=at_once)
        return sums, limited

    def exact_sums(self, merge: BlockMerge) -> ByStaleness:
        """Return the deltas of a merge by exact rules, folded; no norm is cut.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        sums, normalized = ByStaleness(), merge.rules.normalized
        for some in _in_parts(merge.counted):
            whole = [self._with_sums(one) if one.row.summed else self._with_deltas(one) for one in some]
            fold_exact(sums, whole, self._shape, topk=self._topk, normalized=normalized, shares=THREADS, run=at_once)
        return sums

    def _robust(self, merge: BlockMerge, robust: Robust) -> tuple[Sums, _Limits]:
        """Merge robustly: all deltas at a time, a few of their blocks, since a value is compared with all others."""
        sums, limited = Sums(), _Limits()
        counted = [one for one in merge.counted if not one.row.summed]
        for blocks in self._in_blocks([one.row for one in counted]):
            parts: dict[ExpertId, list[Part]] = {block: [] for block in blocks}
            for one in counted:
                if parts.keys().isdisjoint(one.row.blocks):
                    continue
                update, limited[one.row.digest] = self._cut(one, merge.limits)
                every = parts_of(update, self._shape, topk=self._topk, normalized=merge.rules.normalized)
                for block in parts.keys() & every.keys():
                    parts[block].append(every[block])
            merged = {block: Sums() for block in blocks}
            router = router_row(self._shape)
            at_once([partial(add_robust, merged[block], block, parts[block], robust, router) for block in blocks])
            sums = combine([sums, *merged.values()])
        return sums, limited

    def _in_blocks(self, rows: Sequence[DeltaRow]) -> Iterator[list[ExpertId]]:
        """Yield the blocks that were trained, ascending, about ROBUST_BYTES of all bodies at a time."""
        bytes_of: dict[ExpertId, float] = {}
        for row in rows:
            sizes = {block: self._shape.size(block) for block in row.blocks}
            for block, size in sizes.items():
                bytes_of[block] = bytes_of.get(block, 0.0) + row.bytes * size / sum(sizes.values())
        part: list[ExpertId] = []
        for block in sorted(bytes_of):
            if part and sum(bytes_of[one] for one in part) + bytes_of[block] > ROBUST_BYTES:
                yield part
                part = []
            part.append(block)
        if part:
            yield part

    def _cut(self, one: Counted, limits: NormCuts | None) -> tuple[Contribution, list[Limited]]:
        """Return a delta cut to its norms, and what of it was."""
        update = self._with_deltas(one)
        return (update, []) if limits is None else cut(update, limits.of(update), one.row.norms)

    def _with_deltas(self, one: Counted) -> Contribution:
        return dataclasses.replace(one.claims, deltas=self._bodies.blocks(one.row))

    def _with_sums(self, one: Counted) -> Contribution:
        return dataclasses.replace(one.claims, sums=self._bodies.sums(one.row))


def _in_parts(counted: Sequence[Counted]) -> Iterator[list[Counted]]:
    """Yield them in their order, about FOLD_BYTES of bodies at a time."""
    part: list[Counted] = []
    held = 0
    for one in counted:
        part.append(one)
        held += one.row.bytes
        if held >= FOLD_BYTES:
            yield part
            part, held = [], 0
    if part:
        yield part
