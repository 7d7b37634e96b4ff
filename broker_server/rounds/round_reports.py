"""What is told of a round: its plans when they go out, and when it closed its line in the journal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from broker_server.journal import JOURNAL
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.merging import Merged
from broker_server.rounds.round_status import RoundStatus, round_line
from broker_server.rules.planner import Assignment
from broker_server.rules.round import Event
from edge_runtime.wire import wire_pb2 as pb


def tell_plans(
    parts: GatewayParts, kind: str, status: RoundStatus, version: int, assignments: Mapping[str, Assignment]
) -> None:
    """Tell what each device was given to train. Args: kind: "round" or "extended"; version: that plans start from."""
    devices = {
        device: {
            "experts": [[block.layer, block.index] for block in part.train],
            "steps": part.steps,
            "codec": pb.Codec.Name(part.codec).lower(),
            "bytes_planned": part.bytes_up,
        }
        for device, part in sorted(assignments.items())
    }
    rules = parts.config.round
    parts.events.tell(
        kind, round=status.number, version=version, quorum=rules.quorum, answered=len(status.answered),
        deadline_s=rules.deadline_s, devices=devices,
    )  # fmt: skip


def tell_merged(parts: GatewayParts, status: RoundStatus, reason: Event, merged: Merged, now: float) -> None:
    """Tell what a round made and who reached a limit, and write its line into the journal.

    Args:
        parts: shared parts of the gateway; the roster counts the limits.
        status: of the round.
        reason: why it closed.
        merged: the version that it made.
        now: monotonic seconds.
    """
    left = len(set(status.plans) & parts.roster.gone())
    for one in merged.limited:
        came, counted = round(one.came, 4), round(one.counted, 4)
        parts.events.tell("limited", device=one.device, limit=one.limit, came=came, counted=counted)
        parts.roster.hit(one.device, one.limit)
    for row in merged.revoked:
        parts.events.tell("left_out", device=row.device, round=row.round)
    up, down = parts.roster.take_totals()
    line = round_line(status, reason, merged, left, now)
    line = dataclasses.replace(line, bytes_up=up, bytes_down=down)
    line.write(parts.store.folder / JOURNAL)
    parts.events.tell("version", **dataclasses.asdict(line) | {"closed": line.reason, "reason": "merge"})
