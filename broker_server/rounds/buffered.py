"""Buffered asynchronous merging as it runs: a device that answered gets its next plan at the next look at the table.

Plans that go out together are a round, and rounds overlap: a delta counts in the version that is merged next, whatever
its round. What a kill must not take is where it was: plans and deltas by their rounds in the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from broker_server.rounds.announcer import Announcer
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.merging import Merging
from broker_server.rounds.new_versions import NewVersions
from broker_server.rounds.round_plans import RoundPlans
from broker_server.rounds.round_reports import tell_plans
from broker_server.rounds.round_status import RoundStatus
from broker_server.rounds.waiting import Waiting
from broker_server.rules import buffer as rules
from broker_server.rules.buffer import Buffer, NewestPlan
from broker_server.rules.round import Event
from broker_server.state.rows import DeltaRow
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.messages import decode, ids

MERGES: Final = "merges"
"""Setting of the state directory: how often a buffer was merged, which is what ``rounds`` counts then."""
RETRY_S: Final = 5.0


class Buffered:
    """Args: parts: shared parts of the gateway; merging, versions, announcer, plans, waiting: of the rounds."""

    def __init__(
        self, parts: GatewayParts, merging: Merging, versions: NewVersions, announcer: Announcer, waiting: Waiting
    ) -> None:
        self._parts, self._config, self._ledger = parts, parts.config.round, parts.store.ledger
        self._merging, self._versions, self._announcer = merging, versions, announcer
        self._plans, self._waiting, self._roster = RoundPlans(parts, merging), waiting, parts.roster
        self._retry: dict[str, float] = {}

    @property
    def merges(self) -> int:
        """How often deltas were merged; of a state that ran in rounds before, those count."""
        return int(self._ledger.get(MERGES) or self._ledger.merges())

    @property
    def next_merge(self) -> dict[str, str]:
        """The setting that says that there was one more."""
        return {MERGES: str(self.merges + 1)}

    def resumed(self, now: float) -> RoundStatus:
        """Return where a start finds it: plans hold, their time begins anew. Args: now: monotonic seconds."""
        last = self._ledger.last_round()
        status = RoundStatus(
            last.round if last is not None else 0, opened_at=now, deadline_at=now + self._config.deadline_s
        )
        for past in self._ledger.rounds_from(self._merging.oldest_base(self._config.max_staleness)):
            answered = {row.device for row in self._ledger.deltas(past.round)}
            for device, payload in self._ledger.plans(past.round).items():
                blocks = tuple(ids(decode(pb.Plan, payload).train))
                status.note_plan(device, payload, NewestPlan(past.round, past.base_version, now, blocks))
                status.answered |= {device} & answered
        hellos = {row["device"]: row["hello"] for row in self._ledger.devices()}
        status.void = {one for one in status.awaited if one in hellos and not self._merging.head_has(hellos[one])}
        return status

    def due(self, status: RoundStatus, now: float) -> Event | None:
        """Return why the buffer should be merged now, or None. Args: status: of the rounds; now: monotonic seconds."""
        asked = bool(self._parts.store.watch.rollback())
        return rules.may_merge(Buffer(self._ledger.buffered(), now - status.opened_at, asked), self._config)

    def plan(self, status: RoundStatus, now: float, wall: float) -> bool:
        """Give a plan to every device that has none to work on; return whether any got one.

        Args:
            status: of the rounds; changed.
            now: monotonic seconds.
            wall: seconds since 1970.

        Raises:
            StorageError: when the disk refuses; nobody was told of a plan.
        """
        self._note_overdue(status, now)
        idle = [device for device in self._idle(status, now) if self._retry.get(device, now) <= now]
        idle = self._waiting.cohort(idle, taken=self._busy(status) if self._config.cohort else 0)
        if not idle:
            return False
        self._versions.refresh_head(wall)
        number = status.number + 1
        planned = self._plans.open(idle, number, wall, turn=self.merges + 1, at_work=self._at_work(status))
        payloads = planned.payloads if planned is not None else {}
        later = {device: at for device, at in self._retry.items() if at > now}
        self._retry = later | {device: now + RETRY_S for device in idle if device not in payloads}
        if planned is None:
            return False
        version = self._merging.row.version
        status.number = number
        for device, payload in payloads.items():
            status.note_plan(device, payload, NewestPlan(number, version, now, planned.assignments[device].train))
        self._announcer.plans(payloads, version)
        tell_plans(self._parts, "round", status, version, planned.assignments)
        return True

    def merged(self, status: RoundStatus, now: float) -> RoundStatus:
        """Return what goes on after a merge: plans that are not answered. Args: as due.

        Those that would be answered too late to count are taken back.
        """
        limit = self._config.max_staleness
        outstanding = self._announcer.outstanding
        self._announcer.withdraw([device for device, base in outstanding.items() if self._merging.age(base) > limit])
        left = RoundStatus(status.number, opened_at=now, deadline_at=now + self._config.deadline_s)
        for device, plan in status.newest.items():
            left.note_plan(device, status.plans[device], plan)
        left.answered, left.void, left.refused = status.answered, status.void, status.refused
        left.overdue = status.overdue
        return left

    @property
    def oldest_round(self) -> int:
        """The first round whose deltas may still count."""
        rounds = self._ledger.rounds_from(self._merging.oldest_base(self._config.max_staleness))
        return rounds[0].round if rounds else 0

    def late(self, rows: Sequence[DeltaRow], before: int) -> int:
        """Return how many deltas were trained from an older version than the one before the merge, ``before``."""
        rounds = {row.round: self._ledger.round(row.round) for row in rows}
        bases = [round_.base_version for row in rows if (round_ := rounds[row.round]) is not None]
        return sum(self._merging.age(base) > self._merging.age(before) for base in bases)

    def _note_overdue(self, status: RoundStatus, now: float) -> None:
        """Take note of who left its plan without an answer: it gets another, or rests."""
        late = rules.overdue(status.newest, set(status.awaited) - status.overdue, now, self._config)
        if late:
            status.overdue |= late
            self._waiting.note_missed(status, now, late)

    def _idle(self, status: RoundStatus, now: float) -> list[str]:
        ages = {plan.base_version: self._merging.age(plan.base_version) for plan in status.newest.values()}
        done = status.answered | status.void | status.refused | status.overdue
        return rules.idle(self._waiting.ready(now), status.newest, done, ages, self._config.max_staleness)

    def _busy(self, status: RoundStatus) -> int:
        """Return how many devices are at work: here, with a plan that is still to be answered in time."""
        return len((set(status.awaited) - status.overdue) & self._roster.here())

    def _at_work(self, status: RoundStatus) -> Counter[ExpertId]:
        """Return how often each block is in training, or trained and not merged: who is next takes others."""
        unheard = self._ledger.distrusted()
        busy = (device for device in status.awaited if device not in status.overdue and device not in unheard)
        waiting = (row.blocks for row in self._ledger.waiting() if row.device not in unheard)
        return Counter(block for blocks in (*(status.newest[one].blocks for one in busy), *waiting) for block in blocks)
