"""One story, told with and without trouble: devices ``ada`` (one trained slot) and ``bo`` (two), two rounds.

Whatever happens to processes on the way, its versions are the same bytes: plans follow from names, rounds and coverage,
batches from the plan's seed, and merging from the order of names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loop_house import Event, House, Running, bodies, deltas, url_of
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
        house: its folder; the processes have ended.
        digests: of all versions, oldest first: initial, head, two merges.
        rounds: the gateway's events of plans.
        versions: the gateway's events of versions.
        deltas: by device and round.
        statistics: class sums by device.
        devices: that took part.
        wires: that they were heard on.
        packages: that they have.
    """

    house: House
    digests: list[str]
    rounds: list[Event]
    versions: list[Event]
    deltas: dict[str, list[pb.Delta]]
    statistics: dict[str, pb.ClassStatistics]
    devices: dict[str, Running]
    wires: dict[str, Wiretap]
    packages: Packages


def start_ada(house: House, packages: Packages, data: Data, url: str, *options: object) -> Running:
    """Start the device with one trained slot and three frozen ones."""
    return house.device("ada", packages["one"], data.ada, url, *options)


def start_bo(house: House, packages: Packages, data: Data, url: str, *options: object) -> Running:
    """Start the device with two trained slots and no other."""
    return house.device("bo", packages["two"], data.bo, url, *options)


def undisturbed_story(house: House, packages: Packages, data: Data) -> Story:
    """Tell it without trouble, over wires that listen."""
    gateway = house.gateway(packages["one"], *GATEWAY)
    url_of(gateway)
    wires = {"ada": house.wire(gateway), "bo": house.wire(gateway)}
    devices = {
        "ada": start_ada(house, packages, data, wires["ada"].url),
        "bo": start_bo(house, packages, data, wires["bo"].url),
    }
    for running in (*devices.values(), gateway):
        running.done()
    return Story(
        house=house,
        digests=house.digests(),
        rounds=gateway.events("round"),
        versions=gateway.events("version"),
        deltas={name: deltas(wire) for name, wire in wires.items()},
        statistics={name: decode(pb.ClassStatistics, bodies(wire, "statistics")[0]) for name, wire in wires.items()},
        devices=devices,
        wires=wires,
        packages=packages,
    )
