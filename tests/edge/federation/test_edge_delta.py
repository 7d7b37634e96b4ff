"""What training changed, on the wire."""

from __future__ import annotations

import numpy as np
import pytest
import toy

from edge_runtime.federation.delta import Origin, build, pack_residuals, unpack_residuals
from edge_runtime.program.slots import Slots
from edge_runtime.training.trainer import Outcome
from edge_runtime.wire import messages, tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.fill import Fill
from edge_runtime.wire.tensors import Array

A, B = ExpertId(1, 2), ExpertId(3, 0)
SIZE = toy.SHAPE.expert_size
HELD = np.array([[2, 0, 1, 3], [0, 1, 2, 3]])
SLOTS = Slots(toy.TIERS[1], HELD, np.ones((2, 2), np.float32), np.ones((2, 4), np.float32))


def origin(codec: int) -> Origin:
    """Return a plan's origin."""
    return Origin("me", b"p" * 32, 7, 3, codec)


def outcome(blocks: dict[ExpertId, Array], routed: Array | None = None) -> Outcome:
    """Return the outcome of five steps."""
    used = np.zeros((2, 4), np.float32) if routed is None else routed
    counts = np.array([1, 2, 0], np.float32)
    return Outcome(blocks, 3, counts, (5.0, 4.0, 3.0, 2.0, 1.0), 12.5, used, np.full((2, 4), 10.0, np.float32), Fill())


def moved(seed: int = 0) -> dict[ExpertId, Array]:
    """Return two blocks, changed a little."""
    rng = np.random.default_rng(seed)
    bank = toy.initial_bank()
    return {block: (bank.block(block) + rng.normal(size=SIZE) * 0.01).astype(np.float32) for block in (B, A)}


def test_float32_says_exactly_what_changed() -> None:
    """Ascending blocks, trained - base bit for bit, nothing left behind."""
    base, blocks = toy.initial_bank(), moved()
    body, left = build(origin(pb.FLOAT32), base, SLOTS, outcome(blocks), {}, topk=False)
    message = messages.decode(pb.Delta, body)
    assert messages.ids(message.experts) == (A, B)
    for listed, block in zip(message.experts, (A, B), strict=True):
        assert tensors.decode(listed.values, SIZE).tobytes() == (blocks[block] - base.block(block)).tobytes()
        assert not left[block].any()
    told = (message.device, message.plan_digest, message.round, message.base_version, message.examples, message.steps)
    assert told == ("me", b"p" * 32, 7, 3, 3, 5)
    assert (message.loss_first, message.loss_last, message.step_ms) == (5.0, 1.0, 12.5)
    assert not message.use
    assert not message.label_counts


def test_int8_error_feedback_loses_nothing_over_rounds() -> None:
    """What arrived over ten rounds, plus the last residual, is the sum of what changed."""
    base = toy.initial_bank()
    residuals: dict[ExpertId, Array] = {}
    sent, wanted = np.zeros(SIZE), np.zeros(SIZE)
    for seed in range(10):
        blocks = {A: moved(seed)[A]}
        body, residuals = build(origin(pb.INT8), base, SLOTS, outcome(blocks), residuals, topk=False)
        sent += tensors.decode(messages.decode(pb.Delta, body).experts[0].values, SIZE, pb.INT8)
        wanted += blocks[A] - base.block(A)
    assert np.abs(sent - wanted).max() > 1e-6
    assert sent + residuals[A] == pytest.approx(wanted, abs=1e-6)


def test_residuals_of_other_blocks_are_not_touched() -> None:
    """Only blocks of this delta get a new residual."""
    other = {B: np.ones(SIZE, np.float32)}
    _, left = build(origin(pb.INT8), toy.initial_bank(), SLOTS, outcome({A: moved()[A]}), other, topk=False)
    assert set(left) == {A}


def test_routed_tokens_are_told_for_every_held_expert_in_topk_mode() -> None:
    """By expert, ascending, never above what was seen."""
    routed = np.array([[1, 2, 3, 10.00001], [5, 6, 7, 8]], np.float32)
    body, _ = build(origin(pb.FLOAT32), toy.initial_bank(), SLOTS, outcome(moved(), routed), {}, topk=True)
    use = messages.decode(pb.Delta, body).use
    assert [(u.layer, u.index, u.routed) for u in use] == [
        (1, 0, 2), (1, 1, 3), (1, 2, 1), (1, 3, 10), (3, 0, 5), (3, 1, 6), (3, 2, 7), (3, 3, 8),
    ]  # fmt: skip


def test_label_counts_go_with_a_trained_head_only() -> None:
    """They reveal labels: not without need."""
    blocks = {HEAD: toy.initial_bank().head + 1}
    body, _ = build(origin(pb.FLOAT32), toy.initial_bank(), SLOTS, outcome(blocks), {}, topk=False)
    assert list(messages.decode(pb.Delta, body).label_counts) == [1, 2, 0]


def test_a_diverged_block_is_not_sent() -> None:
    """NaN anywhere refuses the whole delta."""
    blocks = moved()
    blocks[A][3] = np.nan
    with pytest.raises(WireError) as caught:
        build(origin(pb.FLOAT32), toy.initial_bank(), SLOTS, outcome(blocks), {}, topk=False)
    assert caught.value.code == pb.NOT_FINITE


def test_residuals_on_disk() -> None:
    """Names lead back to blocks; empty ones and strangers are left out."""
    kept = {A: np.ones(SIZE, np.float32), B: np.zeros(SIZE, np.float32)}
    packed = pack_residuals(kept)
    assert list(packed) == ["1.2"]
    residuals = unpack_residuals({**packed, "9.9": kept[A], "3.0": np.ones(3, np.float32)}, toy.SHAPE)
    assert list(residuals) == [A]
