"""A round that waits once more: what was said is said again, and who can join it gets a plan."""

from __future__ import annotations

from broker_server.rounds.announcer import Announcer
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.lost_deltas import LostDeltas
from broker_server.rounds.round_plans import RoundPlans
from broker_server.rounds.round_reports import tell_plans
from broker_server.rounds.round_status import RoundStatus
from broker_server.rounds.waiting import Waiting
from broker_server.state.rows import VersionRow


class Extending:
    """Args: parts: shared parts of the gateway; announcer, plans, waiting, lost: of the rounds."""

    def __init__(
        self, parts: GatewayParts, announcer: Announcer, plans: RoundPlans, waiting: Waiting, lost: LostDeltas
    ) -> None:
        self._parts, self._deadline_s = parts, parts.config.round.deadline_s
        self._announcer, self._plans, self._waiting, self._lost = announcer, plans, waiting, lost

    def extend(self, current: RoundStatus, row: VersionRow, now: float) -> None:
        """Let a round wait once more.

        Args:
            current: the round; changed.
            row: the newest version.
            now: monotonic seconds.

        Raises:
            StorageError: when the disk refuses.
        """
        # Who was asked to send a lost delta again and did not has no body any more: another plan then.
        current.void |= self._lost.of_round(current.number)
        ready = self._waiting.ready(now) - (set(current.plans) - current.void)
        devices = self._waiting.cohort(ready, taken=len(current.answered))
        planned = self._plans.extend(current, devices)
        plans = planned.payloads
        self._waiting.note_missed(current, now)
        current.extensions += 1
        self._announcer.version(row)  # whoever did not answer may not have heard of it, nor of its plan
        self._announcer.plans_again(current.awaited)
        current.deadline_at = now + self._deadline_s
        current.plans |= plans
        current.void -= set(plans)
        current.passed_over = (current.passed_over & ready | set(devices)) - set(plans)
        self._waiting.expect(current, plans, now)
        self._announcer.plans(plans, row.version)
        tell_plans(self._parts, "extended", current, row.version, planned.assignments)
