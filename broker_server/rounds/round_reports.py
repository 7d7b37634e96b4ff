"""What is told of a round: its plans when they go out, and when it closed its line in the journal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from broker_server.journal import JOURNAL, RoundLine
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.merging import Merged
from broker_server.rounds.round_status import RoundStatus, round_line
from broker_server.rules.gate import Decision
from broker_server.rules.planner import Assignment
from broker_server.rules.round import Event
from broker_server.state.rows import VersionRow
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


def merged_line(parts: GatewayParts, status: RoundStatus, reason: Event, merged: Merged, now: float) -> RoundLine:
    """Tell who reached a limit, or was left out, in a round that was merged; return its line for the journal.

    Args:
        parts: shared parts of the gateway; the roster counts the limits.
        status: of the round.
        reason: why it closed.
        merged: the version that it made.
        now: monotonic seconds.
    """
    left = len(parts.roster.gone(status.plans))
    for one in merged.limited:
        came, counted = round(one.came, 4), round(one.counted, 4)
        parts.events.tell("limited", device=one.device, limit=one.limit, came=came, counted=counted)
        parts.roster.hit(one.device, one.limit)
    for row in merged.revoked:
        parts.events.tell("left_out", device=row.device, round=row.round)
    for row in merged.distrusted:
        parts.events.tell("distrusted", device=row.device, round=row.round, version=merged.version)
    return round_line(status, reason, merged, left, now)


def tell_closed(parts: GatewayParts, line: RoundLine | None, decision: Decision | None, row: VersionRow) -> None:
    """Tell of a merged version, whether or not devices get it. Args: as the two below; line: None: it was told."""
    if line is not None and (decision is None or decision.served):
        tell_version(parts, line, decision)
    elif line is not None and decision is not None:
        tell_not_served(parts, line, decision, row)


def tell_version(parts: GatewayParts, line: RoundLine, decision: Decision | None) -> None:
    """Tell of a merged version that devices get, and write its round into the journal.

    Args:
        parts: shared parts of the gateway.
        line: of its round.
        decision: of the gate; None: it holds nothing.
    """
    line = _written(parts, line, "served" if decision is not None else "")
    parts.events.tell("version", **dataclasses.asdict(line) | {"closed": line.reason, "reason": "merge"})


def tell_not_served(parts: GatewayParts, line: RoundLine, decision: Decision, row: VersionRow) -> None:
    """Tell of a merged version that no device gets, and write its round into the journal.

    Args:
        parts: shared parts of the gateway.
        line: of its round.
        decision: on the version.
        row: that came in its place.
    """
    line = _written(parts, line, "not served")
    parts.events.tell(
        "not_served", **{**decision.plain(), "version": decision.version}, round=line.round, accepted=line.accepted,
        again=row.version, parent=row.parent,
    )  # fmt: skip


def _written(parts: GatewayParts, line: RoundLine, gate: str) -> RoundLine:
    """Write a round into the journal, with the bytes of all messages up to its end; return its line."""
    up, down = parts.roster.take_totals()
    line = dataclasses.replace(line, bytes_up=up, bytes_down=down, gate=gate)
    line.write(parts.store.folder / JOURNAL)
    return line
