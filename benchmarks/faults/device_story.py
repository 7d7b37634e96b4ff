"""A device's life in one process: rounds by the real device over its real store, a program of numpy, no sockets.

The gateway is another machine: what it accepted it has, whatever becomes of the device. A second delta of a round is
refused, as a gateway does. Deltas are int8, so that what the codec dropped has to outlive the device, too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.faults.children import Say
from benchmarks.faults.suite import part
from edge_runtime.errors import EdgeError
from edge_runtime.federation.session import WorkState
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.messages import encode

ROUNDS: Final = 3
TURNS: Final = 400


def prepare(folder: Path) -> Any:  # noqa: ANN401 - a Package
    """Write the package and the examples of the device."""
    toy = part("toy", "edge")
    toy.write_data(folder / "data.csv")
    return toy.write_package(folder / "package")


@dataclass(frozen=True)
class Heard:
    """What a gateway has, whatever becomes of the device.

    Args:
        accepted: digest in hex of the delta that it accepted, by round.
        opened: the last round that it opened; 0 before the first.
    """

    accepted: Mapping[int, str] = field(default_factory=dict)
    opened: int = 0


def play(folder: Path, data: Path, package: Any, heard: Heard, say: Say) -> int:  # noqa: ANN401 - a Package
    """Play what is left of the story.

    Args:
        folder: of the device.
        data: its examples.
        package: opened.
        heard: by the gateway before.
        say: told of each acceptance, and of the end.

    Returns:
        0 when all rounds are done, 1 when the device ended with an error of its own.
    """
    part("fakes", "edge")
    rig_of = part("test_edge_device", "edge/federation").Rig
    toy, fakes = part("toy", "edge"), part("fakes", "edge")
    folder.mkdir(exist_ok=True)
    (folder / "data.csv").write_bytes(data.read_bytes())
    known = dict(heard.accepted)
    gateway = fakes.ScriptedGateway(toy.initial_bank(), package.manifest.architecture.digest())
    gateway.decide = lambda delta: _judge(delta, known, say)
    began = time.monotonic()
    rig = rig_of(package, folder, gateway)
    try:
        rig.start()
        say(ready_ms=1000 * (time.monotonic() - began))
        for number in range(max(1, heard.opened), ROUNDS + 1):
            say(opened=number)
            _round(rig, number, known)
        rig.close()
    except EdgeError as error:
        say(refused=str(error), storage=True)
        return 1
    say(deltas={str(number): digest for number, digest in sorted(known.items())})
    return 0


def _judge(delta: pb.Delta, known: dict[int, str], say: Say) -> pb.Verdict:
    digest = sha256(encode(delta)).hex()
    if known.setdefault(delta.round, digest) != digest:
        return pb.Verdict(code=pb.DUPLICATE)
    say(accepted=(delta.round, digest))
    return pb.Verdict(code=pb.ACCEPTED)


def _round(rig: Any, number: int, known: dict[int, str]) -> None:  # noqa: ANN401 - the tests' rig
    """Announce the round's base, give its plan, and turn until its delta is accepted and the device is at rest."""
    toy, gateway = part("toy", "edge"), rig.gateway
    rng = np.random.default_rng(number)
    moved = {block: rng.normal(size=toy.SHAPE.size(block)).astype(np.float32) for block in (HEAD, ExpertId(1, 0))}
    gateway.number = number - 1
    gateway.announce(toy.initial_bank().replace(moved), number - 1)
    train = part("test_edge_device", "edge/federation").TRAIN
    gateway.give_plan("me", train, number, codec=pb.INT8, steps=4)
    for _ in range(TURNS):
        if number in known and rig.device.session.work is WorkState.IDLE and rig.device._work.waiting is None:  # noqa: SLF001
            return
        rig.device.turn()
        rig.clock.now += 1.0
    raise TimeoutError(f"round {number} never ended: {rig.device.session}")
