"""What a round under masks came to, once it is open: sums by block, kept so that its version can be made again. Pure.

As bytes: the size of a JSON head (u32), the head, then each block's integers as little-endian int32, in its order. All
sums stand in rings of at most 32 bits, so they are int32.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from broker_server.errors import BodyError
from broker_server.rules.aggregate import Sums
from broker_server.rules.masked_sums import BlockSum, mean_of
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.secure.fixed_point import Integers, rows_of
from edge_runtime.wire.secure.terms import Terms, kind_of, weights_of


@dataclass(frozen=True)
class OpenedBlock:
    """The sum of a block.

    Args:
        devices: whose values are in it.
        unit: that a value of 1 stands for, times the weights: s W.
        values: [P].
        weights: [1], or [C] of a head.
    """

    devices: int
    unit: float
    values: Integers
    weights: Integers


@dataclass(frozen=True)
class OpenedSums:
    """Sums of the blocks of all circles that were opened. Args: blocks: by id, ascending."""

    blocks: Mapping[ExpertId, OpenedBlock]

    def sums(self) -> Sums:
        """Return them as a merge takes them: values and weights in float64, exact."""
        result = Sums()
        for block, one in self.blocks.items():
            weights = one.weights if one.weights.size == 1 else rows_of(one.weights, one.values.size)
            result.deltas[block] = one.values.astype(np.float64) * one.unit
            result.weights[block] = weights.astype(np.float64)
            result.devices[block] = one.devices
        return result

    def encode(self) -> bytes:
        """Return the bytes that are kept."""
        listed = [
            [block.layer, block.index, one.devices, one.unit, one.values.size, one.weights.size]
            for block, one in self.blocks.items()
        ]
        head = json.dumps({"format": 1, "blocks": listed}).encode()
        parts = [part.astype("<i4").tobytes() for one in self.blocks.values() for part in (one.values, one.weights)]
        return b"".join([struct.pack("<I", len(head)), head, *parts])

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read ``encode``'s result.

        Raises:
            BodyError: for any other bytes.
        """
        try:
            start = 4 + struct.unpack_from("<I", data)[0]
            blocks: dict[ExpertId, OpenedBlock] = {}
            for layer, index, devices, unit, size, weights in json.loads(data[4:start])["blocks"]:
                values = np.frombuffer(data, "<i4", size + weights, start).astype(np.int64)
                start += 4 * values.size
                blocks[ExpertId(layer, index)] = OpenedBlock(devices, unit, values[:size], values[size:])
        except (struct.error, ValueError, KeyError, TypeError) as error:
            msg = f"{len(data)} bytes are no sums of a round under masks ({error})"
            raise BodyError(msg) from error
        if start != len(data):
            msg = f"{len(data)} bytes of sums of a round under masks, expected {start}"
            raise BodyError(msg)
        return cls(blocks)


def opened_blocks(
    circle: int, integers: Integers, terms: Terms, shape: BankShape, devices: int
) -> dict[ExpertId, OpenedBlock]:
    """Return the blocks of a circle, each checked against what honest devices can add up to.

    Args:
        circle: its number.
        integers: sum of its survivors' values.
        terms: of the round.
        shape: of the bank.
        devices: survivors.

    Raises:
        SecureError: when a device lied, or a mask is left.
    """
    blocks, start = {}, 0
    for block in terms.circles[circle]:
        size, weights, scale = shape.size(block), weights_of(block, shape), terms.scale(block)
        part = integers[start : start + size + weights]
        variance = terms.variances.get(circle, 0)
        mean_of(part, BlockSum(scale, size, weights, terms.norm(block), variance), devices)
        unit = scale.step * scale.most_weight
        blocks[block] = OpenedBlock(devices, unit, part[:size], part[size:])
        start += size + weights
    return blocks


def usual_norms(opened: OpenedSums) -> dict[str, float]:
    """Return by kind the largest of sqrt(devices) times the norm of a block's mean.

    Updates of n devices that point in n unlike directions have a mean of 1/sqrt(n) of their length, so one of them is
    about so long.
    """
    norms: dict[str, float] = {}
    sums = opened.sums()
    for block in opened.blocks:
        moved = sums.weights[block] > 0
        mean = np.divide(sums.deltas[block], sums.weights[block], out=np.zeros_like(sums.deltas[block]), where=moved)
        length = math.sqrt(sums.devices[block]) * float(np.sqrt(np.square(mean).sum()))
        kind = kind_of(block)
        norms[kind] = max(norms.get(kind, 0.0), length)
    return norms
