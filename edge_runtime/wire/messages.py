"""Bytes <-> messages. Bytes are checked once, here, where they enter; what comes out may be used without asking again.

``decode`` raises nothing but WireError, whatever the bytes. Checks that need context (is this expert planned? is this
device known?) belong to admission.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import DIGEST_BYTES
from edge_runtime.wire.errors import MalformedMessage, WireError
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.topics import check_name

WIRE_VERSION: Final = 1
MESSAGE_LIMIT: Final = 128 * 1024
"""Bytes of one MQTT payload (AWS IoT Core's limit, the smallest of the common brokers)."""
BODY_LIMIT: Final = 256 * 1024 * 1024
"""Bytes of one chunked body."""
STEPS_LIMIT: Final = 1_000_000

M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """Write a message; the wire version is filled in."""
    message.wire_version = WIRE_VERSION  # type: ignore[attr-defined]  # every message of ours has it as field 1
    return message.SerializeToString(deterministic=True)


def decode(kind: type[M], data: bytes, limit: int = MESSAGE_LIMIT) -> M:
    """Read and check a message of ``kind``.

    Raises:
        WireError: TOO_LARGE, UNSUPPORTED_WIRE or MALFORMED, saying what came and what was expected.
    """
    if len(data) > limit:
        raise WireError(pb.TOO_LARGE, f"{kind.__name__} of {len(data)} bytes, limit {limit}")
    message = kind()
    try:
        message.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        msg = f"{len(data)} bytes are no {kind.__name__}"
        raise MalformedMessage(msg) from error
    version = message.wire_version  # type: ignore[attr-defined]
    if version != WIRE_VERSION:
        raise WireError(pb.UNSUPPORTED_WIRE, f"wire version {version} came, {WIRE_VERSION} is spoken here")
    check = cast("Callable[[M], None] | None", _CHECKS.get(kind))
    if check is not None:
        check(message)
    return message


def refs(ids: Iterable[ExpertId]) -> list[pb.ExpertRef]:
    """Return ids as the wire lists them: ascending, once each."""
    return [pb.ExpertRef(layer=block.layer, index=block.index) for block in sorted(set(ids))]


def ids(listed: Iterable[pb.ExpertRef | pb.ExpertDelta | pb.Block]) -> tuple[ExpertId, ...]:
    """Return the ids of listed blocks, in the order listed."""
    return tuple(ExpertId(block.layer, block.index) for block in listed)


def _need(condition: bool, detail: str) -> None:
    if not condition:
        raise MalformedMessage(detail)


def _digest(value: bytes, what: str) -> None:
    _need(len(value) == DIGEST_BYTES, f"{what} has {len(value)} bytes, expected {DIGEST_BYTES}")


def _number(value: float, what: str, low: float = 0.0, high: float = math.inf) -> None:
    _need(math.isfinite(value) and low <= value <= high, f"{what} is {value}, expected {low} to {high}")


def _ascending(found: tuple[ExpertId, ...], what: str) -> None:
    _need(all(a < b for a, b in pairwise(found)), f"{what} are not ascending and unique")
    _need(all(max(block.layer, block.index) <= 0xFFFF for block in found), f"{what} name a layer or index above 65535")


def _gateway(state: pb.GatewayState) -> None:
    _digest(state.federation_digest, "federation digest")
    _need(len(state.session) == 16, f"session has {len(state.session)} bytes, expected 16")


def _hello(hello: pb.Hello) -> None:
    check_name(hello.device, "device")
    _digest(hello.federation_digest, "federation digest")
    _digest(hello.package_digest, "package digest")
    _need(1 <= hello.trained_slots <= hello.held_slots, f"{hello.trained_slots} of {hello.held_slots} slots trained")
    _need(hello.batch_size >= 1, "batch size is 0")
    _number(hello.step_ms, "step_ms")
    _number(hello.seconds_per_round, "seconds_per_round")
    if hello.statistics_digest:
        _digest(hello.statistics_digest, "statistics digest")
    for text, what in ((hello.profile, "profile"), (hello.runtime, "runtime")):
        _need(len(text) <= 200 and text.isprintable(), f"{what} is over 200 characters or not printable")


def _bye(bye: pb.Bye) -> None:
    check_name(bye.device, "device")


def _plan(plan: pb.Plan) -> None:
    check_name(plan.device, "device")
    _digest(plan.version_digest, "version digest")
    _need(len(plan.train) > 0, "a plan without experts")
    _ascending(ids(plan.train), "planned experts")
    _need(1 <= plan.steps <= STEPS_LIMIT, f"{plan.steps} steps, expected 1 to {STEPS_LIMIT}")
    for name in ("learning_rate", "shared_learning_rate", "head_learning_rate", "weight_decay"):
        _number(getattr(plan, name), name, high=10.0)
    _number(plan.deadline_s, "deadline_s")
    _number(plan.balance_pressure, "balance_pressure", high=1.0)
    for layer in plan.use:
        for use in layer.use:
            _number(use, "use", high=1.0)


def _delta(delta: pb.Delta) -> None:
    check_name(delta.device, "device")
    _digest(delta.plan_digest, "plan digest")
    _need(len(delta.experts) > 0, "a delta without experts")
    _ascending(ids(delta.experts), "experts of a delta")
    if delta.examples == 0:
        raise WireError(pb.NO_EXAMPLES, "a delta of 0 examples has no weight")
    for name in ("loss_first", "loss_last", "step_ms"):
        _number(getattr(delta, name), name, low=-math.inf)
    for use in delta.use:
        _number(use.seen, "tokens seen")
        _number(use.routed, "tokens routed", high=use.seen * 1.0001)
    for count in delta.label_counts:
        _number(count, "label count")


def _statistics(statistics: pb.ClassStatistics) -> None:
    check_name(statistics.device, "device")
    _digest(statistics.federation_digest, "federation digest")
    labels = len(statistics.counts) // 4
    _need(statistics.width >= 1 and labels >= 1, "statistics without labels or width")
    _need(len(statistics.counts) == 4 * labels, f"{len(statistics.counts)} bytes of counts are no float32 values")
    expected = 4 * labels * statistics.width
    if len(statistics.sums) != expected:
        raise WireError(pb.WRONG_SIZE, f"{len(statistics.sums)} bytes of sums, expected {expected}")


def _chunk(chunk: pb.Chunk) -> None:
    _digest(chunk.digest, "chunk digest")
    _need(chunk.kind in (pb.DELTA, pb.STATISTICS, pb.BLOB), f"chunk of kind {chunk.kind}")
    _need(chunk.index < chunk.count, f"chunk {chunk.index} of {chunk.count}")
    if chunk.total > BODY_LIMIT:
        raise WireError(pb.TOO_LARGE, f"body of {chunk.total} bytes, limit {BODY_LIMIT}")
    _need(0 < len(chunk.payload) <= chunk.total, f"{len(chunk.payload)} bytes in a body of {chunk.total}")
    _need(chunk.count <= chunk.total, f"{chunk.count} chunks for {chunk.total} bytes")


def _verdict(verdict: pb.Verdict) -> None:
    _digest(verdict.digest, "verdict digest")
    _need(verdict.code != pb.CODE_UNSPECIFIED, "verdict without a code")
    _number(verdict.retry_after_s, "retry_after_s", high=86_400.0)


def _version(version: pb.Version) -> None:
    _digest(version.federation_digest, "federation digest")
    _digest(version.digest, "version digest")
    _need(len(version.blocks) > 0, "a version without blocks")
    _ascending(ids(version.blocks), "blocks of a version")
    for block in version.blocks:
        _digest(block.digest, "block digest")


def _want(want: pb.Want) -> None:
    check_name(want.device, "device")
    _need(0 < len(want.digests) <= 2000, f"{len(want.digests)} blobs wanted, expected 1 to 2000")
    for digest in want.digests:
        _digest(digest, "blob digest")


_CHECKS: Final[dict[type[Message], Callable[..., None]]] = {
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
}
