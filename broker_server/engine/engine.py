"""What merging asks of an engine, whoever computes. An engine decides nothing: what counts how much it is told."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from broker_server.engine.block_merging import BlockMerge, BlocksBefore, Gram, MergedBlocks
from broker_server.state.rows import DeltaRow


class Engine(Protocol):
    """Merges accepted deltas into the next version of the bank's blocks: the same bytes, whichever engine it is.

    Nothing that it keeps is needed: the spool has every accepted delta, and a version is one when its row is in the
    ledger. A call that failed can be made again.
    """

    def accepted(self, digest: bytes) -> None:
        """Take note that a delta is in the spool and in the ledger. Args: digest: of its body."""
        ...

    def merge(self, merge: BlockMerge, before: BlocksBefore) -> MergedBlocks:
        """Return the next version of all blocks.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        ...

    def grams(self, rows: Sequence[DeltaRow]) -> Iterator[Gram]:
        """Yield the inner products of deltas as they came, ascending by block, of those that directions compare.

        Raises:
            BodyError: when a delta is damaged or gone.
        """
        ...

    def merged(self, waiting: Collection[bytes]) -> None:
        """Take note that a version is in the ledger. Args: waiting: digests of the deltas that no version has yet."""
        ...

    def close(self) -> None:
        """Let everything go; safe to call twice."""
        ...
