"""A bank divided among shards: ranges of blocks, each of whole layers where routers choose experts. Pure."""

from __future__ import annotations

from itertools import groupby

from broker_server.errors import UsageError
from edge_runtime.wire.experts import BankShape, ExpertId

Range = tuple[ExpertId, ...]
"""Blocks that one shard has, ascending."""


def ranges_of(shape: BankShape, count: int, *, topk: bool) -> list[Range]:
    """Return a bank's blocks in ranges of about equal bytes, ascending, none of them empty.

    Args:
        shape: of the bank.
        count: of ranges.
        topk: whether routers chose experts: then ranges end at layers, since what the router rows of a layer have in
            common is taken out of a delta.

    Raises:
        UsageError: when the bank has fewer parts than that.
    """
    blocks = shape.ids()
    units = (
        [tuple(layer) for _, layer in groupby(blocks, lambda block: block.layer)]
        if topk
        else [(one,) for one in blocks]
    )
    if count > len(units):
        what = "layers (with the head)" if topk else "blocks"
        raise UsageError(
            f"{count} shards for a bank of {len(units)} {what}: give each shard one, so at most {len(units)}"
        )
    sizes = [sum(map(shape.size, unit)) for unit in units]
    ranges, first = list[Range](), 0
    for left in range(count, 0, -1):
        share, taken, last = sum(sizes[first:]) / left, sizes[first], first + 1
        # As near to an equal share of what is left as units allow, with one unit at least for each range to come.
        while last < len(units) - left + 1 and taken + sizes[last] / 2 < share:
            taken, last = taken + sizes[last], last + 1
        last = len(units) if left == 1 else last
        ranges.append(tuple(block for unit in units[first:last] for block in unit))
        first = last
    return ranges
