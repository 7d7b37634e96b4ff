"""How stale a delta is, block by block: the versions since its base that moved this block.

A merge moves the blocks that its devices trained. An expert that none of them held is, after it, what the delta was
trained from, bit for bit; so its part of the delta is as fresh as on the first day. Digests tell what moved.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

from broker_server.rules.weights import stale_blocks
from broker_server.state.ledger import Ledger
from broker_server.state.rows import VersionRow
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.messages import block_digests, decode

KEPT: Final = 64
"""Versions of which it is remembered what they moved."""


class Staleness:
    """Args: ledger: has the versions."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._moved: dict[int, frozenset[ExpertId] | None] = {}

    def of(self, blocks: Iterable[ExpertId], base_version: int, merges: Sequence[int]) -> dict[ExpertId, int]:
        """Return the staleness of each block of a delta.

        Args:
            blocks: that it has.
            base_version: that it was trained from.
            merges: versions that count, ascending.
        """
        return stale_blocks(
            blocks, [self._moved_by(version) for version in merges[bisect_right(merges, base_version) :]]
        )

    def _moved_by(self, version: int) -> frozenset[ExpertId] | None:
        """Return the blocks that a version has other values of than the one before it; None where that is forgotten."""
        if version not in self._moved:
            while len(self._moved) >= KEPT:
                del self._moved[next(iter(self._moved))]
            self._moved[version] = _changed(self._ledger.version(version - 1), self._ledger.version(version))
        return self._moved[version]


def _changed(before: VersionRow | None, after: VersionRow | None) -> frozenset[ExpertId] | None:
    if before is None or after is None:
        return None
    old, new = (block_digests(decode(pb.Version, row.payload)) for row in (before, after))
    return frozenset(block for block, digest in new.items() if old.get(block) != digest)
