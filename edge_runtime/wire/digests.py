"""Digests: SHA-256 over bytes that both sides hold, never over a message that was parsed and written again."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.experts import ExpertId

DIGEST_BYTES: Final = 32
_ENTRY: Final = struct.Struct(f"<II{DIGEST_BYTES}s")


def sha256(data: bytes | memoryview) -> bytes:
    """Return the 32-byte digest of ``data``."""
    return hashlib.sha256(data).digest()


def file_sha256(path: Path) -> str:
    """Return the hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON can hold
    """Return the one JSON text of ``value``: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def version_digest(blocks: Mapping[ExpertId, bytes]) -> bytes:
    """Return the digest of a version: over its list of blocks."""
    return sha256(block_list(blocks))


def block_list(blocks: Mapping[ExpertId, bytes]) -> bytes:
    """Return a version's list of blocks: (layer u32, index u32, block digest), little-endian, ascending; 40 B each."""
    return b"".join(struct.pack("<II", block.layer, block.index) + blocks[block] for block in sorted(blocks))


def read_block_list(data: bytes) -> dict[ExpertId, bytes]:
    """Return the digest of each block of a version's list, in its order.

    Raises:
        MalformedMessage: when the bytes are no list of blocks, ascending, unique.
    """
    if len(data) % _ENTRY.size:
        raise MalformedMessage(f"a list of blocks of {len(data)} bytes, expected {_ENTRY.size} for each")
    entries = list(_ENTRY.iter_unpack(data))
    blocks = {ExpertId(layer, index): digest for layer, index, digest in entries}
    if len(blocks) < len(entries) or list(blocks) != sorted(blocks):
        raise MalformedMessage("a list of blocks that do not ascend")
    return blocks
