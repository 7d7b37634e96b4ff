"""Deltas from the spool into sums: read once to look at what they claim, once to fold, a few at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from tiny_gateway import whole_story

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
    monkeypatch.setattr(folding, "FOLD_BYTES", 1)
    whole_story(tmp_path / "singly", package, rounds=2)
    assert newest_digest(tmp_path / "together") == newest_digest(tmp_path / "singly")


def test_a_merge_hashes_each_body_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compared with its digest when what it claims is read; the values are read a moment later."""
    package = tiny.make_package(tmp_path / "package")
    compared: list[bool] = []
    read = Spool.read

    def counted(self: Spool, digest: bytes, *, compare: bool = True) -> bytes:
        compared.append(compare)
        return read(self, digest, compare=compare)

    monkeypatch.setattr(Spool, "read", counted)
    whole_story(tmp_path / "state", package)
    assert compared == [True, True, False, False]  # two devices
