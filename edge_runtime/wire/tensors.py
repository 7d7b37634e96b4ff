"""Values of a block <-> bytes. float32 is exact; int8 has one scale for each 64 values (linear, symmetric).

int8 layout for n values: ceil(n / 64) little-endian float32 scales, then n signed bytes; value = scale * byte, byte in
[-127, 127], scale = max|v| / 127 over its group (0 for an all-zero group), byte = v / scale rounded half to even and
clipped. All in float32, so that two languages write the same bytes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError

Array = npt.NDArray[np.float32]
GROUP: Final = 64
_F32: Final = np.dtype("<f4")
_LARGEST_SCALE: Final = np.nextafter(np.finfo(np.float32).max / np.float32(127), np.float32(0))
# 127 times the rounded quotient would be infinite for the largest float32 itself.


def encoded_size(count: int, codec: int) -> int:
    """Return the bytes of ``count`` values.

    Raises:
        WireError: UNSUPPORTED_CODEC.
    """
    if codec == pb.FLOAT32:
        return 4 * count
    if codec == pb.INT8:
        return 4 * -(-count // GROUP) + count
    raise WireError(pb.UNSUPPORTED_CODEC, f"codec {codec}; known: 0 (float32), 1 (int8)")


def encode(values: Array, codec: int = pb.FLOAT32) -> bytes:
    """Write ``values`` (any shape, flattened in C order).

    Raises:
        WireError: UNSUPPORTED_CODEC, or NOT_FINITE for NaN or infinity.
    """
    size = encoded_size(values.size, codec)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is refused below
        flat = np.ascontiguousarray(values, dtype=_F32).reshape(-1)
    if not np.isfinite(flat).all():
        raise WireError(pb.NOT_FINITE, f"{int((~np.isfinite(flat)).sum())} of {flat.size} values are NaN or infinite")
    if codec == pb.FLOAT32:
        return bytes(flat.tobytes())
    groups = np.zeros((-(-flat.size // GROUP), GROUP), dtype=_F32)
    groups.reshape(-1)[: flat.size] = flat
    scales = np.minimum(np.abs(groups).max(axis=1) / np.float32(127), _LARGEST_SCALE).astype(_F32)
    # A group of denormals has a scale of 0 and decodes to zeros, as it should.
    quanta = np.rint(np.divide(groups, scales[:, None], out=np.zeros_like(groups), where=scales[:, None] > 0))
    data = scales.tobytes() + np.clip(quanta, -127, 127).astype(np.int8).reshape(-1)[: flat.size].tobytes()
    assert len(data) == size  # noqa: S101 - a promised size
    return bytes(data)


def decode(data: bytes, count: int, codec: int = pb.FLOAT32) -> Array:
    """Read ``count`` values; the result is float32 [count], a copy.

    Raises:
        WireError: WRONG_SIZE, NOT_FINITE, UNSUPPORTED_CODEC, or MALFORMED for a negative scale or the byte -128.
    """
    expected = encoded_size(count, codec)
    if len(data) != expected:
        raise WireError(pb.WRONG_SIZE, f"{len(data)} bytes of values, expected {expected} for {count} values")
    if codec == pb.FLOAT32:
        values = np.frombuffer(data, dtype=_F32).astype(np.float32)
    else:
        groups = -(-count // GROUP)
        scales = np.frombuffer(data, dtype=_F32, count=groups)
        if (scales < 0).any():
            raise WireError(pb.MALFORMED, "a scale of int8 values is negative")
        quanta = np.frombuffer(data, dtype=np.int8, offset=4 * groups)
        if (quanta == -128).any():
            raise WireError(pb.MALFORMED, "a byte of int8 values is -128, expected -127 to 127")
        # NaN times 0 warns, and is refused below.
        with np.errstate(invalid="ignore", over="ignore"):
            values = np.repeat(scales, GROUP)[:count].astype(np.float32) * quanta.astype(np.float32)
    if not np.isfinite(values).all():
        raise WireError(pb.NOT_FINITE, f"{int((~np.isfinite(values)).sum())} of {count} values are NaN or infinite")
    return values
