"""What a gateway keeps of its history is bounded, and nothing that a start, a rollback or a late delta needs goes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from tiny_gateway import Gateway

from benchmarks.longevity.day import Day, Look
from broker_server.config_tables import Limits, RoundRules
from broker_server.evaluation.gain import class_means_version
from broker_server.rules.round import State
from broker_server.state.copy_lock import copying
from broker_server.state.inspection import inspect
from broker_server.state.ledger import NAME
from broker_server.state.settings_table import ROLLBACK
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic

VERSIONS, KEEP_VERSIONS, KEEP_ROUNDS = 200, 5, 20


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Day, list[Look]]]:
    """A gateway after many versions with little to keep, and what it had on the way."""
    looks: list[Look] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # nothing is killed here
        day = Day(tmp_path_factory.mktemp("day"), KEEP_VERSIONS, KEEP_ROUNDS)
        day.until(VERSIONS, looks.append, 20)
        yield day, looks
    day.gateway.close()


def test_rows_files_and_journal_stay_few(lived: tuple[Day, list[Look]]) -> None:
    """Three devices: plans and deltas of as many rounds as versions are kept, some rows of what goes next at most."""
    _, looks = lived
    for look in looks[2:]:
        assert look.rows["deltas"] <= 3 * (KEEP_VERSIONS + 2)
        assert look.rows["plans"] <= 3 * (KEEP_VERSIONS + 2)
        assert KEEP_ROUNDS <= look.rows["rounds"] <= KEEP_ROUNDS + 1
        assert look.rows["versions"] <= KEEP_ROUNDS + 6
    assert max(look.files for look in looks[2:]) <= looks[1].files * 1.2
    assert looks[-1].ledger_kb <= looks[2].ledger_kb * 1.2


def test_the_versions_up_to_the_first_merge_stay(lived: tuple[Day, list[Look]]) -> None:
    """What training gained is told against the class means that it began from, however long ago that was."""
    day, _ = lived
    first = day.gateway.store.ledger.first_versions()
    assert [(row.version, row.reason) for row in first] == [(0, "initial"), (1, "head"), (2, "merge")]
    assert class_means_version(day.gateway.store.ledger.versions()) == 1


def test_every_accepted_delta_became_part_of_one_version(lived: tuple[Day, list[Look]]) -> None:
    """The counts by expert outlive the rows."""
    day, _ = lived
    assert day.accepted == day.counted() > 3 * VERSIONS * 0.9


def test_the_state_is_whole_and_a_start_goes_on(lived: tuple[Day, list[Look]]) -> None:
    """A start finds nothing to repair, knows the same rounds, and the next versions come."""
    day, _ = lived
    before = (day.version, day.gateway.conductor.round)
    assert list(inspect(day.gateway.store)) == []
    day.start()
    assert day.gateway.store.notes == []
    assert (day.version, day.gateway.conductor.round) == before
    day.until(before[0] + 2, lambda _: None, 100)
    assert day.accepted == day.counted()


def test_the_oldest_version_that_is_kept_can_be_gone_back_to(lived: tuple[Day, list[Look]]) -> None:
    """Its bank is the next version's."""
    day, _ = lived
    oldest = day.gateway.store.kept()[1]
    assert oldest.version == day.version - KEEP_VERSIONS + 1
    day.gateway.store.ledger.put(ROLLBACK, str(oldest.version))
    day.until(day.version + 2, lambda _: None, 100)
    rows = day.gateway.store.ledger.newest_versions(4)
    assert [(row.reason, row.digest) for row in rows if row.reason == "rollback"] == [("rollback", oldest.digest)]


def small(folder: Path, **limits: int) -> Gateway:
    """Return a gateway of two devices that keeps little."""
    there = folder / "package"
    package = Package.open(there, part="gateway") if there.exists() else tiny.make_package(there)
    return Gateway(
        folder / "state", package, rounds=0, limits=Limits(**limits),
        round=RoundRules(quorum=2, join_wait_s=0, deadline_s=1e6, max_staleness=1),
    )  # fmt: skip


def play(gateway: Gateway, rounds: int, devices: str = "ab") -> None:
    """Play rounds to their ends."""
    gateway.hello(*devices)
    for _ in range(rounds):
        while gateway.conductor.state is not State.OPEN:
            gateway.tick()
        for device in devices:
            gateway.train(device, value=0.001 * gateway.conductor.round)
        gateway.tick()


def leave(gateway: Gateway, *devices: str) -> None:
    """Let devices say bye."""
    for device in devices:
        gateway.send(Topic.BYE, device, encode(pb.Bye(device=device)))


def test_a_body_left_behind_of_a_delta_that_went_does_not_count_again(tmp_path: Path) -> None:
    """A spool's file that could not be removed, and a ledger that is put back from files: the worst that can meet."""
    gateway = small(tmp_path, keep_versions=1, keep_rounds=3)
    play(gateway, 1)
    (row,) = [row for row in gateway.store.ledger.deltas(1) if row.device == "a"]
    body = gateway.store.spool.read(row.digest)
    play(gateway, 9)
    assert gateway.store.ledger.deltas(1) == []
    assert gateway.store.ledger.pruned > 1
    gateway.store.spool.keep(row.digest, body)
    newest = gateway.conductor.row.version
    gateway.close()
    with sqlite3.connect(tmp_path / "state" / NAME) as ledger:
        ledger.execute("DELETE FROM versions WHERE version = ?", (newest,))
    ledger.close()
    again = small(tmp_path, keep_versions=1, keep_rounds=3)
    assert again.conductor.row.version == newest
    assert again.store.ledger.waiting() == []
    again.close()


def test_a_plan_whose_delta_may_still_count_stays(tmp_path: Path) -> None:
    """With a staleness of 1 the plan of the round before is good, also after a start; its late delta is taken."""
    gateway = small(tmp_path, keep_versions=1, keep_rounds=1)
    play(gateway, 6)
    gateway.hello("late")
    while gateway.conductor.state is not State.OPEN:
        gateway.tick()
    plan, payload = gateway.plan("late")
    leave(gateway, "late")
    for device in "ab":
        gateway.train(device)
    gateway.tick()
    gateway.close()
    again = small(tmp_path, keep_versions=1, keep_rounds=1)
    again.hello("late")
    assert again.conductor.age(plan.base_version) == 1
    again.deliver("late", encode(tiny.delta(plan, payload)))
    assert again.verdict("late").code == pb.ACCEPTED
    again.close()


def test_zero_keeps_everything(tmp_path: Path) -> None:
    """Rows of all rounds are there, and nothing is noted as gone."""
    gateway = small(tmp_path, keep_versions=0, keep_rounds=2)
    play(gateway, 8)
    ledger = gateway.store.ledger
    assert [len(ledger.deltas(number)) for number in range(1, 9)] == [2] * 8
    assert len(ledger.versions()) == 9
    assert ledger.pruned == 0
    gateway.close()


def test_who_trained_long_ago_is_no_idle_name(tmp_path: Path) -> None:
    """Its deltas' rows went; that it answered a plan once is still known, so it is expected and not forgotten."""
    gateway = small(tmp_path, keep_versions=1, keep_rounds=1)
    play(gateway, 1, "xy")
    leave(gateway, *"xy")
    play(gateway, 8)
    ledger = gateway.store.ledger
    assert ledger.recent_deltas(100)[0].device in "ab"
    assert ledger.trainers() == ["a", "b", "x", "y"]
    ledger.leave()
    assert ledger.forget_idle(0) == ([], 0)
    gateway.close()


def test_rows_go_after_their_files(tmp_path: Path) -> None:
    """While somebody copies the state neither goes, and a start finds nothing to mend; afterwards both do."""
    gateway = small(tmp_path, keep_versions=1, keep_rounds=1)
    play(gateway, 4)
    files = gateway.store.versions.numbers()
    with copying(tmp_path / "state"):
        play(gateway, 6)
        assert gateway.store.versions.numbers() == [*files, *range(files[-1] + 1, files[-1] + 7)]
        gateway.close()
        gateway = small(tmp_path, keep_versions=1, keep_rounds=1)
        assert gateway.store.notes == []
    play(gateway, 1)
    newest = gateway.conductor.row.version
    assert gateway.store.versions.numbers() == [0, newest - 2, newest - 1, newest]
    assert gateway.store.ledger.merged_into(newest - 3) == []
    gateway.close()


def test_a_start_after_a_rollback_finds_nothing_to_mend(tmp_path: Path) -> None:
    """The version that is no longer kept since then loses its file before the rows of its deltas."""
    gateway = small(tmp_path, keep_versions=1, keep_rounds=3)
    play(gateway, 8)
    leave(gateway, "a", "b")
    gateway.store.ledger.put(ROLLBACK, str(gateway.conductor.row.version - 1))
    while gateway.conductor.row.reason != "rollback":
        gateway.tick()
    for _ in range(3):
        gateway.tick()
    gateway.close()
    again = small(tmp_path, keep_versions=1, keep_rounds=3)
    assert again.store.notes == []
    again.close()
