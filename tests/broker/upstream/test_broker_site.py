"""A site between its devices and the gateway above: killed at every point, dead or late, and what is refused of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from site_box import LIMITS, VALUES, SiteBox, gateway_above, site
from tiny_gateway import Gateway

from broker_server.config_tables import RoundRules
from broker_server.rounds.remaking import total_of
from broker_server.rules.round import State
from broker_server.server_config import Server
from broker_server.state.rows import LEFT_OUT
from broker_server.upstream import site_merging
from edge_runtime.federation.session import Event
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import decode
from edge_runtime.wire.topics import Topic

QUORUM_OF_ONE = RoundRules(quorum=1, join_wait_s=0, max_staleness=2)


@pytest.fixture
def above(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway above, whose rounds want two sums."""
    gateway = gateway_above(tmp_path / "above", tiny.make_package(tmp_path / "package"))
    yield gateway
    gateway.close()


def alone(folder: Path, package: Any, values: dict[str, float], plans: dict[str, pb.Plan]) -> bytes:
    """Return the digest that one gateway makes of the deltas of all devices."""
    one = gateway_above(folder, package, rounds=1, server=Server(exact_sums=True), round=QUORUM_OF_ONE)
    one.hello(*values)
    one.tick()
    for device, value in values.items():
        assert {(ref.layer, ref.index) for ref in one.plan(device)[0].train} == {
            (ref.layer, ref.index) for ref in plans[device].train
        }
        one.train(device, value=value, spread=value / 3)
    one.tick()
    digest = one.conductor.row.digest
    one.close()
    return digest


def test_a_site_that_dies_mid_round_costs_its_own_devices_only(above: Gateway, tmp_path: Path) -> None:
    """The round above closes without it, as one gateway's would without its devices; it comes back and goes on."""
    above.close()
    above = gateway_above(tmp_path / "again", above.package, round=QUORUM_OF_ONE, rounds=3)
    north, south = site(above, tmp_path / "north", "north"), site(above, tmp_path / "south", "south", "cd")
    above.tick()
    assert sorted(above.store.ledger.plans(1)) == ["north", "south"]
    digest = north.whole_round(VALUES)
    south.open()
    south.gateway.train("c", value=0.5)  # and then its power goes
    south.close()
    above.send(Topic.BYE, "south", pb.Bye(wire_version=1, device="south").SerializeToString())
    above.tick()
    assert above.conductor.row.version == 1
    assert [row.digest for row in above.store.ledger.merged_into(1)] == [digest]
    plans = {device: north.gateway.plan(device)[0] for device in VALUES}
    assert above.conductor.row.digest == alone(tmp_path / "alone", above.package, VALUES, plans)
    south.start()  # and it comes back
    assert south.gateway.conductor.state is State.OPEN
    above.close()
    north.close()
    south.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the digest of the sum of a site that nobody kills."""
    folder = tmp_path_factory.mktemp("undisturbed")
    above = gateway_above(folder / "above", tiny.make_package(folder / "package"))
    box, other = site(above, folder / "north", "north"), site(above, folder / "south", "south", "cd")
    above.tick()
    digest = box.whole_round(VALUES)
    for one in (box, other, above):
        one.close()
    return digest


@pytest.mark.parametrize("strike", ["plan", "deltas", "sum", "written", "verdict"])
def test_a_site_killed_at_any_point_sends_the_same_sum_once(
    above: Gateway, tmp_path: Path, strike: str, undisturbed: bytes
) -> None:
    """Each delta is in the sum once; the round ends once; what it says above is the same bytes."""
    box = site(above, tmp_path / "north", "north")
    other = site(above, tmp_path / "south", "south", "cd")
    above.tick()

    def point(name: str) -> None:
        if name == strike:
            box.kill()

    box.listen()
    point("plan")
    if strike == "plan":
        assert box.plans.begin() is None
    box.tick(3)
    assert box.gateway.conductor.state is State.OPEN
    box.gateway.train("a", value=VALUES["a"], spread=VALUES["a"] / 3)
    box.gateway.train("b", value=VALUES["b"], spread=VALUES["b"] / 3)
    point("deltas")
    box.tick()
    point("sum")
    box.tick()
    if box.work.waiting is not None:  # a restart begins its plan anew, for which the sum waits
        assert box.plans.begin() is None
    assert box.step() is Event.TRAINED
    assert box.work.pending is not None
    digest, body = box.work.pending.digest, box.work.pending.body
    point("written")
    if strike == "verdict":
        assert box.deliver().code == pb.ACCEPTED
    point("verdict")
    box.tick()
    assert box.gateway.conductor.state is State.GATHERING
    if strike != "verdict":
        assert box.deliver().code == pb.ACCEPTED
    total = decode(pb.PartialSum, body)
    assert (total.devices, total.round, total.base_version) == (2, 1, 0)
    assert box.gateway.store.ledger.waiting() == []
    assert [row.version for row in box.gateway.store.ledger.deltas(1)] == [1, 1]
    assert [(row.device, row.digest) for row in above.store.ledger.waiting()] == [("north", digest)]
    assert digest == undisturbed
    box.close()
    other.close()


def test_a_late_sum_counts_by_its_staleness(above: Gateway, tmp_path: Path) -> None:
    """South's sum of round 1 comes after version 1: its part counts 1 / sqrt(2) beside north's of round 2."""
    above.close()
    above = gateway_above(tmp_path / "again", above.package, round=QUORUM_OF_ONE, rounds=5)
    north, south = site(above, tmp_path / "north", "north"), site(above, tmp_path / "south", "south", "cd")
    above.tick()
    south.open()
    north.whole_round(VALUES)
    above.now += 400.0
    above.tick()
    assert above.conductor.row.version == 1
    for device in "cd":
        south.gateway.train(device, value=0.25)
    south.tick()
    assert south.step() is Event.TRAINED
    assert south.deliver().code == pb.ACCEPTED
    above.tick()
    north.tick()
    north.whole_round(VALUES)
    above.now += 400.0
    above.tick()
    assert above.conductor.row.version == 2
    merged = {(row.device, row.round): row for row in above.store.ledger.merged_into(2)}
    assert sorted(merged) == [("north", 2), ("south", 1)]
    blocks = {device: trained(north, 2, device) for device in "ab"}
    blocks |= {device: trained(south, 1, device) for device in "cd"}
    layer, index = min(set.intersection(blocks["a"], blocks["c"] | blocks["d"]))
    weights = {"a": 10.0, "b": 10.0, "c": 10.0 / 2**0.5, "d": 10.0 / 2**0.5}
    values = VALUES | {"c": 0.25, "d": 0.25}
    who = [device for device in "abcd" if (layer, index) in blocks[device]]
    mean = sum(weights[one] * values[one] for one in who) / sum(weights[one] for one in who)
    before, after = (above.store.lineage.load(number)[1].block(tiny.ExpertId(layer, index))[0] for number in (1, 2))
    assert after - before == pytest.approx(mean, rel=1e-5)
    for one in (north, south, above):
        one.close()


def trained(box: SiteBox, number: int, device: str) -> set[tuple[int, int]]:
    """Return the blocks that a device trained in a round."""
    plan = decode(pb.Plan, box.gateway.store.ledger.plans(number)[device])
    return {(ref.layer, ref.index) for ref in plan.train}


def test_a_plan_that_is_taken_back_ends_the_round_without_a_sum(above: Gateway, tmp_path: Path) -> None:
    """What devices sent for it is part of nothing, and the next plan finds the site ready."""
    box = site(above, tmp_path / "north", "north")
    other = site(above, tmp_path / "south", "south", "cd")
    above.tick()
    box.open()
    box.gateway.train("a", value=0.5)
    box.work.withdraw()
    box.work.abandon()
    box.tick()
    assert box.gateway.conductor.state is State.GATHERING
    assert [row.version for row in box.gateway.store.ledger.deltas(1)] == [LEFT_OUT]
    assert box.work.pending is None
    box.close()
    other.close()


def test_versions_come_down_as_they_are(above: Gateway, tmp_path: Path) -> None:
    """Number, round and digest; a rollback that is asked for below is taken back."""
    north, south = site(above, tmp_path / "north", "north"), site(above, tmp_path / "south", "south", "cd")
    above.tick()
    north.whole_round(VALUES)
    south.whole_round({"c": 0.1, "d": 0.2})
    above.tick()
    north.listen()
    north.tick()
    ours, theirs = north.gateway.conductor.row, above.conductor.row
    assert (ours.version, ours.digest, ours.reason) == (theirs.version, theirs.digest, "upstream")
    told = decode(pb.Version, north.gateway.out.last(Topic.VERSION))
    assert (told.version, told.round, told.digest) == (1, 1, theirs.digest)
    north.kill()
    assert north.gateway.conductor.row.digest == theirs.digest
    north.close()
    south.close()


def test_what_a_site_has_not_the_right_to_say_is_refused(above: Gateway, tmp_path: Path) -> None:
    """A name that is no site here, a site of too many devices, and a device in the name of a site."""
    west = SiteBox(above, tmp_path / "west", "west")
    west.hello("a", "b")
    west.tick(3)
    west.speak()
    assert "west speaks for 2 devices, and is no site here; list it in server.sites" in above.verdict("west").detail
    many = SiteBox(above, tmp_path / "many", "north")
    many.hello(*"abcdefghij")
    many.tick(3)
    many.speak()
    assert "may speak for 9 devices" in above.verdict("north").detail
    above.hello("south")
    assert "is the name of a site here, and a device came with it" in above.verdict("south").detail
    west.close()
    many.close()


@pytest.mark.parametrize(
    ("change", "code", "detail"),
    [
        ({"most_examples": 7}, "MALFORMED", "the sum was taken by limits.most_examples = 7"),
        ({"devices": 10}, "MALFORMED", "a sum of 10 deltas, this site may speak for 9 devices"),
        ({"round": 2}, "MALFORMED", "round and base version"),
        ({"device": "south"}, "MALFORMED", "the message says 'south'"),
        ({"plan_digest": b"p" * 32}, "UNKNOWN_PLAN", "none that this gateway gave"),
        ("weights", "MALFORMED", "a mean weight of 4000, no delta of this round can have more than 20 examples"),
        ("values", "NORM_TOO_LARGE", "has norm"),
        ("size", "WRONG_SIZE", "bytes of sums, expected"),
        ("delta", "MALFORMED", "no blocks of a sum"),
    ],
)
def test_sums_that_no_devices_can_have_are_refused(
    above: Gateway, tmp_path: Path, change: Any, code: str, detail: str
) -> None:
    """Each by its rule, with what came and what was expected; nothing of them is merged."""
    box, other = site(above, tmp_path / "north", "north"), site(above, tmp_path / "south", "south", "cd")
    above.tick()
    box.open()
    for device, value in VALUES.items():
        box.gateway.train(device, value=value)
    box.tick()
    assert box.step() is Event.TRAINED
    assert box.work.pending is not None
    total = pb.PartialSum.FromString(box.work.pending.body)
    if isinstance(change, dict):
        for name, value in change.items():
            setattr(total, name, value)
    body = lie(total, change) if isinstance(change, str) else total.SerializeToString()
    above.deliver("north", body)
    verdict = above.verdict("north")
    assert (pb.Code.Name(verdict.code), detail in verdict.detail) == (code, True), verdict.detail
    assert above.store.ledger.waiting() == []
    box.close()
    other.close()


def lie(total: pb.PartialSum, about: str) -> bytes:
    """Return a sum that says what no devices can have."""
    block = total.blocks[0]
    if about == "weights":
        block.weights, block.size = np.array([4000.0]).tobytes(), 2**37
    elif about == "values":
        block.values, block.size = np.full(len(block.values) // 8, 8000.0).tobytes(), 2**37
    elif about == "size":
        block.values = block.values[8:]
    else:
        return pb.Delta(
            wire_version=1, device="north", plan_digest=total.plan_digest, round=1, examples=9,
            experts=[pb.ExpertDelta(layer=0, index=0, values=b"\0" * 36)],
        ).SerializeToString()  # fmt: skip
    return total.SerializeToString()


def test_a_device_cannot_send_a_sum(above: Gateway, tmp_path: Path) -> None:
    """Without a place in server.sites its bytes are read as a delta, which a sum is not."""
    box = site(above, tmp_path / "north", "north")
    above.hello("phone")
    above.tick()
    box.open()
    for device, value in VALUES.items():
        box.gateway.train(device, value=value)
    box.tick()
    assert box.step() is Event.TRAINED
    assert box.work.pending is not None
    total = pb.PartialSum.FromString(box.work.pending.body)
    total.device = "phone"
    above.deliver("phone", total.SerializeToString())
    assert above.verdict("phone").code == pb.MALFORMED
    assert LIMITS.most_examples == 0
    box.close()


def test_class_sums_are_added_up_once(above: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site looks every few seconds whether it has something new to say, and adds up only when devices brought it."""
    totals: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        totals.append(1)
        return total_of(*args, **kwargs)

    monkeypatch.setattr(site_merging, "total_of", counted)
    box = SiteBox(above, tmp_path / "north", "north")
    for device in "ab":
        box.gateway.statistics(device, box.gateway.hello_with(device, [tiny.WORDS[0]], [0]))
    box.tick(4)
    first = box.desk.wait_for_facts(0.0)
    assert len(totals) == 1
    box.gateway.statistics("b", box.gateway.hello_with("b", list(tiny.WORDS[:2]), [0, 1]))
    box.tick(4)
    second = box.desk.wait_for_facts(0.0, first)
    assert len(totals) == 2
    assert first is not None
    assert second is not None
    sums = [decode(pb.PartialStatistics, facts.statistics) for facts in (first, second)]
    assert [np.frombuffer(one.counts, "<f8").sum() for one in sums] == [2.0, 3.0]
    box.close()
