"""How a block that lacks comes here in the fewest bytes: by updates of a block that is here, or whole. Pure.

SPEC.md, "Updates": a version lists under a block the updates that lead to it, each a step further back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.updates import update_bytes


@dataclass
class Way:
    """How one block comes.

    Args:
        block: its name; of blocks with one digest, any.
        digest: of the block.
        base: digest of the block that the updates begin from; empty when the block comes whole.
        updates: digests, oldest first; none when the block comes whole.
        awaited: digests of what must still be fetched.
    """

    block: ExpertId
    digest: bytes
    base: bytes = b""
    updates: tuple[bytes, ...] = ()
    awaited: dict[bytes, None] = field(default_factory=dict)


def whole(block: ExpertId, digest: bytes) -> Way:
    """Return the way of a block that is fetched as it is."""
    return Way(block, digest, awaited={digest: None})


def ways_to(
    version: pb.Version, shape: BankShape, here: Callable[[bytes], bool], distrusted: Collection[bytes]
) -> dict[bytes, Way]:
    """Return the cheapest way of each block of a version that is not here, by digest.

    Args:
        version: its message.
        shape: of the bank.
        here: whether there is a blob of a digest.
        distrusted: digests of blocks that updates did not lead to: they are fetched whole.
    """
    ways: dict[bytes, Way] = {}
    for block in version.blocks:
        if block.digest not in ways and not here(block.digest):
            name = ExpertId(block.layer, block.index)
            way = None if block.digest in distrusted else _by_updates(name, block, shape.size(name), here)
            ways[block.digest] = way or whole(name, block.digest)
    return ways


def _by_updates(name: ExpertId, block: pb.Block, values: int, here: Callable[[bytes], bool]) -> Way | None:
    """Return the way from the nearest block that is here; None when it is not cheaper than the block itself."""
    awaited: dict[bytes, None] = {}
    for place, update in enumerate(block.updates):
        if not here(update.digest):
            awaited[update.digest] = None
        if len(awaited) * update_bytes(values) >= 4 * values:
            return None
        if here(update.base):
            steps = tuple(step.digest for step in reversed(block.updates[: place + 1]))
            return Way(name, block.digest, update.base, steps, awaited)
    return None
