"""A gateway with a buffer: a merge as soon as two deltas came, a plan as soon as a device answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny
from tiny_gateway import Gateway

from broker_server.config_tables import Limits, RoundRules
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.topics import Topic

RULES = RoundRules(quorum=2, join_wait_s=0, buffer=2, max_staleness=5, deadline_s=1000.0)
PLAIN = Limits(weight_multiple=0, weight_share=1, norm_factor=0, norm_clip=0)


def buffered(tmp_path: Path, package: Any, *devices: str, **fields: Any) -> Gateway:
    """Return a gateway that merges two deltas, with devices that have their first plan."""
    gateway = Gateway(tmp_path / "state", package, **({"rounds": 0, "round": RULES, "limits": PLAIN} | fields))
    gateway.hello(*(devices or ("a", "b", "c")))
    gateway.tick()
    return gateway


def plan_of(gateway: Gateway, device: str) -> tuple[pb.Plan, bytes]:
    """Return the plan that a device heard of last."""
    payload = gateway.out.last(Topic.PLAN, device)
    return decode(pb.Plan, payload), payload


def answer(gateway: Gateway, device: str, value: float = 0.01, plan: tuple[pb.Plan, bytes] | None = None) -> pb.Plan:
    """Send the delta of a device's newest plan, or of another one, and look at the table; return the plan."""
    message, payload = plan or plan_of(gateway, device)
    body = encode(tiny.delta(message, payload, value=value))
    gateway.deliver(device, body)
    assert gateway.verdict(device).code == pb.ACCEPTED, gateway.verdict(device)
    assert gateway.verdict(device).digest == sha256(body)
    for _ in range(2):  # merge, and plan from that
        gateway.tick()
    return message
