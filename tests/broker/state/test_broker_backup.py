"""What verify says of a state directory, and copies of it that are consistent, checked and never in the way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway, whole_story

from broker_server.cli import run
from broker_server.config_tables import Limits
from broker_server.state.announced import Announced
from broker_server.state.ledger import NAME, Ledger
from broker_server.state.lineage import Origin
from broker_server.state.store import Store
from broker_server.state.version_files import VersionRecord


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path_factory.mktemp("tiny") / "package")


@pytest.fixture
def state(package: Any, tmp_path: Path) -> Path:
    """Return a state directory after two rounds, in the third, with one delta."""
    whole_story(tmp_path / "state", package, 2)
    gateway = Gateway(tmp_path / "state", package, rounds=3)
    gateway.hello("a", "b")
    gateway.tick()
    gateway.train("a")
    gateway.close()
    return tmp_path / "state"


def verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Return verify's exit code and what it says."""
    capsys.readouterr()
    code = run(["verify", "--state", str(folder), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_sound_state_is_said_to_be_so(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest merge is made again from its two deltas, to the byte."""
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    code, told = verified(state, capsys)
    assert (code, told["version"], told["wrong"]) == (0, 2, [])
    assert told["rederived"] == "the same bytes (version 2)"
    assert {path: path.read_bytes() for path in before} == before


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _file(store: Store, what: str) -> str:
    """Return the name of a file that holds this."""
    if what == "block":
        return _blob(store, 0)
    if "delta" in what:
        row = (store.ledger.waiting() if what == "waiting delta" else store.ledger.merged_into(2))[0]
        return f"spool/{row.digest.hex()}.delta"
    return what


def _blob(store: Store, place: int) -> str:
    row = store.ledger.version()
    assert row is not None
    name = store.lineage.blocks(row)[place].hex()
    return f"blobs/{name[:2]}/{name[2:]}"


@pytest.mark.parametrize("what", ["block", "waiting delta", "merged delta", "versions/00000002", "HEAD", "ROUND"])
def test_each_damaged_file_is_named(state: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    """One flipped bit: that file and no other, exit code 1."""
    store = Store.open_read_only(state)
    name = _file(store, what)
    store.close()
    _flip(state / name)
    code, told = verified(state, capsys)
    assert code == 1
    assert [one["file"] for one in told["wrong"]] == [name]


def test_version_that_its_deltas_do_not_make_is_found(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file is what its digest says, and the version is another one: only making it again shows that."""
    store = Store.open_to_restore(state)
    row, bank = store.lineage.load(2)
    other = bank.replace({block: bank.block(block) + 1 for block in store.lineage.shape.ids()[:1]})
    assert row.parent == 1
    forged = store.lineage.row(2, store.lineage.write_blocks(other), Origin(1, row.round, 2, "merge"), row.created)
    store.ledger.mend_version(forged)
    store.versions.keep(VersionRecord(forged, tuple(store.ledger.merged_into(2))))
    Announced(2, forged.digest, 3).write(state)
    store.close()
    assert replace(forged, digest=row.digest, payload=row.payload) == row
    code, told = verified(state, capsys)
    assert code == 1
    assert told["rederived"] == "differs: version 2 is not what its 2 deltas make"


def test_a_backup_of_a_running_gateway_goes_on_where_it_was(
    state: Path, package: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied while it is open, restored elsewhere: verified, the same round, the accepted delta counts."""
    gateway = Gateway(state, package, rounds=3)
    assert run(["backup", "--state", str(state), str(tmp_path / "copy")]) == 0
    plan = gateway.plan("b")[1]
    gateway.close()
    assert run(["backup", "--state", str(state), str(tmp_path / "copy")]) == 1
    assert "is there already" in capsys.readouterr().err
    assert verified(tmp_path / "copy", capsys)[0] == 0
    assert run(["restore", str(tmp_path / "copy"), "--state", str(tmp_path / "new")]) == 0
    again = Gateway(tmp_path / "new", package, rounds=3)
    again.hello("a", "b")
    assert again.plan("b")[1] == plan
    again.train("b")
    again.tick()
    assert (again.conductor.row.version, again.conductor.row.contributors) == (3, 2)
    again.close()


def test_what_a_backup_copies_stays_until_it_has_it(
    state: Path, package: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whenever the ledger was copied, six merges follow before any file is; after the backup what is old goes."""
    gateway = Gateway(state, package, rounds=0, limits=Limits(keep_versions=1))
    gateway.hello("a", "b")
    copy_ledger = Ledger.copy_to

    def copy_and_merge(ledger: Ledger, path: Path) -> None:
        copy_ledger(ledger, path)
        for _ in range(6):
            gateway.tick()
            for device in sorted({"a", "b"} - gateway.conductor.status.answered):
                gateway.train(device)
            gateway.tick()

    monkeypatch.setattr(Ledger, "copy_to", copy_and_merge)
    assert run(["backup", "--state", str(state), str(tmp_path / "copy")]) == 0
    capsys.readouterr()
    monkeypatch.undo()
    gateway.tick()
    assert gateway.conductor.row.version == 8
    code, told = verified(tmp_path / "copy", capsys)
    assert (code, told["version"], told["rederived"]) == (0, 2, "the same bytes (version 2)")
    copied, left = ({path.name for path in (folder / "blobs").rglob("*")} for folder in (tmp_path / "copy", state))
    assert copied - left
    gateway.close()


def test_a_backup_that_was_killed_keeps_no_gateway_from_removing(state: Path, package: Any) -> None:
    """Its lock goes with its process."""
    gateway = Gateway(state, package, rounds=3)
    program = "import sys, pathlib, broker_server.state.copy_lock as lock\n"
    program += "with lock.copying(pathlib.Path(sys.argv[1])):\n    print(flush=True)\n    sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as copying:
        assert copying.stdout is not None
        copying.stdout.readline()
        assert not gateway.store.tidy()
        copying.kill()
    assert gateway.store.tidy()
    gateway.close()


def test_restoring_an_older_backup_uses_no_number_twice(
    package: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Version 3 was announced since; the bank of version 1 comes back as version 4, and the next round is round 4."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    whole_story(state, package, 1)
    assert run(["backup", "--state", str(state), str(copy)]) == 0
    whole_story(state, package, 3)
    assert run(["restore", str(copy), "--state", str(state)]) == 1
    assert "--set-aside" in capsys.readouterr().err
    running = Gateway(state, package, rounds=3)
    assert run(["restore", str(copy), "--state", str(state), "--set-aside"]) == 1
    assert "a gateway runs" in capsys.readouterr().err
    running.close()
    assert run(["restore", str(copy), "--state", str(state), "--set-aside"]) == 0
    assert (tmp_path / "state.aside-1" / NAME).is_file()
    store = Store.open_read_only(state)
    rows = [(row.version, row.parent, row.reason) for row in store.ledger.versions()]
    assert rows == [(0, None, "initial"), (1, 0, "merge"), (4, 1, "rollback")]
    store.close()
    whole_story(state, package, 4)
    assert Store.open_read_only(state).ledger.rounds()[-1].round == 4


def test_a_damaged_backup_is_not_restored(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is checked before anything is changed."""
    assert run(["backup", "--state", str(state), str(tmp_path / "copy")]) == 0
    shutil.rmtree(tmp_path / "copy" / "spool")
    assert run(["restore", str(tmp_path / "copy"), "--state", str(state), "--set-aside"]) == 1
    assert "is damaged itself: spool/" in capsys.readouterr().err
    assert verified(state, capsys)[0] == 0
