"""Devices that end in the middle of things, by a power cut or by Ctrl-C: nothing is lost and nothing counts twice.

Each test ends with the same question: are the versions, byte for byte, those of the undisturbed run?
"""

from __future__ import annotations

import signal

import numpy as np
import pytest
from loop_federation import Federation, deltas
from loop_packages import Packages
from loop_story import GATEWAY, STEPS, Data, Story, start_ada, start_bo

from edge_runtime.store import Store


def end(device: object, number: int) -> None:
    """End a device by a signal; Ctrl-C is a good end."""
    if number == signal.SIGKILL:
        device.kill()  # type: ignore[attr-defined]
    else:
        assert device.ask_to_stop(number) == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "Ctrl-C"])
def test_a_device_that_ends_while_it_trains_goes_on_from_its_checkpoint(
    federation: Federation, packages: Packages, data: Data, undisturbed: Story, number: int
) -> None:
    """Values, both AdamW moments and the step are on disk; the second process makes only the missing steps."""
    gateway = federation.gateway(packages["one"], *GATEWAY)
    wire = federation.wire(gateway)
    ada = start_ada(federation, packages, data, federation.wire(gateway).url)
    bo = start_bo(federation, packages, data, wire.url, "--checkpoint-every", 0)
    told = bo.event("step", nth=2)
    end(bo, number)
    assert told["round"] == 1
    assert told["step"] < STEPS, "training was over before the signal came: give it more steps"
    with Store(federation.folder / "bo") as store:
        record = store.read("checkpoint")
        assert record is not None
        assert store.read("delta") is None
    steps = len(record.head["losses"])
    assert told["step"] - 1 <= steps < STEPS
    for name in ("trained_m1", "trained_m2", "shared_m1", "shared_m2"):
        assert np.abs(record.tensors()[name]).max() > 0, name

    again = start_bo(federation, packages, data, wire.url)
    assert again.event("round")["step"] == steps
    for running in (ada, again, gateway):
        running.done()
    assert again.events("trained")[0]["steps"] == STEPS
    assert [delta.round for delta in deltas(wire)] == [1, 2]
    assert federation.digests() == undisturbed.digests


def test_a_delta_that_was_accepted_but_whose_verdict_was_lost_is_offered_again_and_counts_once(
    federation: Federation, packages: Packages, data: Data, undisturbed: Story
) -> None:
    """The verdict stands still on the wire when the device is killed; the next process gets it for its offer alone."""
    gateway = federation.gateway(packages["one"], *GATEWAY)
    wire = federation.wire(gateway)
    ada = start_ada(federation, packages, data, federation.wire(gateway).url)
    bo = start_bo(federation, packages, data, wire.url)
    sent = wire.hold("delta", upward=True)
    sent.wait()
    verdict = wire.hold("verdict", upward=False)
    sent.release()
    verdict.wait()
    accepted = gateway.event("delta", device="bo")
    assert (accepted["code"], accepted["round"]) == ("ACCEPTED", 1)
    bo.kill()
    wire.cut()
    first = len(wire.heard("delta"))

    again = start_bo(federation, packages, data, wire.url)
    assert again.event("offer")["round"] == 1
    assert again.event("verdict", kind="delta", round=1)["code"] == "ACCEPTED"
    for running in (ada, again, gateway):
        running.done()
    assert len(wire.heard("delta")) == first + 1  # round 2
    assert [delta.round for delta in deltas(wire)] == [1, 2]
    assert len(gateway.events("delta", device="bo", round=1)) == 1
    merges = [event["accepted"] for event in gateway.events("version", reason="merge")]
    assert merges == [2, 2]
    assert federation.digests() == undisturbed.digests


def test_a_delta_that_never_arrived_is_sent_again(
    federation: Federation, packages: Packages, data: Data, undisturbed: Story
) -> None:
    """The delta stands still on the wire when the device is killed; it is trained once and sent twice."""
    gateway = federation.gateway(packages["one"], *GATEWAY)
    wire = federation.wire(gateway)
    ada = start_ada(federation, packages, data, federation.wire(gateway).url)
    bo = start_bo(federation, packages, data, wire.url)
    wire.hold("delta", upward=True).wait()
    bo.kill()
    wire.cut()
    gateway.event("bye", device="bo")
    assert gateway.events("delta", device="bo") == []

    again = start_bo(federation, packages, data, wire.url)
    for running in (ada, again, gateway):
        running.done()
    assert again.events("round", round=1) == []
    assert [event["round"] for event in again.events("delta")] == [1, 2]
    assert federation.digests() == undisturbed.digests


MOMENTS = (
    ("connected", {}),
    ("joined", {}),
    ("plan", {"round": 1}),
    ("round", {"round": 1}),
    ("trained", {"round": 1}),
    ("verdict", {"kind": "delta", "round": 1}),
    ("version", {"version": 2}),
    ("delta", {"round": 2}),
)


def test_a_device_killed_again_and_again_makes_no_difference(
    federation: Federation, packages: Packages, data: Data, undisturbed: Story
) -> None:
    """One process after another is killed at the next event of its work, whatever was on disk or sent by then."""
    gateway = federation.gateway(packages["one"], *GATEWAY)
    wire = federation.wire(gateway)
    ada = start_ada(federation, packages, data, federation.wire(gateway).url)
    for kind, fields in MOMENTS:
        bo = start_bo(federation, packages, data, wire.url)
        bo.event(kind, **fields)
        bo.kill()
    last = start_bo(federation, packages, data, wire.url)
    for running in (ada, last, gateway):
        running.done()
    assert federation.digests() == undisturbed.digests
