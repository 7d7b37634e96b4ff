"""Updates of a block: an earlier block of the same shape and an int8 difference make the newer one. SPEC.md, "Updates".

Two roundings to float32, one of scale times byte and one of base plus product, so that every language makes the same
bytes; a fused multiply-add would make others.
"""

from __future__ import annotations

import numpy as np

from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.tensors import Array


def update_bytes(values: int) -> int:
    """Return the bytes of an update of a block of so many values."""
    return tensors.encoded_size(values, pb.INT8)


def apply_update(base: Array, update: bytes) -> Array:
    """Return the block that an update makes of ``base``, float32 [P].

    Raises:
        WireError: WRONG_SIZE or MALFORMED of the update, or NOT_FINITE of its products or of a sum.
    """
    products = tensors.decode(update, base.size, pb.INT8)
    with np.errstate(over="ignore"):  # refused below
        values: Array = base + products
    if not np.isfinite(values).all():
        raise WireError(pb.NOT_FINITE, f"{int((~np.isfinite(values)).sum())} of {values.size} sums are infinite")
    return values
