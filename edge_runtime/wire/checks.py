"""What each message must be beyond its schema. One function a message; ``decode`` calls the table at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Final, Protocol

from edge_runtime.wire import limits
from edge_runtime.wire import tensors as values
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import DIGEST_BYTES, version_digest
from edge_runtime.wire.errors import MalformedMessage, WireError
from edge_runtime.wire.experts import BLOCKS_LIMIT, HEAD, LABELS_LIMIT, RESERVED, ExpertId
from edge_runtime.wire.text import plain
from edge_runtime.wire.topics import check_name

SESSION_BYTES: Final = 16
_CODECS: Final = (pb.FLOAT32, pb.INT8)


class _Named(Protocol):
    @property
    def layer(self) -> int: ...
    @property
    def index(self) -> int: ...


def _need(condition: bool, detail: str) -> None:
    if not condition:
        raise MalformedMessage(detail)


def _digest(value: bytes, what: str) -> None:
    _need(len(value) == DIGEST_BYTES, f"{what} has {len(value)} bytes, expected {DIGEST_BYTES}")


def _session(value: bytes) -> None:
    _need(len(value) == SESSION_BYTES, f"gateway session has {len(value)} bytes, expected {SESSION_BYTES}")


def _number(value: float, what: str, low: float = 0.0, high: float = math.inf) -> None:
    if not math.isfinite(value):
        raise WireError(pb.NOT_FINITE, f"{what} is {value}")
    _need(low <= value <= high, f"{what} is {value:g}, expected {low:g} to {high:g}")


def _plain(value: str, what: str, limit: int) -> None:
    _need(plain(value, limit), f"{what} is over {limit} bytes or not one plain line")


def _codec(codec: int) -> None:
    if codec not in _CODECS:
        raise WireError(pb.UNSUPPORTED_CODEC, f"codec {codec}; known: 0 (float32), 1 (int8)")


def _ascending(listed: Sequence[_Named], what: str) -> tuple[ExpertId, ...]:
    if len(listed) > BLOCKS_LIMIT:
        raise WireError(pb.TOO_LARGE, f"{len(listed)} {what}, limit {BLOCKS_LIMIT}")
    ids = tuple(ExpertId(block.layer, block.index) for block in listed)
    _need(all(max(block.layer, block.index) <= RESERVED for block in ids), f"{what} name a number above {RESERVED}")
    _need(all(a < b for a, b in pairwise(ids)), f"{what} are not ascending and unique")
    return ids


def _trained(listed: Sequence[_Named], what: str) -> None:
    _need(len(listed) > 0, f"no {what}")
    others = [str(block) for block in _ascending(listed, what) if block.layer == RESERVED and block != HEAD]
    _need(not others, f"{what} name {others[:1]}, which is not trained")


def _gateway(state: pb.GatewayState) -> None:
    _digest(state.federation_digest, "federation digest")
    _session(state.session)


def _hello(hello: pb.Hello) -> None:
    check_name(hello.device, "device")
    _digest(hello.federation_digest, "federation digest")
    _digest(hello.package_digest, "package digest")
    _session(hello.gateway_session)
    trained, held = hello.trained_slots, hello.held_slots
    _need(1 <= trained <= held <= limits.SLOTS_LIMIT, f"{trained} slots trained of {held} held")
    _need(1 <= hello.batch_size <= limits.BATCH_LIMIT, f"batch size is {hello.batch_size}")
    _number(hello.step_ms, "step_ms")
    _number(hello.seconds_per_round, "seconds_per_round")
    if hello.statistics_digest:
        _digest(hello.statistics_digest, "statistics digest")
    _reaches(hello.reaches)
    _plain(hello.profile, "profile", limits.NAME_BYTES)
    _plain(hello.runtime, "runtime", limits.NAME_BYTES)


def _reaches(reaches: Sequence[pb.Reach]) -> None:
    _need(len(reaches) <= limits.REACHES_LIMIT, f"{len(reaches)} reaches, limit {limits.REACHES_LIMIT}")
    layers = [reach.layers for reach in reaches]
    _need(all(1 <= depth < RESERVED for depth in layers), f"a reach of layers beyond 1 to {RESERVED - 1}")
    _need(all(a < b for a, b in pairwise(layers)), "layers of reaches are not ascending and unique")
    for reach in reaches:
        _number(reach.step_ms, "step_ms of a reach")
        _number(reach.trunk_ms, "trunk_ms of a reach")


def _bye(bye: pb.Bye) -> None:
    check_name(bye.device, "device")


def _plan(plan: pb.Plan) -> None:
    check_name(plan.device, "device")
    _digest(plan.version_digest, "version digest")
    _codec(plan.codec)
    _trained(plan.train, "planned experts")
    _need(1 <= plan.steps <= limits.STEPS_LIMIT, f"{plan.steps} steps, expected 1 to {limits.STEPS_LIMIT}")
    for name in ("learning_rate", "shared_learning_rate", "head_learning_rate", "weight_decay"):
        _number(getattr(plan, name), name, high=limits.RATE_LIMIT)
    _number(plan.deadline_s, "deadline_s")
    _number(plan.balance_pressure, "balance_pressure", high=1.0)
    layers = [layer.layer for layer in plan.use]
    _need(all(a < b for a, b in pairwise(layers)), "layers of use are not ascending and unique")
    _need(not layers or layers[-1] < RESERVED, f"use names a layer above {RESERVED - 1}")
    for layer in plan.use:
        for use in layer.use:
            _number(use, "use", high=1.0)


def _delta(delta: pb.Delta) -> None:
    check_name(delta.device, "device")
    _digest(delta.plan_digest, "plan digest")
    _codec(delta.codec)
    _trained(delta.experts, "experts of a delta")
    if delta.examples == 0:
        raise WireError(pb.NO_EXAMPLES, "a delta of 0 examples has no weight")
    _number(delta.loss_first, "loss_first", low=-math.inf)
    _number(delta.loss_last, "loss_last", low=-math.inf)
    _number(delta.step_ms, "step_ms")
    _ascending(delta.use, "uses")
    for use in delta.use:
        _number(use.seen, "tokens seen")
        _number(use.routed, "tokens routed", high=use.seen * 1.0001)  # both are sums of float32
    if len(delta.label_counts) > LABELS_LIMIT:
        raise WireError(pb.TOO_LARGE, f"{len(delta.label_counts)} label counts, limit {LABELS_LIMIT}")
    for count in delta.label_counts:
        _number(count, "label count")


def _statistics(statistics: pb.ClassStatistics) -> None:
    check_name(statistics.device, "device")
    _digest(statistics.federation_digest, "federation digest")
    labels = len(statistics.counts) // 4
    _need(statistics.width >= 1 and labels >= 1, f"statistics of {labels} labels and width {statistics.width}")
    counts = values.decode(statistics.counts, labels)
    _need(bool((counts >= 0).all()), "a count of statistics is negative")
    values.decode(statistics.sums, labels * statistics.width)


def _chunk(chunk: pb.Chunk) -> None:
    _digest(chunk.digest, "chunk digest")
    _need(chunk.kind in (pb.DELTA, pb.STATISTICS, pb.BLOB), f"chunk of kind {chunk.kind}")
    _need(chunk.index < chunk.count, f"chunk {chunk.index} of {chunk.count}")
    _body(chunk.total, chunk.count)
    piece_size(chunk)


def piece_size(chunk: pb.Chunk) -> int:
    """Return the bytes of a full piece of the body, which every chunk of it implies.

    Raises:
        MalformedMessage: when the chunk's own bytes do not fit its index, count and total.
    """
    size, total, index, count = len(chunk.payload), chunk.total, chunk.index, chunk.count
    last = index == count - 1
    # The last piece is the rest, so the pieces before it share what it leaves.
    piece = size if not last or index == 0 else (total - size) // index
    expected = total - piece * index if last else piece
    fits = 0 < size == expected <= piece and (count - 1) * piece < total <= count * piece
    _need(fits, f"chunk {index} of {count} has {size} bytes, which does not fit a body of {total}")
    return piece


def _verdict(verdict: pb.Verdict) -> None:
    _digest(verdict.digest, "verdict digest")
    _need(verdict.kind in (pb.HELLO, pb.DELTA, pb.STATISTICS), f"verdict on kind {verdict.kind}")
    _need(verdict.code > 0, f"verdict with code {verdict.code}")
    _number(verdict.retry_after_s, "retry_after_s", high=limits.RETRY_LIMIT_S)
    _plain(verdict.detail, "detail", limits.DETAIL_BYTES)
    _missing(verdict.missing)
    if verdict.code == pb.INCOMPLETE:
        _need(verdict.kind != pb.HELLO, "a Hello that is incomplete")
        _need(verdict.retry_after_s > 0, "chunks are asked for without a time to send them in")
    else:
        _need(not verdict.missing, f"chunks lack of a body with the verdict {verdict.code}")


def _missing(missing: bytes) -> None:
    _need(len(missing) <= limits.MISSING_BYTES, f"missing has {len(missing)} bytes, limit {limits.MISSING_BYTES}")


def _version(version: pb.Version) -> None:
    _digest(version.federation_digest, "federation digest")
    _digest(version.digest, "version digest")
    _need(len(version.blocks) > 0, "a version without blocks")
    ids = _ascending(version.blocks, "blocks of a version")
    for block in version.blocks:
        _digest(block.digest, "block digest")
        count = len(block.updates)
        _need(count <= limits.UPDATES_LIMIT, f"a block of {count} updates, limit {limits.UPDATES_LIMIT}")
        for update in block.updates:
            _digest(update.base, "digest of an update's base")
            _digest(update.digest, "digest of an update")
    blocks = dict(zip(ids, (block.digest for block in version.blocks), strict=True))
    if version_digest(blocks) != version.digest:
        raise WireError(pb.DIGEST_MISMATCH, f"blocks of version {version.version} do not have its digest")


def _want(want: pb.Want) -> None:
    check_name(want.device, "device")
    _wanted(want.digests)
    lists = len(want.missing)
    _need(lists in (0, len(want.digests)), f"{lists} lists of chunks for {len(want.digests)} blobs")
    for missing in want.missing:
        _missing(missing)


def _wanted(digests: Iterable[bytes]) -> None:
    listed = list(digests)
    _need(0 < len(listed) <= limits.WANT_LIMIT, f"{len(listed)} blobs wanted, expected 1 to {limits.WANT_LIMIT}")
    for digest in listed:
        _digest(digest, "blob digest")


def _offer(offer: pb.Offer) -> None:
    check_name(offer.device, "device")
    _digest(offer.digest, "digest of an offer")
    _need(offer.kind in (pb.DELTA, pb.STATISTICS), f"an offer of kind {offer.kind}")
    _body(offer.total, offer.count)
    piece = -(-offer.total // max(offer.count, 1))
    fits = offer.count > 0 and (offer.count - 1) * piece < offer.total
    _need(fits, f"a body of {offer.total} bytes is not cut into {offer.count} chunks")


def _body(total: int, count: int) -> None:
    if total > limits.BODY_LIMIT:
        raise WireError(pb.TOO_LARGE, f"body of {total} bytes, limit {limits.BODY_LIMIT}")
    if count > limits.CHUNKS_LIMIT:
        raise WireError(pb.TOO_LARGE, f"body of {count} chunks, limit {limits.CHUNKS_LIMIT}")


CHECKS: Final[dict[type[Any], Callable[[Any], None]]] = {
    pb.GatewayState: _gateway,
    pb.Hello: _hello,
    pb.Bye: _bye,
    pb.Plan: _plan,
    pb.Delta: _delta,
    pb.ClassStatistics: _statistics,
    pb.Chunk: _chunk,
    pb.Verdict: _verdict,
    pb.Version: _version,
    pb.Want: _want,
    pb.Offer: _offer,
}
