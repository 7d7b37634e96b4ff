"""Devices that come before there is a broker."""

from __future__ import annotations

import socket

from loop_federation import Federation, command, port_of
from loop_packages import Packages
from loop_story import GATEWAY, Data, Story, start_ada


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_device_that_starts_before_the_broker_keeps_trying_and_says_so(
    federation: Federation, packages: Packages, data: Data, undisturbed: Story
) -> None:
    """Tries come further and further apart; when the gateway appears, both devices join and all is as ever."""
    port = free_port()
    url = f"mqtt://127.0.0.1:{port}"
    ada = start_ada(federation, packages, data, url)
    plain = command(
        "edge_runtime", "run", "--package", packages["two"], "--data", data.bo, "--broker", url, "--device-id", "bo",
        "--state", federation.folder / "bo",
    )  # fmt: skip
    bo = federation.start("bo", *plain[2:])  # its words instead of its events
    tries = [ada.event("disconnected", nth=count) for count in (1, 2, 3)]
    assert all("refused" in one["reason"].lower() for one in tries)
    # Doubling from a second, half of each by chance.
    assert [0.5 * 2**n <= one["again_s"] <= 2**n for n, one in enumerate(tries)] == [True] * 3, tries
    line = bo.word("no broker")
    assert "refused" in line.lower()
    assert "trying again" in line
    assert ada.alive
    assert bo.alive

    gateway = federation.gateway(packages["one"], *GATEWAY, port=port)
    assert port_of(gateway) == port
    bo.word("joined the federation")
    for running in (ada, bo, gateway):
        running.done()
    assert "Traceback" not in bo.words
    assert federation.digests() == undisturbed.digests
