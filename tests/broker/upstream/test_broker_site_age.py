"""What a site keeps of its history is bounded, and what its open round, a start or a late plan needs stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from buffered_gateway import answer
from site_box import LIMITS, SiteBox, gateway_above
from tiny_gateway import Gateway

from broker_server.config_tables import Limits, RoundRules
from broker_server.errors import StateError
from broker_server.journal import JOURNAL
from broker_server.rules.round import State
from broker_server.state.inspection import inspect
from broker_server.state.ledger import Ledger
from edge_runtime.federation.session import Event
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.topics import Topic

KEEP_VERSIONS, KEEP_ROUNDS, ROUNDS = 3, 4, 15
KEPT = Limits(**(vars(LIMITS) | {"keep_versions": KEEP_VERSIONS, "keep_rounds": KEEP_ROUNDS}))
RULES = RoundRules(quorum=1, join_wait_s=0, max_staleness=1)
DEVICES = "ab"


def rows(ledger: Ledger) -> dict[str, int]:
    """Return how many rows the tables have that grow with rounds."""
    tables = ("deltas", "plans", "verdicts", "rounds", "versions")
    return {table: len(ledger._rows(f"SELECT 1 FROM {table}")) for table in tables}  # noqa: S608 - the names are ours


def files(folder: Path) -> int:
    """Return how many files a state directory has."""
    return sum(path.is_file() for path in folder.rglob("*"))


def play(above: Gateway, box: SiteBox, rounds: int) -> None:
    """Play rounds from the plan above to the version that comes down."""
    for _ in range(rounds):
        while above.conductor.state is not State.OPEN:
            above.tick()
        box.whole_round({device: 0.001 * (above.conductor.round + place) for place, device in enumerate(DEVICES)})
        while above.conductor.state is State.OPEN:
            above.tick()
        for one in (box.gateway, above):
            one.told.clear()
            del one.out.sent[:-100]


def pass_by(above: Gateway, box: SiteBox, versions: int) -> None:
    """Let a phone above make versions, which the site serves."""
    for _ in range(versions):
        box.hear_version()
        box.fetch()
        box.tick(2)
        answer(above, "phone")


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is killed by a power cut here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def above(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway above whose rounds want one sum, and which keeps little."""
    package = tiny.make_package(tmp_path / "package")
    gateway = gateway_above(tmp_path / "above", package, rounds=0, round=RULES, limits=KEPT)
    yield gateway
    gateway.close()


@pytest.fixture
def box(above: Gateway, tmp_path: Path) -> Iterator[SiteBox]:
    """A site that keeps little."""
    site = SiteBox(above, tmp_path / "north", "north", limits=KEPT)
    site.hello(*DEVICES)
    site.tick(3)
    site.speak()
    yield site
    site.close()


def test_rows_and_files_of_a_site_stay_few(above: Gateway, box: SiteBox, tmp_path: Path) -> None:
    """Plans and deltas of as many rounds as versions are kept; the gateway above keeps what one without sites does."""
    seen = []
    for _ in range(3):
        play(above, box, ROUNDS // 3)
        seen.append((rows(box.gateway.store.ledger), files(box.folder)))
    assert above.conductor.row.version == ROUNDS
    for there, _ in seen:
        assert there["deltas"] <= len(DEVICES) * (KEEP_VERSIONS + 2)
        assert there["plans"] <= len(DEVICES) * (KEEP_VERSIONS + 2)
        assert there["verdicts"] <= len(DEVICES) * (KEEP_VERSIONS + 2)
        assert KEEP_ROUNDS <= there["rounds"] <= KEEP_ROUNDS + 1
        assert there["versions"] <= KEEP_ROUNDS + 3
    assert seen[1] == seen[2]
    assert not (box.folder / JOURNAL).exists()  # its rounds are told of above
    one = Gateway(tmp_path / "one", above.package, rounds=0, round=RULES, limits=KEPT, server=box.gateway.config.server)
    one.hello("north")
    for _ in range(ROUNDS):
        while one.conductor.state is not State.OPEN:
            one.tick()
        one.train("north", value=0.001 * one.conductor.round)
        while one.conductor.state is State.OPEN:
            one.tick()
    above.tick()
    one.tick()
    assert rows(above.store.ledger) == rows(one.store.ledger)
    one.close()


def test_a_site_that_lost_old_rows_goes_on_after_a_kill(above: Gateway, box: SiteBox) -> None:
    """Nothing is to be mended; the open round goes on with its plans and the delta that came before the kill."""
    play(above, box, KEEP_ROUNDS + 4)
    ledger = box.gateway.store.ledger
    assert ledger.deltas(1) == []
    assert ledger.pruned > 1
    assert [row.version for row in ledger.first_versions()] == [0, 1]
    while above.conductor.state is not State.OPEN:
        above.tick()
    box.open()
    box.gateway.train("a", value=0.01)
    plans = box.gateway.store.ledger.plans(box.gateway.conductor.round)
    assert list(inspect(box.gateway.store)) == []
    box.kill()
    assert box.gateway.store.notes == []
    assert list(inspect(box.gateway.store)) == []
    assert box.gateway.conductor.state is State.OPEN
    assert box.gateway.store.ledger.plans(box.gateway.conductor.round) == plans
    assert [row.device for row in box.gateway.store.ledger.waiting()] == ["a"]
    box.begin()
    box.gateway.train("b", value=0.02)
    box.tick()
    assert box.step() is Event.TRAINED
    assert box.deliver().code == pb.ACCEPTED


def test_versions_of_a_site_without_devices_stay_few(above: Gateway, box: SiteBox) -> None:
    """Others make them; its own last round stays known, so that no plan of that round is carried out again."""
    play(above, box, 2)
    bye = pb.Bye(wire_version=1, device="north").SerializeToString()
    above.send(Topic.BYE, "north", bye)
    above.hello("phone")
    for _ in range(4 * KEEP_ROUNDS):
        while above.conductor.state is not State.OPEN:
            above.tick()
        above.train("phone", value=0.001 * above.conductor.round)
        while above.conductor.state is State.OPEN:
            above.tick()
        box.hear_version()
        box.fetch()
        box.tick()
    there = rows(box.gateway.store.ledger)
    assert box.gateway.conductor.row.version == above.conductor.row.version == 2 + 4 * KEEP_ROUNDS
    assert there["versions"] <= KEEP_ROUNDS + 3
    assert box.gateway.store.ledger.last_round().round == 2  # type: ignore[union-attr]
    assert box.gateway.store.ledger.pruned <= 2
    box.kill()
    assert box.gateway.store.notes == []
    assert box.gateway.conductor.state is State.GATHERING
    assert box.gateway.conductor.round == 2


def test_versions_of_a_site_whose_devices_never_came_stay_few(above: Gateway, tmp_path: Path) -> None:
    """It has no round of its own at all."""
    box = SiteBox(above, tmp_path / "south", "south", limits=KEPT)
    above.hello("phone")
    for _ in range(2 * KEEP_ROUNDS + 4):
        while above.conductor.state is not State.OPEN:
            above.tick()
        above.train("phone", value=0.001 * above.conductor.round)
        while above.conductor.state is State.OPEN:
            above.tick()
        box.hear_version()
        box.fetch()
        box.tick()
    assert box.gateway.store.ledger.last_round() is None
    assert rows(box.gateway.store.ledger)["versions"] <= KEEP_ROUNDS + 3
    box.close()


def test_an_old_base_stays_while_its_round_waits_and_is_open(tmp_path: Path) -> None:
    """With a buffer above: the base's blocks went here, and come with its plan; they outlive the newest and a kill.

    Of its delta's rows none goes before its plan's, or the plan would count as one that nobody answered.
    """
    rules = RoundRules(quorum=1, join_wait_s=0, buffer=1, max_staleness=20)
    above = gateway_above(tmp_path / "above", tiny.make_package(tmp_path / "package"), rounds=0, round=rules)
    box = SiteBox(above, tmp_path / "north", "north", limits=KEPT, round=replace(RULES, quorum=2))
    box.hello(*DEVICES)
    box.tick(3)
    box.speak()
    above.hello("phone")
    above.tick()
    for _ in range(2):  # the first version that was merged stays for good
        box.whole_round({"a": 0.001, "b": 0.002})
        for _ in range(2):
            above.tick()
    base = above.conductor.row
    payload = above.out.last(Topic.PLAN, "north")
    pass_by(above, box, KEEP_VERSIONS + 1)
    store = box.gateway.store
    assert base.version not in {row.version for row in store.kept()}
    with pytest.raises(StateError, match="version 2 is not whole"):
        store.lineage.load(base.version)
    box.work.take(payload)
    box.fetch()
    box.begin()
    box.tick(2)
    for start in (False, True):
        if start:
            box.kill()
            store = box.gateway.store
            assert store.notes == []
        assert box.gateway.conductor.state is State.OPEN
        assert box.gateway.conductor.row.digest == base.digest
        assert all(store.blobs.has(digest) for digest in store.lineage.blocks(base))  # whether or not anyone asked
        assert list(inspect(store)) == []
    box.begin()
    for device in DEVICES:
        box.gateway.train(device, value=0.003)
    box.tick()
    assert box.step() is Event.TRAINED
    assert box.deliver().code == pb.ACCEPTED
    pass_by(above, box, KEEP_VERSIONS + 2)
    box.hear_version()
    box.fetch()
    box.tick(2)
    assert box.gateway.conductor.row.version == above.conductor.row.version
    assert base.version not in {row.version for row in store.kept()}
    assert rows(store.ledger)["versions"] <= KEEP_VERSIONS + KEEP_ROUNDS + 3
    number = box.gateway.conductor.round
    assert [row.device for row in store.ledger.deltas(number)] == sorted(store.ledger.plans(number)) == sorted(DEVICES)
    box.close()
    above.close()
