"""What goes over the wire, both ways, for every arm alike: int8 by `wire/tensors`, what it left is sent the next time.

Axes: n blocks of P values. A block is a row of a tensor with scales of its own, as on the wire. Up, blocks follow from
the mask of a work (`arms.base`); down, a row is the last axis of a tensor of the state, or its
last axes where they are short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.federation.arms.base import State, Values, Work
from broker_server.rules.planner import BLOCK_OVERHEAD, CHUNK_OVERHEAD, DELTA_OVERHEAD
from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.tensors import GROUP, Array

UPDATES: Final = 3
"""Updates of a block that are fewer bytes than the block itself (`rules/updates`, steps_back)."""
SHORT: Final = 4 * GROUP
"""Values; shorter rows are sent together, or most of their groups would be half empty."""
CODECS: Final[Mapping[str, int]] = {"float32": pb.FLOAT32, "int8": pb.INT8}


def coded(blocks: Array, codec: int) -> Array:
    """Return blocks [n, P] as they are read off the wire, each with scales of its own."""
    if codec == pb.FLOAT32 or not blocks.size:
        return blocks
    count, size = blocks.shape
    padded = np.zeros((count, -(-size // GROUP) * GROUP), np.float32)
    padded[:, :size] = blocks
    read = tensors.decode(tensors.encode(padded, codec), padded.size, codec)
    return read.reshape(padded.shape)[:, :size]


def block_mask(mask: npt.ArrayLike, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.bool_], bool]:
    """Return which blocks of a tensor a mask trains, and whether they are single values, sent as one block.

    A mask that is as long as the tensor in its last axis picks values, any other rows: its leading axes longer than 1.
    """
    on = np.asarray(mask) != 0
    if on.shape[-1] > 1:
        return np.broadcast_to(on, shape), True
    longer = [axis for axis, size in enumerate(on.shape) if size > 1]
    lead = shape[: longer[-1] + 1] if longer else ()
    return np.broadcast_to(on.reshape(on.shape[: len(lead)]), lead), False


def picked(values: Array, mask: npt.ArrayLike) -> Array:
    """Return the blocks [n, P] of a tensor that a mask trains."""
    which, single = block_mask(mask, values.shape)
    if single:
        return np.ascontiguousarray(values[which][None])
    blocks = values.reshape(*which.shape, -1)[which]
    return np.ascontiguousarray(blocks.reshape(int(which.sum()), values.size // max(1, which.size)))


def put(values: Array, mask: npt.ArrayLike, blocks: Array) -> None:
    """Write blocks back where ``picked`` took them from."""
    which, single = block_mask(mask, values.shape)
    if single:
        values[which] = blocks[0]
    else:
        values.reshape(*which.shape, -1)[which] = blocks.reshape(values.reshape(*which.shape, -1)[which].shape)


def block_bytes(count: int, size: int, codec: int, headers: int) -> int:
    """Return the bytes of blocks [count, size] with so many headers of `rules/planner`."""
    return count * tensors.encoded_size(size, codec) + headers * BLOCK_OVERHEAD


@dataclass
class Uplink:
    """What devices keep of what they could not say in int8.

    Args:
        codec: of what goes up.
        feedback: whether what int8 left of a delta is added to the next; not where values of one round mean nothing in
            the next, as factors that the server turns or draws anew.
        left: by client and tensor.
    """

    codec: int
    feedback: bool = True
    left: dict[tuple[int, str], Array] = field(default_factory=dict)

    def size(self, work: Work) -> int:
        """Return the bytes of a work's delta."""
        size = float(DELTA_OVERHEAD)
        for name in work.rates:
            if name in work.masks:
                mask, values = work.masks[name], work.values[name]
                which, single = block_mask(mask, values.shape)
                count = int(which.sum())
                blocks = (1, count) if single else (count, values.size // max(1, which.size))
                headers = blocks[0] if work.form.kind == "experts" else _layers(mask, values)
                size += block_bytes(blocks[0], blocks[1], self.codec, headers)
        return int(size * (1 + CHUNK_OVERHEAD))

    def send(self, work: Work, after: Values) -> dict[str, Array]:
        """Return a client's trained tensors as the server reads them."""
        heard = {}
        for name, values in after.items():
            mask, start = work.masks[name], work.values[name]
            delta = picked(values - start, mask)
            left = self.left.get((work.client, name))
            if left is not None:
                delta = delta + picked(left, mask)
            read = coded(delta, self.codec)
            if self.codec != pb.FLOAT32 and self.feedback:
                kept = np.zeros_like(start) if left is None else left
                put(kept, mask, delta - read)
                self.left[work.client, name] = kept
            heard[name] = np.array(start)
            put(heard[name], mask, picked(start, mask) + read)
        return heard


def _layers(mask: npt.ArrayLike, values: Array) -> int:
    which, _ = block_mask(mask, values.shape)
    return int(which.reshape(which.shape[0], -1).any(1).sum()) if which.ndim and values.ndim > 1 else 1


@dataclass
class Downlink:
    """Versions in steps of int8, and which of them each client has.

    Args:
        codec: of what goes down.
        sent: tensors of the state that devices download.
        feedback: whether what int8 left is added to the next version.
        left: of each tensor.
        changes: how often each row of a tensor changed, [rows].
        had: the same as each client last saw it.
    """

    codec: int
    sent: Sequence[str]
    feedback: bool = True
    left: dict[str, Array] = field(default_factory=dict)
    changes: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    had: dict[tuple[int, str], npt.NDArray[np.int64]] = field(default_factory=dict)

    def publish(self, before: State, merged: State) -> State:
        """Return the state as devices get it."""
        served = dict(merged)
        for name in self.sent:
            if name not in before or before[name].shape != merged[name].shape or not merged[name].size:
                continue
            size = row_size(before[name].shape)
            base, wanted = before[name].reshape(-1, size), merged[name].reshape(-1, size)
            if name in self.left:
                wanted = wanted + self.left[name].reshape(-1, size)
            moved = (wanted != base).any(1)
            after = base.copy()
            after[moved] = (
                wanted[moved]
                if self.codec == pb.FLOAT32
                else base[moved] + coded(wanted[moved] - base[moved], self.codec)
            )
            if self.feedback:
                self.left[name] = (wanted - after).reshape(before[name].shape)
            self.changes[name] = self.changes.get(name, np.zeros(len(base), np.int64)) + moved
            served[name] = after.reshape(before[name].shape)
        return served

    def fetch(self, work: Work, state: State) -> int:
        """Return the bytes that a client downloads for a work, and note that it has this version."""
        size = 0.0
        for name in self.sent:
            changes = self.changes.get(name)
            if changes is None or name not in state:
                continue
            missed = changes - self.had.get((work.client, name), np.zeros_like(changes))
            self.had[work.client, name] = changes
            values = row_size(state[name].shape)
            whole = tensors.encoded_size(values, pb.FLOAT32)
            each = np.minimum(missed * tensors.encoded_size(values, self.codec), whole)
            size += float((each * self._held(work, name, state[name].shape)).sum())
        return int(size * (1 + CHUNK_OVERHEAD))

    def _held(self, work: Work, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Return the share of each row of a tensor that a work's client downloads."""
        values = row_size(shape)
        rows = int(np.prod(shape)) // values
        if work.held is not None and name in work.held:
            on = np.broadcast_to(np.asarray(work.held[name]) != 0, shape).reshape(rows, values)
            share: npt.NDArray[np.float64] = on.mean(1)
            return share
        return np.ones(rows) if work.held is None else np.zeros(rows)

    def anew(self, works: Sequence[Work], state: State) -> tuple[list[Work], list[int]]:
        """Return works with what is no tensor of the state coded as it is, and its bytes; one coding for one array.

        Such are factors that the server makes for each client in each round: there is no version to step from.
        """
        known: dict[int, tuple[Array, int]] = {}
        results, sizes = [], []
        for work in works:
            values, size = dict(work.values), 0
            for name in set(work.held or work.masks) - set(self.sent):
                if name in state or name not in values:
                    continue
                array = values[name]
                if id(array) not in known:
                    blocks = array.reshape(-1, array.shape[-1])
                    bytes_down = block_bytes(len(blocks), blocks.shape[1], self.codec, array.shape[0])
                    known[id(array)] = coded(blocks, self.codec).reshape(array.shape), bytes_down
                values[name] = known[id(array)][0]
                mask = (work.held or work.masks)[name]
                size += int(known[id(array)][1] * np.broadcast_to(np.asarray(mask) != 0, array.shape).mean())
            results.append(_with_values(work, values))
            sizes.append(size)
        return results, sizes


def row_size(shape: tuple[int, ...]) -> int:
    """Return the values of a row on the way down: the last axes of a tensor, at least SHORT of them, never the first.

    A tensor of one axis is one row.
    """
    size = shape[-1]
    for axis in reversed(shape[1:-1]):
        if size >= SHORT:
            break
        size *= axis
    return size


def _with_values(work: Work, values: dict[str, Any]) -> Work:
    changed = {name: getattr(work, name) for name in work.__dataclass_fields__}
    return Work(**{**changed, "values": values})
