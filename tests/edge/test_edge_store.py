"""The state directory: whole files or none, damage found, one process at a time, a kill at any write."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import DamagedError, StateInUseError, StoreError
from edge_runtime.store import Record, Store, pack
from edge_runtime.wire.digests import sha256

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "state")


def test_a_record_comes_back_as_written(store: Store) -> None:
    """Head, body and tensors, bit for bit, also by the next process."""
    store.write("checkpoint", Record({"step": 3, "loss": [0.1, 1e-30]}, pack({"a": VALUES})))
    store.close()
    with Store(store.folder) as again:
        record = again.read("checkpoint")
    assert record is not None
    assert record.head == {"step": 3, "loss": [0.1, 1e-30]}
    assert record.tensors()["a"].tobytes() == VALUES.tobytes()


def test_what_was_never_written_is_none(store: Store) -> None:
    """No record, no blob, no version."""
    assert store.read("plan") is store.blob(b"\0" * 32) is store.version(b"\0" * 32) is None


@given(st.data())
def test_any_change_of_a_record_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A flipped bit, a cut end, more bytes: refused when read, forgotten when recalled."""
    with Store(tmp_path_factory.mktemp("state")) as store:
        store.write("delta", Record({"round": 4}, b"body of it"))
        path = store.folder / "delta"
        whole = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(whole) - 1))
        kind = data.draw(st.sampled_from(("flip", "cut", "add")))
        if kind == "flip":
            whole[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(whole[:place] if kind == "cut" else whole + (b"x" if kind == "add" else b""))
        with pytest.raises(DamagedError):
            store.read("delta")
        assert store.recall("delta") is None
        assert not path.exists()


@pytest.mark.parametrize(
    "head", [b"", b"{", b"[]", b"\xff", b"[" * 100_000], ids=["none", "half", "list", "byte", "deep"]
)
def test_a_sealed_head_that_is_no_object_is_damage(store: Store, head: bytes) -> None:
    """A seal says that the bytes are those that were written, not that a record was."""
    sealed = struct.pack("<I", len(head)) + head
    (store.folder / "delta").write_bytes(b"edgest01" + sha256(sealed) + sealed)
    with pytest.raises(DamagedError, match="damaged: its head is"):
        store.read("delta")
    assert store.recall("delta") is None


def test_a_record_that_holds_no_tensors_says_so() -> None:
    """Bytes with a right seal may still be another kind of record."""
    with pytest.raises(DamagedError, match="no tensors"):
        Record({}, b"junk").tensors()
    assert Record().tensors() == {}


def test_blobs_are_proved_by_their_name(store: Store) -> None:
    """Wrong bytes are not kept; damaged ones count as missing and are removed."""
    data = b"values"
    with pytest.raises(DamagedError):
        store.put_blob(sha256(b"other"), data)
    store.put_blob(sha256(data), data)
    assert store.blob(sha256(data)) == data
    (store.folder / "blobs" / sha256(data).hex()).write_bytes(b"valuez")
    assert store.blob(sha256(data)) is None
    assert not store.has_blob(sha256(data))


def test_versions_are_proved_and_swept(store: Store) -> None:
    """A damaged message is none; what is not listed goes."""
    for name in (b"a", b"b"):
        store.put_version(sha256(name), name)
        store.put_blob(sha256(name), name)
    store.keep_only([sha256(b"a")], [sha256(b"b")])
    assert store.version(sha256(b"a")) == b"a"
    assert store.version(sha256(b"b")) is store.blob(sha256(b"a")) is None
    (store.folder / "versions" / sha256(b"a").hex()).write_bytes(b"x")
    assert store.version(sha256(b"a")) is None


def test_one_process_at_a_time(store: Store) -> None:
    """The second is told who is there and what to do; after closing it may come in."""
    with pytest.raises(StateInUseError, match=rf"process {os.getpid()} already works in .*; stop it or choose another"):
        Store(store.folder)
    store.close()
    store.close()
    Store(store.folder).close()


def test_a_kill_frees_the_lock_and_leaves_no_half_file(tmp_path: Path) -> None:
    """A process that dies between writing beside and renaming leaves the old record, and its rest is swept."""
    program = (
        "import os, sys; from pathlib import Path; from edge_runtime.store import Record, Store\n"
        "store = Store(Path(sys.argv[1])); store.write('plan', Record({'n': 1}))\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "store.write('plan', Record({'n': 2}))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert ended.returncode == -9
    assert (tmp_path / ".plan.new").exists()
    with Store(tmp_path) as store:
        record = store.read("plan")
        assert record is not None
        assert record.head == {"n": 1}
        assert not (tmp_path / ".plan.new").exists()


def test_a_place_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """A file where the directory should be."""
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreError, match="cannot use the state directory"):
        Store(tmp_path / "state")


def test_a_full_disk_is_told_and_leaves_the_old_record(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing fails: one line, nothing half."""
    store.write("plan", Record({"n": 1}))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device; free some space"):
        store.write("plan", Record({"n": 2}))
    monkeypatch.undo()
    record = store.read("plan")
    assert record is not None
    assert record.head == {"n": 1}
    assert sorted(path.name for path in store.folder.iterdir()) == ["blobs", "lock", "plan", "versions"]


def test_a_disk_that_refuses_everything_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the half that was written can be removed: the error is about the write, and what was there stays."""
    store = Store(tmp_path / "state")
    store.write("done", Record({"plans": []}))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StoreError, match=r"cannot write .*Read-only file system"):
        store.write("done", Record({"plans": ["x"]}))
    with pytest.raises(StoreError, match=r"cannot remove .*done: Read-only file system"):
        store.remove("done")
    store.keep_only([], [])
    assert store.read("done") == Record({"plans": []})


def test_what_a_device_keeps_is_for_its_owner_only(tmp_path: Path) -> None:
    """Folders 0700 and files 0600, whatever the umask."""
    before = os.umask(0)
    try:
        store = Store(tmp_path / "state")
        store.write("done", Record())
        store.put_blob(sha256(b"x"), b"x")
    finally:
        os.umask(before)
    files = {path.stat().st_mode & 0o777 for path in (tmp_path / "state").rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in (tmp_path / "state").rglob("*") if path.is_dir()}
    assert (files, folders, (tmp_path / "state").stat().st_mode & 0o777) == ({0o600}, {0o700}, 0o700)
