"""What single fields of messages must be; ``checks``, ``mask_checks`` and ``site_checks`` say which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import DIGEST_BYTES
from edge_runtime.wire.errors import MalformedMessage, WireError
from edge_runtime.wire.experts import BLOCKS_LIMIT, HEAD, RESERVED, ExpertId


class Named(Protocol):
    """What names a block."""

    @property
    def layer(self) -> int:
        """Layer."""
        ...

    @property
    def index(self) -> int:
        """Index in its layer."""
        ...


def need(condition: bool, detail: str) -> None:
    """Refuse a message that breaks a rule. Raises: MalformedMessage."""
    if not condition:
        raise MalformedMessage(detail)


def digest_size(value: bytes, what: str) -> None:
    """Refuse what has not the size of a digest."""
    need(len(value) == DIGEST_BYTES, f"{what} has {len(value)} bytes, expected {DIGEST_BYTES}")


def number(value: float, what: str, low: float = 0.0, high: float = math.inf) -> None:
    """Refuse a number that is not finite, or out of its range."""
    if not math.isfinite(value):
        raise WireError(pb.NOT_FINITE, f"{what} is {value}")
    need(low <= value <= high, f"{what} is {value:g}, expected {low:g} to {high:g}")


def ascending(listed: Sequence[Named], what: str) -> tuple[ExpertId, ...]:
    """Return ids; refuse a list that is too long, out of order, or names one twice."""
    if len(listed) > BLOCKS_LIMIT:
        raise WireError(pb.TOO_LARGE, f"{len(listed)} {what}, limit {BLOCKS_LIMIT}")
    ids = tuple(ExpertId(block.layer, block.index) for block in listed)
    need(all(max(block.layer, block.index) <= RESERVED for block in ids), f"{what} name a number above {RESERVED}")
    need(all(a < b for a, b in pairwise(ids)), f"{what} are not ascending and unique")
    return ids


def trained(listed: Sequence[Named], what: str) -> None:
    """Refuse a list of blocks in which one cannot be trained, or which names none."""
    need(len(listed) > 0, f"no {what}")
    others = [str(block) for block in ascending(listed, what) if block.layer == RESERVED and block != HEAD]
    need(not others, f"{what} name {others[:1]}, which is not trained")
