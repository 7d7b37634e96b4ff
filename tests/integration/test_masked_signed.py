"""Rounds under masks whose devices have certificates: keys are signed, and a gateway that lies is refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from masked_federation import SECURE, Federation

from broker_server.identity.certificates import new_authority, utc_now
from broker_server.rules import masking
from broker_server.rules.masking import Assumed
from broker_server.rules.round import State
from broker_server.views.masks import masks_words, read_masks
from broker_server.views.reading import reading
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.secure.lists import read_members
from edge_runtime.wire.secure.member import public_keys
from edge_runtime.wire.topics import Topic

FIVE = tuple(f"d{number}" for number in range(5))


def certified(folder: Path) -> Federation:
    """Return a federation whose devices have certificates."""
    return Federation(folder, new_authority("edge-experts default", utc_now()))


def test_a_gateway_that_puts_its_own_keys_in_the_place_of_anothers_gets_nothing_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every device refuses the list by name and sends neither shares nor a delta; the round makes no version."""
    honest = masking.write_list

    def lying(number: int, bodies: Iterable[bytes], assumed: Assumed) -> bytes | None:
        listed = list(bodies)
        keys = decode(pb.MaskKeys, listed[0])
        own = public_keys(bytes(32), [one.circle for one in keys.masking])
        keys.sharing = own.sharing
        for one in keys.masking:
            one.key = own.masking[one.circle]
        return honest(number, [encode(keys), *listed[1:]], assumed)

    monkeypatch.setattr(masking, "write_list", lying)
    federation = certified(tmp_path)
    federation.start(*FIVE)
    federation.run(lambda: bool(federation.events("masks_failed")))
    refusals = [event for event in federation.heard if event.name == "error"]
    assert len(refusals) == 4  # d0, whose keys are not in it, is told that its plan is taken back
    assert all("the keys of d0 are not signed with the key of its certificate" in one.text for one in refusals)
    bodies = {decode(pb.Offer, data).kind for _, topic, data in federation.broker.said if topic is Topic.OFFER}
    assert bodies == {pb.KEYS}
    assert federation.store.ledger.deltas(1) == []
    federation.kill_gateway()


def test_the_gateway_takes_no_keys_that_the_others_would_refuse(tmp_path: Path) -> None:
    """Unsigned ones, another device's, and of another round; a device that does not sign gets no plan."""
    federation = certified(tmp_path)
    federation.start(*FIVE, "old")
    membership = federation.devices["old"].device._membership
    hello = membership._hello

    def unsigning() -> pb.Hello:
        said = hello()
        said.signs_keys = False
        return said

    membership._hello = unsigning  # type: ignore[method-assign]
    federation.run(lambda: federation.phase() == "keys")
    assert set(federation.store.ledger.plans(1)) == set(FIVE)
    with reading(federation.folder / "gateway") as ledger:
        assert "signed keys for masks: old" in masks_words(read_masks(ledger, enabled=True, signed=True))
    plan = federation.store.ledger.plans(1)["d0"]
    circles = [circle.number for circle in decode(pb.Plan, plan).masks[0].circles]
    public = public_keys(bytes(32), circles)
    masking_keys = [pb.CircleKey(circle=circle, key=public.masking[circle]) for circle in circles]
    keys = pb.MaskKeys(device="d0", plan_digest=sha256(plan), sharing=public.sharing, masking=masking_keys)
    lies = {"not signed": keys}
    for says, signer, number in (("certificate of", "d1", 1), ("round 2", "d0", 2)):
        lies[says] = pb.MaskKeys()
        lies[says].CopyFrom(keys)
        lies[says].round = number
        by = federation.signer(signer)
        assert by is not None
        by.sign(lies[says])
    for says, lie in lies.items():
        code, detail = federation.sent("d0", pb.KEYS, encode(lie))
        assert (code, says in detail) == (pb.BAD_SIGNATURE, True)
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    row = federation.store.ledger.masks(1)
    assert row is not None
    assert row.told["signed"] is True
    with reading(federation.folder / "gateway") as ledger:
        assert "did not sign" not in masks_words(read_masks(ledger, enabled=True))
    federation.kill_gateway()


def test_without_an_authority_devices_mask_as_before_and_the_operator_is_told(tmp_path: Path) -> None:
    """The fewer of those who sign and those who do not are left out: they would refuse each other."""
    federation = certified(tmp_path)
    federation.start("d0", "d1")
    federation.config = replace(federation.config, secure=SECURE)
    federation.kill_gateway()
    federation.start_gateway()
    federation.authority = None
    federation.start("d2", "d3", "d4")
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    row = federation.store.ledger.masks(1)
    assert row is not None
    assert row.members is not None
    members = read_members(row.members)
    assert (len(members.keys), members.signed, row.told["signed"]) == (3, False, False)
    with reading(federation.folder / "gateway") as ledger:
        assert "did not sign their keys" in masks_words(read_masks(ledger, enabled=True))
    federation.kill_gateway()
