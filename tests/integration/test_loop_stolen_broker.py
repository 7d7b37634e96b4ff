"""Somebody else answers where the gateway was, with a version of their own: nobody listens, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from loop_federation import Federation, Running, port_of, url_of
from loop_packages import Packages
from loop_story import GATEWAY, Data, Story, start_ada, start_bo

from edge_runtime.wire.signatures import SigningKey


def thief_at(federation: Federation, packages: Packages, data: Data, port: int, key: Path) -> Running:
    """Start a gateway of the same federation with a state and a key of its own, and let one device poison its bank."""
    settings = ("--rounds", 1, "--quorum", 1, "--steps", 3, "--lr", 1, "--join-wait", 0.1, "--keep-serving", "--json")
    thief = federation.start(
        "thief", "broker_server", "run", "--package", packages["one"], "--state", federation.folder / "thief",
        "--port", port, "--signing-key", key, *settings,
    )  # fmt: skip
    url_of(thief)
    mallory = federation.device("mallory", packages["one"], data.ada, url_of(thief))
    mallory.done()
    thief.event("version", reason="merge")
    return thief


def test_a_stolen_broker_can_only_be_silent(
    federation: Federation, packages: Packages, data: Data, undisturbed: Story
) -> None:
    """Devices refuse its state and its poisoned version by signature, wait, and go on with the gateway they know."""
    mine, other = (federation.folder / f"{name}.pem" for name in ("mine", "other"))
    public = SigningKey.create(mine).public.hex()
    SigningKey.create(other)
    gateway = federation.gateway(packages["one"], *GATEWAY, "--signing-key", mine)
    port, url = port_of(gateway), url_of(gateway)
    devices = [start(federation, packages, data, url, "--gateway-key", public) for start in (start_ada, start_bo)]
    gateway.event("version", reason="merge")
    gateway.kill()
    thief = thief_at(federation, packages, data, port, other)
    for device in devices:
        for topic in ("gateway", "version"):
            assert "BAD_SIGNATURE" in device.event("ignored", topic=topic)["reason"]
    assert {event["device"] for event in thief.events("hello")} == {"mallory"}
    thief.kill()
    gateway = federation.gateway(packages["one"], *GATEWAY, "--signing-key", mine, port=port)
    for running in (*devices, gateway):
        running.done()
    assert federation.digests() == undisturbed.digests


def test_a_gateway_that_signs_nothing_is_no_gateway_for_a_device_with_a_key(
    federation: Federation, packages: Packages, data: Data
) -> None:
    """As with a broker that was put in between: the device says once what is wrong, and sends nothing."""
    gateway = federation.gateway(packages["one"], *GATEWAY)
    key = SigningKey.create(federation.folder / "mine.pem").public.hex()
    ada = start_ada(federation, packages, data, url_of(gateway), "--gateway-key", key)
    assert "without a signature" in ada.event("ignored", topic="gateway")["reason"]
    ada.event("ignored", topic="version")
    assert ada.ask_to_stop() == 0
    assert gateway.events("hello") == []
