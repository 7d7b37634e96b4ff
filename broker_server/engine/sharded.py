"""An engine of shards: cuts what a merge asks into ranges of blocks, sends what they lack, puts the answers together.

Where a shard is, and what becomes of it, is for its handle to know. The spool stays the place of record: a part of a
delta is sent ahead when it was accepted, and again whenever a shard says that it lacks it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from broker_server.engine.block_merging import BlockMerge, BlockMerging, BlocksBefore, Counted, Gram, MergedBlocks
from broker_server.engine.in_process import SpoolBodies
from broker_server.engine.shard import Asked, Before, Lacking, Names, raw
from broker_server.errors import BrokerError, EngineError
from broker_server.rules.aggregate import Contribution
from broker_server.rules.privacy import Private, length_of
from broker_server.rules.ranges import Range
from broker_server.rules.server_optimizer import MOMENTS
from broker_server.rules.site_sums import body_of
from broker_server.state.rows import DeltaRow
from broker_server.state.shard_ledger import DELTA, VALUES
from broker_server.state.spool import Spool
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.tensors import Array

SENT_BYTES: Final = 32 * 1024 * 1024
"""Parts of deltas and values that are on their way to shards together; so much of them is in memory."""
TRIES: Final = 10
"""How often a shard is sent what it lacks for one call."""
AHEAD: Final = 1024
"""Deltas that wait to be sent ahead; of more the merge sends what lacks."""


class Answer(Protocol):
    """What a shard will have answered."""

    def get(self) -> Any:  # noqa: ANN401 - as the call says
        """Wait for it.

        Raises:
            EngineError: when the shard cannot be reached.
            StorageError: when its disk refuses.
        """
        ...


class Handle(Protocol):
    """A shard, wherever it is. Calls of one shard are done in their order."""

    def ask(self, call: str, *arguments: Any) -> Answer:  # noqa: ANN401 - as the call says
        """Begin a call of ``shard.Shard``."""
        ...


class Sharded:
    """Args: spool: of deltas; shape: of the bank; topk: its gates; shards: a handle for each range, ascending.

    ``ahead``: parts of deltas are sent when these are accepted, on a thread of its own.
    """

    def __init__(
        self, spool: Spool, shape: BankShape, shards: Sequence[tuple[Range, Handle]], *, topk: bool, ahead: bool = True
    ) -> None:
        self._spool, self._shape, self._shards = spool, shape, list(shards)
        self._ranges = [frozenset(blocks) for blocks, _ in self._shards]
        self._nothing = BlockMerging(SpoolBodies(spool, shape), shape, topk=topk)
        self._queue: queue.Queue[bytes | None] = queue.Queue(AHEAD)
        self._ahead = threading.Thread(target=self._send_ahead, name="shards-ahead", daemon=True) if ahead else None
        if self._ahead is not None:
            self._ahead.start()

    def accepted(self, digest: bytes) -> None:
        """Send a delta's parts ahead, if there is room for that."""
        if self._ahead is not None:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(digest)

    def merge(self, merge: BlockMerge, before: BlocksBefore) -> MergedBlocks:
        """Return the next version of all blocks. Raises: as Engine; EngineError, StorageError."""
        self._drop_queue()
        touched = {block for one in merge.counted for block in one.row.blocks}
        if merge.private is not None:
            touched |= merge.private.planned.keys()
            merge = dataclasses.replace(merge, lengths=self._lengths([one.row for one in merge.counted]))
        values: dict[bytes, Array] = {}
        asked = {}
        for number, blocks in enumerate(self._ranges):
            own = touched & blocks
            if own:
                asked[number] = (_asked(merge, before, own, values, merge.rules.optimizer.kind),)
        answers: list[MergedBlocks] = self._answers("merge", asked, values)
        idle = dataclasses.replace(merge, counted=(), private=None, limits=None)
        return _together([*answers, self._nothing.merge(idle, _cut(before, before.values.keys() - touched))])

    def grams(self, rows: Sequence[DeltaRow]) -> Iterator[Gram]:
        """Yield inner products of deltas, ascending by block. Raises: as merge."""
        asked = {number: ([_row(row, own) for row in rows],) for number, own in enumerate(self._ranges)}
        for listed in self._answers("grams", asked, {}):
            yield from listed

    def merged(self, waiting: Collection[bytes]) -> None:
        """Let shards let go of what is part of a version; nobody waits for that."""
        for _, handle in self._shards:
            with contextlib.suppress(BrokerError):
                handle.ask("release", list(waiting))

    def close(self) -> None:
        """End the thread that sends ahead."""
        if self._ahead is not None:
            self._drop_queue()
            self._queue.put(None)
            self._ahead.join(1.0)
            self._ahead = None

    def _lengths(self, rows: Sequence[DeltaRow]) -> dict[bytes, float]:
        """Return the norm of each whole update, added up in the order of blocks, as one process does."""
        asked = {number: ([_row(row, own) for row in rows],) for number, own in enumerate(self._ranges)}
        parts: list[Mapping[bytes, list[float]]] = self._answers("squares", asked, {})
        return {row.digest: length_of(one for part in parts for one in part[row.digest]) for row in rows}

    def _answers(self, call: str, asked: Mapping[int, tuple[Any, ...]], values: Mapping[bytes, Array]) -> list[Any]:
        """Ask shards at once, sending what they lack until none does; return their answers in the shards' order."""
        done: dict[int, Any] = {}
        for _ in range(TRIES):
            begun = {
                number: self._shards[number][1].ask(call, *arguments)
                for number, arguments in asked.items()
                if number not in done
            }
            came = {number: answer.get() for number, answer in begun.items()}
            lacking = {number: one for number, one in came.items() if isinstance(one, Lacking)}
            done |= {number: one for number, one in came.items() if number not in lacking}
            if not lacking:
                return [done[number] for number in sorted(done)]
            self._supply(lacking, values)
        what = ", ".join(map(str, sorted(set(asked) - set(done))))
        raise EngineError(f"shard {what} was sent {TRIES} times what it lacks, and lacks it still: look at its disk")

    def _supply(self, lacking: Mapping[int, Lacking], values: Mapping[bytes, Array]) -> None:
        for number, one in lacking.items():
            parcels = ((number, name, raw(values[name])) for name in sorted(one.values))
            self._send(VALUES, parcels)
        wanted = sorted({digest for one in lacking.values() for digest in one.deltas})
        shards = {digest: [number for number, one in lacking.items() if digest in one.deltas] for digest in wanted}
        self._send(DELTA, ((*part,) for digest in wanted for part in self._parts(self._spool, digest, shards[digest])))

    def _parts(self, spool: Spool, digest: bytes, shards: Iterable[int]) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (shard, name, data) of a delta's parts. Raises: BodyError."""
        body = body_of(spool.read(digest))
        for number in shards:
            own = self._ranges[number]
            if isinstance(body, pb.PartialSum):
                blocks = [one for one in body.blocks if ExpertId(one.layer, one.index) in own]
                if blocks:
                    yield number, digest, pb.PartialSum(blocks=blocks).SerializeToString()
                continue
            experts = [one for one in body.experts if ExpertId(one.layer, one.index) in own]
            if experts:
                yield number, digest, pb.Delta(codec=body.codec, experts=experts).SerializeToString()

    def _send(self, kind: str, parcels: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Send parcels, SENT_BYTES at a time; return when they are kept."""
        held: dict[int, list[tuple[bytes, bytes]]] = {}
        size = 0

        def flush() -> None:
            for answer in [self._shards[number][1].ask("keep", kind, items) for number, items in held.items()]:
                answer.get()
            held.clear()

        for number, name, data in parcels:
            held.setdefault(number, []).append((name, data))
            size += len(data)
            if size >= SENT_BYTES:
                flush()
                size = 0
        flush()

    def _send_ahead(self) -> None:
        spool = Spool(self._spool.folder)  # what it knows of files belongs to one thread
        while (digest := self._queue.get()) is not None:
            with contextlib.suppress(BrokerError):  # the merge sends what lacks
                self._send(DELTA, self._parts(spool, digest, range(len(self._shards))))

    def _drop_queue(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()


def _asked(
    merge: BlockMerge, before: BlocksBefore, own: Collection[ExpertId], values: dict[bytes, Array], optimizer: str
) -> Asked:
    """Return what one shard is asked. Args: values: gets what the names stand for; optimizer: whose moments count."""
    cut = _cut(before, own)
    # Moments of another optimizer begin anew, and need not travel.
    moments = {block: one for block, one in cut.moments.items() if len(one) == MOMENTS[optimizer]}
    names = Before(_named(cut.values, values), _named(cut.residuals, values), _named(moments, values))
    counted = [Counted(_row(one.row, own), _claims(one.claims, own)) for one in merge.counted]
    private = merge.private
    if private is not None:
        planned = {block: count for block, count in private.planned.items() if block in own}
        private = Private(private.privacy, planned, private.key)
    part = dataclasses.replace(merge, counted=counted, private=private)
    return Asked(sha256(repr((part, names)).encode()), part, names)


def _named(blocks: Mapping[ExpertId, Array], values: dict[bytes, Array]) -> Names:
    names = {block: sha256(raw(one)) for block, one in sorted(blocks.items(), key=lambda item: item[0])}
    values |= {names[block]: one for block, one in blocks.items()}
    return names


def _cut(before: BlocksBefore, own: Collection[ExpertId]) -> BlocksBefore:
    def some(blocks: Mapping[ExpertId, Array]) -> dict[ExpertId, Array]:
        return {block: values for block, values in blocks.items() if block in own}

    return BlocksBefore(some(before.values), some(before.residuals), some(before.moments))


def _row(row: DeltaRow, own: Collection[ExpertId]) -> DeltaRow:
    return dataclasses.replace(row, blocks=tuple(block for block in row.blocks if block in own))


def _claims(claims: Contribution, own: Collection[ExpertId]) -> Contribution:
    use = {block: counts for block, counts in claims.use.items() if block in own}
    return dataclasses.replace(claims, use=use, stale={b: one for b, one in claims.stale.items() if b in own})


def _together(parts: Sequence[MergedBlocks]) -> MergedBlocks:
    """Put answers together, in the order of ranges."""

    def every(of: Callable[[MergedBlocks], Mapping[ExpertId, Any]]) -> dict[ExpertId, Any]:
        return {block: one for part in parts for block, one in of(part).items()}

    limited: dict[bytes, dict[str, Any]] = {}
    for part in parts:
        for digest, listed in part.limited.items():
            most = limited.setdefault(digest, {})
            for one in listed:
                if one.limit not in most or most[one.limit].came < one.came:
                    most[one.limit] = one
    return MergedBlocks(
        every(lambda part: part.values), every(lambda part: part.residuals), every(lambda part: part.updates),
        every(lambda part: part.moments), every(lambda part: part.devices),
        {digest: list(most.values()) for digest, most in limited.items()},
    )  # fmt: skip
