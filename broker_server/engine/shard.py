"""One shard: a range of the bank's blocks, and what it needs to merge them, in a ledger of its own.

Every call may be made again, after any death: what is kept is named by its digest, and a merge by the digest of all
that was asked. What the shard lacks it says by name, and is sent it; so one that lost its ledger is as good as new.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from broker_server.engine.block_merging import BlockMerge, BlockMerging, BlocksBefore, Gram, MergedBlocks
from broker_server.errors import BodyError, StateError, StorageError
from broker_server.rules.admission import read_blocks
from broker_server.rules.capping import Limited
from broker_server.rules.encoded_block import EncodedBlock
from broker_server.rules.ranges import Range
from broker_server.rules.site_sums import read_sums
from broker_server.rules.summed_block import SummedBlock
from broker_server.state.rows import DeltaRow
from broker_server.state.shard_ledger import DELTA, VALUES, ShardLedger, remove
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.tensors import Array

Names = Mapping[ExpertId, bytes]
"""Digest of values by block."""
T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """What a shard has. Args: federation: its digest; shape: of the bank; topk: its gates; blocks: of the shard."""

    federation: bytes
    shape: BankShape
    topk: bool
    blocks: Range

    @cached_property
    def digest(self) -> bytes:
        """Of all of it: a ledger of another layout is no use."""
        blocks = ",".join(f"{block.layer}.{block.index}" for block in self.blocks)
        return sha256(f"{self.federation.hex()} {self.shape!r} {self.topk} {blocks}".encode())


@dataclass(frozen=True)
class Before:
    """Names of the values that a merge begins with, by block. Args: as BlocksBefore."""

    values: Names
    residuals: Names
    moments: Names

    @property
    def names(self) -> set[bytes]:
        """All of them."""
        return {name for names in (self.values, self.residuals, self.moments) for name in names.values()}


@dataclass(frozen=True)
class Asked:
    """A merge that a shard is asked for. Args: key: digest of the rest; merge: its deltas, cut to its blocks."""

    key: bytes
    merge: BlockMerge
    before: Before


@dataclass(frozen=True)
class Lacking:
    """What a shard has to be sent first. Args: deltas, values: names."""

    deltas: frozenset[bytes] = frozenset()
    values: frozenset[bytes] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.deltas or self.values)


@dataclass(frozen=True)
class Look:
    """A shard as it sees itself.

    Args:
        node: name of its machine.
        pid: of its process; with ``node`` another one after each restart.
        release: of this code and of NumPy.
        starts: of its ledger.
        ledger_bytes: on its disk.
        merges: since the process began.
    """

    node: str
    pid: int
    release: str
    starts: int
    ledger_bytes: int
    merges: int


class Shard:
    """Args: folder: of its ledger; layout: what it has."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self._folder, self._layout, self._merges = folder, layout, 0
        self._ledger = ShardLedger.open(folder, layout.digest)
        self._merging = BlockMerging(self, layout.shape, topk=layout.topk)

    def keep(self, kind: str, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep parts of deltas by the delta's digest, or values by theirs.

        Raises:
            StorageError: when the disk refuses.
        """
        try:
            self._keep(kind, items)
        except StateError:  # damaged: what it held is sent again
            self._begin_anew()
            self._keep(kind, items)

    def _keep(self, kind: str, items: Sequence[tuple[bytes, bytes]]) -> None:
        with self._ledger.transaction():
            self._ledger.keep(kind, items)

    def merge(self, asked: Asked) -> MergedBlocks | Lacking:
        """Return the next version of the shard's blocks, or what it lacks.

        Raises:
            StorageError: when the disk refuses.
        """
        rows = [one.row for one in asked.merge.counted]
        return self._guarded(rows, asked.before.names, lambda: self._merge(asked))

    def grams(self, rows: Sequence[DeltaRow]) -> list[Gram] | Lacking:
        """Return the inner products of deltas, block by block, or what it lacks."""
        return self._guarded(rows, (), lambda: list(self._merging.grams(rows)))

    def squares(self, rows: Sequence[DeltaRow]) -> dict[bytes, list[float]] | Lacking:
        """Return squared norms of the shard's blocks of deltas, ascending by block, or what it lacks."""
        return self._guarded(rows, (), lambda: self._merging.squares(rows))

    def release(self, waiting: Collection[bytes]) -> None:
        """Let go of the deltas that are part of a version. Args: waiting: digests of those that are not."""
        try:
            with self._ledger.transaction():
                self._ledger.drop_others(DELTA, waiting)
        except (StateError, StorageError):
            return  # the next one does it
        self._ledger.checkpoint()

    def look(self) -> Look:
        """Say how it is; may be called while it merges."""
        return Look(
            socket.gethostname(), os.getpid(), release(), self._ledger.starts, self._ledger.file_bytes, self._merges
        )

    def close(self) -> None:
        """Let the ledger go."""
        self._ledger.close()

    def blocks(self, row: DeltaRow) -> dict[ExpertId, EncodedBlock]:
        """Return the shard's blocks of a delta, ascending, as they came.

        Raises:
            BodyError: when they are not here.
        """
        if not row.blocks or row.summed:
            return {}
        data = self._ledger.data(DELTA, row.digest)
        if data is None:
            raise BodyError(f"the shard lacks delta {row.digest.hex()[:12]}")
        return read_blocks(pb.Delta.FromString(data), self._layout.shape)

    def sums(self, row: DeltaRow) -> dict[ExpertId, SummedBlock]:
        """Return the shard's blocks of a site's sum, ascending. Raises: as blocks."""
        data = self._ledger.data(DELTA, row.digest) if row.blocks else b""
        if data is None:
            raise BodyError(f"the shard lacks a sum of {row.device}")
        return read_sums(pb.PartialSum.FromString(data), self._layout.shape)

    def _guarded(self, rows: Sequence[DeltaRow], values: Collection[bytes], work: Callable[[], T]) -> T | Lacking:
        """Do work, unless something lacks or turns out to be damaged meanwhile."""
        for _ in range(2):
            try:
                lacking = self._lacking(rows, values)
                return lacking or work()
            except BodyError:
                self._ledger.drop_damaged()  # one is: it lacks now, and so do all others that are
            except StateError:
                self._begin_anew()
        return self._lacking(rows, values)

    def _lacking(self, rows: Sequence[DeltaRow], values: Collection[bytes]) -> Lacking:
        deltas = {row.digest for row in rows if row.blocks} - self._ledger.names(DELTA)
        return Lacking(frozenset(deltas), frozenset(set(values) - self._ledger.names(VALUES)))

    def _begin_anew(self) -> None:
        self._ledger.close()
        remove(self._ledger.path)
        self._ledger = ShardLedger.open(self._folder, self._layout.digest)

    def _merge(self, asked: Asked) -> MergedBlocks:
        answer = self._ledger.prepared(asked.key)
        if answer is not None:
            with contextlib.suppress(BodyError):  # damaged: it is made again
                return self._read(json.loads(answer))
        before = BlocksBefore(*(dict(self._arrays(names)) for names in (asked.before.values, asked.before.residuals)))
        moments = {
            block: values.reshape(-1, self._layout.shape.size(block))
            for block, values in self._arrays(asked.before.moments)
        }
        merged = self._merging.merge(asked.merge, dataclasses.replace(before, moments=moments))
        self._prepare(asked, merged)
        self._merges += 1
        return merged

    def _prepare(self, asked: Asked, merged: MergedBlocks) -> None:
        """Keep what was made, and of what there was before only what it was made from."""
        held: dict[bytes, bytes] = {}

        def named(values: Mapping[ExpertId, Array] | Mapping[ExpertId, bytes]) -> list[list[Any]]:
            listed = []
            for block, one in values.items():
                data = one if isinstance(one, bytes) else raw(one)
                name = sha256(data)
                held[name] = data
                listed.append([block.layer, block.index, name.hex()])
            return listed

        tree = {
            "values": named(merged.values),
            "residuals": named(merged.residuals),
            "updates": named(merged.updates),
            "moments": named(merged.moments),
            "devices": [[block.layer, block.index, count] for block, count in merged.devices.items()],
            "limited": [
                [digest.hex(), [list(vars(one).values()) for one in limited]]
                for digest, limited in merged.limited.items()
            ],
        }
        with self._ledger.transaction():
            self._ledger.keep(VALUES, held.items())
            self._ledger.drop_others(VALUES, held.keys() | asked.before.names)
            self._ledger.prepare(asked.key, json.dumps(tree).encode())

    def _read(self, tree: Mapping[str, Any]) -> MergedBlocks:
        def named(key: str) -> dict[ExpertId, bytes]:
            return {ExpertId(layer, index): bytes.fromhex(name) for layer, index, name in tree[key]}

        moments = self._arrays(named("moments"))
        return MergedBlocks(
            values=dict(self._arrays(named("values"))),
            residuals=dict(self._arrays(named("residuals"))),
            updates={block: self._value(name) for block, name in named("updates").items()},
            moments={block: values.reshape(-1, self._layout.shape.size(block)) for block, values in moments},
            devices={ExpertId(layer, index): count for layer, index, count in tree["devices"]},
            limited={bytes.fromhex(digest): [Limited(*one) for one in listed] for digest, listed in tree["limited"]},
        )

    def _arrays(self, names: Names) -> Iterator[tuple[ExpertId, Array]]:
        for block, name in names.items():
            yield block, np.frombuffer(self._value(name), "<f4").astype(np.float32)

    def _value(self, name: bytes) -> bytes:
        data = self._ledger.data(VALUES, name)
        if data is None:
            raise BodyError(f"the shard lacks values {name.hex()[:12]}")
        return data


def raw(values: Array) -> bytes:
    """Return values as they are kept and named: little-endian float32, whatever they are."""
    return np.ascontiguousarray(values, "<f4").tobytes()


def release() -> str:
    """Return which code computes here: shards and their gateway must be alike, since versions are equal to the bit."""
    try:
        ours = importlib.metadata.version("edge-experts")
    except importlib.metadata.PackageNotFoundError:
        ours = "a checkout"
    return f"edge-experts {ours}, NumPy {np.__version__}"
