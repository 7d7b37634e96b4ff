"""Carries the round table out: plans go out, deltas are folded, versions come. All that it decides is in pure modules.

What it must not forget is in the ledger before anybody is told: after ``kill -9`` the same round goes on with the same
plans, byte for byte, and the deltas that were accepted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from broker_server.errors import BodyError, StorageError
from broker_server.evaluation.worker import Evaluated
from broker_server.journal import RoundLine
from broker_server.rounds.announcer import Announcer
from broker_server.rounds.buffered import Buffered
from broker_server.rounds.extending import Extending
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.gating import Gate
from broker_server.rounds.lost_deltas import LostDeltas
from broker_server.rounds.masked_rounds import MaskedRounds
from broker_server.rounds.merging import Merging
from broker_server.rounds.new_versions import NewVersions, merging_of
from broker_server.rounds.round_plans import RoundPlans
from broker_server.rounds.round_reports import merged_line, tell_closed, tell_plans
from broker_server.rounds.round_status import RoundStatus, reopened, restarted_line
from broker_server.rounds.round_views import RoundViews
from broker_server.rounds.waiting import Waiting
from broker_server.rules import round as rules
from broker_server.rules.gate import Decision
from broker_server.rules.round import Event, State
from broker_server.secure_config import MASKED, SEEN, check_package
from broker_server.state.rows import RoundRow
from edge_runtime.wire import wire_pb2 as pb

RETRY_S: Final = 5.0
SAY_AGAIN_S: Final = 60.0
LOOK_S: Final = 0.02
LOOK_EACH_S: Final = 0.0001
"""How often the table is looked at, whoever sends messages: a look costs as much as there are devices, so of a thousand
it is 0.12 s."""


class Conductor(RoundViews):
    """Rounds of one federation. Args: parts: shared; session: 16 random bytes of a start; merging, plans: of a site."""

    def __init__(
        self, parts: GatewayParts, session: bytes, merging: Merging | None = None, plans: RoundPlans | None = None
    ) -> None:
        check_package(parts.config, parts.store.manifest.architecture)
        self._parts, self._config, self._store, self._roster = parts, parts.config, parts.store, parts.roster
        self._events = parts.events
        self._merging = merging or merging_of(parts, Merging)
        self._announcer = Announcer(parts, session)
        self._versions = NewVersions(parts, self._merging, self._announcer)
        self._plans, self._waiting = plans or RoundPlans(parts, self._merging), Waiting(parts)
        self._lost = LostDeltas(parts, self._merging)
        self.masks = MaskedRounds(parts, self._announcer, self._merging.budget)
        self._extending = Extending(parts, self._announcer, self._plans, self._waiting, self._lost)
        self._gate = Gate(parts)
        others = (self._merging, self._versions, self._announcer, self._waiting)
        self._buffered = Buffered(parts, *others) if parts.config.round.buffer else None
        self._line: RoundLine | None = None  # of the round whose version waits
        self.state = State.GATHERING
        self._round = RoundStatus()
        self._looked_through, self._say_again_at = False, -1.0
        self._retry_at = self._look_at = -1.0
        self._roster.prove(parts.store.ledger.trainers())

    # start

    def resume(self, now: float) -> None:
        """Take up what the ledger says was going on."""
        last = self._store.ledger.last_round()
        self._announcer.remember(self._merging.oldest_base(self._config.round.max_staleness))
        self._tell_privacy()
        if last is None:
            return
        if self._buffered is not None:
            self._round = self._buffered.resumed(now)
        else:
            self._round.number = last.round
        held = self._store.ledger.held() if self._gate.holds else None
        if held is not None:
            self.state = State.MERGING
            self._gate.hold(held)
            self._line = restarted_line(self._store.ledger, held, self._store.lineage.shape)
        elif self._over() and (last.closed is not None or self._buffered is not None or self._spent_without(last)):
            self.state = State.FINISHED
        elif self._buffered is not None or last.closed is None:
            self._reopen(last, now)

    def _reopen(self, row: RoundRow, now: float) -> None:
        self.state = State.OPEN
        if self._buffered is None:
            self._round = reopened(self._store.ledger, row, self._merging, now, self._config.round.deadline_s)
            self.masks.begin(self._round, now)
            self._waiting.expect(self._round, self._round.plans, now)
        planned, accepted = sorted(self._round.plans), sorted(self._round.answered)
        self._events.tell("resumed", round=self.round, planned=planned, accepted=accepted)

    def announce(self) -> None:
        """Publish everything that is retained; after a start, and when the broker was away."""
        if self.state is State.FINISHED:
            self._announcer.outstanding.clear()
        plans = self._round.awaited if self._trains else {}
        self._announcer.again(self.row, plans, [row["device"] for row in self._store.ledger.devices()])
        if self._trains:
            self._announcer.withdraw(sorted(self._round.void))
            self.masks.announce()
        self.publish_state()

    @property
    def _trains(self) -> bool:
        """Whether devices have plans whose answers are waited for; with a buffer also while a version is measured."""
        return self.state is State.OPEN or (self.state is State.MERGING and self._buffered is not None)

    def publish_state(self) -> None:
        """Publish what the gateway is doing."""
        self._announcer.state(self.gateway_state(online=True))

    def gateway_state(self, *, online: bool) -> pb.GatewayState:
        """Return the message that says so."""
        finished = self.state is State.FINISHED
        return self._announcer.gateway_state(self.row.version, self.round, online=online, finished=finished)

    def _over(self) -> bool:
        return 0 < self._config.rounds <= self.done or self._spent

    @property
    def _spent(self) -> bool:
        """Whether [privacy] has no room for another merge."""
        return self._merging.budget is not None and self._merging.budget.over

    def _spent_without(self, last: RoundRow) -> bool:
        """Return whether no merge has room, a round under masks that was counted before it closed not among them."""
        return self._spent and not self.masks.counted(last.round)

    def _tell_privacy(self) -> None:
        if self._merging.budget is not None:
            self._events.tell("privacy", **self._merging.budget.telling(self._config.round.quorum))

    def takes_sums(self, hello: pb.Hello) -> bool:
        """Return whether the class sums that a Hello tells of are wanted."""
        if self._config.secure.enabled and self._config.secure.class_sums != SEEN:
            return False
        return self._merging.budget is None or self._merging.budget.takes_sums(hello)

    # what devices did

    def greeted(self, hello: pb.Hello) -> None:
        """Take a device's plan back when its data are not those that the head was made from.

        To be called before the device is welcomed: it begins nothing until then. A delta that it has finished counts.
        """
        device, has_plan = hello.device, hello.device in self._announcer.outstanding
        void = self._trains and device in self._round.void
        if self.state is State.FINISHED or not (has_plan or void) or self._merging.head_has(hello):
            return
        self._announcer.withdraw([device])
        if not has_plan:
            return  # told before
        if self._trains and device in self._round.awaited:
            self._round.void.add(device)
            self._round.withdrawn.add(device)
        self._events.tell("withdrawn", device=device, round=self.round, version=self.row.version)

    def accepted(self, digest: bytes, delta: pb.Delta) -> None:
        """Take note of a delta that was accepted. Args: digest: of its body; delta: without values."""
        self._merging.accepted(digest, delta)
        self.answered(delta.device, delta.round)

    def answered(self, device: str, number: int) -> None:
        """Take note that a device's delta of round ``number`` was accepted."""
        self.state = rules.step(self.state, Event.DELTA)
        self._announcer.outstanding.pop(device, None)
        self._roster.answered(device)
        if self._round.asks(device, number):
            self._round.answered.add(device)
            self._round.void.discard(device)
            if device in self._round.expected:
                self._round.expected_at = None

    def refused(self, device: str, number: int) -> None:
        """Take note that a device's delta of round ``number`` was refused: it has dropped it, and makes no other."""
        if self._round.asks(device, number):
            self._round.refused.add(device)

    def ask_again(self, device: str) -> None:
        """Ask a device for the bodies that it was told are accepted and that the disk did not keep."""
        self._lost.ask_again(device)

    def measured(self, result: Evaluated) -> None:
        """Take what a version is worth."""
        self._gate.measured(result)

    # the table

    def tick(self, now: float, wall: float) -> None:
        """Do what is due. Args: now: monotonic seconds; wall: seconds since 1970.

        Raises:
            StorageError: when the disk refuses; nothing is lost, and the next tick tries again.
        """
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S + LOOK_EACH_S * len(self._roster.members)
        self._store.watch.look(now)
        if not self._looked_through:
            self._lost.take_back(self._round, wall)
            self._looked_through = True
            if self.state is State.FINISHED:
                self._head_from_masks(wall)  # a kill came between a version and this
        self._heed_revocations()
        if now >= self._say_again_at:
            self._say_again(now)
        if self.state in (State.GATHERING, State.FINISHED):
            self._roll_back(wall)
        self._advance(now, wall)
        self._versions.remove_old()

    def _advance(self, now: float, wall: float) -> None:
        """Open, extend, merge or decide, whichever is due."""
        if self.state is State.GATHERING and now >= self._retry_at:
            present = self._waiting.present(now)
            if rules.may_start(rules.Gathering(present, now), self._config.round) is Event.QUORUM:
                self._open(self._waiting.cohort(rules.ready(present)), now, wall)
        elif self.state is State.OPEN and self._buffered is not None:
            self._fill(self._buffered, now, wall)
        elif self.state is State.OPEN:
            due = self._due(now, wall)
            if due is Event.SHORT:
                self._extend(now, wall)
            elif due is Event.FAILED:
                self._fail(now)
            elif due is not None:
                self._merge(due, now, wall)
        elif self.state is State.MERGING and now >= self._retry_at:
            self._decide(now, wall)

    def _fail(self, now: float) -> None:
        """Go on after a round under masks that made no version; what the budget counted of it stays counted."""
        self.state = rules.step(self.state, Event.SPENT if self._spent else Event.FAILED)
        self._retry_at = now + RETRY_S
        self._tell_privacy()
        self.publish_state()

    def _due(self, now: float, wall: float) -> Event | None:
        """Return what the open round goes on to, or None to wait."""
        look = self._waiting.opened(self._round, now)
        if not self.masks.has(self.round):
            return rules.may_close(look, self._config.round)
        try:
            return self.masks.due(self._round, look, now, wall)
        except BodyError:
            self._lost.take_back(self._round, wall)
            return None

    def _say_again(self, now: float) -> None:
        """Say once more what devices wait for: a broker whose queue is full drops even what it retains, in silence."""
        first, self._say_again_at = self._say_again_at < 0, now + SAY_AGAIN_S
        if first:
            return
        self.publish_state()
        if self.state is State.OPEN:
            self._announcer.plans_again(self._round.awaited)
            self.masks.announce()

    def _heed_revocations(self) -> None:
        """Let whom the operator removed leave: no round waits for them, no quorum counts them or their deltas."""
        for device in self._store.watch.revoked():
            self._roster.leave(device)
            self._round.answered.discard(device)

    def _roll_back(self, wall: float) -> bool:
        """Go back to an earlier version when the operator asked for it; between rounds, since plans name their base."""
        if not self._versions.roll_back(wall):
            return False
        self.publish_state()
        self._events.tell("version", reason="rollback", version=self.row.version, parent=self.row.parent)
        return True

    def _open(self, devices: Sequence[str], now: float, wall: float) -> None:
        if self._buffered is not None:
            self._begin(self._buffered, now, wall)
            return
        self._versions.refresh_head(wall)
        self._open_round(devices, self.round + 1, self._config.round.deadline_s, now, wall)

    def _open_round(self, devices: Sequence[str], number: int, deadline_s: float, now: float, wall: float) -> bool:
        """Open a round with plans for devices; return whether any device had room for one."""
        planned = self._plans.open(devices, number, wall)
        if planned is None:
            self._retry_at = now + RETRY_S
            least = self._config.secure.trainers if self._config.secure.enabled else 1
            who = "no device's budget has" if least == 1 else f"under masks, budgets of fewer than {least} devices have"
            self._events.tell("waiting", reason=f"{who} room for one expert", devices=list(devices))
            return False
        plans, self.state = planned.payloads, rules.step(self.state, Event.QUORUM)
        self._round = RoundStatus(number, plans, now, now + deadline_s)
        self._waiting.expect(self._round, plans, now)
        self.masks.begin(self._round, now)
        self._announcer.withdraw(self._announcer.too_late(plans, self.age, self._config.round.max_staleness))
        self._announcer.plans(plans, self.row.version)
        self.publish_state()
        tell_plans(self._parts, "round", self._round, self.row.version, planned.assignments)
        return True

    def _begin(self, buffered: Buffered, now: float, wall: float) -> None:
        """Give the first plans; from then on the buffer fills."""
        self._round = replace(self._round, opened_at=now, deadline_at=now + self._config.round.deadline_s)
        if buffered.plan(self._round, now, wall):
            self.state = rules.step(self.state, Event.QUORUM)
            self.publish_state()

    def _fill(self, buffered: Buffered, now: float, wall: float) -> None:
        """Merge the buffer when it is due, and else give plans to those who have none."""
        due = buffered.due(self._round, now)
        if due is not None:
            self._merge(due, now, wall)
        elif self._versions.rollback_asked:
            if self._roll_back(wall):
                self._round.void |= set(self._round.awaited)  # they train from what is gone back from
        else:
            buffered.plan(self._round, now, wall)

    def _extend(self, now: float, wall: float) -> None:
        self._versions.refresh_head(wall)
        self.state = rules.step(self.state, Event.SHORT)
        self._extending.extend(self._round, self.row, now)

    def _merge(self, reason: Event, now: float, wall: float) -> None:
        try:
            settings = self._buffered.next_merge if self._buffered is not None else None
            late = self._buffered is not None or self._gate.holds  # deltas of this round may come after the merge
            settled = self._versions.settled(self.round) if late else None
            before = self._merging.row.version
            masked = self.masks.sums() if self.masks.has(self.round) else None
            merged = self._merging.merge(
                self.round, wall, hold=self._gate.holds, settled=settled, settings=settings, masked=masked
            )
        except BodyError:
            self._lost.take_back(self._round, wall)
            return  # the table is looked at again without them
        self.masks.closed()
        if self._buffered is None:
            self._waiting.note_missed(self._round, now)
        self.state = rules.step(self.state, reason)
        self._line = merged_line(self._parts, self._round, reason, merged, now)
        if self._buffered is not None:
            self._line = replace(self._line, late=self._buffered.late(merged.rows, before))
        if self._gate.holds:
            self._gate.hold(self._merging.row)
            self._events.tell("held", version=merged.version, round=self.round, before=self.row.version)
            return
        self._versions.announce()
        self._head_from_masks(wall)
        self._close(None, now)

    def _head_from_masks(self, wall: float) -> None:
        """Make the head of class sums that a round under masks opened; of those in the clear, the next round does."""
        if self._config.secure.enabled and self._config.secure.class_sums == MASKED:
            with contextlib.suppress(StorageError):  # the next round, or a start, makes it
                self._versions.refresh_head(wall)

    def _decide(self, now: float, wall: float) -> None:
        """Serve the version that waits, or the one before it again, as soon as it is known which."""
        decision = self._gate.decision()
        if decision is None:
            return
        if self._versions.carry_out(decision, wall):
            self._gate.hold(None)
            self._close(decision, now)
        else:
            self._retry_at = now + RETRY_S

    def _close(self, decision: Decision | None, now: float) -> None:
        """End a round whose version devices have.

        Args:
            decision: of the gate; None: it holds nothing.
            now: monotonic seconds.
        """
        goes_on, oldest = Event.MERGED, self.round - self._config.round.max_staleness
        if self._buffered is not None:
            goes_on, oldest = Event.ON, self._buffered.oldest_round
            self._round = self._buffered.merged(self._round, now)
        else:
            self._retry_at = self._round.opened_at + self._config.round.every_s
        self.state = rules.step(self.state, Event.LAST if self._over() else goes_on)
        with contextlib.suppress(StorageError), self._store.ledger.transaction():
            self._store.ledger.forget_lost(oldest)
        line, self._line = self._line, None
        tell_closed(self._parts, line, decision, self._merging.row)
        self._tell_privacy()
        if self.state is State.FINISHED:
            self._announcer.withdraw(list(self._announcer.outstanding))
        self.publish_state()
