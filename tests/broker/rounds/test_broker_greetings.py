"""Floods of Hellos: what they cost, what they are told, and that others join beside them. No broker or clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.config_tables import Limits, RoundRules
from broker_server.rules.round import State
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.topics import Topic

FEW = Limits(hellos_per_minute=3, new_names_per_hour=4)


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


def at_once(gateway: Gateway, topic: Topic, device: str, payload: bytes) -> None:
    """Deliver a message a hundredth of a second after the one before."""
    gateway.now -= 0.99
    gateway.send(topic, device, payload)


def verdicts(gateway: Gateway, device: str) -> list[str]:
    """Return the codes of what a device was told."""
    sent = [payload for topic, to, payload in gateway.out.sent if (topic, to) == (Topic.VERDICT, device)]
    return [pb.Code.Name(decode(pb.Verdict, payload).code) for payload in sent]


def test_a_flood_by_one_name_is_told_busy_now_and_then(tmp_path: Path, package: Any) -> None:
    """Three Hellos are answered, then one BUSY every two seconds with a time to come back; others join beside it."""
    gateway = Gateway(tmp_path / "state", package, limits=FEW)
    hello = encode(tiny.hello(package, "flood"))
    for _ in range(300):
        at_once(gateway, Topic.HELLO, "flood", hello)
    assert verdicts(gateway, "flood") == ["ACCEPTED"] * 3 + ["BUSY"] * 2
    assert decode(pb.Verdict, gateway.out.last(Topic.VERDICT, "flood")).retry_after_s == 60
    gateway.hello("a")
    assert verdicts(gateway, "a") == ["ACCEPTED"]
    gateway.reception.write_traffic(gateway.now)
    assert gateway.store.ledger.hits() == [("flood", "hellos_per_minute", 297)]


def test_the_rate_of_hellos_recovers(tmp_path: Path, package: Any) -> None:
    """Twenty seconds after the flood there is one again."""
    gateway = Gateway(tmp_path / "state", package, limits=FEW)
    hello = encode(tiny.hello(package, "flood"))
    for _ in range(10):
        at_once(gateway, Topic.HELLO, "flood", hello)
    gateway.now += 20
    gateway.hello("flood")
    assert verdicts(gateway, "flood")[-1] == "ACCEPTED"


def test_new_names_are_limited_by_the_hour(tmp_path: Path, package: Any) -> None:
    """Four join; the fifth is BUSY; who is known comes back all the same; a quarter of an hour later one more joins."""
    gateway = Gateway(tmp_path / "state", package, limits=FEW)
    gateway.hello("a", "b", "c", "d", "e")
    assert verdicts(gateway, "d") == ["ACCEPTED"]
    assert verdicts(gateway, "e") == ["BUSY"]
    gateway.close()
    again = Gateway(tmp_path / "state", package, limits=FEW)
    again.hello("f", "g", "h", "i")
    again.hello("a", "j")
    assert verdicts(again, "a") == ["ACCEPTED"]
    assert verdicts(again, "j") == ["BUSY"]
    again.now += 900
    again.hello("j")
    assert verdicts(again, "j") == ["BUSY", "ACCEPTED"]


def test_a_flood_of_new_names_gets_few_answers(tmp_path: Path, package: Any) -> None:
    """Of a thousand in ten seconds 4 join, and at most 20 a second are told BUSY; a known device is answered."""
    gateway = Gateway(tmp_path / "state", package, limits=Limits(new_names_per_hour=4))
    gateway.hello("a")
    for number in range(1000):
        at_once(gateway, Topic.HELLO, f"s{number}", encode(tiny.hello(package, f"s{number}")))
    answers = [to for topic, to, _ in gateway.out.sent if topic is Topic.VERDICT and to != "a"]
    assert 3 + 20 <= len(answers) <= 3 + 20 + 20 * 10
    gateway.reception.tick(gateway.now + 1, gateway.now)
    assert len(gateway.store.ledger.devices()) == 4
    gateway.hello("a")
    assert verdicts(gateway, "a") == ["ACCEPTED", "ACCEPTED"]


def test_the_same_hello_again_costs_no_write(tmp_path: Path, package: Any) -> None:
    """The ledger does not change, and the answer is the same; a Hello that says something new is kept."""
    gateway = Gateway(tmp_path / "state", package)
    gateway.hello("a")
    before = gateway.store.ledger._db.total_changes
    gateway.hello("a", "a")
    assert gateway.store.ledger._db.total_changes == before
    assert verdicts(gateway, "a") == ["ACCEPTED"] * 3
    gateway.send(Topic.HELLO, "a", encode(tiny.hello(package, "a", examples=11)))
    assert gateway.store.ledger.devices()[0]["hello"].examples == 11


def test_hellos_of_one_second_are_written_together(tmp_path: Path, package: Any) -> None:
    """The first at once, the others a second later, in one transaction; a bye among them counts."""
    gateway = Gateway(tmp_path / "state", package)
    for number in range(50):
        at_once(gateway, Topic.HELLO, f"d{number:02d}", encode(tiny.hello(package, f"d{number:02d}")))
    at_once(gateway, Topic.BYE, "d07", encode(pb.Bye(device="d07")))
    gateway.reception.write_traffic(gateway.now)
    assert len(gateway.store.ledger.devices()) == 1
    assert len(gateway.reception._roster.here()) == 49
    gateway.reception.tick(gateway.now + 1, gateway.now)
    rows = gateway.store.ledger.devices()
    assert len(rows) == 50
    assert [row["device"] for row in rows if not row["present"]] == ["d07"]
    gateway.reception.write_traffic(gateway.now)
    assert all(row["bytes_up"] > 0 for row in gateway.store.ledger.devices())


def test_names_that_never_did_anything_are_forgotten(tmp_path: Path, package: Any) -> None:
    """Two of those not here stay, the last ones; who trained, who is here and who is revoked stay as well."""
    gateway = Gateway(
        tmp_path / "state", package, limits=Limits(idle_names=2), round=RoundRules(quorum=1, join_wait_s=0)
    )
    gateway.hello("trainer")
    gateway.tick()
    gateway.train("trainer")
    gateway.tick()
    gateway.send(Topic.BYE, "trainer", encode(pb.Bye(device="trainer")))
    gateway.hello("removed")
    gateway.store.ledger.revoke("removed", revoked=True)
    for number in range(5):
        gateway.hello(f"s{number}")
        gateway.send(Topic.BYE, f"s{number}", encode(pb.Bye(device=f"s{number}")))
    gateway.hello("here")
    names = [row["device"] for row in gateway.store.ledger.devices()]
    assert names == ["here", "removed", "s3", "s4", "trainer"]
    assert not gateway.reception._roster.joined("s0")


def test_certified_names_are_not_limited(tmp_path: Path, package: Any) -> None:
    """A certificate proves that a name is the operator's own."""
    from dataclasses import replace

    from broker_server.config_tables import Listen

    files = {name: tmp_path / f"{name}.pem" for name in ("certificate", "key", "ca")}
    gateway = Gateway(tmp_path / "state", package, limits=FEW, listen=Listen(**files))
    assert gateway.config.certified
    assert not replace(gateway.config, broker="mqtts://broker.example").certified
    gateway.hello(*(f"d{number}" for number in range(10)))
    assert verdicts(gateway, "d9") == ["ACCEPTED"]


def test_a_refused_delta_does_not_hold_up_its_round(tmp_path: Path, package: Any) -> None:
    """Its device has dropped it and makes no other: the round closes with the others', long before the deadline."""
    gateway = Gateway(tmp_path / "state", package, round=RoundRules(quorum=2, join_wait_s=0))
    gateway.hello("a", "b", "liar")
    gateway.tick()
    gateway.train("a")
    gateway.train("b")
    gateway.tick()
    assert gateway.conductor.state is State.OPEN
    gateway.train("liar", value=1e6)
    assert gateway.verdict("liar").code == pb.NORM_TOO_LARGE
    gateway.tick()
    assert gateway.conductor.row.version == 1
