"""Versions in steps of int8, at a gateway: what it announces and serves, keeps, makes again and goes on without."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.cli import run
from broker_server.config_tables import RoundRules, Train
from broker_server.rules.round import State
from broker_server.state.residuals import digests_of
from broker_server.state.settings_table import ROLLBACK
from broker_server.views.reading import reading
from broker_server.views.versions import read_versions
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import HEAD, MEAN, ExpertId
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.topics import Topic
from edge_runtime.wire.updates import apply_update

INT8 = Train(learning_rate=0.1, codec_down="int8")
FLOAT32 = Train(learning_rate=0.1, codec_down="float32")
RULES = RoundRules(quorum=2, join_wait_s=0)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path_factory.mktemp("tiny") / "package")


def opened(state: Path, package: Any, train: Train = INT8) -> Gateway:
    """Return a gateway with two devices."""
    gateway = Gateway(state, package, rounds=0, round=RULES, train=train)
    gateway.hello("a", "b")
    return gateway


def play(gateway: Gateway, *numbers: int) -> None:
    """Play rounds whose deltas are uneven numbers that depend on device, block and round."""
    for number in numbers:
        gateway.tick()
        assert gateway.conductor.state is State.OPEN
        for place, device in enumerate("ab"):
            plan, payload = gateway.plan(device)
            experts = tiny.uneven(plan, number, place)
            gateway.deliver(device, encode(tiny.delta(plan, payload, experts=experts)))
        gateway.tick()


def announced(gateway: Gateway) -> pb.Version:
    """Return the version that is retained."""
    return decode(pb.Version, gateway.out.last(Topic.VERSION))


def fetched(gateway: Gateway, digests: Iterable[bytes]) -> dict[bytes, bytes]:
    """Ask for blobs as a device; return what came, by digest."""
    wanted = list(digests)
    gateway.send(Topic.WANT, "a", encode(pb.Want(device="a", digests=wanted)))
    gateway.reception.tick(gateway.now + 1.0, gateway.now)
    chunks = {name: payload for topic, name, payload in gateway.out.sent if topic is Topic.BLOB}
    return {digest: decode(pb.Chunk, chunks[digest.hex()]).payload for digest in wanted}


def files(state: Path, folder: str) -> set[str]:
    """Return the digests in a folder of blobs, in hex."""
    return {path.parent.name + path.name for path in (state / folder).glob("*/*")}


def told(state: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Verify a state by command; return its exit code and what it says."""
    capsys.readouterr()
    code = run(["verify", "--state", str(state)])
    return code, capsys.readouterr().out


def test_a_device_of_any_of_the_last_versions_follows_the_updates_to_the_newest(tmp_path: Path, package: Any) -> None:
    """From version 1's blocks, two steps; what is served gives each block's digest; whole blocks are served, too."""
    gateway = opened(tmp_path / "state", package)
    play(gateway, 1)
    base = {block: gateway.conductor.bank.block(block) for block in tiny.SHAPE.ids()}
    play(gateway, 2, 3)
    chains = 0
    for block in announced(gateway).blocks:
        name = ExpertId(block.layer, block.index)
        values = base[name]
        if block.digest == sha256(values.tobytes()):
            continue
        bases = [update.base for update in block.updates]
        chain = block.updates[: bases.index(sha256(values.tobytes())) + 1]
        for digest, data in reversed(fetched(gateway, [update.digest for update in chain]).items()):
            assert sha256(data) == digest
            values = apply_update(values, data)
        assert sha256(values.tobytes()) == block.digest
        assert fetched(gateway, [block.digest]) == {block.digest: values.tobytes()}
        chains += len(chain) > 1
    assert chains > 0
    gateway.close()


def test_blocks_that_did_not_change_list_no_new_update_and_a_start_of_float32_none_at_all(
    tmp_path: Path, package: Any
) -> None:
    """The head and the mean are never trained here."""
    for train, listed in ((INT8, True), (FLOAT32, False)):
        gateway = opened(tmp_path / train.codec_down, package, train)
        play(gateway, 1)
        blocks = {ExpertId(block.layer, block.index): len(block.updates) for block in announced(gateway).blocks}
        assert (max(blocks.values()), blocks[HEAD], blocks[MEAN]) == (int(listed), 0, 0)
        assert bool(gateway.conductor.row.residuals) is listed
        gateway.close()


def test_a_gateway_that_was_restarted_between_rounds_makes_the_same_versions(tmp_path: Path, package: Any) -> None:
    """Residuals outlive it: the third version has the same digest, and so has each residual."""
    through = opened(tmp_path / "through", package)
    play(through, 1, 2, 3)
    for number in (1, 2, 3):
        gateway = opened(tmp_path / "often", package)
        play(gateway, number)
        row = gateway.conductor.row
        gateway.close()
    assert (row.digest, row.residuals) == (through.conductor.row.digest, through.conductor.row.residuals)
    through.close()


@pytest.mark.parametrize("order", [(FLOAT32, INT8, FLOAT32), (INT8, FLOAT32, INT8)])
def test_the_codec_may_be_another_one_for_the_next_version(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str], order: tuple[Train, ...]
) -> None:
    """After each switch the newest merge can be made again to the byte."""
    for number, train in enumerate(order, 1):
        gateway = opened(tmp_path / "state", package, train)
        play(gateway, number)
        gateway.close()
        line = f"version {number}: everything is as it was written; newest merge made again from its deltas: the same"
        assert told(tmp_path / "state", capsys) == (0, f"{line} bytes (version {number})\n")


def test_only_what_is_needed_stays_on_the_disk(tmp_path: Path, package: Any) -> None:
    """Residuals of the newest merge and its parent; updates that the last two versions list."""
    gateway = opened(tmp_path / "state", package)
    play(gateway, 1, 2, 3, 4)
    rows = gateway.store.ledger.versions()
    named = {digest.hex() for row in rows[-2:] for digest in digests_of(row).values()}
    assert files(tmp_path / "state", "residuals") == named
    blocks = {digest.hex() for row in rows for digest in gateway.store.lineage.blocks(row)}
    updates = {digest.hex() for row in rows[-2:] for digest in gateway.store.lineage.updates(row)}
    assert files(tmp_path / "state", "blobs") == blocks | updates
    gateway.close()


@pytest.mark.parametrize("folder", ["residuals", "updates"])
def test_what_is_lost_beside_the_blocks_is_made_again(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    """From the parent's blocks and residuals and the deltas; verify says what is wrong before."""
    state = tmp_path / "state"
    row = lose(state, package, folder)
    code, text = told(state, capsys)
    assert code == 1
    named = {"residuals": "a residual of version 2 is missing", "updates": "an update that version 2 lists is missing"}
    assert named[folder] in text
    gateway = opened(state, package)
    assert gateway.store.notes[0].startswith("damaged: 1 file of residuals, moments and updates (")
    assert gateway.conductor.row == row
    assert told(state, capsys)[0] == 0
    gateway.close()


def lose(state: Path, package: Any, folder: str) -> Any:
    """Play two rounds, then lose a residual or the newest update of version 2; return its row."""
    gateway = opened(state, package)
    play(gateway, 1, 2)
    row = gateway.conductor.row
    gateway.close()
    version = decode(pb.Version, row.payload)
    newest = next(block.updates[0].digest for block in version.blocks if len(block.updates) > 1)
    digest = next(iter(digests_of(row).values())) if folder == "residuals" else newest
    place = state / ("residuals" if folder == "residuals" else "blobs")
    (place / digest.hex()[:2] / digest.hex()[2:]).unlink()
    return row


@pytest.mark.parametrize("folder", ["residuals", "updates"])
def test_what_cannot_be_made_again_is_told_and_gone_on_without(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    """Without the deltas: the version stays, it lists less, and the next merge can be made again from it."""
    state = tmp_path / "state"
    row = lose(state, package, folder)
    shutil.rmtree(state / "spool")
    gateway = opened(state, package)
    assert gateway.store.notes[0].startswith("lost: 1 file of residuals, moments and updates (")
    now = gateway.conductor.row
    assert (now.version, now.digest) == (row.version, row.digest)
    counts = [len(digests_of(one)) for one in (row, now)], [len(updates_of(one)) for one in (row, now)]
    assert counts[folder == "updates"][1] < counts[folder == "updates"][0]
    play(gateway, 3)
    gateway.close()
    assert told(state, capsys)[0] == 0
    assert "the same bytes (version 3)" in told(state, capsys)[1]
    assert opened(state, package).store.notes == []


def updates_of(row: Any) -> list[bytes]:
    """Return every update that a version lists."""
    return [update.digest for block in decode(pb.Version, row.payload).blocks for update in block.updates]


def test_a_version_that_an_operator_brings_back_begins_without_residuals(tmp_path: Path, package: Any) -> None:
    """Nor does it list updates; the next merge does again."""
    gateway = opened(tmp_path / "state", package)
    play(gateway, 1, 2)
    gateway.store.ledger.put(ROLLBACK, "1")
    gateway.tick()
    row = gateway.conductor.row
    assert (row.reason, row.residuals, updates_of(row)) == ("rollback", b"", [])
    play(gateway, 3)
    assert len(updates_of(gateway.conductor.row)) == len(digests_of(gateway.conductor.row)) > 0
    gateway.close()


def test_a_new_head_begins_without_residuals_and_lists_the_updates_of_what_it_kept(
    tmp_path: Path, package: Any
) -> None:
    """A device of the version before the head's parent still follows them."""
    gateway = opened(tmp_path / "state", package)
    play(gateway, 1)
    before = gateway.conductor.row
    body = gateway.hello_with("c", ["rose rose", "leaf", "sky sky"], [0, 1, 2])
    gateway.statistics("c", body)
    while gateway.conductor.row == before:
        gateway.tick()
        if gateway.conductor.state is State.OPEN:
            for device in ("a", "b"):
                gateway.train(device)
    row = gateway.conductor.row
    if row.reason == "merge":
        gateway.tick()
        row, before = gateway.conductor.row, row
    assert (row.reason, row.residuals) == ("head", b"")
    assert updates_of(row) == updates_of(before) != []
    gateway.close()


def test_a_version_says_that_a_device_fetches_the_updates(tmp_path: Path, package: Any) -> None:
    """Of each block that changed as many bytes as its update has, and the rows of the head that nobody trained none."""
    gateway = opened(tmp_path / "state", package)
    play(gateway, 1, 2)
    before, row = gateway.store.ledger.versions()[-2:]
    pairs = zip(*(decode(pb.Version, one.payload).blocks for one in (before, row)), strict=True)
    updates = [new.updates[0].digest for old, new in pairs if old.digest != new.digest]
    gateway.close()
    with reading(tmp_path / "state") as ledger:
        version = read_versions(ledger).rows[-1]
        assert version.changed_blocks == len(updates) > 0
        assert version.changed_bytes == sum(len(gateway.store.blobs.get(digest)) for digest in updates)


def test_a_backup_has_all_that_the_next_merge_needs(tmp_path: Path, package: Any) -> None:
    """Restored, its next version is the one that the gateway makes that went on."""
    gateway = opened(tmp_path / "state", package)
    play(gateway, 1, 2)
    assert run(["backup", str(tmp_path / "backup"), "--state", str(tmp_path / "state")]) == 0
    play(gateway, 3)
    assert run(["restore", str(tmp_path / "backup"), "--state", str(tmp_path / "other")]) == 0
    restored = opened(tmp_path / "other", package)
    play(restored, 3)
    rows = [one.conductor.row for one in (gateway, restored)]
    assert rows[0].digest == rows[1].digest
    assert rows[0].residuals == rows[1].residuals
    assert updates_of(rows[0]) == updates_of(rows[1])
    gateway.close()
    restored.close()
