"""Rounds in which a device turns its updates: what its gateway makes of them, and of whom it trusts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.cli import run
from broker_server.config_tables import RoundRules
from broker_server.rules.round import State
from broker_server.server_config import RobustMerging
from broker_server.state.rows import TrustRow
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.messages import encode

HONEST, LIAR = "abcef", "d"
DEVICES = "abcdef"
ALONE = RobustMerging(enabled=True, trim=0.0)
"""Directions, and the weighted mean of who is heard."""


def opened(state: Path, package: Any, robust: RobustMerging = ALONE, devices: str = DEVICES, **fields: Any) -> Gateway:
    """Return a gateway whose rounds want all of some devices."""
    rules = RoundRules(quorum=len(devices), join_wait_s=0)
    gateway = Gateway(state, package, **({"rounds": 0, "round": rules, "robust": robust} | fields))
    gateway.hello(*devices)
    return gateway


def delta_of(plan: pb.Plan, sign: int) -> dict[ExpertId, np.ndarray]:
    """Return what a device moves: 0.01 in every block, and noise of its own. Args: sign: -1: turned."""
    rng = np.random.default_rng([ord(plan.device), plan.round])
    sizes = {ExpertId(ref.layer, ref.index): tiny.size_of(ref) for ref in plan.train}
    return {block: (sign * (0.01 + rng.normal(0, 0.002, size))).astype(np.float32) for block, size in sizes.items()}


def play(gateway: Gateway, liar: str = LIAR) -> Bank:
    """Play a round in which one device turns its update; return the bank that the others' plain mean makes, by hand."""
    gateway.tick()
    assert gateway.conductor.state is State.OPEN
    base, moved = gateway.conductor.bank, dict[ExpertId, list[np.ndarray]]()
    for device in sorted(gateway.store.ledger.plans(gateway.conductor.round)):
        plan, payload = gateway.plan(device)
        own = delta_of(plan, -1 if device == liar else 1)
        experts = [pb.ExpertDelta(layer=b.layer, index=b.index, values=v.tobytes()) for b, v in sorted(own.items())]
        gateway.deliver(device, encode(tiny.delta(plan, payload, experts=experts)))
        assert gateway.verdict(device).code == pb.ACCEPTED
        for block, values in own.items() if device != liar else ():
            moved.setdefault(block, []).append(values.astype(np.float64))
    gateway.tick()
    means = {block: np.mean(values, axis=0) for block, values in moved.items()}
    return base.replace({block: (base.block(block) + mean).astype(np.float32) for block, mean in means.items()})


def told(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    """Return the events of a kind."""
    return [event for event in gateway.told if event["event"] == kind]


def trust(gateway: Gateway) -> dict[str, TrustRow]:
    """Return the ledger's trust, by device."""
    return {row.device: row for row in gateway.store.ledger.trust()}


def as_json(state: Path, capsys: pytest.CaptureFixture[str], command: str) -> Any:
    """Return what a command prints for programs."""
    capsys.readouterr()
    run([command, "--json", "--state", str(state)])
    return json.loads(capsys.readouterr().out)
