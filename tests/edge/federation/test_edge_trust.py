"""A device takes its gateway's word, and nobody else's: no forgery, no old message, no package of somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FEDERATION

from edge_runtime.federation.trust import Trust
from edge_runtime.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.messages import encode
from edge_runtime.wire.signatures import SigningKey
from edge_runtime.wire.topics import Address, Topic

GATEWAY = Address(FEDERATION, Topic.GATEWAY)
PLAN = Address(FEDERATION, Topic.PLAN, "me")


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """Return the gateway's key."""
    return SigningKey.create(tmp_path / "signing.pem")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a device's state."""
    with Store(tmp_path / "state") as store:
        yield store


def state(*, online: bool = True, session: bytes = b"s" * 16) -> bytes:
    """Return a gateway's state, not signed."""
    return encode(pb.GatewayState(federation_digest=bytes(32), online=online, session=session))


def signed(key: SigningKey, address: Address, payload: bytes, serial: int) -> bytes:
    """Return a message as the gateway sends it."""
    return key.sign_message(str(address), payload, serial)


def refused(trust: Trust, address: Address, payload: bytes) -> bool:
    """Return whether a message is refused for its signature."""
    try:
        trust.check(address, payload)
    except WireError as error:
        return error.code == pb.BAD_SIGNATURE
    return False


def test_a_message_of_somebody_else_is_refused(key: SigningKey, store: Store, tmp_path: Path) -> None:
    """Without a signature, with another's, and what was signed for another device."""
    trust = Trust(key.public, store)
    other = SigningKey.create(tmp_path / "other.pem")
    assert refused(trust, GATEWAY, state())
    assert refused(trust, GATEWAY, signed(other, GATEWAY, state(), 1))
    assert refused(trust, PLAN, signed(key, Address(FEDERATION, Topic.PLAN, "you"), b"plan", 1))
    assert not refused(trust, GATEWAY, signed(key, GATEWAY, state(), 1))


def test_an_old_message_is_refused_also_after_a_restart(key: SigningKey, store: Store) -> None:
    """The same message may come again, as a broker retains it; topics have serials of their own."""
    trust = Trust(key.public, store)
    new = signed(key, PLAN, b"new", 8)
    assert not refused(trust, PLAN, new)
    assert refused(trust, PLAN, signed(key, PLAN, b"old", 7))
    again = Trust(key.public, store)
    assert refused(again, PLAN, signed(key, PLAN, b"old", 7))
    assert not refused(again, PLAN, new)
    assert not refused(again, GATEWAY, signed(key, GATEWAY, state(), 3))


def test_the_will_of_the_session_that_is_known_is_taken_though_it_is_old(key: SigningKey, store: Store) -> None:
    """A gateway signs its will before all that it says; that of a session before is a replay."""
    trust = Trust(key.public, store)
    trust.check(GATEWAY, signed(key, GATEWAY, state(), 5))
    assert not refused(trust, GATEWAY, signed(key, GATEWAY, state(online=False), 4))
    assert refused(trust, GATEWAY, signed(key, GATEWAY, state(online=False, session=b"t" * 16), 4))
    assert refused(trust, GATEWAY, signed(key, GATEWAY, state(), 4))
    assert not refused(Trust(key.public, store), GATEWAY, signed(key, GATEWAY, state(online=False), 4))


def test_another_key_starts_anew(key: SigningKey, store: Store, tmp_path: Path) -> None:
    """Serials of one gateway say nothing about another's."""
    Trust(key.public, store).check(PLAN, signed(key, PLAN, b"plan", 100))
    other = SigningKey.create(tmp_path / "other.pem")
    trust = Trust(other.public, store)
    assert not refused(trust, PLAN, signed(other, PLAN, b"plan", 1))
    assert refused(trust, PLAN, signed(key, PLAN, b"plan", 101))


def test_what_a_broker_deletes_is_taken_and_blobs_are_not_looked_at(key: SigningKey, store: Store) -> None:
    """A verdict is never retained, so an empty one is no deletion."""
    trust = Trust(key.public, store)
    assert not refused(trust, PLAN, b"")
    assert not refused(trust, Address(FEDERATION, Topic.BLOB, "0" * 64), b"values")
    assert refused(trust, Address(FEDERATION, Topic.VERDICT, "me"), b"")


def test_a_device_without_a_key_takes_everything(store: Store) -> None:
    """As on one machine."""
    assert not refused(Trust(b"", store), GATEWAY, state())
