"""Accepted deltas from the spool into the sums of a version: each is read, hashed and decoded once, a few at a time.

What a delta claims is needed before any is folded, since a cap depends on all claims. It is remembered from the delta's
acceptance, without values a few kilobytes; after a start it is read from the spool.
"""

from __future__ import annotations

import dataclasses
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from broker_server.errors import BodyError
from broker_server.rules.admission import read_claims, read_contribution
from broker_server.rules.aggregate import Contribution, Sums, Work, fold_all
from broker_server.rules.capping import Limited, cap, cut
from broker_server.rules.weights import Caps, norm_limits
from broker_server.state.rows import DeltaRow
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import decode

FOLD_BYTES: Final = 32 * 1024 * 1024
"""Deltas that are folded together; so much of them is in memory."""
THREADS: Final = min(4, os.cpu_count() or 1)
"""That share the blocks of deltas which are folded together; NumPy computes without Python's lock."""
CLAIMS_BYTES: Final = 8 * 1024 * 1024
"""Claims that are remembered; those beyond are read again."""


def at_once(works: Sequence[Work]) -> None:
    """Do pieces of work in threads of their own; return when all are done."""
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()


class Folding:
    """Reads deltas for merging. Args: store: opened state; topk: whether routers chose experts; top_k: how many."""

    def __init__(self, store: Store, *, topk: bool, top_k: int) -> None:
        self._store, self._topk, self._top_k = store, topk, top_k
        self._shape = store.manifest.architecture.bank_shape
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
        self, rows: Sequence[DeltaRow], caps: Caps, merges: Sequence[int]
    ) -> tuple[Sums, list[Contribution], list[Limited]]:
        """Fold deltas; what devices claim is read before, since a cap depends on all claims.

        Args:
            rows: of the deltas.
            caps: what one device may weigh.
            merges: versions that were merges when they are folded, ascending.

        Returns:
            The sums, the contributions without their deltas as they counted, and who reached a limit.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        claims = [self._claimed(row, merges) for row in rows]
        capped, limited = cap(claims, caps, self._top_k if self._topk else 0)
        norms, sums = norm_limits([row.norms for row in rows], caps), Sums()
        for some in _in_parts(list(zip(rows, capped, strict=True))):
            whole = []
            for row, counted in some:
                update, shortened = cut(self._with_deltas(row, counted), norms, row.norms)
                whole.append(update)
                limited += shortened
            fold_all(sums, whole, self._shape, topk=self._topk, shares=THREADS, run=at_once)
        self._forget()
        return sums, capped, limited

    def _forget(self) -> None:
        """Forget all claims: what waits still, of devices that were revoked, is not folded."""
        self._claims.clear()
        self._claims_bytes = 0

    def _claimed(self, row: DeltaRow, merges: Sequence[int]) -> Contribution:
        claim = self._claims.get(row.digest)
        delta = pb.Delta.FromString(claim) if claim is not None else self._delta(row)
        age = len(merges) - bisect_right(merges, delta.base_version)
        return read_claims(delta, self._shape, age, row.examples)

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
