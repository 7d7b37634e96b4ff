"""Carries the round table out: plans go out, deltas are folded, versions come. All that it decides is in pure modules.

What it must not forget is in the ledger before anybody is told: after ``kill -9`` the same round goes on with the same
plans, byte for byte, and the deltas that were accepted.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from broker_server.config import CODECS
from broker_server.errors import BodyError, StateError, StorageError
from broker_server.journal import JOURNAL
from broker_server.rounds.announcer import Announcer
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.merging import Merging
from broker_server.rounds.round_status import RoundStatus, round_line
from broker_server.rules import round as rules
from broker_server.rules.planner import Assignment, Coverage, RoundRequest, plan_round
from broker_server.rules.plans import Base, plan_message
from broker_server.rules.round import Event, State
from broker_server.rules.weights import Caps
from broker_server.state.retention import Retention
from broker_server.state.rows import RoundRow, VersionRow
from broker_server.state.settings_table import ROLLBACK
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic

RETRY_S: Final = 5.0
SAY_AGAIN_S: Final = 60.0
LOST: Final = "the accepted delta was damaged on the gateway's disk: send it again"
LOOK_S: Final = 0.02
LOOK_EACH_S: Final = 0.0001
"""How often the table is looked at, whoever sends messages: a look costs as much as there are devices, so of a thousand
it is 0.12 s."""


class Conductor:
    """Rounds of one federation. Args: parts: shared parts of the gateway; session: 16 random bytes of this start."""

    def __init__(self, parts: GatewayParts, session: bytes) -> None:
        self._config, self._store, self._roster, self._events = parts.config, parts.store, parts.roster, parts.events
        self._publisher = parts.publisher
        self._signer, self._architecture = parts.signer, parts.store.manifest.architecture
        limits = parts.config.limits
        caps = Caps(limits.weight_multiple, limits.weight_share, limits.norm_clip)
        train = parts.config.train
        rounded = train.codec_down == "int8"
        self._merging = Merging(parts.store, train_head=train.head_share > 0, caps=caps, rounded=rounded)
        self._announcer = Announcer(parts, session)
        self._retention = Retention(parts.store, limits.keep_rounds)
        self.state = State.GATHERING
        self._round = RoundStatus()
        self._looked_through, self._say_again_at = False, -1.0
        self._retry_at = self._look_at = -1.0
        self._roster.prove(parts.store.ledger.trainers())

    @property
    def row(self) -> VersionRow:
        """The newest version."""
        return self._merging.row

    @property
    def bank(self) -> Bank:
        """The newest version's bank."""
        return self._merging.bank

    @property
    def round(self) -> int:
        """Number of the last round that was opened."""
        return self._round.number

    @property
    def status(self) -> RoundStatus:
        """The last round that was opened, for the thread that decides: it changes."""
        return self._round

    def age(self, base_version: int) -> int:
        """Return how many merges the bank is ahead of a version."""
        return self._merging.age(base_version)

    # start

    def resume(self, now: float) -> None:
        """Take up what the ledger says was going on."""
        last = self._store.ledger.last_round()
        for past in self._store.ledger.rounds_from(self._merging.oldest_base(self._config.round.max_staleness)):
            answered = {row.device for row in self._store.ledger.deltas(past.round)}
            for device in self._store.ledger.plans(past.round):
                self._announcer.outstanding.pop(device, None)
                if device not in answered:
                    self._announcer.outstanding[device] = past.base_version
        if last is not None and last.closed is None:
            self._reopen(last, now)
        elif last is not None:
            self._round.number = last.round
            if self._over():
                self.state = State.FINISHED

    def _reopen(self, row: RoundRow, now: float) -> None:
        ledger = self._store.ledger
        answered = {delta.device for delta in ledger.deltas(row.round)}
        deadline_at = now + self._config.round.deadline_s
        self.state = State.OPEN
        self._round = RoundStatus(
            row.round, ledger.plans(row.round), now, deadline_at, answered, extensions=row.extensions
        )
        hellos = {device["device"]: device["hello"] for device in ledger.devices()}
        # Of one whose Hello is lost nothing else is known: its plan holds until it says otherwise.
        void = {
            device for device in self._round.awaited if device in hellos and not self._merging.head_has(hellos[device])
        }
        self._round.void, self._round.withdrawn = void, set(void)
        self._expect(self._round.plans, now)
        self._events.tell("resumed", round=row.round, planned=sorted(self._round.plans), accepted=sorted(answered))

    def announce(self) -> None:
        """Publish everything that is retained; after a start, and when the broker was away."""
        if self.state is State.FINISHED:
            self._announcer.outstanding.clear()
        plans = self._round.awaited if self.state is State.OPEN else {}
        self._announcer.again(self.row, plans, [row["device"] for row in self._store.ledger.devices()])
        if self.state is State.OPEN:
            self._announcer.withdraw(sorted(self._round.void))
        self.publish_state()

    def publish_state(self) -> None:
        """Publish what the gateway is doing."""
        self._announcer.state(self.gateway_state(online=True))

    def gateway_state(self, *, online: bool) -> pb.GatewayState:
        """Return the message that says so."""
        finished = self.state is State.FINISHED
        return self._announcer.gateway_state(self.row.version, self.round, online=online, finished=finished)

    def _over(self) -> bool:
        return 0 < self._config.rounds <= self.round

    # what devices did

    def greeted(self, hello: pb.Hello) -> None:
        """Take a device's plan back when its data are not those that the head was made from.

        To be called before the device is welcomed: it begins nothing until then. A delta that it has finished counts.
        """
        device, has_plan = hello.device, hello.device in self._announcer.outstanding
        void = self.state is State.OPEN and device in self._round.void
        if self.state is State.FINISHED or not (has_plan or void) or self._merging.head_has(hello):
            return
        self._announcer.withdraw([device])
        if not has_plan:
            return  # told before
        if self.state is State.OPEN and device in self._round.awaited:
            self._round.void.add(device)
            self._round.withdrawn.add(device)
        self._events.tell("withdrawn", device=device, round=self.round, version=self.row.version)

    def accepted(self, digest: bytes, delta: pb.Delta) -> None:
        """Take note of a delta that was accepted. Args: digest: of its body; delta: without values."""
        self._merging.remember(digest, delta)
        self.answered(delta.device, delta.round)

    def answered(self, device: str, number: int) -> None:
        """Take note that a device's delta of round ``number`` was accepted."""
        self.state = rules.step(self.state, Event.DELTA)
        self._announcer.outstanding.pop(device, None)
        self._roster.answered(device)
        if number == self.round:
            self._round.answered.add(device)
            self._round.void.discard(device)
            if device in self._round.expected:
                self._round.expected_at = None

    def refused(self, device: str, number: int) -> None:
        """Take note that a device's delta of round ``number`` was refused: it has dropped it, and makes no other."""
        if number == self.round:
            self._round.refused.add(device)

    def late(self, device: str) -> None:
        """Take note of a delta that came too late to count: its device is slow, not silent."""
        self._roster.answered(device)

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
            self._lose_damaged(wall)
            self._looked_through = True
        self._heed_revocations()
        if now >= self._say_again_at:
            self._say_again(now)
        if self.state in (State.GATHERING, State.FINISHED):
            self._roll_back(wall)
        if self.state is State.GATHERING and now >= self._retry_at:
            present = self._present(now)
            if rules.may_start(rules.Gathering(present, now), self._config.round) is Event.QUORUM:
                self._open(sorted(rules.ready(present)), now, wall)
        elif self.state is State.OPEN:
            due = rules.may_close(self._opened(now), self._config.round)
            if due is Event.SHORT:
                self._extend(now, wall)
            elif due is not None:
                self._merge(due, now, wall)
        self._retention.step()

    def _say_again(self, now: float) -> None:
        """Say once more what devices wait for: a broker whose queue is full drops even what it retains, in silence."""
        first, self._say_again_at = self._say_again_at < 0, now + SAY_AGAIN_S
        if first:
            return
        self.publish_state()
        if self.state is State.OPEN:
            self._say_plans_again()

    def _say_plans_again(self) -> None:
        for device, payload in sorted(self._round.awaited.items()):
            self._publisher.publish(Topic.PLAN, device, [payload])

    def _heed_revocations(self) -> None:
        """Let whom the operator removed leave: no round waits for them, no quorum counts them or their deltas.

        The ledger is watched, because another process writes it.
        """
        for device in self._store.watch.revoked():
            self._roster.leave(device)
            self._round.answered.discard(device)

    def _roll_back(self, wall: float) -> None:
        """Go back to an earlier version when the operator asked for it; between rounds, since plans name their base."""
        asked = self._store.watch.rollback()
        if not asked:
            return
        try:
            self._merging.roll_back(int(asked), wall)
        except StateError as error:
            with self._store.ledger.transaction():
                self._store.ledger.put(ROLLBACK, "")
            self._events.tell("damaged", detail=str(error))
            return
        self._new_version()
        self.publish_state()
        self._events.tell("version", reason="rollback", version=self.row.version, parent=self.row.parent)

    def _opened(self, now: float) -> rules.Opened:
        current = self._round
        if current.expected_at is None:
            current.expected_at = now
        planned, answered = frozenset(current.plans), frozenset(current.answered)
        rest = {device for device in planned if self._roster.standing(device).rests(now)}
        left = planned & (self._roster.gone() | current.void | current.refused | rest)
        can_join = frozenset[str]()
        if planned <= answered | left:
            can_join = self._ready(now) - (planned - current.void) - current.passed_over
        # While nobody has answered a plan before, all are waited for, but none for a second deadline.
        expected = frozenset(current.expected or (planned - current.missed if current.missed else ()))
        return rules.Opened(planned, answered, left, current.deadline_at, now, can_join, expected, current.expected_at)

    def _present(self, now: float) -> dict[str, rules.Present]:
        return self._roster.present(self._store.watch.statistics_digests(), now)

    def _ready(self, now: float) -> frozenset[str]:
        """Return who is here and may be planned for."""
        return rules.ready(self._present(now))

    def _expect(self, devices: Iterable[str], now: float) -> None:
        """Note whom the round waits for to its deadline."""
        certified = self._config.certified
        self._round.expected |= {one for one in devices if self._roster.standing(one).expected(certified=certified)}
        self._round.expected_at = now

    def _note_missed(self, now: float) -> None:
        """Take note of who was here to the end and did not answer."""
        silent = set(self._round.awaited) - self._roster.gone()
        for device, standing in sorted(self._roster.missed(silent, now, self._config.round).items()):
            self._round.missed.add(device)
            if standing.rests(now):
                rests_s = round(standing.again_at - now, 1)
                self._events.tell("rests", device=device, missed=standing.missed, rests_s=rests_s)
                self._roster.hit(device, "missed_plans")

    def _open(self, devices: Sequence[str], now: float, wall: float) -> None:
        self._refresh_head(wall)
        number = self.round + 1
        assignments = self._assignments(devices, number)
        if not assignments:
            self._retry_at = now + RETRY_S
            self._events.tell("waiting", reason="no device's budget has room for one expert", devices=list(devices))
            return
        plans = self._plans(assignments, number)
        with self._store.ledger.transaction():
            self._store.ledger.open_round(number, self.row.version, plans, wall)
        self._store.note_round()
        self.state = rules.step(self.state, Event.QUORUM)
        self._round = RoundStatus(number, plans, now, now + self._config.round.deadline_s)
        self._expect(plans, now)
        self._announcer.withdraw(self._too_late(plans))
        self._announcer.plans(plans, self.row.version)
        self.publish_state()
        self._tell_plans("round", assignments)

    def _too_late(self, plans: Mapping[str, bytes]) -> list[str]:
        """Return who has an older plan whose delta would come too late to count."""
        outstanding, limit = self._announcer.outstanding, self._config.round.max_staleness
        return [device for device, base in outstanding.items() if device not in plans and self.age(base) > limit]

    def _extend(self, now: float, wall: float) -> None:
        self._refresh_head(wall)
        self.state = rules.step(self.state, Event.SHORT)
        current = self._round
        # Who was asked to send a lost delta again and did not has no body any more: another plan then.
        current.void |= {device for device, number, _ in self._store.ledger.lost() if number == self.round}
        devices = sorted(self._ready(now) - (set(current.plans) - current.void))
        assignments = self._assignments(devices, self.round) if devices else {}
        plans = self._plans(assignments, self.round)
        with self._store.ledger.transaction():
            self._store.ledger.add_plans(self.round, plans)
            self._store.ledger.extend_round(self.round)
        self._store.note_round()
        self._note_missed(now)
        current.extensions += 1
        self._announcer.version(self.row)  # whoever did not answer may not have heard of it, nor of its plan
        self._say_plans_again()
        current.deadline_at = now + self._config.round.deadline_s
        current.plans |= plans
        current.void -= set(plans)
        current.passed_over = set(devices) - set(plans)
        self._expect(plans, now)
        self._announcer.plans(plans, self.row.version)
        self._tell_plans("extended", assignments)

    def ask_again(self, device: str) -> None:
        """Ask a device for the bodies that it was told are accepted and that the disk did not keep."""
        for name, number, digest in self._store.ledger.lost():
            if name == device:
                verdict = pb.Verdict(kind=pb.DELTA, digest=digest, code=pb.BUSY, round=number, detail=LOST)
                verdict.retry_after_s = 1.0
                self._publisher.publish(Topic.VERDICT, device, [encode(verdict)])

    def _lose_damaged(self, wall: float) -> None:
        """Take back that deltas were accepted whose body is damaged.

        Each costs itself alone: its device is asked to send it again, and the round goes on waiting for it.
        """
        for row, what in self._merging.unreadable():
            with self._store.ledger.transaction():
                self._store.ledger.lose(row, wall)
            if row.round == self.round:
                self._round.answered.discard(row.device)
            self._events.tell("lost", device=row.device, round=row.round, detail=what)
            self.ask_again(row.device)

    def _merge(self, reason: Event, now: float, wall: float) -> None:
        try:
            merged = self._merging.merge(self.round, wall)
        except BodyError:
            self._lose_damaged(wall)
            return  # the table is looked at again without them
        self._note_missed(now)
        self.state = rules.step(self.state, reason)
        self.state = rules.step(self.state, Event.LAST if self._over() else Event.MERGED)
        self._new_version()
        with contextlib.suppress(StorageError), self._store.ledger.transaction():
            self._store.ledger.forget_lost(self.round - self._config.round.max_staleness)
        left = len(set(self._round.plans) & self._roster.gone())
        for one in merged.limited:
            came, counted = round(one.came, 4), round(one.counted, 4)
            self._events.tell("limited", device=one.device, limit=one.limit, came=came, counted=counted)
            self._roster.hit(one.device, one.limit)
        for row in merged.revoked:
            self._events.tell("left_out", device=row.device, round=row.round)
        up, down = self._roster.take_totals()
        line = round_line(self._round, reason, merged, left, now)
        line = dataclasses.replace(line, bytes_up=up, bytes_down=down)
        line.write(self._store.folder / JOURNAL)
        self._events.tell("version", **dataclasses.asdict(line) | {"closed": line.reason, "reason": "merge"})
        if self.state is State.FINISHED:
            self._announcer.withdraw(list(self._announcer.outstanding))
        self.publish_state()

    def _new_version(self) -> None:
        self._announcer.version(self.row)
        self._retention.due(self._merging.oldest_base(self._config.round.max_staleness))

    def _refresh_head(self, wall: float) -> None:
        labels_lost = self._merging.refresh_head(wall)
        if labels_lost is None:
            return
        self._new_version()
        self._events.tell(
            "version", reason="head", version=self.row.version, devices=self.row.contributors, labels_lost=labels_lost
        )

    # plans

    def _assignments(self, devices: Iterable[str], number: int) -> dict[str, Assignment]:
        trained = self._store.ledger.trained()
        total: dict[ExpertId, int] = {}
        for (_, block), times in trained.items():
            total[block] = total.get(block, 0) + times
        train = self._config.train
        request = RoundRequest(train.steps, CODECS[train.codec], train.head_share > 0, train.shared_share > 0)
        budgets = [self._roster.budget(device) for device in devices]
        return plan_round(budgets, self._architecture.bank_shape, number, Coverage(total, trained), request)

    def _plans(self, assignments: Mapping[str, Assignment], number: int) -> dict[str, bytes]:
        base = Base(number, self.row.version, self.row.digest, self._merging.balance)
        attempts = dict.fromkeys(self._round.void, self._round.extensions + 1) if number == self.round else {}
        messages = {
            device: plan_message(device, part, base, self._config, attempts.get(device, 0))
            for device, part in assignments.items()
        }
        return {device: self._signer.signed(Topic.PLAN, device, payload) for device, payload in messages.items()}

    # reports

    def _tell_plans(self, kind: str, assignments: dict[str, Assignment]) -> None:
        devices = {
            device: {
                "experts": [[block.layer, block.index] for block in part.train],
                "steps": part.steps,
                "codec": pb.Codec.Name(part.codec).lower(),
                "bytes_planned": part.bytes_up,
            }
            for device, part in sorted(assignments.items())
        }
        self._events.tell(
            kind, round=self.round, version=self.row.version, quorum=self._config.round.quorum,
            answered=len(self._round.answered), deadline_s=self._config.round.deadline_s, devices=devices,
        )  # fmt: skip
