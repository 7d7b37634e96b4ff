"""A plan that is taken back above and given anew in the same round: carried out once, by the second plan alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from site_box import VALUES, gateway_above, site
from tiny_gateway import Gateway

from broker_server.errors import StorageError
from broker_server.rounds.round_plans import RoundPlans
from broker_server.rules.round import State
from edge_runtime.federation.session import Event
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import decode, encode


@pytest.fixture
def above(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway above, whose rounds want two sums."""
    gateway = gateway_above(tmp_path / "above", tiny.make_package(tmp_path / "package"))
    yield gateway
    gateway.close()


@pytest.mark.parametrize("strike", ["", "taken back", "full disk", "half open", "open", "deltas"])
def test_a_plan_given_anew_in_its_round_is_carried_out(
    above: Gateway, tmp_path: Path, strike: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sum has the deltas of the second plan alone, also of who answered the first, and wherever it dies."""
    box, other = site(above, tmp_path / "north", "north"), site(above, tmp_path / "south", "south", "cd")
    above.tick()
    box.open()
    first = {device: box.gateway.plan(device)[1] for device in VALUES}
    body = encode(tiny.delta(*box.gateway.plan("a"), value=0.5))
    box.gateway.deliver("a", body)
    give_anew(above, "north")
    box.work.withdraw()
    box.work.abandon()
    box.tick()
    assert box.gateway.conductor.state is State.GATHERING
    if strike == "taken back":
        box.kill()
    if strike in ("full disk", "half open"):
        with monkeypatch.context() as patch:
            patch.setattr(RoundPlans, "extend", refuse)
            with pytest.raises(StorageError):
                box.open()
    else:
        box.open()
    if strike in ("half open", "open"):
        box.kill()
        box.begin()
    box.tick(3)
    assert box.gateway.conductor.round == above.conductor.round == 1
    box.gateway.deliver("a", body)  # a device that never heard of its verdict
    assert box.gateway.store.ledger.waiting() == []
    digests = []
    for device, value in VALUES.items():
        assert box.gateway.plan(device)[1] != first[device]
        digests.append(box.gateway.train(device, value=value))
    if strike == "deltas":
        box.kill()
        box.begin()
    assert box.gateway.store.notes == []
    box.tick()
    assert box.step() is Event.TRAINED
    assert box.work.pending is not None
    total = decode(pb.PartialSum, box.work.pending.body)
    assert (total.round, total.devices, total.plan_digest) == (1, 2, sha256(above.plan("north")[1]))
    assert box.deliver().code == pb.ACCEPTED
    box.tick()
    rows = box.gateway.store.ledger.deltas(1)
    assert [(row.version, row.digest) for row in rows] == [(1, digest) for digest in digests]
    box.close()
    other.close()


def test_a_plan_given_anew_after_a_sum_is_given_up(above: Gateway, tmp_path: Path) -> None:
    """The sum of the first plan is the round's: there are never two."""
    box, other = site(above, tmp_path / "north", "north"), site(above, tmp_path / "south", "south", "cd")
    above.tick()
    box.open()
    for device, value in VALUES.items():
        box.gateway.train(device, value=value)
    box.tick()
    assert box.step() is Event.TRAINED
    box.tick()
    assert box.deliver().code == pb.ACCEPTED
    plan = above.plan("north")[0]
    plan.steps += 1
    box.work.take(encode(plan))
    box.begin()
    box.tick(3)
    assert box.gateway.conductor.state is State.GATHERING
    assert box.step() is Event.FAILED
    box.close()
    other.close()


def refuse(*_: Any) -> None:
    """Be a full disk."""
    msg = "no space"
    raise StorageError(msg)


def give_anew(above: Gateway, name: str) -> None:
    """Let a round above take a site's plan back, and give it another one as it waits once more."""
    above.conductor._round.void.add(name)
    above.conductor._announcer.withdraw([name])
    above.now += above.config.round.deadline_s
    above.tick()
    assert above.plan(name)[0].round == above.conductor.round == 1
