"""What the gateway says is signed, and its serials only grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway, Outbox

from broker_server.errors import StorageError
from broker_server.rounds.signer import RESERVE_US, Signer, SigningPublisher
from broker_server.state.ledger import Ledger
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import decode
from edge_runtime.wire.signatures import SIGNED, SigningKey, verify_message
from edge_runtime.wire.topics import Address, Topic

CLOCK = 1_700_000_000_000_000


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """Return a new key."""
    return SigningKey.create(tmp_path / "signing.pem")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Return an empty ledger."""
    return Ledger(tmp_path / "ledger.sqlite3")


def serial_of(signer: Signer, key: SigningKey) -> int:
    """Return the serial of the next message."""
    return verify_message(key.public, "fl/v1/home/gateway", signer.signed(Topic.GATEWAY, "", b"state"))


def test_serials_grow_when_the_clock_stands_or_goes_back(key: SigningKey, ledger: Ledger) -> None:
    """The time where it can be, one more where it cannot."""
    times = iter([CLOCK, CLOCK, CLOCK - 10**12, CLOCK + 5])
    signer = Signer(key, "home", ledger, lambda: next(times))
    assert [serial_of(signer, key) for _ in range(4)] == [CLOCK, CLOCK + 1, CLOCK + 2, CLOCK + 5]


def test_serials_grow_over_a_start_with_the_clock_set_back(key: SigningKey, ledger: Ledger) -> None:
    """The ledger remembers a minute ahead, so that not every message is a write."""
    assert serial_of(Signer(key, "home", ledger, lambda: CLOCK), key) == CLOCK
    again = Signer(key, "home", ledger, lambda: CLOCK - 10**15)
    assert serial_of(again, key) == CLOCK + RESERVE_US + 1


def test_a_full_disk_does_not_silence_the_gateway(key: SigningKey, ledger: Ledger) -> None:
    """It has to say so, after all; the serial is kept when there is room again."""
    signer = Signer(key, "home", ledger, lambda: CLOCK)
    put = ledger.put

    def full(*_: Any) -> None:
        raise StorageError("full")

    ledger.put = full  # type: ignore[method-assign]
    assert serial_of(signer, key) == CLOCK
    assert ledger.get("serial") is None
    ledger.put = put  # type: ignore[method-assign]
    serial_of(signer, key)
    assert ledger.get("serial") == str(CLOCK + 1 + RESERVE_US)


def test_without_a_key_messages_stay_as_they_are(ledger: Ledger) -> None:
    """On this machine nothing needs a signature."""
    signer = Signer(None, "home", ledger)
    assert signer.signed(Topic.GATEWAY, "", b"state") == b"state"
    assert ledger.get("serial") is None


def test_only_what_speaks_for_the_gateway_is_signed(key: SigningKey, ledger: Ledger) -> None:
    """Blobs are named by digests, plans come signed, an empty payload deletes."""
    out = Outbox()
    publisher = SigningPublisher(out, Signer(key, "home", ledger))
    for topic in (Topic.GATEWAY, Topic.VERSION, Topic.VERDICT, Topic.PLAN, Topic.BLOB):
        publisher.publish(topic, "", [b"text", b""])
    assert [len(payload) for _, _, payload in out.sent] == [81, 0, 81, 0, 81, 0, 4, 0, 4, 0]


def test_everything_that_a_round_says_verifies(tmp_path: Path, key: SigningKey) -> None:
    """State, version, verdicts and plans; a plan's digest is that of its signed bytes, also after a restart."""
    package = tiny.make_package(tmp_path / "package")
    gateway = Gateway(tmp_path / "state", package, key)
    gateway.conductor.announce()
    gateway.hello("a", "b")
    gateway.tick()
    topics = {topic for topic, _, payload in gateway.out.sent if payload}
    assert topics == SIGNED - {Topic.SECURE}  # of rounds under masks
    for topic, name, payload in gateway.out.sent:
        if payload:
            verify_message(key.public, str(Address("default", topic, name)), payload)
    plan = gateway.out.last(Topic.PLAN, "a")
    assert gateway.store.ledger.plan("a", sha256(plan)) == plan
    gateway.store.close()
    again = Gateway(tmp_path / "state", package, key)
    again.conductor.announce()
    assert again.out.last(Topic.PLAN, "a") == plan
    assert decode(pb.Version, again.out.last(Topic.VERSION)).serial > decode(pb.Plan, plan).serial
