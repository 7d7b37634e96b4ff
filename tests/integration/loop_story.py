"""One story, told with and without trouble: devices ``ada`` (one trained slot) and ``bo`` (two), two rounds.

Whatever happens to processes on the way, its versions are the same bytes: plans follow from names, rounds and coverage,
batches from the plan's seed, and merging from the order of names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loop_federation import Event, Federation, Running, bodies, deltas, url_of
from loop_packages import Packages
from loop_wiretap import Wiretap

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import decode

ROUNDS = 2
STEPS = 200
GATEWAY = ("--rounds", str(ROUNDS), "--steps", str(STEPS))


@dataclass(frozen=True)
class Data:
    """Files of examples."""

    ada: Path
    bo: Path
    held_out: Path


@dataclass(frozen=True)
class Story:
    """What a run left.

    Args:
        federation: its folder; the processes have ended.
        digests: of all versions, oldest first: initial, head, two merges.
        rounds: the gateway's events of plans.
        versions: the gateway's events of versions.
        deltas: by device and round.
        statistics: class sums by device.
        devices: that took part.
        wires: that they were heard on.
        packages: that they have.
        codec_down: of the gateway.
    """

    federation: Federation
    digests: list[str]
    rounds: list[Event]
    versions: list[Event]
    deltas: dict[str, list[pb.Delta]]
    statistics: dict[str, pb.ClassStatistics]
    devices: dict[str, Running]
    wires: dict[str, Wiretap]
    packages: Packages
    codec_down: str = "float32"


def start_ada(federation: Federation, packages: Packages, data: Data, url: str, *options: object) -> Running:
    """Start the device with one trained slot and three frozen ones."""
    return federation.device("ada", packages["one"], data.ada, url, *options)


def start_bo(federation: Federation, packages: Packages, data: Data, url: str, *options: object) -> Running:
    """Start the device with two trained slots and no other."""
    return federation.device("bo", packages["two"], data.bo, url, *options)


def undisturbed_story(federation: Federation, packages: Packages, data: Data, codec_down: str = "float32") -> Story:
    """Tell it without trouble, over wires that listen."""
    gateway = federation.gateway(packages["one"], *GATEWAY, "--codec-down", codec_down)
    url_of(gateway)
    wires = {"ada": federation.wire(gateway), "bo": federation.wire(gateway)}
    devices = {
        "ada": start_ada(federation, packages, data, wires["ada"].url),
        "bo": start_bo(federation, packages, data, wires["bo"].url),
    }
    for running in (*devices.values(), gateway):
        running.done()
    return Story(
        federation=federation,
        digests=federation.digests(),
        rounds=gateway.events("round"),
        versions=gateway.events("version"),
        deltas={name: deltas(wire) for name, wire in wires.items()},
        statistics={name: decode(pb.ClassStatistics, bodies(wire, "statistics")[0]) for name, wire in wires.items()},
        devices=devices,
        wires=wires,
        packages=packages,
        codec_down=codec_down,
    )
