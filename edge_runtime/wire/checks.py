"""What each message must be beyond its schema. One function a message; ``decode`` calls the table at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

from edge_runtime.wire import limits
from edge_runtime.wire import tensors as values
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import version_digest
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import LABELS_LIMIT, RESERVED
from edge_runtime.wire.field_checks import ascending, digest_size, need, number, trained
from edge_runtime.wire.mask_checks import MASK_CHECKS, check_masked, check_terms
from edge_runtime.wire.site_checks import SITE_CHECKS
from edge_runtime.wire.text import plain
from edge_runtime.wire.topics import check_name

SESSION_BYTES: Final = 16
_CODECS: Final = (pb.FLOAT32, pb.INT8)
BODIES: Final = (pb.DELTA, pb.STATISTICS, pb.KEYS, pb.SHARES, pb.ANSWER)
"""Kinds of bodies that devices send in chunks."""


def _session(value: bytes) -> None:
    need(len(value) == SESSION_BYTES, f"gateway session has {len(value)} bytes, expected {SESSION_BYTES}")


def _plain(value: str, what: str, limit: int) -> None:
    need(plain(value, limit), f"{what} is over {limit} bytes or not one plain line")


def _codec(codec: int) -> None:
    if codec not in _CODECS:
        raise WireError(pb.UNSUPPORTED_CODEC, f"codec {codec}; known: 0 (float32), 1 (int8)")


def _gateway(state: pb.GatewayState) -> None:
    digest_size(state.federation_digest, "federation digest")
    _session(state.session)


def _hello(hello: pb.Hello) -> None:
    check_name(hello.device, "device")
    digest_size(hello.federation_digest, "federation digest")
    digest_size(hello.package_digest, "package digest")
    _session(hello.gateway_session)
    trained, held = hello.trained_slots, hello.held_slots
    need(1 <= trained <= held <= limits.SLOTS_LIMIT, f"{trained} slots trained of {held} held")
    need(1 <= hello.batch_size <= limits.BATCH_LIMIT, f"batch size is {hello.batch_size}")
    number(hello.step_ms, "step_ms")
    number(hello.seconds_per_round, "seconds_per_round")
    if hello.statistics_digest:
        digest_size(hello.statistics_digest, "statistics digest")
    _reaches(hello.reaches)
    _plain(hello.profile, "profile", limits.NAME_BYTES)
    _plain(hello.runtime, "runtime", limits.NAME_BYTES)


def _reaches(reaches: Sequence[pb.Reach]) -> None:
    need(len(reaches) <= limits.REACHES_LIMIT, f"{len(reaches)} reaches, limit {limits.REACHES_LIMIT}")
    layers = [reach.layers for reach in reaches]
    need(all(1 <= depth < RESERVED for depth in layers), f"a reach of layers beyond 1 to {RESERVED - 1}")
    need(all(a < b for a, b in pairwise(layers)), "layers of reaches are not ascending and unique")
    for reach in reaches:
        number(reach.step_ms, "step_ms of a reach")
        number(reach.trunk_ms, "trunk_ms of a reach")


def _bye(bye: pb.Bye) -> None:
    check_name(bye.device, "device")


def _plan(plan: pb.Plan) -> None:
    check_name(plan.device, "device")
    digest_size(plan.version_digest, "version digest")
    _codec(plan.codec)
    trained(plan.train, "planned experts")
    need(1 <= plan.steps <= limits.STEPS_LIMIT, f"{plan.steps} steps, expected 1 to {limits.STEPS_LIMIT}")
    for name in ("learning_rate", "shared_learning_rate", "head_learning_rate", "weight_decay"):
        number(getattr(plan, name), name, high=limits.RATE_LIMIT)
    number(plan.deadline_s, "deadline_s")
    number(plan.balance_pressure, "balance_pressure", high=1.0)
    layers = [layer.layer for layer in plan.use]
    need(all(a < b for a, b in pairwise(layers)), "layers of use are not ascending and unique")
    need(not layers or layers[-1] < RESERVED, f"use names a layer above {RESERVED - 1}")
    for layer in plan.use:
        for use in layer.use:
            number(use, "use", high=1.0)
    if plan.masks:
        check_terms(plan)


def _delta(delta: pb.Delta) -> None:
    check_name(delta.device, "device")
    digest_size(delta.plan_digest, "plan digest")
    _codec(delta.codec)
    if delta.masked:
        check_masked(delta)
    else:
        need(not delta.members, "a list of members, and nothing under masks")
        trained(delta.experts, "experts of a delta")
    if delta.examples == 0:
        raise WireError(pb.NO_EXAMPLES, "a delta of 0 examples has no weight")
    number(delta.loss_first, "loss_first", low=-math.inf)
    number(delta.loss_last, "loss_last", low=-math.inf)
    number(delta.step_ms, "step_ms")
    ascending(delta.use, "uses")
    for use in delta.use:
        number(use.seen, "tokens seen")
        number(use.routed, "tokens routed", high=use.seen * 1.0001)  # both are sums of float32
    if len(delta.label_counts) > LABELS_LIMIT:
        raise WireError(pb.TOO_LARGE, f"{len(delta.label_counts)} label counts, limit {LABELS_LIMIT}")
    for count in delta.label_counts:
        number(count, "label count")


def _statistics(statistics: pb.ClassStatistics) -> None:
    check_name(statistics.device, "device")
    digest_size(statistics.federation_digest, "federation digest")
    labels = len(statistics.counts) // 4
    need(statistics.width >= 1 and labels >= 1, f"statistics of {labels} labels and width {statistics.width}")
    counts = values.decode(statistics.counts, labels)
    need(bool((counts >= 0).all()), "a count of statistics is negative")
    values.decode(statistics.sums, labels * statistics.width)


def _chunk(chunk: pb.Chunk) -> None:
    digest_size(chunk.digest, "chunk digest")
    need(chunk.kind in (*BODIES, pb.BLOB), f"chunk of kind {chunk.kind}")
    need(chunk.index < chunk.count, f"chunk {chunk.index} of {chunk.count}")
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
    need(fits, f"chunk {index} of {count} has {size} bytes, which does not fit a body of {total}")
    return piece


def _verdict(verdict: pb.Verdict) -> None:
    digest_size(verdict.digest, "verdict digest")
    need(verdict.kind in (pb.HELLO, *BODIES), f"verdict on kind {verdict.kind}")
    need(verdict.code > 0, f"verdict with code {verdict.code}")
    number(verdict.retry_after_s, "retry_after_s", high=limits.RETRY_LIMIT_S)
    _plain(verdict.detail, "detail", limits.DETAIL_BYTES)
    _missing(verdict.missing)
    if verdict.code == pb.INCOMPLETE:
        need(verdict.kind != pb.HELLO, "a Hello that is incomplete")
        need(verdict.retry_after_s > 0, "chunks are asked for without a time to send them in")
    else:
        need(not verdict.missing, f"chunks lack of a body with the verdict {verdict.code}")


def _missing(missing: bytes) -> None:
    need(len(missing) <= limits.MISSING_BYTES, f"missing has {len(missing)} bytes, limit {limits.MISSING_BYTES}")


def _version(version: pb.Version) -> None:
    digest_size(version.federation_digest, "federation digest")
    digest_size(version.digest, "version digest")
    need(len(version.blocks) > 0, "a version without blocks")
    ids = ascending(version.blocks, "blocks of a version")
    for block in version.blocks:
        digest_size(block.digest, "block digest")
        count = len(block.updates)
        need(count <= limits.UPDATES_LIMIT, f"a block of {count} updates, limit {limits.UPDATES_LIMIT}")
        for update in block.updates:
            digest_size(update.base, "digest of an update's base")
            digest_size(update.digest, "digest of an update")
    blocks = dict(zip(ids, (block.digest for block in version.blocks), strict=True))
    if version_digest(blocks) != version.digest:
        raise WireError(pb.DIGEST_MISMATCH, f"blocks of version {version.version} do not have its digest")


def _want(want: pb.Want) -> None:
    check_name(want.device, "device")
    _wanted(want.digests)
    lists = len(want.missing)
    need(lists in (0, len(want.digests)), f"{lists} lists of chunks for {len(want.digests)} blobs")
    for missing in want.missing:
        _missing(missing)


def _wanted(digests: Iterable[bytes]) -> None:
    listed = list(digests)
    need(0 < len(listed) <= limits.WANT_LIMIT, f"{len(listed)} blobs wanted, expected 1 to {limits.WANT_LIMIT}")
    for digest in listed:
        digest_size(digest, "blob digest")


def _offer(offer: pb.Offer) -> None:
    check_name(offer.device, "device")
    digest_size(offer.digest, "digest of an offer")
    need(offer.kind in BODIES, f"an offer of kind {offer.kind}")
    _body(offer.total, offer.count)
    piece = -(-offer.total // max(offer.count, 1))
    fits = offer.count > 0 and (offer.count - 1) * piece < offer.total
    need(fits, f"a body of {offer.total} bytes is not cut into {offer.count} chunks")


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
    **MASK_CHECKS,
    **SITE_CHECKS,
}
