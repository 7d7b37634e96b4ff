"""Blobs that versions lack: asked for once, listened to no longer than needed, and the broker told in few messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import toy
from fakes import FakeLink

from edge_runtime.federation import fetch
from edge_runtime.federation.versions import Versions
from edge_runtime.store import Store
from edge_runtime.wire import chunks, messages, tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import sha256, version_digest
from edge_runtime.wire.errors import BankError
from edge_runtime.wire.experts import ExpertId


class Broker(FakeLink):
    """Notes what the broker is told. Args: asked, released: topics of each message, in order."""

    def __init__(self) -> None:
        super().__init__(None, "me")  # type: ignore[arg-type] - nothing arrives by itself
        self.asked: list[list[str]] = []
        self.released: list[list[str]] = []

    def request(self, blobs: Sequence[str], want: bytes) -> None:
        """Note a Want."""
        self.asked.append(list(blobs))
        super().request(blobs, want)

    def release(self, blobs: Sequence[str]) -> None:
        """Note an UNSUBSCRIBE."""
        self.released.append(list(blobs))
        super().release(blobs)


class Rig:
    """A device's fetcher over a real state directory."""

    def __init__(self, folder: Path) -> None:
        package = toy.write_package(folder / "package")
        self.bank = toy.initial_bank()
        self.store = Store(folder / "state")
        self.versions = Versions(self.store, package)
        self.link = Broker()
        self.fetcher = fetch.Fetcher(self.versions, self.link, "me", self.bank.shape, folder / "state" / "pieces")
        self._federation = package.manifest.architecture.digest()

    def announce(self, value: float) -> dict[str, bytes]:
        """Announce a version all of whose blocks hold ``value`` or a bit more; return its blobs by name."""
        shape = self.bank.shape
        blocks = {
            block: np.full(shape.size(block), value + number / 1000, np.float32)
            for number, block in enumerate(shape.ids())
        }
        bank = Bank.from_blocks(shape, blocks)
        digests = bank.digests()
        listed = [pb.Block(layer=b.layer, index=b.index, digest=d) for b, d in sorted(digests.items())]
        self.versions.announce(
            messages.encode(
                pb.Version(federation_digest=self._federation, version=int(value), digest=bank.digest(), blocks=listed)
            )
        )
        return {digest.hex(): tensors.encode(blocks[block]) for block, digest in digests.items()}

    def take(self, name: str, blob: bytes) -> None:
        """Let a blob come."""
        for chunk in chunks.split(blob, pb.BLOB):
            self.fetcher.take(name, chunk)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A fetcher that lacks nothing."""
    opened = Rig(tmp_path)
    yield opened
    opened.store.close()


def test_topics_are_let_go_many_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of five blobs at a time, the rest with the last."""
    monkeypatch.setattr(fetch, "RELEASE_AT", 5)
    blobs = rig.announce(1.0)
    assert rig.fetcher.ask(rig.fetcher.wanted([]))
    for name, blob in blobs.items():
        rig.take(name, blob)
    assert [len(names) for names in rig.link.released] == [5, 5, 2]
    assert not rig.link.listening
    assert rig.fetcher.wanted([]) == []


def test_a_blob_asked_for_again_is_still_listened_to(rig: Rig) -> None:
    """It came, was lost on disk before its topic was let go, and is asked for again: the letting go leaves it out."""
    blobs = rig.announce(1.0)
    (lost, blob), *others = blobs.items()
    rig.fetcher.ask(rig.fetcher.wanted([]))
    rig.take(lost, blob)
    (rig.store.folder / "blobs" / lost).unlink()
    newest = rig.versions.newest
    assert newest is not None
    assert rig.versions.bank(newest) is None  # a block lacks, which is how the loss shows
    assert rig.fetcher.ask(rig.fetcher.wanted([]))
    assert rig.link.asked[-1] == [lost]
    for name, other in others:
        rig.take(name, other)
    assert lost in rig.link.listening
    rig.take(lost, blob)
    assert not rig.link.listening
    assert rig.versions.adopt_newest([])


def test_what_came_is_let_go_with_what_nobody_wants_any_more(rig: Rig) -> None:
    """A newer version shares no block with the one that is half here."""
    old = rig.announce(1.0)
    rig.fetcher.ask(rig.fetcher.wanted([]))
    name = next(iter(old))
    rig.take(name, old[name])
    new = rig.announce(2.0)
    assert rig.fetcher.ask(rig.fetcher.wanted([]))
    assert rig.link.listening == set(new)
    assert rig.link.released == [sorted(old)]


@pytest.mark.parametrize(("nan", "why"), [(False, "4 bytes of values"), (True, "values are NaN or infinite")])
def test_a_version_that_is_no_bank_leaves_the_one_before(rig: Rig, nan: bool, why: str) -> None:
    """Its blocks have the digests that it names, one has another size or no numbers: told once, nothing is let go."""
    size = rig.bank.shape.size(rig.bank.shape.ids()[0])
    values = np.full(size if nan else 1, np.nan if nan else 0, "<f4").tobytes()
    for name, blob in rig.announce(1.0).items():
        rig.fetcher.ask(rig.fetcher.wanted([]))
        rig.take(name, blob)
    assert rig.versions.adopt_newest([])
    good = rig.versions.newest
    assert good is not None
    bad = pb.Version()
    bad.CopyFrom(good)
    bad.version, bad.blocks[0].digest = 9, sha256(values)
    bad.digest = version_digest({ExpertId(one.layer, one.index): one.digest for one in bad.blocks})
    rig.versions.announce(messages.encode(bad))
    rig.versions.keep(sha256(values), values)
    with pytest.raises(BankError, match=f"cannot be used: .*{why}"):
        rig.versions.adopt_newest([])
    assert not rig.versions.adopt_newest([])
    bank, number = rig.versions.latest_bank()
    assert number == good.version
    assert bank.digest() == good.digest


def test_missing_blocks_are_looked_up_once_for_a_version(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every blob that comes asks what lacks; the disk is asked once for each block, not for each pair of blocks."""
    asked: list[bytes] = []
    has_blob = Store.has_blob
    monkeypatch.setattr(Store, "has_blob", lambda store, digest: asked.append(digest) or has_blob(store, digest))
    blobs = rig.announce(1.0)
    rig.fetcher.ask(rig.fetcher.wanted([]))
    for name, blob in blobs.items():
        rig.take(name, blob)
        rig.fetcher.ask(rig.fetcher.wanted([]))
    assert rig.versions.adopt_newest([])
    assert len(asked) == len(set(asked)) == len(blobs)
