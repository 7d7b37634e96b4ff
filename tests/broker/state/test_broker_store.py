"""State that survives: killed at every write, locked, bound to one federation, not believed without its digest."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway, whole_story

from broker_server.errors import StateError, StorageError
from broker_server.rules.round import State
from broker_server.state.blobs import Blobs
from broker_server.state.files import write_durably
from broker_server.state.ledger import NAME, Ledger
from broker_server.state.spool import Spool
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.topics import Topic


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


class _Countdown:
    """Ends this process, without cleaning up, at the n-th write."""

    def __init__(self, writes: int) -> None:
        self._left = writes

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, preceded by a chance to die."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self._left == 0:
                os._exit(9)
            self._left -= 1
            return function(*args, **kwargs)

        return wrapped


def _killed_at(folder: Path, package: Any, writes: int, rounds: int = 1) -> bool:
    """Play the story in a child that dies at a write; return whether it died (else it reached the end)."""
    child = os.fork()
    if child == 0:
        try:
            countdown = _Countdown(writes)
            os.fsync = countdown.wrap(os.fsync)
            Path.replace = countdown.wrap(Path.replace)  # type: ignore[method-assign]
            Path.unlink = countdown.wrap(Path.unlink)  # type: ignore[method-assign]
            Ledger._execute = countdown.wrap(Ledger._execute)  # type: ignore[method-assign]
            whole_story(folder, package, rounds)
        except BaseException:  # noqa: BLE001 - the parent must learn of it, whatever it was
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9)
    return code == 9


def _versions(folder: Path) -> list[tuple[int, bytes, int]]:
    ledger = Ledger(folder / NAME, read_only=True)
    versions = [(row.version, row.digest, row.contributors) for row in ledger.versions()]
    ledger.close()
    return versions


@pytest.fixture
def memory() -> Iterator[Path]:
    """Return a folder whose fsync costs nothing, where there is one: hundreds of kills wait for it."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - mkdtemp makes a folder of our own in it
    folder = Path(tempfile.mkdtemp(dir=place))
    yield folder
    shutil.rmtree(folder)


def test_killed_at_any_write_of_a_round_the_same_version_comes(memory: Path, package: Any) -> None:
    """Wherever it dies, the restarted gateway makes what one that never died makes: nothing lost, nothing twice."""
    Store.open(memory / "new", package, 1.0).close()
    shutil.copytree(memory / "new", memory / "whole")
    whole_story(memory / "whole", package)
    wanted = _versions(memory / "whole")
    assert [(version, devices) for version, _, devices in wanted] == [(0, 0), (1, 2)]
    folder, writes, died = memory / "killed", 0, True
    while died:
        shutil.copytree(memory / "new", folder)
        died = _killed_at(folder, package, writes)
        whole_story(folder, package)
        assert _versions(folder) == wanted, f"killed at write {writes}"
        shutil.rmtree(folder)
        writes += 1
    assert writes > 60


def test_killed_again_and_again_it_still_gets_there(memory: Path, package: Any) -> None:
    """From the very first start on, one write further each time, through two rounds, in one directory."""
    whole_story(memory / "whole", package, rounds=2)
    writes = 0
    while _killed_at(memory / "killed", package, writes, rounds=2):
        writes += 1
    assert _versions(memory / "killed") == _versions(memory / "whole")
    assert writes > 10


def test_restarted_gateway_keeps_plans_deltas_and_counts_none_twice(tmp_path: Path, package: Any) -> None:
    """The same plan bytes after a restart; an accepted delta is kept, its resend gets the same verdict."""
    gateway = Gateway(tmp_path / "state", package)
    gateway.hello("a", "b")
    gateway.tick()
    digest = gateway.train("a")
    plans = gateway.store.ledger.plans(1)
    gateway.close()

    again = Gateway(tmp_path / "state", package)
    assert again.conductor.state is State.OPEN
    again.hello("a", "b")
    again.conductor.announce()
    assert again.out.last(Topic.PLAN, "b") == plans["b"]
    assert again.out.last(Topic.PLAN, "a") == b""  # its work is done
    assert again.train("a") == digest
    assert again.verdict("a").code == pb.ACCEPTED
    assert len(again.store.ledger.waiting()) == 1
    again.train("b")
    again.tick()
    assert again.conductor.row.version == 1
    assert again.conductor.row.contributors == 2


def test_acceptance_is_on_the_disk_before_the_verdict(tmp_path: Path, package: Any) -> None:
    """When the verdict goes out, body and row are there for another reader."""
    gateway = Gateway(tmp_path / "state", package)
    gateway.hello("a", "b")
    gateway.tick()
    seen = []
    publish = gateway.out.publish

    def look(topic: Topic, name: str, payloads: Any) -> None:
        if topic is Topic.VERDICT:
            reader = Ledger(tmp_path / "state" / NAME, read_only=True)
            seen.append([Spool(tmp_path / "state/spool").read(row.digest) for row in reader.waiting()])
            reader.close()
        publish(topic, name, payloads)

    gateway.out.publish = look  # type: ignore[method-assign]
    gateway.train("a")
    assert len(seen) == 1
    assert len(seen[0]) == 1


def test_second_gateway_on_the_same_directory_is_refused(tmp_path: Path, package: Any) -> None:
    """It says which process holds it and what to do; after the first ends, it is free."""
    first = Store.open(tmp_path / "state", package, 0.0)
    with pytest.raises(StateError, match=f"in use by another gateway .process {os.getpid()}.*another directory"):
        Store.open(tmp_path / "state", package, 0.0)
    first.close()
    Store.open(tmp_path / "state", package, 0.0).close()


def test_package_of_another_federation_is_refused(tmp_path: Path, package: Any) -> None:
    """It names what differs; another profile of the same federation is welcome."""
    Store.open(tmp_path / "state", package, 0.0).close()
    same = tiny.make_package(tmp_path / "pi", device="pi")
    Store.open(tmp_path / "state", same, 0.0).close()
    other = tiny.make_package(tmp_path / "other", gate="topk")
    with pytest.raises(StateError, match=r"gate soft became topk; top_k 0 became 2"):
        Store.open(tmp_path / "state", other, 0.0)
    Store.open(tmp_path / "state", package, 0.0).close()


def test_looking_needs_state(tmp_path: Path) -> None:
    """Without a gateway before, there is nothing to look at, and nothing is made."""
    with pytest.raises(StateError, match="no gateway state"):
        Store.open_read_only(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_state_directory_that_cannot_be_made(tmp_path: Path, package: Any) -> None:
    """A file is in its place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot use state directory"):
        Store.open(tmp_path / "file", package, 0.0)


def test_ledger_that_is_no_database(tmp_path: Path) -> None:
    """Garbage in its place is named."""
    (tmp_path / NAME).write_bytes(b"garbage" * 100)
    with pytest.raises(StateError, match="cannot be opened as a gateway's ledger"):
        Ledger(tmp_path / NAME)


def test_bank_that_is_not_the_manifests_is_refused(tmp_path: Path) -> None:
    """Although its file has the digest that the manifest names."""
    package = tiny.make_package(tmp_path / "package")
    before = package.path("bank.safetensors").read_bytes()
    other = tiny.bank(seed=1).to_bytes(package.manifest.architecture.digest())
    assert len(other) == len(before)
    package.path("bank.safetensors").write_bytes(other)
    manifest = package.manifest.to_json().decode().replace(sha256(before).hex(), sha256(other).hex())
    (package.folder / "manifest.json").write_text(manifest)
    with pytest.raises(StateError, match="the package's bank has version digest"):
        Store.open(tmp_path / "state", Package.open(package.folder, part="gateway"), 0.0)


def test_changed_block_is_noticed(tmp_path: Path, package: Any) -> None:
    """A version is not loaded from bytes that are not its own."""
    store = Store.open(tmp_path / "state", package, 0.0)
    store.blobs.sources.clear()
    path = next((tmp_path / "state/blobs").glob("*/*"))
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(StateError, match="was changed"):
        store.lineage.load()
    path.unlink()
    with pytest.raises(StateError, match="is missing"):
        store.lineage.load()


def test_unknown_version_names_those_there_are(tmp_path: Path, package: Any) -> None:
    """Only version 0 after the start."""
    with pytest.raises(StateError, match="no version 7; there are: 0"):
        Store.open(tmp_path / "state", package, 0.0).lineage.load(7)


def test_changed_version_row_is_noticed(tmp_path: Path, package: Any) -> None:
    """The digest over its blocks is compared with the ledger's."""
    store = Store.open(tmp_path / "state", package, 0.0)
    store.ledger._db.execute("UPDATE versions SET digest = ?", (b"x" * 32,))
    with pytest.raises(StateError, match="was changed"):
        store.lineage.load()


def test_spool_notices_changed_and_missing_bodies(tmp_path: Path) -> None:
    """An accepted delta is folded as it came, or not at all."""
    spool = Spool(tmp_path)
    digest = sha256(b"body")
    spool.keep(digest, b"body")
    assert spool.read(digest) == b"body"
    next(tmp_path.iterdir()).write_bytes(b"else")
    with pytest.raises(StateError, match="was changed"):
        spool.read(digest)
    assert spool.sweep(()) == 1
    with pytest.raises(StateError, match="cannot be read"):
        spool.read(digest)


def test_write_leaves_nothing_behind_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old content stays, the half is gone, and the error says what to do."""
    write_durably(tmp_path / "file", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        write_durably(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_blob_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same values again cost no write."""
    blobs = Blobs(tmp_path)
    digest = blobs.put(b"values")
    monkeypatch.setattr("broker_server.state.blobs.write_durably", lambda *_: pytest.fail("written again"))
    assert blobs.put(b"values") == digest
    assert blobs.get(digest) == b"values"


def test_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    """All or nothing, and the database works on."""
    ledger = Ledger(tmp_path / NAME)

    def fail() -> None:
        with ledger.transaction():
            ledger.put("key", "value")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert ledger.get("key") is None
    with ledger.transaction():
        ledger.put("key", "other")
    assert ledger.get("key") == "other"


def test_ledger_is_synced_at_every_commit(tmp_path: Path) -> None:
    """WAL and synchronous=FULL (2)."""
    ledger = Ledger(tmp_path / NAME)
    assert ledger._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert ledger._db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_refusals_of_a_device_do_not_fill_the_disk(tmp_path: Path) -> None:
    """The newest 64 are kept."""
    ledger = Ledger(tmp_path / NAME)
    for number in range(70):
        verdict = pb.Verdict(kind=pb.DELTA, digest=sha256(bytes([number])), code=pb.NOT_FINITE)
        ledger.decide(verdict, "a", float(number))
    assert ledger.verdict("a", sha256(bytes([0]))) is None
    verdict = ledger.verdict("a", sha256(bytes([69])))
    assert verdict is not None
    assert verdict.code == pb.NOT_FINITE


def test_locked_database_is_a_storage_error(tmp_path: Path) -> None:
    """Another writer that never ends."""
    ledger = Ledger(tmp_path / NAME)
    ledger._db.execute("PRAGMA busy_timeout=1")
    other = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="refuses a write"), ledger.transaction():
        pass
    other.close()


def test_a_look_at_the_lock_does_not_keep_a_gateway_from_starting(tmp_path: Path) -> None:
    """``status`` holds the lock for a moment, shared; a start that falls into it waits for that moment."""
    package = tiny.make_package(tmp_path / "package")
    Store.open(tmp_path / "state", package, 0.0).close()
    with (tmp_path / "state" / "lock").open() as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        end = threading.Timer(0.05, fcntl.flock, (look, fcntl.LOCK_UN))
        end.start()
        Store.open(tmp_path / "state", package, 0.0).close()
        end.join()
