"""Where the last round stands, as a start finds it as well, and the line that is left of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from broker_server.journal import RoundLine
from broker_server.rounds.merging import Merged, Merging
from broker_server.rules.buffer import NewestPlan
from broker_server.rules.round import Event
from broker_server.state.ledger import Ledger
from broker_server.state.moments import notes_of
from broker_server.state.rows import RoundRow, VersionRow
from edge_runtime.wire.experts import HEAD, MEAN, BankShape

RESTARTED: Final = "restarted"


@dataclass
class RoundStatus:
    """The last round that was opened; number 0 before the first.

    Args:
        number: from 1.
        plans: payload by device.
        opened_at, deadline_at: monotonic seconds.
        answered: devices whose delta was accepted.
        extensions: times it waited once more.
        withdrawn: devices whose plan was taken back.
        void: of them, those without another plan and without a delta.
        passed_over: devices that the planner had no work for.
        refused: devices whose delta was refused for good.
        expected: of those planned, the ones that are waited for to the deadline.
        expected_at: when the last of them answered, monotonic seconds; None: since the last look.
        missed: devices that were here when a deadline passed or the round closed, and did not answer.
        newest: of buffered merging, the newest plan of each device; ``number`` is that of the last of them, and what is
            said of devices above is said of their newest plans.
        overdue: likewise, whose plan had its time.
    """

    number: int = 0
    plans: dict[str, bytes] = field(default_factory=dict)
    opened_at: float = 0.0
    deadline_at: float = 0.0
    answered: set[str] = field(default_factory=set)
    extensions: int = 0
    withdrawn: set[str] = field(default_factory=set)
    void: set[str] = field(default_factory=set)
    passed_over: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    expected: set[str] = field(default_factory=set)
    expected_at: float | None = 0.0
    missed: set[str] = field(default_factory=set)
    newest: dict[str, NewestPlan] = field(default_factory=dict)
    overdue: set[str] = field(default_factory=set)

    def note_plan(self, device: str, payload: bytes, plan: NewestPlan) -> None:
        """Note a device's newest plan."""
        self.plans[device], self.newest[device] = payload, plan
        for devices in (self.answered, self.void, self.refused, self.overdue):
            devices.discard(device)

    def asks(self, device: str, number: int) -> bool:
        """Return whether round ``number`` is that of the device's newest plan."""
        return number == (self.newest[device].round if device in self.newest else self.number)

    @property
    def awaited(self) -> dict[str, bytes]:
        """The plans whose delta is to come."""
        return {device: plan for device, plan in self.plans.items() if device not in self.answered | self.void}


def reopened(ledger: Ledger, row: RoundRow, merging: Merging, now: float, deadline_s: float) -> RoundStatus:
    """Return where a round stands that was open when the gateway was stopped: its plans hold, its deadline begins anew.

    Args:
        ledger: has its plans and the deltas that were accepted.
        row: of the round.
        merging: knows the data that the head was made from; plans of devices with other data are void.
        now: monotonic seconds.
        deadline_s: from now on.
    """
    answered = {delta.device for delta in ledger.deltas(row.round)}
    status = RoundStatus(row.round, ledger.plans(row.round), now, now + deadline_s, answered, extensions=row.extensions)
    hellos = {device["device"]: device["hello"] for device in ledger.devices()}
    # Of one whose Hello is lost nothing else is known: its plan holds until it says otherwise.
    void = {device for device in status.awaited if device in hellos and not merging.head_has(hellos[device])}
    status.void, status.withdrawn = void, set(void)
    return status


def round_line(status: RoundStatus, reason: Event, merged: Merged, left: int, now: float) -> RoundLine:
    """Return the journal's line of a round that was merged.

    Args:
        status: of the round.
        reason: why it closed.
        merged: the version that it made.
        left: planned devices that said bye.
        now: monotonic seconds.
    """
    rows, trainers = merged.rows, merged.trainers
    return RoundLine(
        round=status.number,
        version=merged.version,
        reason=reason.value,
        seconds=round(now - status.opened_at, 1),
        planned=len(status.plans),
        accepted=len(rows),
        late=sum(row.round != status.number for row in rows),
        left=left,
        withdrawn=len(status.withdrawn),
        missed=len(status.missed),
        limited=len({one.device for one in merged.limited}),
        left_out=len(merged.revoked),
        distrusted=len(merged.distrusted),
        extensions=status.extensions,
        experts_trained=sum(devices > 0 for devices in trainers.values()),
        trainers_min=min(trainers.values()),
        trainers_max=max(trainers.values()),
        bytes_deltas=sum(row.bytes for row in rows),
        examples=sum(row.examples for row in rows),
        loss_first=_mean([row.loss_first for row in rows]),
        loss_last=_mean([row.loss_last for row in rows]),
    )


def restarted_line(ledger: Ledger, row: VersionRow, shape: BankShape) -> RoundLine:
    """Return the line of a round whose version waits for a decision since before this start: what the ledger knows.

    Args:
        ledger: of the gateway.
        row: of the version.
        shape: of the bank.
    """
    rows, its_round = ledger.merged_into(row.version), ledger.round(row.round)
    opened = its_round.opened if its_round is not None else row.created
    unheard = frozenset(notes_of(row).distrusted)
    times = Counter(block for delta in rows if delta.device not in unheard for block in delta.blocks)
    trainers = {block: times[block] for block in shape.ids() if not block.shared and block not in (HEAD, MEAN)}
    merged = Merged(row.version, rows, trainers, distrusted=[delta for delta in rows if delta.device in unheard])
    status = RoundStatus(row.round, ledger.plans(row.round), extensions=its_round.extensions if its_round else 0)
    return replace(round_line(status, Event.DEADLINE, merged, 0, row.created - opened), reason=RESTARTED)


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0
