"""Gateways that are killed (SIGKILL) or stopped, at every step of a round: the same state directory goes on."""

from __future__ import annotations

import signal

import pytest
from loop_federation import Federation, deltas, port_of, url_of
from loop_packages import Packages
from loop_story import GATEWAY, ROUNDS, Data, Story, start_ada, start_bo


def test_a_gateway_killed_after_one_of_two_deltas_loses_none_and_counts_none_twice(
    federation: Federation, packages: Packages, data: Data, undisturbed: Story
) -> None:
    """Ada's delta is accepted, bo's stands still on the wire; the next gateway needs bo's only."""
    gateway = federation.gateway(packages["one"], *GATEWAY)
    wires = {name: federation.wire(gateway) for name in ("ada", "bo")}
    waiting = wires["bo"].hold("delta", upward=True)
    ada = start_ada(federation, packages, data, wires["ada"].url)
    bo = start_bo(federation, packages, data, wires["bo"].url)
    waiting.wait()
    ada.event("verdict", kind="delta", code="ACCEPTED")
    gateway.kill()
    wires["bo"].cut()
    status = federation.ask("status", code=1)  # no gateway is at work
    assert (status["running"], status["answered"], status["round_open"]) == (False, ["ada"], True)

    second = federation.gateway(packages["one"], *GATEWAY, port=port_of(gateway))
    resumed = second.event("resumed")
    assert (resumed["round"], resumed["planned"], resumed["accepted"]) == (1, ["ada", "bo"], ["ada"])
    for running in (ada, bo, second):
        running.done()
    assert second.events("delta", device="ada", round=1) == []  # nothing to send again: its verdict had come
    assert len(second.events("delta", device="bo", round=1, code="ACCEPTED")) == 1
    assert [event["accepted"] for event in second.events("version", reason="merge")] == [2, 2]
    assert [delta.round for delta in deltas(wires["bo"])] == [1, 2]
    assert federation.digests() == undisturbed.digests


CHAINS = {
    "first half of each step": (
        ("hello", {}),
        ("version", {"reason": "head"}),
        ("delta", {"round": 1}),
        ("version", {"reason": "merge"}),
        ("delta", {"round": 2}),
    ),
    "second half of each step": (
        ("statistics", {}),
        ("round", {"round": 1}),
        ("delta", {"round": 1, "nth": 2}),  # before or in the merge
        ("round", {"round": 2}),
        ("delta", {"round": 2, "nth": 2}),
        ("version", {"reason": "merge", "round": 2}),
    ),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_gateways_killed_one_after_another_make_no_difference(
    federation: Federation, packages: Packages, data: Data, undisturbed: Story, chain: str
) -> None:
    """Each is killed at its event and followed by the next; each delta is in one version, the bytes are the same."""
    gateway = federation.gateway(packages["one"], *GATEWAY)
    port, url = port_of(gateway), url_of(gateway)
    devices = [start_ada(federation, packages, data, url), start_bo(federation, packages, data, url)]
    for kind, fields in CHAINS[chain]:
        gateway.event(kind, **fields)
        gateway.kill()
        gateway = federation.gateway(packages["one"], *GATEWAY, port=port)
    for running in (*devices, gateway):
        running.done()
    versions = federation.ask("versions")["versions"]
    assert [row["contributors"] for row in versions if row["reason"] == "merge"] == [2] * ROUNDS
    assert [row["digest"] for row in versions] == undisturbed.digests


def test_a_gateway_that_is_stopped_and_started_again_on_its_port_finds_its_devices(
    federation: Federation, packages: Packages, data: Data, undisturbed: Story
) -> None:
    """Devices that wait for a third say that the gateway is away, and say hello to the next one by themselves."""
    gateway = federation.gateway(packages["one"], *GATEWAY, "--quorum", 3)
    url = url_of(gateway)
    devices = [start_ada(federation, packages, data, url), start_bo(federation, packages, data, url)]
    for name in ("ada", "bo"):
        gateway.event("statistics", device=name)
    assert gateway.ask_to_stop(signal.SIGTERM) == 0
    assert gateway.event("stopped")["round"] == 0
    for device in devices:
        device.event("disconnected")
        assert device.alive
    second = federation.gateway(packages["one"], *GATEWAY, port=port_of(gateway))
    for device in devices:
        device.event("joined", nth=2)
    for running in (*devices, second):
        running.done()
    assert second.events("statistics") == []  # they were kept
    assert federation.digests() == undisturbed.digests
