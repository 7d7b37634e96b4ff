"""What was announced or accepted is put back, or the start is refused by name; a number never runs twice."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway, whole_story

from broker_server.errors import DamagedError, StateError
from broker_server.rules.round import State
from broker_server.state.announced import Announced
from broker_server.state.ledger import NAME, Ledger
from broker_server.state.schema import SCHEMA
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb

ROUNDS = 3


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path_factory.mktemp("tiny") / "package")


@pytest.fixture(scope="session")
def played(package: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the state after three rounds, and the ledger after the first."""
    folder = tmp_path_factory.mktemp("played")
    whole_story(folder / "state", package, 1)
    shutil.copy(folder / "state" / NAME, folder / "older")
    whole_story(folder / "state", package, ROUNDS)
    return folder


@pytest.fixture
def state(played: Path, tmp_path: Path) -> Path:
    """Return a copy of that state, which a test may damage."""
    shutil.copytree(played / "state", tmp_path / "state")
    return tmp_path / "state"


def versions(folder: Path) -> list[tuple[int, str, bytes]]:
    """Return (number, reason, digest) of every version in the ledger."""
    ledger = Ledger(folder / NAME, read_only=True)
    rows = [(row.version, row.reason, row.digest) for row in ledger.versions()]
    ledger.close()
    return rows


def test_older_ledger_gets_the_announced_versions_back(state: Path, played: Path, package: Any) -> None:
    """Version 3 was announced; with the ledger of version 1 a gateway starts at 3, and nothing counts twice."""
    shutil.copy(played / "older", state / NAME)
    assert len(versions(state)) == 2
    store = Store.open(state, package, 9.0)
    (note,) = (note for note in store.notes if "was announced" in note)
    assert "version 3 was announced, the ledger knew 1: versions 2 to 3 were put back" in note
    assert "revoke them again" in note
    assert [row.round for row in store.ledger.rounds()] == [1, 2, 3]
    assert store.ledger.waiting() == []
    assert max(store.ledger.trained().values()) == max(Store.open_read_only(played / "state").ledger.trained().values())
    store.close()
    assert versions(state) == versions(played / "state")


def test_lost_ledger_is_made_anew_from_the_versions(state: Path, played: Path, package: Any) -> None:
    """Without any ledger, all versions come from their files; the next is version 4 of round 4."""
    (state / NAME).unlink()
    whole_story(state, package, ROUNDS + 1)
    assert versions(state)[:4] == versions(played / "state")
    assert [number for number, *_ in versions(state)] == [0, 1, 2, 3, 4]


def test_lost_versions_are_refused_by_name_and_left_behind_only_when_told(
    state: Path, played: Path, package: Any
) -> None:
    """With the versions' files gone too, the start says which and what to do; --accept-loss goes on as version 4."""
    shutil.copy(played / "older", state / NAME)
    shutil.rmtree(state / "versions")
    lost = r"version 3 was announced, the ledger knows 1: versions 2 to 3 .* are lost; .*restore.*accept the loss"
    with pytest.raises(StateError, match=lost):
        Store.open(state, package, 9.0)
    store = Store.open(state, package, 9.0, accept_loss=True)
    rows = versions(state)
    assert [(number, reason) for number, reason, _ in rows] == [
        (0, "initial"),
        (1, "merge"),
        (4, "rollback"),
    ]
    assert rows[1][2] == rows[2][2]
    assert [row.round for row in store.ledger.rounds()] == [1, 2, 3]  # nor does a round's number run twice
    store.close()
    whole_story(state, package, ROUNDS + 1)
    assert [number for number, *_ in versions(state)] == [0, 1, 4, 5]


def test_garbage_in_the_log_costs_no_accepted_delta(package: Any, tmp_path: Path) -> None:
    """Rows that were in the write-ahead log only come from the spool; their verdict holds, and they are merged once."""
    gateway = Gateway(tmp_path / "state", package, rounds=1)
    gateway.hello("a", "b")
    gateway.tick()
    gateway.train("a")
    shutil.copytree(tmp_path / "state", tmp_path / "killed")
    gateway.train("b")
    gateway.tick()
    wanted = gateway.conductor.row
    gateway.close()
    log = tmp_path / "killed" / f"{NAME}-wal"
    assert log.stat().st_size > 4096
    log.write_bytes(os.urandom(4096) + log.read_bytes()[4096:])

    again = Gateway(tmp_path / "killed", package, rounds=1)
    assert again.store.notes == ["a delta of a in round 1 was not in the ledger: it counts"]
    again.hello("a", "b")
    again.train("a")
    assert again.verdict("a").code == pb.ACCEPTED
    again.train("b")
    again.tick()
    assert again.conductor.state is State.FINISHED
    assert (again.conductor.row.digest, again.conductor.row.contributors) == (wanted.digest, 2)


def test_damaged_ledger_is_named_and_made_anew_only_when_told(state: Path, played: Path, package: Any) -> None:
    """A page of zeros: the start names the file and the commands; with --accept-loss the versions are all there."""
    data = bytearray((state / NAME).read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 2000] = bytes(2000)
    (state / NAME).write_bytes(data)
    with pytest.raises(DamagedError, match=r"ledger.sqlite3.*(verify).*(restore)"):
        Store.open(state, package, 9.0)
    store = Store.open(state, package, 9.0, accept_loss=True)
    assert any("set aside as ledger.sqlite3.damaged-1" in note for note in store.notes)
    store.close()
    assert versions(state) == versions(played / "state")
    assert (state / f"{NAME}.damaged-1").is_file()


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_head_is_written_again(state: Path, package: Any, damage: str) -> None:
    """A HEAD that is damaged or gone follows from the ledger and the versions' files."""
    if damage == "flipped":
        data = (state / "HEAD").read_bytes()
        (state / "HEAD").write_bytes(data.replace(b'"version": 3', b'"version": 7'))
        with pytest.raises(StateError, match="damaged"):
            Announced.read(state)
    else:
        (state / "HEAD").unlink()
    store = Store.open(state, package, 9.0)
    head = Announced.read(state)
    assert head is not None
    assert (head.version, head.round) == (3, 3)
    store.close()


def test_state_of_before_heads_goes_on(state: Path, package: Any) -> None:
    """Schema 1 had neither HEAD nor versions: both are written, and the schema's number."""
    (state / "HEAD").unlink()
    shutil.rmtree(state / "versions")
    database = sqlite3.connect(state / NAME)
    database.executescript(
        "DROP TABLE lost; ALTER TABLE versions DROP COLUMN residuals; ALTER TABLE versions DROP COLUMN server; "
        "UPDATE meta SET value = '1' WHERE key = 'schema'"
    )
    database.close()
    store = Store.open(state, package, 9.0)
    assert store.ledger.get("schema") == str(SCHEMA)
    assert store.ledger.lost() == []
    assert store.versions.numbers() == [3]
    store.close()


@pytest.mark.parametrize("read_only", [True, False])
def test_state_of_a_newer_gateway_is_refused(state: Path, package: Any, *, read_only: bool) -> None:
    """Its number is named, and nothing is written."""
    database = sqlite3.connect(state / NAME)
    database.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    database.commit()
    database.close()
    with pytest.raises(StateError, match=f"is of schema 99, this gateway knows up to {SCHEMA}"):
        Store.open_read_only(state) if read_only else Store.open(state, package, 0.0)


def test_state_is_for_its_owner_only_whatever_the_umask(package: Any, tmp_path: Path) -> None:
    """Folders 0700 and files 0600, also those that were looser."""
    before = os.umask(0)
    try:
        whole_story(tmp_path / "state", package)
        (tmp_path / "state" / "blobs").chmod(0o755)
        store = Store.open(tmp_path / "state", package, 1.0)
    finally:
        os.umask(before)
    assert store.notes == ["others had rights to blobs: they are taken away"]
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "state").rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in (tmp_path / "state").rglob("*") if path.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    store.close()


def test_old_blocks_and_deltas_are_removed(package: Any, tmp_path: Path) -> None:
    """With one version kept, the blocks of versions 0 and 3 stay, and the two deltas that version 3 was made from."""
    whole_story(tmp_path / "state", package, ROUNDS)
    Store.open(tmp_path / "state", package, 1.0, keep_versions=1).close()
    store = Store.open_read_only(tmp_path / "state")
    rows = store.ledger.versions()
    wanted = {digest.hex() for row in (rows[0], rows[3]) for digest in store.lineage.blocks(row)}
    assert {path.parent.name + path.name for path in (tmp_path / "state/blobs").glob("*/*")} == wanted
    assert store.versions.numbers() == [0, 3]
    assert {path.name for path in (tmp_path / "state/spool").iterdir()} == {
        f"{row.digest.hex()}.delta" for row in store.ledger.merged_into(3)
    }
    with pytest.raises(StateError, match=r"version 2 is not whole: .*keep_versions"):
        store.lineage.load(2)


@pytest.mark.parametrize("damage", ["no ledger", "no plans", "delta not folded"])
def test_what_the_ledger_lost_of_a_round_comes_from_the_files(package: Any, tmp_path: Path, damage: str) -> None:
    """Killed in a round, and the ledger is gone or half of a transaction is: the same plans, each delta once."""
    whole_story(tmp_path / "whole", package, 2)
    gateway = Gateway(tmp_path / "state", package, rounds=2)
    gateway.hello("a", "b")
    gateway.tick()
    for number, device in enumerate("ab"):
        gateway.train(device, value=0.01 * (number + 1))
    gateway.tick()
    gateway.tick()
    gateway.train("a", value=0.02)
    plan = gateway.plan("b")[1]
    gateway.close()
    if damage == "no ledger":
        (tmp_path / "state" / NAME).unlink()
    else:
        database = sqlite3.connect(tmp_path / "state" / NAME)
        torn = "DELETE FROM plans" if damage == "no plans" else "UPDATE deltas SET version = NULL WHERE version = 1"
        database.execute(torn)
        database.commit()
        database.close()

    again = Gateway(tmp_path / "state", package, rounds=2)
    assert again.conductor.state is State.OPEN
    assert again.store.notes
    again.hello("a", "b")
    assert again.plan("b")[1] == plan
    again.train("b", value=0.04)
    again.tick()
    again.close()
    assert versions(tmp_path / "state") == versions(tmp_path / "whole")


def test_class_sums_that_went_with_the_ledger_are_asked_for_and_the_head_stays(package: Any, tmp_path: Path) -> None:
    """No plan is taken back and no head is made without them; the version has the bytes of an undisturbed run."""
    texts = {"a": (["rose", "leaf"], [0, 1]), "b": (["sky"], [2])}

    def begun(folder: Path) -> Gateway:
        gateway = Gateway(folder, package, rounds=1)
        for device, (words, labels) in texts.items():
            gateway.statistics(device, gateway.hello_with(device, words, labels))
        gateway.tick()
        return gateway

    whole = begun(tmp_path / "whole")
    for device in texts:
        whole.train(device)
    whole.tick()
    whole.close()
    begun(tmp_path / "state").close()
    (tmp_path / "state" / NAME).unlink()

    again = Gateway(tmp_path / "state", package, rounds=1)
    plans = again.store.ledger.plans(1)
    assert sorted(plans) == ["a", "b"]
    for device, (words, labels) in texts.items():
        body = again.hello_with(device, words, labels)
        assert again.verdict(device).want_statistics
        again.statistics(device, body)
        again.train(device)
    again.tick()
    assert again.store.ledger.plans(1) == plans
    again.close()
    assert versions(tmp_path / "state") == versions(tmp_path / "whole")
