"""A site below a gateway with a buffer, whose versions follow each other while the site is at one: every order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from buffered_gateway import answer
from site_box import SiteBox, gateway_above
from tiny_gateway import Gateway

from broker_server.config_tables import RoundRules
from broker_server.rules.round import State
from broker_server.state.announced import Announced
from broker_server.state.rows import LEFT_OUT
from broker_server.state.settings_table import ROLLBACK
from broker_server.upstream.desk import Complete, Handed
from edge_runtime.federation.session import Event
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import decode
from edge_runtime.wire.topics import Topic

BUFFER = RoundRules(quorum=2, join_wait_s=0, buffer=1, max_staleness=2, deadline_s=1000.0)


@pytest.fixture
def above(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway above that merges each delta as it comes; a phone is one of its devices."""
    gateway = gateway_above(tmp_path / "above", tiny.make_package(tmp_path / "package"), rounds=0, round=BUFFER)
    gateway.hello("phone")
    yield gateway
    gateway.close()


@pytest.fixture
def box(above: Gateway, tmp_path: Path) -> Iterator[SiteBox]:
    """A site with a plan of base version 0, which it has not heard of."""
    site = SiteBox(above, tmp_path / "north", "north", limits=above.config.limits)
    site.hello("a", "b")
    site.tick(3)
    site.speak()
    above.tick()
    yield site
    site.close()


def told(box: SiteBox) -> int:
    """Return the version that the site's devices were told of last."""
    return decode(pb.Version, box.gateway.out.last(Topic.VERSION)).version


def finish(box: SiteBox) -> pb.Verdict:
    """Let both devices train the open round, and the sum go up."""
    for device in "ab":
        box.gateway.train(device, value=0.1)
    box.tick()
    assert box.step() is Event.TRAINED
    box.tick()
    assert box.gateway.conductor.state is State.GATHERING
    verdict = box.deliver()
    for _ in range(2):
        box.above.tick()
    return verdict


def first_round(box: SiteBox) -> None:
    """Make version 1 of the site's first sum; the site has a plan of base version 1, and has not heard of it."""
    box.open()
    assert finish(box).code == pb.ACCEPTED
    assert box.above.conductor.row.version == 1


def opened_on(box: SiteBox, base: int) -> None:
    """Check that a round is open, whose plans start from a version that devices were told of."""
    assert box.gateway.conductor.state is State.OPEN, box.gateway.told[-3:]
    plan = box.gateway.plan("a")[0]
    row = box.above.store.ledger.version(base)
    assert row is not None
    assert (plan.base_version, plan.version_digest, told(box)) == (base, row.digest, base)
    assert box.gateway.conductor.row.version == base


def version_passes_it(box: SiteBox) -> None:
    """Both versions are announced before either was fetched; the newer one is complete first."""
    box.hear_version()
    box.hear_plan()
    answer(box.above, "phone")
    box.hear_version()
    box.fetch()
    box.tick()
    box.begin()


def newer_one_is_served(box: SiteBox) -> None:
    """The site heard of both versions, and of its plan after its devices were told of the newer one."""
    box.hear_version()
    box.fetch()
    kept = box.versions.newest
    assert kept is not None
    payload = box.above.out.last(Topic.PLAN, "north")
    answer(box.above, "phone")
    box.hear_version()
    for digest in box.versions.wanted(box.versions.newest):  # type: ignore[arg-type]
        box.versions.keep(digest, box.above.store.blobs.get(digest))
    box.versions.adopt_newest([kept.digest])
    box.tell_complete()
    box.tick()
    assert told(box) == 2
    box.work.take(payload)
    box.begin()


def newer_one_was_passed_over(box: SiteBox) -> None:
    """The newer version is served, and the base of the plan was never taken up here."""
    box.hear_version()
    payload, base = box.above.out.last(Topic.PLAN, "north"), box.versions.newest
    assert base is not None
    for digest in box.versions.wanted(base):
        box.versions.keep(digest, box.above.store.blobs.get(digest))
    answer(box.above, "phone")
    box.hear_version()
    for digest in box.versions.wanted(box.versions.newest):  # type: ignore[arg-type]
        box.versions.keep(digest, box.above.store.blobs.get(digest))
    box.versions.adopt_newest([base.digest])
    box.tell_complete()
    box.tick()
    assert [row.version for row in box.gateway.store.ledger.versions()] == [0, 2]
    box.work.take(payload)
    box.begin()


def plan_waits_behind_a_sum(box: SiteBox) -> None:
    """The plan came while the sum before was on its way up: devices are not told of what is beyond its base."""
    box.hear_version()
    box.hear_plan()
    box.fetch()
    box.tick()
    answer(box.above, "phone")
    box.hear_version()
    box.fetch()
    box.tick()
    assert told(box) == 1
    box.begin()


def site_was_away(box: SiteBox) -> None:
    """It comes back to what is retained: the newer version, and the plan, whose version it never heard of."""
    answer(box.above, "phone")
    box.hear_version()
    box.hear_plan()
    assert not box.work.ready
    box.fetch()
    box.begin()


@pytest.mark.parametrize(
    "order",
    [version_passes_it, newer_one_is_served, newer_one_was_passed_over, plan_waits_behind_a_sum, site_was_away],
)
def test_a_round_starts_from_its_plans_version_whatever_followed_it(
    box: SiteBox, order: Callable[[SiteBox], None]
) -> None:
    """Its devices are told of that one; the sum counts by its staleness; then they are told of the newest."""
    first_round(box)
    order(box)
    box.tick(2)
    opened_on(box, 1)
    assert Announced.read(box.gateway.store.folder).version == max(  # type: ignore[union-attr]
        row.version for row in box.gateway.store.ledger.versions()
    )
    assert finish(box).code == pb.ACCEPTED
    assert box.above.conductor.row.version == 3
    box.tick()
    assert told(box) == 2
    box.listen()
    box.tick(2)
    opened_on(box, 3)
    rows = box.gateway.store.ledger.versions()
    theirs = [box.above.store.ledger.version(row.version) for row in rows]
    assert [row.digest for row in rows] == [row.digest for row in theirs if row is not None]
    assert [row.parent for row in rows] == [None, 0, 1, 2] or rows[2].parent == 0  # what was passed over is no parent
    assert [(one.device, one.round) for one in box.above.store.ledger.merged_into(3)] == [("north", 2)]


@pytest.mark.parametrize("strike", ["served", "deltas", "written"])
def test_a_kill_leaves_the_round_at_its_version(box: SiteBox, strike: str) -> None:
    """The start finds the round open, goes back to its base, and sends the sum; then it serves the newest."""
    first_round(box)
    newer_one_was_passed_over(box)
    box.tick(1 if strike == "served" else 2)
    if strike in ("deltas", "written"):
        for device in "ab":
            box.gateway.train(device, value=0.1)
        box.tick()
    if strike == "written":
        assert box.step() is Event.TRAINED
    box.kill()
    assert box.gateway.store.notes == []
    if strike == "written":
        box.tick()
        assert box.gateway.conductor.state is State.GATHERING
    else:
        box.begin()
        if strike == "served":
            box.tick(3)
            opened_on(box, 1)
            for device in "ab":
                box.gateway.train(device, value=0.1)
        else:
            opened_on(box, 1)
        box.tick()
        assert box.step() is Event.TRAINED
        box.tick(2)
    assert box.deliver().code == pb.ACCEPTED
    total = decode(pb.PartialSum, box.above.store.spool.read(box.above.store.ledger.waiting()[0].digest))
    assert (total.devices, total.round, total.base_version) == (2, 2, 1)
    box.tick()
    assert told(box) == 2


def test_a_base_that_is_lost_ends_its_round_without_a_sum(box: SiteBox) -> None:
    """A start that cannot go back to it tells so, gives the plan up, and serves the newest."""
    first_round(box)
    newer_one_was_passed_over(box)
    box.tick(2)
    opened_on(box, 1)
    box.gateway.train("a", value=0.1)
    ledger, lineage = box.gateway.store.ledger, box.gateway.store.lineage
    base, *others = (set(lineage.blocks(row)) for row in (ledger.version(1), *ledger.versions()[::2]) if row)
    for digest in base.difference(*others):
        (box.folder / "blobs" / digest.hex()[:2] / digest.hex()[2:]).unlink()
    box.kill()
    box.begin()
    assert box.step() is Event.FAILED
    box.work.abandon()
    box.tick(2)
    assert box.gateway.conductor.state is State.GATHERING
    assert [one.version for one in box.gateway.store.ledger.deltas(2)] == [LEFT_OUT]
    assert any(one["event"] == "damaged" and "is not whole" in one["detail"] for one in box.gateway.told)


def test_a_sum_that_is_too_stale_is_refused_and_told(box: SiteBox) -> None:
    """Three versions later, where two may be; its plan was taken back, and the site had not heard of that."""
    first_round(box)
    box.open()
    for number in (2, 3, 4):
        answer(box.above, "phone")
        assert box.above.conductor.row.version == number
    assert finish(box).code == pb.STALE
    box.listen()
    box.tick(2)
    opened_on(box, 4)


def test_a_plan_that_is_taken_back_frees_the_site_for_the_newest_version(box: SiteBox) -> None:
    """Its round is closed, its deltas are in nothing, and its devices get on with the next plan."""
    first_round(box)
    box.open()
    box.gateway.train("a", value=0.1)
    for _ in range(3):
        answer(box.above, "phone")
    box.work.withdraw()
    box.work.abandon()
    box.hear_version()
    box.hear_plan()
    box.fetch()
    box.tick()
    assert [one.version for one in box.gateway.store.ledger.deltas(2)] == [LEFT_OUT]
    box.begin()
    box.tick(2)
    opened_on(box, 4)


@pytest.mark.parametrize("opened", [False, True])
def test_a_plan_that_nobody_answers_makes_room_for_a_newer_one(box: SiteBox, *, opened: bool) -> None:
    """Before its round is open at once, after that at its deadline: a sum of it could only be later."""
    first_round(box)
    if opened:
        box.open()
    else:
        box.gateway.send(Topic.BYE, "b", pb.Bye(wire_version=1, device="b").SerializeToString())
        box.listen()
        box.tick(3)
        assert box.gateway.conductor.state is State.GATHERING
    answer(box.above, "phone")
    box.above.now += 1001.0  # north's plan is overdue
    box.above.tick()
    box.above.tick()
    assert decode(pb.Plan, box.above.out.last(Topic.PLAN, "north")).base_version == 2
    box.hear_version()
    box.hear_plan()
    box.fetch()
    box.tick()
    if opened:
        assert box.step() is None
        opened_on(box, 1)
        box.gateway.now += 1000.0
        box.tick()
    assert box.step() is Event.FAILED
    box.work.abandon()
    box.hello("a", "b")
    box.begin()
    box.tick(4)
    opened_on(box, 2)
    if opened:
        assert box.gateway.store.ledger.round(2).closed is not None  # type: ignore[union-attr]


def test_versions_below_the_one_that_is_served_are_passed_over(box: SiteBox, above: Gateway, tmp_path: Any) -> None:
    """The gateway above names only newer ones; an older one is of a plan, and comes with it."""
    first_round(box)
    answer(above, "phone")
    box.hear_version()
    box.fetch()
    box.tick()
    assert told(box) == 2
    row = above.store.ledger.version(1)
    assert row is not None
    old = SiteBox(above, tmp_path / "old", "south")
    version = old.versions.announce(row.payload)
    old.fetch()
    complete = old.work.complete(version)
    assert complete is not None
    box.desk.bring_version(complete)
    box.tick()
    assert told(box) == 2
    assert [one.version for one in box.gateway.store.ledger.versions()] == [0, 2]
    old.close()


def test_a_plan_of_a_version_that_was_gone_back_to_has_its_number(box: SiteBox) -> None:
    """Version 4 has the blocks of version 1, whose message is the one that the site has."""
    first_round(box)
    box.hear_version()
    first = box.versions.newest
    assert first is not None
    for _ in range(2):
        answer(box.above, "phone")
    ledger = box.above.store.ledger
    with ledger.transaction():
        ledger.put(ROLLBACK, "1")
    box.above.tick()
    box.above.tick()
    assert (box.above.conductor.row.reason, box.above.conductor.row.digest) == ("rollback", first.digest)
    box.hear_plan()
    assert box.work.waiting is not None
    assert box.work.waiting.base_version == 4
    box.fetch()
    box.begin()
    box.tick(3)
    opened_on(box, 4)


def test_a_plan_of_another_history_is_given_up(box: SiteBox) -> None:
    """Its version has the number of one that is here, and other blocks."""
    box.listen()
    plan = box.work.under_way.plan if box.work.under_way is not None else pb.Plan()
    other = pb.Plan.FromString(plan.SerializeToString())
    other.version_digest = b"o" * 32
    message = pb.Version(version=0, digest=other.version_digest)
    bank = box.versions.bank(box.versions.newest)  # type: ignore[arg-type]
    assert bank is not None
    box.desk.hand(Handed(other, b"h" * 32, Complete(message, bank, {})))
    box.tick()
    assert box.desk.wait_for_sum(b"h" * 32) == b""
    assert "has another version 0" in next(one["detail"] for one in box.gateway.told if one["event"] == "damaged")
    assert box.gateway.conductor.state is State.GATHERING


def test_the_end_above_lets_go_of_a_plan_that_never_began(box: SiteBox) -> None:
    """What is beyond the base of that plan is served all the same."""
    first_round(box)
    answer(box.above, "phone")
    box.hear_version()
    box.fetch()
    box.hear_plan()  # of a version that it has not heard of
    box.tick()
    assert not box.work.ready
    assert told(box) == 0
    box.desk.finish()
    box.tick()
    assert told(box) == 2
    assert box.gateway.conductor.state is State.FINISHED


def test_a_rollback_above_is_one_at_the_site_too(box: SiteBox) -> None:
    """Norms of what was trained from versions that were gone back from are compared with no more."""
    first_round(box)
    box.open()
    assert finish(box).code == pb.ACCEPTED
    box.hear_version()
    box.fetch()
    box.tick()
    assert told(box) == 2
    ledger, above = box.gateway.store.ledger, box.above.store.ledger
    assert [row.round for row in ledger.recent_deltas(9)] == [1, 1, 2, 2]
    with above.transaction():
        above.put(ROLLBACK, "1")
    box.above.tick()
    box.hear_version()
    box.fetch()
    box.tick()
    row = ledger.version()
    assert row is not None
    assert (told(box), row.version, row.reason, row.parent) == (3, 3, "rollback", 1)
    assert [row.round for row in ledger.recent_deltas(9)] == [1, 1]
