"""Versions in steps of int8, by hand-computed numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest

from broker_server.rules.aggregate import Contribution, Sums, fold
from broker_server.rules.updates import UPDATE_OVERHEAD, Step, next_step, steps_back, that_fit
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId
from edge_runtime.wire.messages import encode
from edge_runtime.wire.updates import apply_update

SHAPE = BankShape((0,), 2, 1, 1, 2, 2)  # an expert has 4 + 1 + 4 values, the head 6
A, B = ExpertId(0, 0), ExpertId(0, 1)


def block(*values: float) -> np.ndarray:
    """Return an expert's block that begins with ``values``, zeros behind them."""
    return np.array([*values, *[0.0] * (SHAPE.expert_size - len(values))], np.float32)


def sums(**deltas: Sequence[float]) -> Sums:
    """Return what one device of one example sent, by block."""
    folded = Sums()
    sent = {{"a": A, "b": B}[name]: block(*values) for name, values in deltas.items()}
    fold(folded, Contribution("one", 1, 1, 0, sent), SHAPE, topk=False)
    return folded


def start(*values: float) -> Step:
    """Return a version in which block A begins with ``values`` and all else is 0."""
    return Step(Bank.zeros(SHAPE).replace({A: block(*values)}))


def after(step: Step, *, rounded: bool = True, **deltas: Sequence[float]) -> Step:
    """Return the version after one."""
    return next_step(step.bank, step.residuals, sums(**deltas), rounded=rounded)


def first(values: np.ndarray) -> list[float]:
    """Return the values that a test is about."""
    assert not values[3:].any()
    return [float(value) for value in values[:3]]


def test_three_versions_go_down_in_steps_and_each_takes_up_what_the_one_before_left_out() -> None:
    """The largest change is 127, so a step is 1; halves go to even.

    merged  127, 1.25, 0.75   master 127, 1.25, 0.75   step 127, 1, 1   version 127, 1, 1   left 0, 0.25, -0.25
    merged  127, 0.25, 0.25   master 254, 1.5, 1       step 127, 0, 0   version 254, 1, 1   left 0, 0.5, 0
    merged  127, 0.5, 0.25    master 381, 2, 1.25      step 127, 1, 0   version 381, 2, 1   left 0, 0, 0.25
    """
    one = after(start(), a=(127, 1.25, 0.75))
    assert one.updates == {A: struct.pack("<f9b", 1.0, 127, 1, 1, *[0] * 6)}
    assert (first(one.bank.block(A)), first(one.residuals[A])) == ([127, 1, 1], [0, 0.25, -0.25])
    two = after(one, a=(127, 0.25, 0.25))
    assert two.updates == {A: struct.pack("<f9b", 1.0, 127, *[0] * 8)}
    assert (first(two.bank.block(A)), first(two.residuals[A])) == ([254, 1, 1], [0, 0.5, 0])
    three = after(two, a=(127, 0.5, 0.25))
    assert three.updates == {A: struct.pack("<f9b", 1.0, 127, 1, *[0] * 7)}
    assert (first(three.bank.block(A)), first(three.residuals[A])) == ([381, 2, 1], [0, 0, 0.25])


def test_what_one_version_left_out_has_arrived_two_versions_later() -> None:
    """0.4 of a step each time: nothing, then 0.8 rounds to 1; without the residual it would stay 0 for good."""
    step = start()
    seen = []
    for _ in range(3):
        step = after(step, a=(127, 0.4))
        seen.append(float(step.bank.block(A)[1]))
    assert seen == [0.0, 1.0, 1.0]


def test_a_device_that_applies_the_updates_has_the_version_to_the_bit() -> None:
    """With numbers that no float32 holds exactly, over three versions."""
    rng = np.random.default_rng(7)
    step = start(*rng.normal(0, 0.02, 9))
    held = step.bank.block(A)
    for _ in range(3):
        step = after(step, a=rng.normal(0, 0.003, 9))
        held = apply_update(held, step.updates[A])
        assert held.tobytes() == step.bank.block(A).tobytes()


def test_a_block_that_nobody_trained_keeps_its_bits_and_waits_with_its_residual() -> None:
    """Block B is trained in the second merge only: no update of A, its residual counts in the third."""
    one = after(start(-0.0), a=(127, 1.25))
    two = after(one, b=(127,))
    assert set(two.updates) == {B}
    assert two.bank.block(A).tobytes() == one.bank.block(A).tobytes()
    assert first(two.residuals[A]) == [0, 0.25, 0]
    three = after(two, a=(127, 0.25))
    assert first(three.residuals[A]) == [0, 0.5, 0]


def test_a_change_too_small_for_a_step_is_no_update_and_waits() -> None:
    """1e-46 of a step is below the smallest float32; the block keeps its digest, a negative zero too."""
    tiny = float(np.finfo(np.float32).smallest_subnormal)
    one = after(start(-0.0, 5.0), a=(0.0, 0.0, tiny))
    assert (one.updates, one.bank.block(A).tobytes()) == ({}, block(-0.0, 5.0).tobytes())
    assert first(one.residuals[A]) == [0, 0, tiny]


def test_a_version_of_before_steps_goes_on_in_steps_and_back() -> None:
    """Switched off, the next merge of a block sends all that is left; switched on, steps begin from there."""
    one = after(start(), a=(127, 1.25), b=(127, 0.25))
    exact = after(one, a=(127, 0.0), rounded=False)
    assert (first(exact.bank.block(A)), exact.updates) == ([254, 1.25, 0], {})
    assert {name: first(values) for name, values in exact.residuals.items()} == {B: [0, 0.25, 0]}
    assert first(after(exact, a=(127, 0.25)).bank.block(A)) == [381, 1.25, 0]


def test_a_sum_beyond_float32_makes_the_block_go_whole() -> None:
    """The second value rounds up by 0.4 of a step of 1.1e36, past the largest float32: the master goes as it is."""
    step = 1.4e38 / 127
    one = after(start(2e38, 3.395e38), a=(1.4e38, 0.6 * step))
    assert np.isfinite(one.bank.block(A)).all()
    assert (one.updates, one.residuals) == ({}, {})
    assert one.bank.block(A)[1] == np.float32(3.395e38) + np.float32(0.6 * step)


def version(**updates: Sequence[pb.Update]) -> pb.Version:
    """Return a version of blocks A, B and head with these updates of A and B."""
    blocks = [
        pb.Block(layer=name.layer, index=name.index, digest=key.encode() * 32, updates=updates.get(key, ()))
        for key, name in {"a": A, "b": B, "h": HEAD}.items()
    ]
    return pb.Version(blocks=blocks)


def test_a_version_lists_its_parents_updates_behind_its_own_while_all_of_them_are_fewer_bytes() -> None:
    """A block has 36 bytes and an update 13, so two are listed; what did not change keeps what it lists."""
    old, older = pb.Update(base=b"1" * 32, digest=b"2" * 32), pb.Update(base=b"3" * 32, digest=b"4" * 32)
    new = pb.Update(base=b"a" * 32, digest=b"5" * 32)
    digests = {A: b"A" * 32, B: b"b" * 32, HEAD: b"H" * 32}
    listed = steps_back(version(a=[old, older], b=[older]), digests, {A: new.digest}, SHAPE)
    assert listed == {A: [new, old], B: [older]}
    assert steps_back(version(), digests, {}, SHAPE) == {}


def test_a_wide_block_lists_three_steps() -> None:
    """85 values are 340 bytes, an update of two scales 93: three are 279, four 372."""
    wide = BankShape((0,), 1, 1, 1, 21, 2)  # an expert has 42 + 1 + 42 values
    parent = pb.Version(blocks=[pb.Block(layer=0, index=0, digest=b"a" * 32, updates=[pb.Update()] * 5)])
    assert {len(steps) for steps in steps_back(parent, {A: b"a" * 32}, {}, wide).values()} == {3}


def test_updates_that_do_not_fit_are_left_out_the_oldest_steps_first() -> None:
    """Room for three: the newest of both blocks, then one step back of the first."""
    steps = {B: [pb.Update(base=b"1"), pb.Update(base=b"2")], A: [pb.Update(base=b"3"), pb.Update(base=b"4")]}
    fitting = that_fit(steps, 3 * UPDATE_OVERHEAD + 70)
    assert fitting == {A: steps[A], B: steps[B][:1]}
    assert that_fit(steps, UPDATE_OVERHEAD - 1) == {}


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_listed_update_takes_no_more_bytes_than_are_counted(steps: int) -> None:
    """Of blocks with the largest numbers."""
    update = pb.Update(base=b"1" * 32, digest=b"2" * 32)
    blocks = [pb.Block(layer=0xFFFE, index=number, digest=b"3" * 32) for number in range(60_000, 60_100)]
    message = pb.Version(federation_digest=b"f" * 32, digest=b"d" * 32, blocks=blocks)
    before = len(encode(message))
    for block in message.blocks:
        block.updates.extend([update] * steps)
    assert before < len(encode(message)) <= before + 100 * steps * UPDATE_OVERHEAD
