"""Names that nobody knows: whatever they send, rounds of those who train go on. No broker or clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.config_tables import Listen, RoundRules
from broker_server.errors import StorageError
from broker_server.rules.round import State
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic

RULES = RoundRules(quorum=2, deadline_s=100, join_wait_s=2, grace_s=30, newcomer_wait_s=10)


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    """Return a gateway without an end."""
    package = tiny.make_package(tmp_path / "package")
    return Gateway(tmp_path / "state", package, rounds=0, round=RULES)


def told(gateway: Gateway, kind: str, **fields: object) -> list[dict[str, Any]]:
    """Return the events of a kind with these fields."""
    return [one for one in gateway.told if one["event"] == kind and fields.items() <= one.items()]


def until(gateway: Gateway, state: State, limit_s: float) -> float:
    """Look at the clock until the rounds are in ``state``; return how long that took, in seconds."""
    begin = gateway.now
    while gateway.conductor.state is not state:
        gateway.tick()
        assert gateway.now - begin <= limit_s
    return gateway.now - begin


def a_round(gateway: Gateway, *devices: str, limit_s: float = 1000.0) -> float:
    """Let a round begin, these devices train, and it close; return how long it was open, in seconds."""
    until(gateway, State.OPEN, limit_s)
    begin = gateway.now
    for device in devices:
        gateway.train(device)
    until(gateway, State.GATHERING, limit_s)
    return gateway.now - begin


def promise(gateway: Gateway, device: str) -> None:
    """Say a Hello that promises class statistics which never come."""
    hello = tiny.hello(gateway.package, device, statistics_digest=sha256(device.encode()))
    gateway.send(Topic.HELLO, device, encode(hello))


def test_rounds_start_under_a_hello_a_second(gateway: Gateway) -> None:
    """Two devices are ready; a third name says Hello again at every second."""
    gateway.hello("a", "b")
    for _ in range(3):
        gateway.hello("again")
        gateway.tick()
    assert gateway.conductor.state is State.OPEN


def test_a_hundred_devices_that_greet_once_a_minute_have_rounds(gateway: Gateway) -> None:
    """Their Hellos are spread evenly: 0.6 s from one to the next, and 2 s are never quiet."""
    names = [f"d{number:02d}" for number in range(100)]
    gateway.hello(*names)
    for name in names:
        gateway.hello(name)
        gateway.now -= 0.4
        gateway.conductor.tick(gateway.now, gateway.now)
    assert gateway.conductor.state is State.OPEN
    assert set(gateway.store.ledger.plans(1)) == set(names)


def test_promised_statistics_are_waited_for_once(gateway: Gateway) -> None:
    """A new name that promises some every 7 s: the first round starts after its grace, and the next ones at once."""
    promise(gateway, "s")
    gateway.hello("a", "b")
    waits = []
    for number in range(3):
        begin = gateway.now
        while gateway.conductor.state is not State.OPEN:
            if int(gateway.now) % 7 == 0:
                promise(gateway, f"s{int(gateway.now)}")
            gateway.tick()
        waits.append(gateway.now - begin)
        a_round(gateway, "a", "b")
        assert gateway.conductor.round == number + 1
    assert 30 <= waits[0] <= 32
    assert max(waits[1:]) <= 2


def test_silent_name_holds_up_one_round_and_then_rests(gateway: Gateway) -> None:
    """To the deadline while nobody has proven anything; then for ten seconds; then, after two misses, not at all."""
    gateway.hello("a", "b", "sybil")
    open_for = [a_round(gateway, "a", "b") for _ in range(4)]
    assert 98 <= open_for[0] <= 101
    assert 10 <= open_for[1] <= 14
    assert max(open_for[2:]) <= 4
    (rests,) = told(gateway, "rests", device="sybil")
    assert (rests["missed"], rests["rests_s"]) == (2, 100)
    assert [line["missed"] for line in told(gateway, "version", reason="merge")] == [1, 1, 0, 0]


def test_silent_name_has_no_place_in_a_quorum(gateway: Gateway) -> None:
    """It makes a round with a, which b closes; then it rests, and a alone is no quorum."""
    gateway.hello("a", "sybil")
    until(gateway, State.OPEN, 10)
    gateway.train("a")
    gateway.now += 100
    gateway.tick()
    gateway.hello("b")
    gateway.now += 100
    gateway.tick()
    assert told(gateway, "rests", device="sybil")
    gateway.train("b")
    until(gateway, State.GATHERING, 15)
    assert gateway.conductor.row.version == 1
    gateway.send(Topic.BYE, "b", encode(pb.Bye(device="b")))
    for _ in range(50):
        gateway.tick()
    assert gateway.conductor.state is State.GATHERING


def test_silent_names_that_came_first_hold_up_one_deadline(gateway: Gateway) -> None:
    """The first round is theirs alone: it is extended for who trains, and closes ten seconds after their answers."""
    gateway.hello(*(f"s{number}" for number in range(20)))
    until(gateway, State.OPEN, 30)
    gateway.hello("a", "b")
    gateway.now += 100
    gateway.tick()
    assert set(told(gateway, "extended")[0]["devices"]) == {"a", "b"}
    gateway.train("a")
    gateway.train("b")
    assert until(gateway, State.GATHERING, 100) <= 14


def test_a_full_disk_at_a_deadline_counts_no_misses(gateway: Gateway) -> None:
    """The extension is tried again and again until the disk takes it: the devices missed one deadline all the same."""
    gateway.hello("a", "b")
    until(gateway, State.OPEN, 10)
    gateway.now += 100
    database = gateway.store.ledger._db
    database.execute("PRAGMA query_only = ON")
    for _ in range(3):
        with pytest.raises(StorageError):
            gateway.tick()
    database.execute("PRAGMA query_only = OFF")
    gateway.tick()
    assert gateway.reception._roster.standing("a").missed == 1


def test_a_phone_that_slept_is_planned_for_again(gateway: Gateway) -> None:
    """It missed two plans, rests for a deadline, answers the next plan and is waited for as before."""
    gateway.hello("a", "b", "phone")
    for _ in range(2):
        a_round(gateway, "a", "b")
    a_round(gateway, "a", "b")
    assert "phone" not in gateway.store.ledger.plans(gateway.conductor.round)
    gateway.now += 100
    a_round(gateway, "a", "b", "phone")
    a_round(gateway, "a", "b", "phone")
    assert told(gateway, "version", reason="merge")[-1]["accepted"] == 3


def test_a_slow_device_is_not_silent(tmp_path: Path) -> None:
    """Its first delta comes after the others' next round, too late to count: it shows that the device trains."""
    package = tiny.make_package(tmp_path / "package")
    rules = RoundRules(quorum=2, deadline_s=100, join_wait_s=0, newcomer_wait_s=10, max_staleness=0)
    gateway = Gateway(tmp_path / "state", package, rounds=0, round=rules)
    gateway.hello("a", "b")
    a_round(gateway, "a", "b")
    gateway.hello("slow")
    until(gateway, State.OPEN, 10)
    body = encode(tiny.delta(*gateway.plan("slow")))
    a_round(gateway, "a", "b")
    gateway.deliver("slow", body)
    assert gateway.verdict("slow").code == pb.STALE
    until(gateway, State.OPEN, 10)
    gateway.train("a")
    gateway.train("b")
    gateway.now += 50
    gateway.tick()
    assert gateway.conductor.state is State.OPEN
    gateway.train("slow")
    until(gateway, State.GATHERING, 3)
    assert told(gateway, "version", reason="merge")[-1]["accepted"] == 3


def test_three_hundred_silent_names_do_not_hold_rounds(gateway: Gateway) -> None:
    """After the first round, which trusts everybody alike, rounds close ten seconds after the last proven device."""
    gateway.hello("a", "b")
    a_round(gateway, "a", "b")
    gateway.hello(*(f"s{number}" for number in range(300)))
    open_for = [a_round(gateway, "a", "b") for _ in range(4)]
    assert max(open_for[:2]) <= 14
    assert max(open_for[2:]) <= 4


def test_a_removed_device_is_not_waited_for(gateway: Gateway) -> None:
    """The operator's command writes the ledger; the open round heeds it, and the next one makes no plan for it."""
    gateway.hello("a", "b", "c")
    until(gateway, State.OPEN, 10)
    gateway.store.ledger.revoke("c", revoked=True)
    assert a_round(gateway, "a", "b") <= 4
    until(gateway, State.OPEN, 10)
    assert set(gateway.store.ledger.plans(2)) == {"a", "b"}


def test_a_newcomer_with_a_certificate_is_waited_for(tmp_path: Path) -> None:
    """It is no stranger: the round waits for its first delta to the deadline, as for the others."""
    package = tiny.make_package(tmp_path / "package")
    files = {name: tmp_path / f"{name}.pem" for name in ("certificate", "key", "ca")}
    gateway = Gateway(tmp_path / "state", package, rounds=0, round=RULES, listen=Listen(**files))
    gateway.hello("a", "b")
    a_round(gateway, "a", "b")
    gateway.hello("new")
    assert 98 <= a_round(gateway, "a", "b") <= 101
