"""What is damaged on the disk of a running gateway costs as little as it can: nothing, or one delta."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway, whole_story

from broker_server.errors import StateError
from broker_server.rounds.conductor import SAY_AGAIN_S
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import split
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path_factory.mktemp("tiny") / "package")


def undisturbed(folder: Path, package: Any) -> bytes:
    """Return the digest of version 1 when nothing is damaged."""
    whole_story(folder, package)
    store = Store.open_read_only(folder)
    row = store.ledger.version()
    assert row is not None
    return row.digest


def truncate(path: Path) -> None:
    """Take the last byte away."""
    path.write_bytes(path.read_bytes()[:-1])


def blob(folder: Path, digest: bytes) -> Path:
    """Return the file of a block."""
    return folder / "blobs" / digest.hex()[:2] / digest.hex()[2:]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_damaged_delta_costs_itself_and_is_asked_for_again(tmp_path: Path, package: Any, *, restarted: bool) -> None:
    """The round does not close without it; sent again, it counts once and the version has the same bytes."""
    wanted = undisturbed(tmp_path / "whole", package)
    gateway = Gateway(tmp_path / "state", package, rounds=1)
    gateway.hello("a", "b")
    gateway.tick()
    digest = gateway.train("a", value=0.01)
    truncate(tmp_path / "state" / "spool" / f"{digest.hex()}.delta")
    if restarted:
        gateway.close()
        gateway = Gateway(tmp_path / "state", package, rounds=1)
        gateway.tick()
        gateway.hello("a", "b")
    gateway.train("b", value=0.02)
    gateway.tick()
    lost = [event for event in gateway.told if event["event"] == "lost"]
    assert [(event["device"], event["round"]) for event in lost] == [("a", 1)]
    assert f"{digest.hex()}.delta was changed" in lost[0]["detail"]
    asked = gateway.verdict("a")
    assert (asked.digest, asked.code, asked.retry_after_s > 0) == (digest, pb.BUSY, True)
    assert gateway.conductor.row.version == 0

    assert gateway.train("a", value=0.01) == digest
    assert gateway.verdict("a").code == pb.ACCEPTED
    gateway.tick()
    assert (gateway.conductor.row.version, gateway.conductor.row.contributors) == (1, 2)
    assert gateway.conductor.row.digest == wanted
    assert gateway.store.ledger.lost() == []
    gateway.close()


def test_a_device_that_has_its_lost_delta_no_more_trains_again(tmp_path: Path, package: Any) -> None:
    """After the deadline it gets another plan of the same round, and the round closes with both."""
    gateway = Gateway(tmp_path / "state", package, rounds=1)
    gateway.hello("a", "b")
    gateway.tick()
    first = gateway.plan("a")[1]
    truncate(tmp_path / "state" / "spool" / f"{gateway.train('a').hex()}.delta")
    gateway.train("b")
    gateway.tick()
    gateway.now += gateway.config.round.deadline_s
    gateway.tick()
    assert gateway.plan("a")[1] != first
    gateway.train("a", value=0.03)
    gateway.tick()
    assert (gateway.conductor.row.version, gateway.conductor.row.contributors) == (1, 2)
    gateway.close()


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_want_for_a_damaged_block_is_answered_from_memory(tmp_path: Path, package: Any, damage: str) -> None:
    """The block goes out as it should be, and its file is whole again."""
    gateway = Gateway(tmp_path / "state", package, rounds=1)
    gateway.hello("a")
    digest = gateway.store.lineage.blocks(gateway.conductor.row)[0]
    path = blob(tmp_path / "state", digest)
    wanted = path.read_bytes()
    if damage == "changed":
        path.write_bytes(bytes([wanted[0] ^ 1]) + wanted[1:])
    else:
        path.unlink()
    gateway.send(Topic.WANT, "a", encode(pb.Want(device="a", digests=[digest])))
    gateway.reception.tick(gateway.now + 1, 1.0)
    assert gateway.out.last(Topic.BLOB, digest.hex())
    assert path.read_bytes() == wanted
    gateway.close()


def test_a_want_for_a_block_that_nothing_has_any_more_is_told_and_the_gateway_goes_on(
    tmp_path: Path, package: Any
) -> None:
    """Somebody asks for a block of an old version whose file is damaged: an event, and the next block goes out."""
    gateway = Gateway(tmp_path / "state", package, rounds=1)
    gateway.hello("a")
    gateway.store.blobs.put(b"old")
    blob(tmp_path / "state", sha256(b"old")).write_bytes(b"odd")
    good = gateway.store.lineage.blocks(gateway.conductor.row)[0]
    gateway.send(Topic.WANT, "a", encode(pb.Want(device="a", digests=sorted([sha256(b"old"), good]))))
    gateway.reception.tick(gateway.now + 1, 1.0)
    assert gateway.out.last(Topic.BLOB, good.hex())
    assert "was changed" in next(event["detail"] for event in gateway.told if event["event"] == "damaged")
    gateway.close()


@pytest.mark.parametrize("copies", [True, False])
def test_damaged_blocks_are_made_again_at_a_start(tmp_path: Path, package: Any, *, copies: bool) -> None:
    """From the copy of the newest bank; without it from the parent and the deltas of the newest merge."""
    wanted = undisturbed(tmp_path / "state", package)
    store = Store.open_read_only(tmp_path / "state")
    first, last = store.ledger.versions()
    changed = sorted(set(store.lineage.blocks(last)) - set(store.lineage.blocks(first)))
    assert len(changed) > 2
    blob(tmp_path / "state", changed[0]).unlink()
    truncate(blob(tmp_path / "state", changed[1]))
    if not copies:
        for path in (tmp_path / "state" / "versions").glob("*.bank"):
            path.write_bytes(b"")
    gateway = Gateway(tmp_path / "state", package, rounds=1)
    assert gateway.conductor.row.digest == wanted
    assert gateway.conductor.bank.digest() == wanted
    assert [note.partition(";")[2] for note in gateway.store.notes] == (
        [] if copies else [" made again from version 0"]
    )
    assert blob(tmp_path / "state", changed[0]).exists()
    gateway.close()


def test_a_block_that_cannot_be_made_again_is_refused_by_name(tmp_path: Path, package: Any) -> None:
    """Its copy and a delta are damaged as well; --accept-loss goes on with version 0 as version 2."""
    undisturbed(tmp_path / "state", package)
    store = Store.open_read_only(tmp_path / "state")
    first, last = store.ledger.versions()
    blob(tmp_path / "state", min(set(store.lineage.blocks(last)) - set(store.lineage.blocks(first)))).unlink()
    for path in (*(tmp_path / "state/versions").glob("*.bank"), *(tmp_path / "state/spool").iterdir()):
        path.write_bytes(b"")
    with pytest.raises(StateError, match=r"version 1 is not whole: block file .* is missing.*restore.*accept the loss"):
        Gateway(tmp_path / "state", package, rounds=1)
    gateway = Gateway(tmp_path / "state", package, accept_loss=True, rounds=1)
    assert (gateway.conductor.row.version, gateway.conductor.row.parent) == (2, 0)
    assert gateway.conductor.bank.digest() == first.digest
    assert gateway.store.notes[-1] == "version 1 is lost; version 2 is version 0"
    gateway.close()


def test_what_a_lossy_broker_dropped_is_said_again(tmp_path: Path, package: Any) -> None:
    """A minute later: the gateway's state to all, its plan to who has not answered, and nothing to who has."""
    gateway = Gateway(tmp_path / "state", package, rounds=1)
    gateway.hello("a", "b")
    gateway.tick()
    plan = gateway.plan("b")[1]
    gateway.train("a")
    gateway.out.sent.clear()
    gateway.now += SAY_AGAIN_S
    gateway.tick()
    said = [(topic, name, payload) for topic, name, payload in gateway.out.sent if topic is not Topic.VERDICT]
    assert [(topic, name) for topic, name, _ in said] == [(Topic.GATEWAY, ""), (Topic.PLAN, "b")]
    assert said[1][2] == plan
    gateway.out.sent.clear()
    gateway.tick()
    assert gateway.out.sent == []
    gateway.close()


@pytest.fixture
def little_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 2 MiB; mounting one takes root."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_gateway_starts_on_a_full_disk(little_disk: Path, package: Any) -> None:
    """It serves what it has, takes goodbyes, and tells devices that its storage is full."""
    gateway = Gateway(little_disk / "state", package)
    gateway.hello("a", "b")
    gateway.tick()
    gateway.close()
    with (little_disk / "rest").open("wb", buffering=0) as rest, contextlib.suppress(OSError):
        while True:
            rest.write(bytes(4096))
    again = Gateway(little_disk / "state", package)
    with (little_disk / "rest").open("ab", buffering=0) as rest, contextlib.suppress(OSError):
        while True:
            rest.write(bytes(4096))
    again.hello("a", "b")
    assert again.verdict("a").code == pb.STORAGE_FULL
    again.send(Topic.BYE, "b", encode(pb.Bye(device="b")))
    (little_disk / "rest").unlink()
    again.hello("a")
    again.train("a")
    assert again.verdict("a").code == pb.ACCEPTED
    again.close()


def test_a_body_that_was_changed_on_the_way_is_to_come_again(tmp_path: Path, package: Any) -> None:
    """Its verdict is not final, and the same delta, sent whole, is accepted."""
    gateway = Gateway(tmp_path / "state", package, rounds=1)
    gateway.hello("a", "b")
    gateway.tick()
    plan, payload = gateway.plan("a")
    body = encode(tiny.delta(plan, payload))
    chunk = next(iter(split(body, pb.DELTA)))
    gateway.send(Topic.DELTA, "a", chunk.replace(body[-40:], bytes(40)))
    refused = gateway.verdict("a")
    assert (refused.code, refused.digest, refused.retry_after_s) == (pb.DIGEST_MISMATCH, sha256(body), 3.0)
    gateway.send(Topic.DELTA, "a", chunk)
    assert gateway.verdict("a").code == pb.ACCEPTED
    gateway.close()
