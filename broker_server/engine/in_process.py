"""The engine without further processes: it reads deltas from the spool and has all blocks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from broker_server.engine.block_merging import BlockMerge, BlockMerging, BlocksBefore, Gram, MergedBlocks
from broker_server.rules.admission import read_blocks
from broker_server.rules.encoded_block import EncodedBlock
from broker_server.rules.site_sums import read_sums
from broker_server.rules.summed_block import SummedBlock
from broker_server.state.rows import DeltaRow
from broker_server.state.spool import Spool
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.messages import decode


@dataclass(frozen=True)
class SpoolBodies:
    """The values of accepted deltas, all blocks of each. Args: spool: has their bodies; shape: of the bank."""

    spool: Spool
    shape: BankShape

    def blocks(self, row: DeltaRow) -> dict[ExpertId, EncodedBlock]:
        """Return the blocks of a delta, ascending, as they came.

        Raises:
            BodyError: when it is damaged or gone.
        """
        if row.summed:
            return {}
        return read_blocks(decode(pb.Delta, self.spool.read(row.digest)), self.shape)

    def sums(self, row: DeltaRow) -> dict[ExpertId, SummedBlock]:
        """Return the blocks of a site's sum, ascending.

        Raises:
            BodyError: when it is damaged or gone.
        """
        return read_sums(decode(pb.PartialSum, self.spool.read(row.digest)), self.shape)


class InProcess:
    """Merges on the calling thread and a few beside it. Args: spool: of deltas; shape: of the bank; topk: its gates."""

    def __init__(self, spool: Spool, shape: BankShape, *, topk: bool) -> None:
        self._blocks = BlockMerging(SpoolBodies(spool, shape), shape, topk=topk)

    def accepted(self, digest: bytes) -> None:
        """Do nothing: the spool has it."""

    def merge(self, merge: BlockMerge, before: BlocksBefore) -> MergedBlocks:
        """Return the next version of all blocks. Raises: as Engine."""
        return self._blocks.merge(merge, before)

    def grams(self, rows: Sequence[DeltaRow]) -> Iterator[Gram]:
        """Yield inner products of deltas. Raises: as Engine."""
        return self._blocks.grams(rows)

    def merged(self, waiting: Collection[bytes]) -> None:
        """Do nothing: the ledger has it."""

    def close(self) -> None:
        """Do nothing."""
