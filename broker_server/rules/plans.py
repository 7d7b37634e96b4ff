"""A device's work as the message that tells it so. Pure: the same work in the same round gives the same bytes."""

from __future__ import annotations

from dataclasses import dataclass

from broker_server.config import GatewayConfig
from broker_server.rules.balance import Balance
from broker_server.rules.planner import Assignment, learning_rate
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import encode, refs

OPEN_END = 40
"""Rounds over which the learning rate falls when no end is planned."""


def rate_of(config: GatewayConfig, turn: int) -> float:
    """Return the learning rate of a turn, from 1."""
    train = config.train
    horizon = train.decay_rounds or config.rounds or OPEN_END
    return learning_rate(train.learning_rate, turn, horizon, train.final_share)


@dataclass(frozen=True)
class Base:
    """What all plans of a round share.

    Args:
        round: its number.
        version, digest: to train from.
        balance: with a top-k gate only.
        turn: from 1; the learning rate falls from turn to turn.
        rates: of experts, shared experts and head, and the weight decay; None: as settings say.
    """

    round: int
    version: int
    digest: bytes
    balance: Balance | None
    turn: int
    rates: tuple[float, float, float, float] | None = None


def plan_message(
    device: str,
    assignment: Assignment,
    base: Base,
    config: GatewayConfig,
    attempt: int = 0,
    *,
    masks: pb.MaskTerms | None = None,
) -> bytes:
    """Return the payload of a device's plan.

    Args:
        device: its name.
        assignment: what it trains.
        base: what all plans of the round share.
        config: settings.
        attempt: above 0 for a plan in place of one that was taken back: a device is done with a plan that it gave up,
            and knows plans by their bytes.
        masks: how its delta goes under masks; None: in the clear.
    """
    train = config.train
    rate = rate_of(config, base.turn)
    rates = base.rates or (rate, rate * train.shared_share, rate * train.head_share, train.weight_decay)
    seed = sha256(f"{config.federation}/{device}/{base.round}{f'/{attempt}' if attempt else ''}".encode())
    plan = pb.Plan(
        device=device,
        round=base.round,
        base_version=base.version,
        version_digest=base.digest,
        train=refs(assignment.train),
        steps=assignment.steps,
        learning_rate=rates[0],
        shared_learning_rate=rates[1],
        head_learning_rate=rates[2],
        weight_decay=rates[3],
        seed=int.from_bytes(seed[:8], "little") >> 1,
        deadline_s=config.round.deadline_s,
        codec=pb.Codec.Name(assignment.codec),
    )
    if masks is not None:
        plan.masks.append(masks)
    if base.balance is not None:
        plan.use.extend(pb.LayerUse(layer=layer, use=use) for layer, use in sorted(base.balance.use.items()))
        plan.balance_pressure = base.balance.pressure
    return encode(plan)
