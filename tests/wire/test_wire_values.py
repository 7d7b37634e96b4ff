"""Codecs and digests beyond the shared vectors: error bounds, and numbers at the edge of float32."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import (
    block_list,
    canonical_json,
    file_sha256,
    read_block_list,
    sha256,
    version_digest,
)
from edge_runtime.wire.errors import MalformedMessage, WireError
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.order import epoch_order

MAX = float(np.finfo(np.float32).max)
FINITE = st.floats(-MAX, MAX, width=32)
VALUES = arrays(np.float32, st.integers(0, 200), elements=FINITE)


@given(VALUES)
def test_float32_is_exact(values: tensors.Array) -> None:
    """Every bit comes back, the sign of zero included."""
    data = tensors.encode(values)
    assert len(data) == tensors.encoded_size(values.size, pb.FLOAT32) == 4 * values.size
    assert tensors.decode(data, values.size).tobytes() == values.tobytes()


@given(VALUES)
@example(np.array([MAX, -MAX], np.float32))
@example(np.array([1e-44, -1e-45, 3e-44], np.float32))
def test_int8_error_is_half_a_step(values: tensors.Array) -> None:
    """Each value is within half a step of its group's scale, max / 127 (and the least float32, where scales are 0)."""
    data = tensors.encode(values, pb.INT8)
    assert len(data) == tensors.encoded_size(values.size, pb.INT8) == 4 * -(-values.size // 64) + values.size
    decoded = tensors.decode(data, values.size, pb.INT8).astype(np.float64)
    for start in range(0, values.size, 64):
        group = values[start : start + 64].astype(np.float64)
        largest = np.abs(group).max()
        bound = largest / 254 * (1 + 1e-5) + 64 * 1.5e-45
        assert np.abs(decoded[start : start + 64] - group).max() <= bound


@given(VALUES)
def test_int8_is_stable(values: tensors.Array) -> None:
    """Decoded values encode to the same bytes but for the last bit of a scale."""
    once = tensors.decode(tensors.encode(values, pb.INT8), values.size, pb.INT8)
    twice = tensors.decode(tensors.encode(once, pb.INT8), values.size, pb.INT8)
    assert np.allclose(once, twice, rtol=1e-5, atol=1e-43)


@given(st.binary(max_size=200), st.integers(0, 60), st.integers(-1, 3))
def test_decoding_arbitrary_values_raises_only_wire_errors(data: bytes, count: int, codec: int) -> None:
    """Whatever the bytes, what comes out is finite and of the right length."""
    try:
        decoded = tensors.decode(data, count, codec)
    except WireError:
        return
    assert decoded.shape == (count,)
    assert np.isfinite(decoded).all()


def test_values_of_any_shape_and_type_are_flattened() -> None:
    """C order, float64 rounded, strides followed; what does not fit float32 is refused without a warning."""
    grid = np.arange(6, dtype=np.float64).reshape(2, 3)
    assert tensors.decode(tensors.encode(grid.T), 6).tolist() == [0, 3, 1, 4, 2, 5]  # type: ignore[arg-type]
    with pytest.raises(WireError, match="NOT_FINITE: 1 of 2"):
        tensors.encode(np.array([1e300, 1.0]))  # type: ignore[arg-type]


def test_decoded_values_are_a_copy() -> None:
    """What was decoded may be written to."""
    values = tensors.decode(bytes(8), 2)
    values[0] = 1
    assert values.tolist() == [1, 0]


def test_digests(tmp_path: pytest.TempPathFactory) -> None:
    """SHA-256 of "abc" is FIPS 180-2's example; a file has the digest of its bytes."""
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(b"abc").hex() == known
    path = tmp_path / "file"  # type: ignore[operator]
    path.write_bytes(b"abc")
    assert file_sha256(path) == known


def test_version_digest_does_not_depend_on_the_order_of_blocks() -> None:
    """Ascending by number, whatever the mapping's order."""
    blocks = {ExpertId(0, index): hashlib.sha256(bytes([index])).digest() for index in range(5)}
    assert version_digest(blocks) == version_digest(dict(reversed(blocks.items())))


def test_a_list_of_blocks_is_what_a_versions_digest_is_over() -> None:
    """40 bytes a block; what does not ascend, or is cut, is refused."""
    first, second = bytes(range(32)), bytes(range(32, 64))
    data = bytes.fromhex("00000000 02000000") + first + bytes.fromhex("01000000 00000000") + second
    blocks = {ExpertId(0, 2): first, ExpertId(1, 0): second}
    assert block_list(blocks) == data
    assert read_block_list(data) == blocks
    assert version_digest(blocks) == hashlib.sha256(data).digest()
    for bad in (data[:-1], data[40:] + data[:40], data[:40] * 2):
        with pytest.raises(MalformedMessage, match="list of blocks"):
            read_block_list(bad)


def test_canonical_json_refuses_nan() -> None:
    """NaN has no JSON."""
    assert canonical_json({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


@given(st.integers(0, 2**64 - 1), st.integers(0, 1000), st.integers(0, 300))
@example(2**64 - 1, 0, 300)
def test_an_epoch_takes_each_example_once(seed: int, epoch: int, count: int) -> None:
    """A permutation, the same each time."""
    order = epoch_order(seed, epoch, count)
    assert sorted(order.tolist()) == list(range(count))
    assert order.tolist() == epoch_order(seed, epoch, count).tolist()
