"""Digests: SHA-256 over bytes that both sides hold, never over a message that was parsed and written again."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edge_runtime.wire.experts import ExpertId

DIGEST_BYTES: Final = 32


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
    """Return the digest of a version: over (layer u32, index u32, block digest), little-endian, ascending."""
    return sha256(b"".join(struct.pack("<II", block.layer, block.index) + blocks[block] for block in sorted(blocks)))
