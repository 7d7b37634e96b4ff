"""Versions that come as updates of blocks that are here: which blobs are asked for, and what becomes of wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import toy
from fakes import FakeLink

from edge_runtime.federation.fetch import Fetcher
from edge_runtime.federation.lacking import ways_to
from edge_runtime.federation.versions import PATIENCE, Versions
from edge_runtime.store import Store
from edge_runtime.wire import chunks, messages, tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.updates import apply_update


@dataclass
class History:
    """Versions in steps, as a gateway lists them. Args: blobs: by digest; listed: updates by block."""

    federation: bytes
    bank: Bank
    version: int = 0
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    listed: dict[ExpertId, list[pb.Update]] = field(default_factory=dict)

    def step(self, moved: int = 10_000, *, most: int = 3) -> bytes:
        """Move the first blocks by uneven numbers; return the message of the new version."""
        self.version += 1
        rng = np.random.default_rng(self.version)
        for block in self.bank.shape.ids()[:moved]:
            base = self.bank.block(block)
            update = tensors.encode(rng.normal(0, 0.01, base.size).astype(np.float32), pb.INT8)
            values = apply_update(base, update)
            self.bank = self.bank.replace({block: values})
            step = pb.Update(base=sha256(tensors.encode(base)), digest=self.keep(update))
            self.listed[block] = [step, *self.listed.get(block, [])][:most]
            self.keep(tensors.encode(values))
        return self.message()

    def keep(self, data: bytes) -> bytes:
        """Keep a blob; return its digest."""
        self.blobs[sha256(data)] = data
        return sha256(data)

    def message(self) -> bytes:
        """Return the message of the newest version."""
        digests = self.bank.digests()
        blocks = [
            pb.Block(layer=b.layer, index=b.index, digest=digests[b], updates=self.listed.get(b, ()))
            for b in self.bank.shape.ids()
        ]
        return messages.encode(
            pb.Version(
                federation_digest=self.federation, version=self.version, digest=self.bank.digest(), blocks=blocks
            )
        )

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of all updates of one step, and of the bank."""
        values = [self.bank.shape.size(block) for block in self.bank.shape.ids()]
        return sum(tensors.encoded_size(count, pb.INT8) for count in values), 4 * sum(values)


class Rig:
    """A device's fetcher over a real state directory, and the gateway that it asks."""

    def __init__(self, folder: Path) -> None:
        package = toy.write_package(folder / "package")
        self.store = Store(folder / "state")
        self.versions = Versions(self.store, package)
        self.link = FakeLink(None, "me")  # type: ignore[arg-type] - nothing arrives by itself
        self.fetcher = Fetcher(self.versions, self.link, "me", toy.initial_bank().shape, folder / "state" / "pieces")
        self.history = History(package.manifest.architecture.digest(), toy.initial_bank())

    def fetch(self, blobs: dict[bytes, bytes] | None = None) -> int:
        """Ask until nothing is wanted; return the bytes that came. Args: blobs: that are there; else all."""
        blobs, came = self.history.blobs if blobs is None else blobs, 0
        for _ in range(5):
            wanted = [digest for digest in self.fetcher.wanted([]) if digest in blobs]
            self.fetcher.ask(wanted, again=True)
            for digest in wanted:
                came += len(blobs[digest])
                for chunk in chunks.split(blobs[digest], pb.BLOB):
                    self.fetcher.take(digest.hex(), chunk)
        return came

    def here(self) -> Bank | None:
        """Adopt the newest version; return its bank."""
        newest = self.versions.newest
        return self.versions.bank(newest) if newest is not None and self.versions.adopt_newest([]) else None


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A device that has its package only."""
    opened = Rig(tmp_path)
    yield opened
    opened.store.close()


def test_a_device_that_has_the_version_before_fetches_the_updates_only(rig: Rig) -> None:
    """Its package's own bank is the first base; afterwards the blocks are kept, and the updates are not."""
    updates, bank = rig.history.sizes
    assert updates < 0.3 * bank
    for _ in range(2):
        rig.versions.announce(rig.history.step())
        assert rig.fetch() == updates
        here = rig.here()
        assert here is not None
        assert here.digest() == rig.history.bank.digest()
        names = {path.name for path in (rig.store.folder / "blobs").iterdir()}
        assert names == {digest.hex() for digest in here.digests().values()}


@pytest.mark.parametrize(("away", "steps"), [(1, 2), (2, 3)])
def test_a_device_that_was_away_follows_the_chain(rig: Rig, away: int, steps: int) -> None:
    """Two or three steps, the oldest first; of the mean's six values three steps (30 bytes) cost more than it (24)."""
    for _ in range(away):
        rig.history.step()
    rig.versions.announce(rig.history.step())
    assert rig.fetch() == steps * rig.history.sizes[0] - (30 - 24 if steps == 3 else 0)
    here = rig.here()
    assert here is not None
    assert here.digest() == rig.history.bank.digest()


def test_a_device_that_was_away_for_longer_fetches_the_blocks(rig: Rig) -> None:
    """Three steps are listed, and it is four behind."""
    for _ in range(3):
        rig.history.step()
    rig.versions.announce(rig.history.step())
    assert rig.fetch() == rig.history.sizes[1]
    assert rig.here() is not None


def test_updates_that_would_cost_as_much_as_the_block_are_not_fetched(rig: Rig) -> None:
    """However many a gateway lists: a chain of four is longer than the block."""
    for _ in range(3):
        rig.history.step(most=8)
    rig.versions.announce(rig.history.step(most=8))
    assert rig.fetch() == rig.history.sizes[1]


def test_of_a_small_block_two_updates_are_cheaper_and_three_are_not() -> None:
    """Five values are 20 bytes, an update of them 9: two are 18, three 27."""
    shape = BankShape((0,), 1, 1, 0, 1, 1)  # an expert has 2 + 1 + 2 values
    steps = [pb.Update(base=bytes([10 + n]) * 32, digest=bytes([20 + n]) * 32) for n in range(3)]
    version = pb.Version(blocks=[pb.Block(layer=0, index=0, digest=b"d" * 32, updates=steps)])

    def way(*here: int) -> tuple[bytes, tuple[bytes, ...], list[bytes]]:
        one = ways_to(version, shape, {bytes([n]) * 32 for n in here}.__contains__, ())[b"d" * 32]
        return one.base, one.updates, list(one.awaited)

    newest, older, oldest = (step.digest for step in steps)
    assert way(10, 11) == (steps[0].base, (newest,), [newest])
    assert way(11) == (steps[1].base, (older, newest), [newest, older])
    assert way(12) == (b"", (), [b"d" * 32])
    assert way(12, 21) == (steps[2].base, (oldest, older, newest), [newest, oldest])
    assert way() == (b"", (), [b"d" * 32])


@pytest.mark.parametrize("wrong", [b"\0\0\x80\x3f" + b"\x80", b"\0\0\x80\x3f" + b"\x01", b"\0"])
def test_a_wrong_update_costs_that_update_and_its_block_is_fetched_whole(rig: Rig, wrong: bytes) -> None:
    """Byte -128, another sum, another size: the gateway lists it in good faith, and only the block's digest tells."""
    rig.history.step()
    block = rig.history.bank.shape.ids()[0]
    size = rig.history.bank.shape.size(block)
    groups = -(-size // 64)
    data = wrong if len(wrong) == 1 else wrong[:4] * groups + wrong[4:] * size
    right = rig.history.blobs[rig.history.listed[block][0].digest]
    rig.history.listed[block][0].digest = rig.history.keep(data)
    rig.versions.announce(rig.history.message())
    assert rig.fetch() == rig.history.sizes[0] - len(right) + len(data) + 4 * size
    here = rig.here()
    assert here is not None
    assert here.digest() == rig.history.bank.digest()


def test_updates_that_do_not_come_are_given_up_for_the_blocks(rig: Rig) -> None:
    """The gateway has lost one and publishes the others: after some requests in vain that block is asked for whole."""
    rig.versions.announce(rig.history.step())
    block = rig.history.bank.shape.ids()[0]
    lost = rig.history.listed[block][0].digest
    there = {digest: data for digest, data in rig.history.blobs.items() if digest != lost}
    rig.fetch(there)
    assert rig.fetcher.wanted([]) == [lost]
    for _ in range(PATIENCE - 1):
        rig.versions.unanswered()
    assert rig.fetcher.wanted([]) == [lost]
    rig.versions.unanswered()
    assert rig.fetch(there) == 4 * rig.history.bank.shape.size(block)
    assert rig.here() is not None


def test_a_base_that_proves_damaged_makes_its_block_come_whole(rig: Rig) -> None:
    """It was here when the updates were asked for, and its bytes are others when they are applied."""
    rig.versions.announce(rig.history.step())
    rig.fetch()
    assert rig.here() is not None
    block = rig.history.bank.shape.ids()[0]
    base = rig.history.bank.digests()[block].hex()
    rig.versions.announce(rig.history.step())
    (rig.store.folder / "blobs" / base).write_bytes(b"other bytes")
    assert rig.fetch() == rig.history.sizes[0] + 4 * rig.history.bank.shape.size(block)
    here = rig.here()
    assert here is not None
    assert here.digest() == rig.history.bank.digest()


def test_what_came_for_a_version_counts_for_the_next(rig: Rig) -> None:
    """Half of the first version's updates came before the second was announced: of both steps no byte comes twice."""
    rig.versions.announce(rig.history.step())
    half = dict(list(rig.history.blobs.items())[::3])
    came = rig.fetch(half)
    assert 0 < came < rig.history.sizes[0]
    rig.versions.announce(rig.history.step())
    assert came + rig.fetch() == 2 * rig.history.sizes[0]
    assert rig.here() is not None


def test_what_a_plans_version_still_needs_stays_when_a_newer_one_is_taken_up(rig: Rig) -> None:
    """The newest lists one step; the plan's version lacks a block whose base and update are not the newest's."""
    payload = rig.history.step(1)
    plan = rig.versions.announce(payload)
    (update,) = (step.digest for step in rig.history.listed[rig.history.bank.shape.ids()[0]])
    assert rig.fetcher.wanted([]) == [update]
    block = rig.history.bank.shape.ids()[0]
    newest = rig.history.step(1, most=0)  # nothing is listed: fetched whole
    rig.versions.announce(newest)
    digest = rig.history.bank.digests()[block]
    assert rig.fetch({digest: rig.history.blobs[digest]}) == 4 * rig.history.bank.shape.size(block)
    assert rig.versions.adopt_newest([plan.digest])
    assert rig.versions.wanted(plan) == [update]
    rig.versions.keep(update, rig.history.blobs[update])
    assert rig.versions.missing(plan) == []
