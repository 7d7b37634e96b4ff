"""Norms of updates, by kind of block: what one is, and what is usual. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Final

import numpy as np

from broker_server.rules.encoded_block import Block, values_of
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import HEAD, ExpertId

NORM_SAMPLES: Final = 20
"""From so many updates of a kind on there is a usual norm."""


def kind_of(block: ExpertId) -> str:
    """Return which norms a block's norm is compared with."""
    return "head" if block == HEAD else "shared" if block.shared else "expert"


def norm_of(block: Block) -> float:
    """Return the Euclidean norm of a block: squares in float64, summed by NumPy's pairwise rule.

    Not by BLAS, whose threads cost more than the sum and whose bits depend on how many there are.

    Raises:
        WireError: NOT_FINITE or MALFORMED, for a block that was not looked at before.
    """
    squares = values_of(block).astype(np.float64)
    np.multiply(squares, squares, out=squares)
    return math.sqrt(float(squares.sum()))


def norms_of(deltas: Mapping[ExpertId, Block]) -> dict[str, float]:
    """Return the largest norm of an update by kind of block.

    Raises:
        WireError: as norm_of, with the block.
    """
    norms: dict[str, float] = {}
    for block, values in deltas.items():
        kind = kind_of(block)
        norms[kind] = max(norms.get(kind, 0.0), norm_by_name(block, values))
    return norms


def norm_by_name(block: ExpertId, values: Block) -> float:
    """Return the norm of a block. Raises: WireError: as norm_of, with the block."""
    try:
        return norm_of(values)
    except WireError as error:
        raise WireError(error.code, f"block {block}: {error.detail}") from error


def typical(samples: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the median norm for each kind that has enough samples to tell (and is not all zeros)."""
    return {
        kind: middle
        for kind, values in samples.items()
        if len(values) >= NORM_SAMPLES and (middle := float(median(values))) > 0
    }
