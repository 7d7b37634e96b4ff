"""Accepted deltas into the next version's blocks: what each claims is capped, and an engine is told what it counts.

What a delta claims is needed before any is folded, since a cap depends on all claims. It is remembered from the delta's
acceptance, without values a few kilobytes; after a start it is read from the spool. The values an engine reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from broker_server.engine.block_merging import BlockMerge, BlockMerging, BlocksBefore, Counted, MergedBlocks
from broker_server.engine.engine import Engine
from broker_server.engine.in_process import InProcess, SpoolBodies
from broker_server.errors import BodyError
from broker_server.rounds.staleness import Staleness
from broker_server.rules.admission import read_claims
from broker_server.rules.aggregate import Contribution, Sums
from broker_server.rules.agreement import Products
from broker_server.rules.capping import Limited, cap
from broker_server.rules.norm_cuts import norm_cuts
from broker_server.rules.privacy import Private
from broker_server.rules.robust import NO_NORMS, UsualNorms
from broker_server.rules.server_rules import PLAIN, ServerRules
from broker_server.rules.site_sums import claims_of
from broker_server.rules.weights import Caps
from broker_server.state.rows import DeltaRow
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.messages import decode

CLAIMS_BYTES: Final = 8 * 1024 * 1024
"""Claims that are remembered; those beyond are read again."""


@dataclass(frozen=True)
class How:
    """How a round is merged.

    Args:
        caps: what one device may weigh.
        server: rules beyond the weighted mean.
        rounded: whether the version goes down in steps of int8.
        private: what is promised of it, of private merging.
    """

    caps: Caps
    server: ServerRules = PLAIN
    rounded: bool = False
    private: Private | None = None


@dataclass(frozen=True)
class Folded:
    """A round's deltas, folded.

    Args:
        capped: the contributions without their deltas, as they counted.
        limited: who reached a limit.
        devices: how many deltas went into each block.
        norms: that are usual after them; of robust merging.
    """

    capped: Sequence[Contribution]
    limited: Sequence[Limited] = ()
    devices: Mapping[ExpertId, int] = field(default_factory=dict)
    norms: UsualNorms = NO_NORMS


class Folding:
    """Has deltas merged.

    Args:
        store: opened state.
        topk: whether routers chose experts.
        top_k: how many.
        engine: computes; None: this process.
    """

    def __init__(self, store: Store, *, topk: bool, top_k: int, engine: Engine | None = None) -> None:
        self._store, self._top_k = store, top_k if topk else 0
        self._shape = store.manifest.architecture.bank_shape
        self._engine = engine or InProcess(store.spool, self._shape, topk=topk)
        self._staleness = Staleness(store.ledger)
        self._claims: dict[bytes, bytes] = {}
        self._claims_bytes = 0

    def accepted(self, digest: bytes, delta: pb.Delta) -> None:
        """Keep what an accepted delta claims until it is folded. Args: digest: of its body; delta: without values."""
        claim = delta.SerializeToString()
        if digest not in self._claims and self._claims_bytes + len(claim) <= CLAIMS_BYTES:
            self._claims[digest] = claim
            self._claims_bytes += len(claim)
        self._engine.accepted(digest)

    def merged(self) -> None:
        """Take note that a version is in the ledger."""
        self._engine.merged([row.digest for row in self._store.ledger.waiting()])

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
        merges: Sequence[int],
        how: How,
        before: BlocksBefore,
        usual: UsualNorms = NO_NORMS,
    ) -> tuple[MergedBlocks, Folded]:
        """Return the blocks after ``before``, and what was folded into them.

        What devices claim is read before, since a cap depends on all claims; under [privacy] it counts for nothing.

        Args:
            rows: of the deltas.
            merges: versions that were merges when they are folded, ascending.
            how: they are merged.
            before: all blocks.
            usual: norms that were usual before; of robust merging.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        if how.private is not None:
            claims = capped = [self._claimed(row, ()) for row in rows]
            limited, limits, rules, usual = list[Limited](), None, how.server, NO_NORMS
        else:
            claims = [self._claimed(row, merges) for row in rows]
            rules = how.server.of_steps([one.steps for one in claims])
            capped, limited = cap(claims, how.caps, self._top_k)
            limits, usual = norm_cuts([row.norms for row in rows], claims, how.caps, rules, usual)
        merge = BlockMerge(list(map(Counted, rows, capped)), rules, limits, how.rounded, how.private)
        merged = self._engine.merge(merge, before)
        self._forget()
        cut = [one for row in rows for one in merged.limited.get(row.digest, ())]
        return merged, Folded(capped, limited + cut, merged.devices, usual)

    def exact_sums(self, rows: Sequence[DeltaRow], how: How) -> Sums:
        """Return what deltas of one base add up to, exactly, none of them late: in this process.

        Args:
            rows: of the deltas.
            how: they are merged, by exact rules.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        capped, _ = cap([self._claimed(row, ()) for row in rows], how.caps, self._top_k)
        merging = BlockMerging(SpoolBodies(self._store.spool, self._shape), self._shape, topk=self._top_k > 0)
        return merging.exact_sums(BlockMerge(list(map(Counted, rows, capped)), how.server))[0]

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
        for gram in self._engine.grams(rows) if products.enough else ():
            products.add_gram(gram.holders, gram.products)
        return products.scores()

    def _forget(self) -> None:
        """Forget all claims: what waits still, of devices that were revoked, is not folded."""
        self._claims.clear()
        self._claims_bytes = 0

    def _claimed(self, row: DeltaRow, merges: Sequence[int]) -> Contribution:
        claim = self._claims.get(row.digest)
        delta = pb.Delta.FromString(claim) if claim is not None else self._read(row)
        stale = self._staleness.of(row.blocks, delta.base_version, merges)
        if row.summed:  # what its deltas weigh was bounded by the site, and the sum has it
            return Contribution(row.device, row.round, 0.0, min(stale.values(), default=0), {}, stale=stale)
        # What one device may weigh is bounded by the most that any of its blocks weighs.
        claims = read_claims(delta, self._shape, min(stale.values(), default=0), row.examples)
        return dataclasses.replace(claims, stale=stale)

    def _read(self, row: DeltaRow) -> pb.Delta:
        body = self._store.spool.read(row.digest)
        return claims_of(decode(pb.PartialSum, body)) if row.summed else decode(pb.Delta, body)
