"""Bytes <-> messages. Bytes are checked once, here, where they enter; what comes out may be used without asking again.

``decode`` raises nothing but WireError, whatever the bytes. Checks that need context (is this expert planned? is this
device known?) belong to admission. The rules of each message stand in ``checks``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.checks import CHECKS
from edge_runtime.wire.errors import MalformedMessage, WireError
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.limits import (
    BODY_LIMIT,
    FIELDS_LIMIT,
    MASKS_LIMIT,
    MEMBERS_LIMIT,
    MESSAGE_LIMIT,
    STEPS_LIMIT,
    WIRE_VERSION,
)
from edge_runtime.wire.scan import fields_within

__all__ = [
    "BODY_LIMIT",
    "MESSAGE_LIMIT",
    "STEPS_LIMIT",
    "WIRE_VERSION",
    "block_digests",
    "decode",
    "encode",
    "ids",
    "refs",
]

_LIMITS: Final[dict[type[Message], int]] = {
    **dict.fromkeys((pb.Delta, pb.ClassStatistics, pb.PartialSum, pb.PartialStatistics), BODY_LIMIT),
    **dict.fromkeys((pb.MaskShares, pb.MaskDealt, pb.MaskAnswer), MASKS_LIMIT),
    pb.MaskMembers: MEMBERS_LIMIT,
}
"""Bytes of bodies and blobs; all others are payloads."""

M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """Write a message; the wire version is filled in.

    The same fields give the same bytes in one process; other languages may write them in another order, so digests
    are taken over what was sent, never over what was written again.
    """
    message.wire_version = WIRE_VERSION  # type: ignore[attr-defined]  # every message of ours has it as field 1
    return message.SerializeToString(deterministic=True)


def decode(kind: type[M], data: bytes, limit: int | None = None) -> M:
    """Read and check a message of ``kind``.

    Args:
        kind: class of the message.
        data: its bytes: a payload, or for Delta and ClassStatistics the body that chunks carried.
        limit: in bytes; by default that of a payload or of a body.

    Raises:
        WireError: with the code that SPEC.md, "Refusals", gives; the text states what came and what was expected.
    """
    allowed = limit if limit is not None else _LIMITS.get(kind, MESSAGE_LIMIT)
    if len(data) > allowed:
        raise WireError(pb.TOO_LARGE, f"{kind.__name__} of {len(data)} bytes, limit {allowed}")
    # Two bytes of an empty nested message cost fifty once parsed: count before, not after.
    if not fields_within(data, FIELDS_LIMIT):
        raise WireError(pb.TOO_LARGE, f"{kind.__name__} of over {FIELDS_LIMIT} fields")
    message = kind()
    try:
        message.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        msg = f"{len(data)} bytes are no {kind.__name__}"
        raise MalformedMessage(msg) from error
    version = message.wire_version  # type: ignore[attr-defined]
    if version != WIRE_VERSION:
        raise WireError(pb.UNSUPPORTED_WIRE, f"wire version {version} came, {WIRE_VERSION} is spoken here")
    CHECKS[kind](message)
    return message


def refs(ids: Iterable[ExpertId]) -> list[pb.ExpertRef]:
    """Return ids as the wire lists them: ascending, once each."""
    return [pb.ExpertRef(layer=block.layer, index=block.index) for block in sorted(set(ids))]


def ids(listed: Iterable[pb.ExpertRef | pb.ExpertDelta | pb.Block | pb.BlockSum]) -> tuple[ExpertId, ...]:
    """Return the ids of listed blocks, in the order listed."""
    return tuple(ExpertId(block.layer, block.index) for block in listed)


def block_digests(version: pb.Version) -> dict[ExpertId, bytes]:
    """Return the digest of each block of a version, in the order listed."""
    return {ExpertId(block.layer, block.index): block.digest for block in version.blocks}
