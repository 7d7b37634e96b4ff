"""Accepted deltas from the spool into the sums of a version: each is read, hashed and decoded once, a few at a time.

What a delta claims is needed before any is folded, since a cap depends on all claims. It is remembered from the delta's
acceptance, without values a few kilobytes; after a start it is read from the spool.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from broker_server.errors import BodyError
from broker_server.rounds.staleness import Staleness
from broker_server.rules.admission import read_claims, read_contribution
from broker_server.rules.aggregate import Contribution, Part, Sums, Work, combine, fold_all, parts_of, router_row
from broker_server.rules.agreement import Products, compared
from broker_server.rules.capping import Limited, cap, cut
from broker_server.rules.encoded_block import Block
from broker_server.rules.norm_cuts import NormCuts, norm_cuts
from broker_server.rules.privacy import Private, cut_whole, norm_left, private_sums
from broker_server.rules.robust import NO_NORMS, Robust, UsualNorms, add_robust
from broker_server.rules.server_rules import PLAIN, ServerRules
from broker_server.rules.weights import Caps
from broker_server.state.rows import DeltaRow
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.messages import decode

FOLD_BYTES: Final = 32 * 1024 * 1024
"""Deltas that are folded together; so much of them is in memory."""
THREADS: Final = min(4, os.cpu_count() or 1)
"""That share the blocks of deltas which are folded together; NumPy computes without Python's lock."""
CLAIMS_BYTES: Final = 8 * 1024 * 1024
"""Claims that are remembered; those beyond are read again."""
ROBUST_BYTES: Final = 64 * 1024 * 1024
"""Blocks of all deltas that are compared together; for each such part every body is read again."""


def at_once(works: Sequence[Work]) -> None:
    """Do pieces of work in threads, THREADS at most; return when all are done."""
    with ThreadPoolExecutor(max(1, min(THREADS, len(works)))) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()


@dataclass(frozen=True)
class Folded:
    """A round's deltas, folded.

    Args:
        sums: of them.
        capped: the contributions without their deltas, as they counted.
        limited: who reached a limit.
        norms: that are usual after them; of robust merging.
    """

    sums: Sums
    capped: list[Contribution]
    limited: list[Limited]
    norms: UsualNorms = NO_NORMS


class Folding:
    """Reads deltas for merging. Args: store: opened state; topk: whether routers chose experts; top_k: how many."""

    def __init__(self, store: Store, *, topk: bool, top_k: int) -> None:
        self._store, self._topk, self._top_k = store, topk, top_k
        self._shape = store.manifest.architecture.bank_shape
        self._staleness = Staleness(store.ledger)
        self._claims: dict[bytes, bytes] = {}
        self._claims_bytes = 0

    def remember(self, digest: bytes, delta: pb.Delta) -> None:
        """Keep what an accepted delta claims until it is folded. Args: digest: of its body; delta: without values."""
        claim = delta.SerializeToString()
        if digest not in self._claims and self._claims_bytes + len(claim) <= CLAIMS_BYTES:
            self._claims[digest] = claim
            self._claims_bytes += len(claim)

    def unreadable(self) -> list[tuple[DeltaRow, str]]:
        """Return the deltas that wait and whose body is damaged or gone, and what is wrong with it."""
        damaged = []
        for row in self._store.ledger.waiting():
            try:
                self._store.spool.read(row.digest)
            except BodyError as error:
                damaged.append((row, str(error)))
        return damaged

    def folded(
        self,
        rows: Sequence[DeltaRow],
        caps: Caps,
        merges: Sequence[int],
        rules: ServerRules = PLAIN,
        usual: UsualNorms = NO_NORMS,
    ) -> Folded:
        """Fold deltas; what devices claim is read before, since a cap depends on all claims.

        Args:
            rows: of the deltas.
            caps: what one device may weigh.
            merges: versions that were merges when they are folded, ascending.
            rules: beyond the mean.
            usual: norms that were usual before; of robust merging.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        claims = [self._claimed(row, merges) for row in rows]
        rules = rules.of_steps([one.steps for one in claims])
        capped, limited = cap(claims, caps, self._top_k if self._topk else 0)
        counted = list(zip(rows, capped, strict=True))
        limits, usual = norm_cuts([row.norms for row in rows], claims, caps, rules, usual)
        if rules.robust is None or not rules.robust.by_value:
            sums, shortened = self._means(counted, limits, rules)
        else:
            sums, shortened = self._robust(counted, limits, rules, rules.robust)
        self._forget()
        return Folded(sums, capped, limited + shortened, usual)

    def scores(self, rows: Sequence[DeltaRow]) -> dict[str, float]:
        """Return how far the updates of each device point where those of the others do; none where they are few.

        They are taken as they came: a cosine knows no lengths, but blocks of a kind that is cut would count less than
        others in the direction of the whole.

        Args:
            rows: of the deltas.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        products = Products([row.device for row in rows])
        for every in self._in_blocks(rows) if products.enough else ():
            blocks = compared(every)
            deltas: dict[ExpertId, dict[int, Block]] = {block: {} for block in blocks}
            for place, row in enumerate(rows):
                if deltas.keys().isdisjoint(row.blocks):
                    continue
                update = read_contribution(self._delta(row), self._shape, 0, row.examples).deltas
                for block in deltas.keys() & update.keys():
                    deltas[block][place] = update[block]
            for block in blocks:
                products.add([*deltas[block]], [*deltas[block].values()])
        return products.scores()

    def private(self, rows: Sequence[DeltaRow], private: Private) -> Folded:
        """Fold deltas into noisy sums, whatever devices claim; one with several deltas shares its norm among them.

        Args:
            rows: of the deltas.
            private: what is promised of the merge.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        norm, sums = norm_left(private.privacy, self._shape.nbytes // 4), Sums()
        times = Counter(row.device for row in rows)
        claims = [self._claimed(row, ()) for row in rows]
        for some in _in_parts(list(zip(rows, claims, strict=True))):
            whole = [cut_whole(self._with_deltas(row, one), norm / times[row.device]) for row, one in some]
            fold_all(sums, whole, self._shape, topk=False, shares=THREADS, run=at_once)
        self._forget()
        noisy = private_sums(sums, private.planned, private.privacy, private.key, self._shape)
        return Folded(noisy, claims, [])

    def _means(self, counted: Sequence[_Counted], limits: NormCuts, rules: ServerRules) -> tuple[Sums, list[Limited]]:
        """Fold into weighted means: a few deltas at a time, all of their blocks."""
        sums, limited = Sums(), list[Limited]()
        for some in _in_parts(counted):
            whole = []
            for row, one in some:
                update, shortened = cut(self._with_deltas(row, one), limits.of(one), row.norms)
                whole.append(update)
                limited += shortened
            fold_all(
                sums, whole, self._shape, topk=self._topk, normalized=rules.normalized, shares=THREADS, run=at_once
            )
        return sums, limited

    def _robust(
        self, counted: Sequence[_Counted], limits: NormCuts, rules: ServerRules, robust: Robust
    ) -> tuple[Sums, list[Limited]]:
        """Merge robustly: all deltas at a time, a few of their blocks, since a value is compared with all others."""
        sums, limited = Sums(), dict[int, list[Limited]]()
        for blocks in self._in_blocks([row for row, _ in counted]):
            parts: dict[ExpertId, list[Part]] = {block: [] for block in blocks}
            for place, (row, one) in enumerate(counted):
                if parts.keys().isdisjoint(row.blocks):
                    continue
                update, limited[place] = cut(self._with_deltas(row, one), limits.of(one), row.norms)
                every = parts_of(update, self._shape, topk=self._topk, normalized=rules.normalized)
                for block in parts.keys() & every.keys():
                    parts[block].append(every[block])
            merged = {block: Sums() for block in blocks}
            router = router_row(self._shape)
            at_once([partial(add_robust, merged[block], block, parts[block], robust, router) for block in blocks])
            sums = combine([sums, *merged.values()])
        return sums, [one for place in sorted(limited) for one in limited[place]]

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

    def _forget(self) -> None:
        """Forget all claims: what waits still, of devices that were revoked, is not folded."""
        self._claims.clear()
        self._claims_bytes = 0

    def _claimed(self, row: DeltaRow, merges: Sequence[int]) -> Contribution:
        claim = self._claims.get(row.digest)
        delta = pb.Delta.FromString(claim) if claim is not None else self._delta(row)
        stale = self._staleness.of(row.blocks, delta.base_version, merges)
        # What one device may weigh is bounded by the most that any of its blocks weighs.
        claims = read_claims(delta, self._shape, min(stale.values(), default=0), row.examples)
        return dataclasses.replace(claims, stale=stale)

    def _with_deltas(self, row: DeltaRow, counted: Contribution) -> Contribution:
        delta = self._delta(row)
        return dataclasses.replace(counted, deltas=read_contribution(delta, self._shape, 0, row.examples).deltas)

    def _delta(self, row: DeltaRow) -> pb.Delta:
        return decode(pb.Delta, self._store.spool.read(row.digest))


_Counted = tuple[DeltaRow, Contribution]


def _in_parts(counted: Sequence[_Counted]) -> Iterator[list[_Counted]]:
    """Yield them in their order, about FOLD_BYTES of bodies at a time."""
    part: list[_Counted] = []
    held = 0
    for one in counted:
        part.append(one)
        held += one[0].bytes
        if held >= FOLD_BYTES:
            yield part
            part, held = [], 0
    if part:
        yield part
