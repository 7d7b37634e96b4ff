"""Blocks as they came: every piece says what ``tensors.decode`` says, bit for bit, and so do sums of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_server.engine.block_merging import at_once
from broker_server.rules import aggregate
from broker_server.rules.aggregate import Contribution, Sums, fold, fold_all
from broker_server.rules.encoded_block import EncodedBlock, fill_from, piece_of, values_of
from broker_server.rules.norms import norm_of
from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId, shared_expert
from edge_runtime.wire.tensors import Array

SHAPE = BankShape((0, 1), width=40, rank=4, experts=2, shared_rank=2, labels=3)
BLOCKS = (ExpertId(0, 0), ExpertId(0, 1), ExpertId(1, 1), shared_expert(0), HEAD)


def encoded(values: Array, codec: int) -> EncodedBlock:
    """Return values as they come."""
    return EncodedBlock(tensors.encode(values, codec), values.size, codec)


def contribution(device: str, codec: int, seed: int) -> Contribution:
    """Return what a device sent, with every kind of block."""
    random = np.random.default_rng(seed)
    sent = {one: random.normal(size=SHAPE.size(one)).astype(np.float32) for one in BLOCKS[seed % 2 :]}
    blocks = {one: encoded(values, codec) for one, values in sent.items()}
    use = {one: (3.0 + seed, 100.0) for one in blocks if one.index < 2}
    return Contribution(device, 1, 7 + seed, seed % 3, blocks, use, (3.0, 1.0, 4.0 + seed))


def as_arrays(update: Contribution) -> Contribution:
    """Return a contribution whose blocks are decoded."""
    arrays = {one: values_of(block) for one, block in update.deltas.items()}
    return Contribution(
        update.device, update.round, update.examples, update.staleness, arrays, update.use, update.label_counts
    )


@given(st.integers(1, 300), st.sampled_from([pb.FLOAT32, pb.INT8]), st.data(), st.sampled_from([None, 0.3, 1e-30, 1.0]))
def test_a_piece_has_the_bits_of_the_decoded_block(
    size: int, codec: int, data: st.DataObject, factor: float | None
) -> None:
    """Wherever it begins and ends; multiplied, as float32 is multiplied."""
    values = np.random.default_rng(size).normal(size=size).astype(np.float32)
    block = encoded(values, codec)
    want = tensors.decode(block.data, size, codec)
    if factor is not None:
        block, want = block.times(factor), (want * factor).astype(np.float32)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    assert piece_of(block, start, stop).tobytes() == want[start:stop].tobytes()
    assert block.values().tobytes() == want.tobytes()
    groups = np.full(size - start // 64 * 64, np.nan, np.float32)
    fill_from(block, start // 64 * 64, groups)
    assert groups.tobytes() == want[start // 64 * 64 :].tobytes()


def test_values_are_one_scale_times_one_byte() -> None:
    """A group of 63.5 and 127 has the scale 1 (127 / 127), so the bytes are 64 (half to even) and 127."""
    block = encoded(np.array([63.5, 127.0], np.float32), pb.INT8)
    assert piece_of(block, 0, 2).tolist() == [64.0, 127.0]
    assert norm_of(block) == np.sqrt(64.0**2 + 127.0**2)


@pytest.mark.parametrize(
    ("scales", "quanta", "code"),
    [
        ([np.nan, 1.0], [1, 1], "NOT_FINITE"),
        ([np.inf, 1.0], [0, 1], "NOT_FINITE"),
        ([3e38, 1.0], [2, 1], "NOT_FINITE"),
        ([-1.0, 1.0], [1, 1], "MALFORMED"),
        ([1.0, 1.0], [1, -128], "MALFORMED"),
    ],
)
def test_what_is_no_value_is_refused_as_decoding_refuses_it(scales: list[float], quanta: list[int], code: str) -> None:
    """Scales that are not finite or negative, a byte that no encoder writes, a product beyond float32."""
    bytes_ = np.zeros(65, np.int8)
    bytes_[[0, 64]] = quanta
    block = EncodedBlock(np.array(scales, "<f4").tobytes() + bytes_.tobytes(), 65, pb.INT8)
    with pytest.raises(WireError, match=code):
        norm_of(block)


def test_a_scale_that_is_large_is_taken_while_its_products_are_finite() -> None:
    """3e38 times 1 is a float32."""
    block = EncodedBlock(np.array([3e38], "<f4").tobytes() + bytes([1]), 1, pb.INT8)
    assert block.values().tolist() == [np.float32(3e38)]


def test_a_block_of_another_size_is_refused() -> None:
    """65 values have two scales, 8 bytes, and 65 bytes of their own."""
    with pytest.raises(WireError, match="WRONG_SIZE: 68 bytes of values, expected 73 for 65 values"):
        EncodedBlock(bytes(68), 65, pb.INT8)


@pytest.mark.parametrize("topk", [False, True])
@pytest.mark.parametrize("codec", [pb.FLOAT32, pb.INT8])
@pytest.mark.parametrize(("piece", "threads"), [(64, 1), (64, 3), (aggregate.PIECE, 2)])
def test_sums_of_encoded_blocks_have_the_bits_of_sums_of_arrays(
    monkeypatch: pytest.MonkeyPatch, piece: int, threads: int, codec: int, topk: bool
) -> None:
    """In pieces of any size, one by one or together, by one thread or more; the slow way is the rule."""
    monkeypatch.setattr(aggregate, "PIECE", piece)
    updates = [contribution(name, codec, seed) for seed, name in enumerate("abcde")]
    together, singly, slow = Sums(), Sums(), Sums()
    fold_all(together, updates[:2], SHAPE, topk=topk, shares=threads, run=at_once)
    fold_all(together, updates[2:], SHAPE, topk=topk, shares=threads, run=at_once)
    for update in updates:
        fold(singly, update, SHAPE, topk=topk)
        add_slowly(slow, as_arrays(update), topk=topk)
    for block in BLOCKS:
        assert together.deltas[block].tobytes() == singly.deltas[block].tobytes() == slow.deltas[block].tobytes()
        ours, theirs = np.broadcast_arrays(together.weights[block], slow.weights[block])
        assert ours.tobytes() == theirs.tobytes()
    assert list(together.devices) == sorted(BLOCKS)
    assert together.devices == singly.devices == slow.devices


def add_slowly(sums: Sums, update: Contribution, *, topk: bool) -> None:
    """Add a contribution as whole float64 arrays, as a gateway did before blocks were read in pieces."""
    deltas = dict(update.deltas)
    rows = slice(SHAPE.rank * SHAPE.width, (SHAPE.rank + 1) * SHAPE.width)
    for layer in {block.layer for block in deltas if topk}:
        experts = [block for block in deltas if block.layer == layer and not block.shared and block != HEAD]
        routers = [values_of(deltas[block])[rows].astype(np.float64) for block in experts]
        for block in experts:
            copy = values_of(deltas[block]).copy()
            copy[rows] = (copy[rows] - np.mean(routers, axis=0)).astype(np.float32)
            deltas[block] = copy
    for block in sorted(deltas):
        weights = np.broadcast_to(aggregate._weights(block, update, SHAPE, topk=topk), (SHAPE.size(block),))
        product = weights * values_of(deltas[block]).astype(np.float64)
        if block in sums.deltas:
            sums.deltas[block] += product
            sums.weights[block] = sums.weights[block] + weights
        else:
            sums.deltas[block], sums.weights[block] = product, np.array(weights)
        sums.devices[block] = sums.devices.get(block, 0) + 1


def test_the_first_delta_is_not_added_to_zero() -> None:
    """0 + -0 would be 0: a value of -0 in the bank stays -0 when its only delta is -0."""
    sums = Sums()
    fold(sums, Contribution("a", 1, 1, 0, {ExpertId(0, 0): np.full(SHAPE.size(ExpertId(0, 0)), -0.0, np.float32)}),
         SHAPE, topk=False)  # fmt: skip
    assert np.signbit(sums.deltas[ExpertId(0, 0)]).all()
