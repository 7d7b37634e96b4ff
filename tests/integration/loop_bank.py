"""Versions and deltas as plain arrays, and merging written down once more, from docs/algorithm.md and SPEC.md alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from loop_federation import Federation, answer
from loop_packages import EXPERTS, LAYERS, RANK, WIDTH
from safetensors.numpy import load_file

from edge_runtime.wire import wire_pb2 as pb

Bank = dict[tuple[int, int], npt.NDArray[np.float32]]
SHARED, OUTSIDE = 65535, 65535
HEAD, MEAN = (OUTSIDE, 0), (OUTSIDE, 1)


def read_version(federation: Federation, number: int) -> Bank:
    """Export a version by the command line and return its blocks by (layer, index)."""
    out = federation.folder / f"version-{number}"
    options = ("--state", federation.state, "--version", number, "--out", out)
    answer("broker_server", "export", *options, folder=federation.folder)
    tensors = load_file(out / "bank.safetensors")
    blocks: Bank = {HEAD: tensors["head"], MEAN: tensors["mean"]}
    for layer in range(LAYERS):
        blocks[layer, SHARED] = tensors["shared"][layer]
        blocks |= {(layer, index): tensors["experts"][layer, index] for index in range(EXPERTS)}
    return blocks


def values(delta: pb.Delta) -> Bank:
    """Return a delta's blocks; int8 values are a float32 scale for each 64, times a signed byte."""
    return {(one.layer, one.index): _read(one.values, delta.codec) for one in delta.experts}


def _read(data: bytes, codec: int) -> npt.NDArray[np.float32]:
    if codec == pb.FLOAT32:
        return np.frombuffer(data, "<f4")
    count = next(n for n in range(len(data)) if n + 4 * -(-n // 64) == len(data))
    scales = np.frombuffer(data, "<f4", -(-count // 64))
    return np.repeat(scales, 64)[:count] * np.frombuffer(data, np.int8, offset=4 * len(scales)).astype(np.float32)


def merged_by_hand(base: Bank, deltas: list[pb.Delta], *, topk: bool = False) -> Bank:
    """Return base + sum(a * delta) / sum(a), block by block, in float64; a block without a delta as it is.

    Long updates are cut first; nobody claims enough here to be capped.

    Soft gates: a = n, the examples. Top-k: for experts a = n * sqrt(N / T) * N / (N + 64), N tokens routed to the
    expert of T seen (no token, no weight); and each delta's router rows first lose their mean over the layer's experts.
    """
    after = dict(base)
    updates = cut([values(delta) for delta in deltas])
    for block in base:
        parts = []
        for delta, update in zip(deltas, updates, strict=True):
            sent = without_common_shift(update) if topk else update
            if block in sent:
                parts.append((_weight(delta, block, topk=topk), sent[block].astype(np.float64)))
        if sum(weight for weight, _ in parts) > 0:
            mean = sum(weight * part for weight, part in parts) / sum(weight for weight, _ in parts)
            after[block] = (base[block].astype(np.float64) + mean).astype(np.float32)
    return after


def next_by_hand(
    base: Bank, left: Bank, deltas: list[pb.Delta], *, codec_down: str, topk: bool = False
) -> tuple[Bank, Bank]:
    """Return the version after ``base`` and what it leaves out for the next; ``left`` is what ``base`` left out.

    In steps of int8 a block that moved is what it was plus a step, and what is left out is its master minus that.
    """
    masters = {block: base[block] + left[block] for block in left}
    merged = merged_by_hand({**base, **masters}, deltas, topk=topk)
    after, kept = dict(base), dict(left)
    for block, start in {**base, **masters}.items():
        if merged[block].tobytes() == start.tobytes():
            continue  # nobody trained it: what was left out waits
        after[block] = merged[block] if codec_down == "float32" else base[block] + _step(merged[block] - base[block])
        kept[block] = merged[block] - after[block]
    return after, {block: values for block, values in kept.items() if values.any()}


def _step(change: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a change as int8 has it: a scale for each 64 values, the largest of them over 127, times whole numbers."""
    padded = np.zeros(-(-len(change) // 64) * 64, np.float32)
    padded[: len(change)] = change
    groups = padded.reshape(-1, 64)
    scales = np.abs(groups).max(axis=1, keepdims=True) / np.float32(127)
    steps = np.rint(np.divide(groups, scales, out=np.zeros_like(groups), where=scales > 0))
    return (steps.clip(-127, 127).astype(np.float32) * scales).reshape(-1)[: len(change)]


def usual_norms(updates: list[Bank]) -> dict[bool, float]:
    """Return the median, over devices, of a device's largest norm of experts and of shared ones; from 3 devices on."""
    usual = {}
    for shared in (False, True):
        norms = [
            [_norm(block) for (_, index), block in update.items() if (index == SHARED) == shared] for update in updates
        ]
        largest = [max(of_one) for of_one in norms if of_one]
        usual[shared] = float(np.median(largest)) if len(largest) > 2 else np.inf
    return usual


def cut(updates: list[Bank], usual: dict[bool, float] | None = None) -> list[Bank]:
    """Cut blocks to 1.5 times what is usual of their kind: in this round, where nothing else is said."""
    limits = {shared: 1.5 * norm for shared, norm in (usual or usual_norms(updates)).items()}
    return [{name: _cut(block, limits[name[1] == SHARED]) for name, block in update.items()} for update in updates]


def _norm(block: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.sum(np.square(block.astype(np.float64)))))


def _cut(block: npt.NDArray[np.float32], limit: float) -> npt.NDArray[np.float32]:
    norm = _norm(block)
    return (block * (limit / norm)).astype(np.float32) if norm > limit else block


def _weight(delta: pb.Delta, block: tuple[int, int], *, topk: bool) -> float:
    if not topk or block[1] == SHARED:
        return float(delta.examples)
    (use,) = [one for one in delta.use if (one.layer, one.index) == block]
    return delta.examples * (np.sqrt(use.routed / use.seen) * use.routed / (use.routed + 64.0))


def robust_by_hand(updates: list[Bank], examples: list[int]) -> dict[tuple[int, int], npt.NDArray[np.float64]]:
    """Return each block's robust mean: of three the middle, of two 2 / 3 of their mean, of one a half.

    A mean is a sum of weights times values over the sum of weights, in float64, weights being examples.
    """
    means = {}
    for block in sorted({block for update in updates for block in update}):
        held = [(float(n), update[block]) for update, n in zip(updates, examples, strict=True) if block in update]
        weights = np.array([weight for weight, _ in held])[:, None]
        stack = np.stack([sent.astype(np.float64) for _, sent in held])
        if len(held) == 3:
            middle = np.argsort(stack, axis=0, kind="stable")[1:2]
            weights, stack = weights[middle[0], 0][None], np.take_along_axis(stack, middle, axis=0)
        shrunk = {1: 1 / 2, 2: 2 / 3, 3: 1}[len(held)]
        means[block] = (weights * stack).sum(axis=0) / weights.sum(axis=0) * shrunk
    return means


def without_common_shift(sent: Bank) -> Bank:
    """Subtract from each router row (row r of an expert's first matrix) the mean over the layer's experts."""
    after = dict(sent)
    row = slice(RANK * WIDTH, (RANK + 1) * WIDTH)
    for layer in range(LAYERS):
        experts = [block for block in sent if block[0] == layer and block[1] < EXPERTS]
        mean = np.mean([sent[block][row].astype(np.float64) for block in experts], axis=0)
        for block in experts:
            after[block] = sent[block].copy()
            after[block][row] = (sent[block][row].astype(np.float64) - mean).astype(np.float32)
    return after


def assert_equal(bank: Bank, expected: Bank) -> None:
    """Compare banks to the last bit."""
    assert bank.keys() == expected.keys()
    assert [block for block in expected if bank[block].tobytes() != expected[block].tobytes()] == []
