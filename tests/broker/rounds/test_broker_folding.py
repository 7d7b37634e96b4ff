"""Deltas from the spool into sums: read once, a few at a time; what they claim is remembered or read before."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from tiny_gateway import whole_story

from broker_server.engine import block_merging
from broker_server.rounds import folding
from broker_server.state.spool import Spool
from broker_server.state.store import Store


def newest_digest(folder: Path) -> bytes:
    """Return the digest of the newest version."""
    store = Store.open_read_only(folder)
    row = store.ledger.version()
    store.close()
    assert row is not None
    assert row.version == 2
    return row.digest


def test_folding_one_by_one_and_together_makes_the_same_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for one delta in memory, the bits are those of a round that fits whole."""
    package = tiny.make_package(tmp_path / "package")
    whole_story(tmp_path / "together", package, rounds=2)
    monkeypatch.setattr(block_merging, "FOLD_BYTES", 1)
    whole_story(tmp_path / "singly", package, rounds=2)
    assert newest_digest(tmp_path / "together") == newest_digest(tmp_path / "singly")


def test_a_merge_reads_each_body_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What deltas claim is remembered from their acceptance; without room for that it is read, with equal bits."""
    package = tiny.make_package(tmp_path / "package")
    whole_story(tmp_path / "remembered", package, rounds=2)
    reads = counted_reads(monkeypatch)
    whole_story(tmp_path / "again", package, rounds=2)
    assert len(reads) == 2 * 2  # two devices, two rounds
    monkeypatch.setattr(folding, "CLAIMS_BYTES", 0)
    whole_story(tmp_path / "forgotten", package, rounds=2)
    assert len(reads) == 2 * 2 + 2 * 2 * 2
    assert newest_digest(tmp_path / "forgotten") == newest_digest(tmp_path / "remembered")


def counted_reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list that grows with each body that is read."""
    reads: list[bytes] = []
    read = Spool.read

    def counted(self: Spool, digest: bytes) -> bytes:
        reads.append(digest)
        return read(self, digest)

    monkeypatch.setattr(Spool, "read", counted)
    return reads
