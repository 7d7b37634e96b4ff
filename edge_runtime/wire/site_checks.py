"""What each message of a site must be beyond its schema; SPEC.md, "Sites"."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from edge_runtime.wire import grids, limits
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.field_checks import digest_size, need, number, trained
from edge_runtime.wire.topics import check_name


def _partial_sum(total: pb.PartialSum) -> None:
    check_name(total.device, "device")
    digest_size(total.plan_digest, "plan digest")
    number(total.loss_first, "loss_first", low=-math.inf)
    number(total.loss_last, "loss_last", low=-math.inf)
    number(total.step_ms, "step_ms")
    _summed(total.devices)
    trained(total.blocks, "blocks of a sum")
    apart = {bool(block.steps) for block in total.blocks}
    need(len(apart) == 1, "some blocks of a sum have their steps taken out, and others not")
    for block in total.blocks:
        need(1 <= block.devices <= total.devices, f"a block of {block.devices} deltas in a sum of {total.devices}")
        _block(block)


def _summed(devices: int) -> None:
    most = limits.SITE_DEVICES_LIMIT
    need(1 <= devices <= most, f"a sum of {devices} devices, expected 1 to {most}")


def _block(block: pb.BlockSum) -> None:
    """Check that values can be what so many deltas add up to, each cut to its limits (SPEC.md, "Sites")."""
    size, count = block.size / grids.GRID, len(block.values) // 8
    need(size <= block.devices * grids.PRODUCT_LIMIT, f"a sum of size {size:g} from {block.devices} deltas")
    sums = grids.read(block.values, count, grids.GRID)
    weights = grids.read(block.weights, count if len(block.weights) > 8 else 1, grids.WEIGHT_GRID)
    steps = grids.read(block.steps, weights.size, grids.STEPS_GRID) if block.steps else weights
    need(count > 0 and weights.min() >= 0 and steps.min() >= 0, "a sum without values, or with a weight below 0")
    heaviest = max(weights.max() * grids.WEIGHT_GRID, steps.max() * grids.STEPS_GRID if block.steps else 0.0)
    need(max(sums.max(), -sums.min()) <= size and heaviest <= block.size, "a sum is more than its size")
    if weights.size == 1:
        need(
            weights[0] >= block.devices, f"a weight of {weights[0]:g} from {block.devices} deltas of an example or more"
        )
    else:
        need(not sums[weights == 0].any(), "a sum of deltas without weight is not 0")


def _partial_statistics(total: pb.PartialStatistics) -> None:
    check_name(total.device, "device")
    digest_size(total.federation_digest, "federation digest")
    _summed(total.devices)
    labels = len(total.counts) // 8
    need(total.width >= 1 and labels >= 1, f"statistics of {labels} labels and width {total.width}")
    counts = grids.read(total.counts, labels, grids.WEIGHT_GRID)
    need(bool((counts >= 0).all()), "a count of statistics is negative")
    need(counts.sum() <= total.devices * grids.WEIGHT_LIMIT, f"{counts.sum():g} examples of {total.devices} devices")
    grids.read(total.sums, labels * total.width, grids.WEIGHT_GRID)


SITE_CHECKS: Final[dict[type[Any], Callable[[Any], None]]] = {
    pb.PartialSum: _partial_sum,
    pb.PartialStatistics: _partial_statistics,
}
