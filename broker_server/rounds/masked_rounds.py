"""Rounds under masks, step by step: what came is kept, what follows is kept, and only then devices are told.

The rules are in ``rules/masking.py``; here are ledger, spool and messages. A start takes up the step that the ledger
says: list and survivors go out again as they were, and each step's time begins anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from broker_server.errors import BodyError, StorageError
from broker_server.rounds.announcer import Announcer
from broker_server.rounds.checking import Body, MaskBody
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.key_authority import KeyAuthority
from broker_server.rounds.making import MaskedSums
from broker_server.rounds.masked_bodies import check_body, masked_of
from broker_server.rounds.masked_budget import MaskedBudget
from broker_server.rounds.masked_opener import Opener
from broker_server.rounds.masked_opening import Opening
from broker_server.rounds.masked_state import MaskedState, taken_up
from broker_server.rounds.privacy_budget import PrivacyBudget
from broker_server.rounds.round_status import RoundStatus
from broker_server.rules import masking
from broker_server.rules import round as rules
from broker_server.rules.admission import Masked
from broker_server.rules.masking import Assumed, Phase
from broker_server.rules.opened_sums import OpenedSums, usual_norms
from broker_server.rules.round import Event
from broker_server.state.rows import DeltaRow
from broker_server.state.settings_table import FAILED_ROUNDS, HEAD_SUMS
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.secure.lists import to_bits
from edge_runtime.wire.secure.members import Attendance
from edge_runtime.wire.secure.signed_keys import Federation
from edge_runtime.wire.topics import Topic

Told = Mapping[str, Any]
"""What became of a round, for people."""


class MaskedRounds:
    """Args: parts: shared parts of the gateway; announcer: takes plans back; budget: of [privacy], where it is on."""

    def __init__(self, parts: GatewayParts, announcer: Announcer, budget: PrivacyBudget | None = None) -> None:
        self._config, self._store, self._ledger = parts.config.secure, parts.store, parts.store.ledger
        self._round_rules, self._shape = parts.config.round, parts.store.lineage.shape
        self._roster, self._events, self._publisher = parts.roster, parts.events, parts.publisher
        self._announcer = announcer
        self._opener = Opener(parts.store.spool, self._shape)
        self._budget = MaskedBudget(budget, self._config.colluding, self._shape, self._ledger)
        federation = Federation(parts.config.federation, parts.store.lineage.federation)
        self._authority = KeyAuthority(parts.config.key_authority, federation)
        self._current: MaskedState | None = None
        self._orphan = 0  # number of a round whose plans go under masks, and of which the ledger knows no more
        self.failed = int(self._ledger.get(FAILED_ROUNDS) or 0)
        """Rounds that made no version."""
        parts.store.blobs.sources.append(self._blob)
        last = self._ledger.last_round()
        over = 0 if last is None else last.round if last.closed is not None else last.round - 1
        if self._ledger.has_mask_bodies(over):  # a kill came between a version and this
            with contextlib.suppress(StorageError), self._ledger.transaction():
                self._ledger.forget_mask_bodies(over)

    def has(self, number: int) -> bool:
        """Return whether a round that runs goes under masks."""
        return (self._current is not None and self._current.row.round == number) or self._orphan == number > 0

    def _blob(self, digest: bytes) -> bytes | None:
        return self._current.blob(self._store, digest) if self._current is not None else None

    def begin(self, status: RoundStatus, now: float) -> None:
        """Take up a round, if it goes under masks: one that was just opened, or that a start finds.

        Args:
            status: of the round; who takes no part any more is void.
            now: monotonic seconds.
        """
        self._authority.read_again()
        self._current, self._orphan = taken_up(self._store, status, now), 0
        if self._current is None and any(decode(pb.Plan, plan).masks for plan in [*status.plans.values()][:1]):
            self._orphan = status.number
        if self._current is not None:
            out = self._current.out(status.plans)
            status.void |= out
            status.withdrawn |= out

    def announce(self) -> None:
        """Tell all members of the round that runs where it is."""
        if self._current is not None:
            self._publish(self._current)

    # what devices sent

    def consider(self, message: MaskBody, body: Body) -> tuple[int, bool]:
        """Return the round that a body is kept for, and whether it is kept already, or not needed any more.

        Args:
            message: that the body is.
            body: as it came.

        Raises:
            WireError: STALE when the round is past that step or the device takes no part, DUPLICATE, or what is wrong.
        """
        current, device = self._current, body.device
        if isinstance(message, pb.MaskAnswer) and (current is None or current.phase is Phase.OPENED):
            return 0, True  # sums are opened as soon as answers are enough: this one is not needed, and not late either
        plan = self._ledger.plan(device, current.plans.get(device, b"")) if current is not None else None
        if current is None or plan is None:
            raise WireError(pb.STALE, "no round under masks waits for this device")
        earlier = self._ledger.mask_digest(device, current.row.round, body.kind)
        if earlier is not None and earlier != body.digest:
            raise WireError(pb.DUPLICATE, "another such body of this device was accepted in the round")
        if earlier is None:
            check_body(current, message, device, plan, self._authority)
        return current.row.round, earlier is not None

    def note(self, number: int, kind: pb.Kind, message: MaskBody, device: str) -> None:
        """Take note of a body that is in the ledger. Args: number: of its round."""
        if self.has(number) and self._current is not None:
            self._current.came[kind].add(device)
            if isinstance(message, pb.MaskAnswer):
                self._current.take_answer(device, message)

    def masked(self, plan: pb.Plan) -> Masked | None:
        """Return what a plan's delta under masks has to be; None: the plan asks for none."""
        return masked_of(self._current, plan, self._shape)

    # the table

    def due(self, status: RoundStatus, look: rules.Opened, now: float, wall: float) -> Event | None:
        """Do what is due in the round that runs; return why it goes on to be merged, FAILED, or None to wait.

        Args:
            status: of the round; who takes no part any more gets void.
            look: the same as the rules of rounds look at it.
            now: monotonic seconds.
            wall: seconds since 1970.

        Raises:
            StorageError: when the disk refuses; nothing was done.
            BodyError: when a delta is damaged or gone.
        """
        current = self._current
        if current is None or not self._budget.allows(current):
            return self._give_up(current, wall)
        if current.untold:
            self._tell_step(current, status, now)
        if current.phase is Phase.KEYS:
            return self._keys_due(current, status, now, wall)
        if current.phase is Phase.SHARES:
            return self._shares_due(current, status, now, wall)
        if current.phase is Phase.DELTAS:
            return self._deltas_due(current, status, look, now, wall)
        if current.phase is Phase.ANSWERS:
            return self._answers_due(current, now, wall)
        return current.reason

    def _keys_due(self, current: MaskedState, status: RoundStatus, now: float, wall: float) -> Event | None:
        ends = current.since + self._config.keys_s
        if self._awaits(set(status.plans) - status.void, current.came[pb.KEYS], ends, now):
            return None
        bodies = self._bodies(current, pb.KEYS, status)
        data = masking.write_list(
            current.row.round, bodies.values(), Assumed.of(current.terms, self._config.dropouts, self._config.colluding)
        )
        if data is None:
            return self._fail(current, f"{len(bodies)} devices sent keys, which makes no circle of 3, or no list", wall)
        with self._ledger.transaction():
            self._ledger.list_masks(current.row.round, data)
        current.row = replace(current.row, members=data)
        self._tell_step(current, status, now)
        return None

    def _shares_due(self, current: MaskedState, status: RoundStatus, now: float, wall: float) -> Event | None:
        ends = current.since + self._config.shares_s
        if self._awaits(set(current.places) - status.void, current.came[pb.SHARES], ends, now):
            return None
        came = set(self._bodies(current, pb.SHARES, status))
        dealt = masking.who_dealt(current.listed, {current.places[device] for device in came})
        if not dealt:
            return self._fail(current, f"{len(came)} devices dealt shares, which is too few", wall)
        bits = to_bits(dealt, len(current.listed.keys))
        with self._ledger.transaction():
            self._ledger.deal_masks(current.row.round, bits)
        current.row = replace(current.row, dealt=bits)
        self._tell_step(current, status, now)
        return None

    def _deltas_due(
        self, current: MaskedState, status: RoundStatus, look: rules.Opened, now: float, wall: float
    ) -> Event | None:
        due = rules.may_close(look, self._round_rules)
        if due is None:
            return None
        members, rows = current.listed, self._deltas(current)
        attendance = Attendance(current.dealt, frozenset(current.places[row.device] for row in rows))
        if due is Event.SHORT or not masking.to_open(members, attendance):
            return self._fail(current, f"{len(rows)} devices sent a delta, which is too few", wall)
        if not self._budget.charged(current, attendance):
            return self._fail(current, "the budget of [privacy] has no room for it", wall)
        data = masking.write_survivors(members, attendance)
        with self._ledger.transaction():
            self._ledger.end_masks(current.row.round, data)
            self._ledger.drop_masked(current.row.round, [row.device for row in rows])
        current.row, current.reason = replace(current.row, survivors=data), due
        self._tell_step(current, status, now)
        return None

    def _answers_due(self, current: MaskedState, now: float, wall: float) -> Event | None:
        attendance, rows = current.attendance, list[DeltaRow]()
        if attendance is None:
            return None
        if not self._opener.at_work(current):
            rows, failure = self._to_open(current, attendance, over=now >= current.since + self._config.answer_s)
            if failure:
                return self._fail(current, failure, wall)
            if not rows:
                return None
        opening = self._opener.opening(current, attendance, rows)
        if opening is not None:
            return self._keep(current, opening, wall)
        if rows:
            self._events.tell("masks_opening", round=current.row.round, devices=len(rows))
        return None

    def _to_open(self, current: MaskedState, attendance: Attendance, *, over: bool) -> tuple[list[DeltaRow], str]:
        """Return the deltas whose sums can be opened now, none to wait, and why none will be. Args: over: the time."""
        rows = {row.device: row for row in self._deltas(current)}
        gone = current.names(attendance.survivors) - set(rows)  # accepted, and the disk did not keep it
        if not over and (current.lacks or gone):
            return [], ""
        if gone:
            return [], f"{len(gone)} deltas were lost on the disk, and did not come again"
        if not self._budget.charged(current, attendance):  # [privacy] was off when survivors were named
            return [], "the budget of [privacy] has no room for it"
        return list(rows.values()), ""

    def _keep(self, current: MaskedState, opening: Opening, wall: float) -> Event | None:
        """Keep the sums of circles; those that could not be opened are told of, and not merged."""
        first = bool(current.terms.classes) and self._ledger.get(HEAD_SUMS) is None  # what was trained knew no head yet
        if not opening.sums.blocks:
            reason = next((str(one["why"]) for one in opening.circles if one["why"]), "only class sums came")
            with self._ledger.transaction():
                opening.keep_classes(self._ledger, current, wall)
            return self._fail(current, reason, wall, {"circles": opening.circles})
        data = opening.sums.encode()
        digest = sha256(data)
        self._store.spool.keep(digest, data)
        norms = {} if first else usual_norms(opening.sums)
        report = {"members": len(current.places), "circles": opening.circles, "norms": norms}
        report |= {"signed": current.listed.signed}
        report |= {"noise": self._budget.promised(current)} if current.terms.private else {}
        with self._ledger.transaction():
            opening.keep_classes(self._ledger, current, wall)
            self._ledger.open_sums(current.row.round, digest)
            self._ledger.tell_masks(current.row.round, report)
        current.row = replace(current.row, sums=digest, told=report)
        self._events.tell("masks_opened", round=current.row.round, circles=opening.circles)
        return current.reason

    def counted(self, number: int) -> bool:
        """Return whether the budget has counted a round that is not closed yet."""
        return self._budget.counted(number)

    # how it ends

    def stop(self) -> None:
        """Give up what is at work beside this thread; it begins anew."""
        self._opener.stop()

    def sums(self) -> MaskedSums:
        """Return the opened sums of the round that runs.

        Raises:
            BodyError: when they are damaged: they are opened once more then.
        """
        current = self._current
        if current is None or current.row.sums is None:
            msg = "no round under masks is open"
            raise BodyError(msg)
        try:
            return MaskedSums(OpenedSums.decode(self._store.spool.read(current.row.sums)), current.row.sums)
        except BodyError:
            with self._ledger.transaction():
                self._ledger.open_sums(current.row.round, None)
            current.row = replace(current.row, sums=None)
            raise

    def closed(self) -> None:
        """Forget the round, whose version is in the ledger: what could open it is removed."""
        current, self._current = self._current, None
        self.stop()
        if current is None:
            return
        with self._ledger.transaction():
            self._ledger.forget_mask_bodies(current.row.round)
        self._take_back(current.places)

    def _give_up(self, current: MaskedState | None, wall: float) -> Event:
        """Close a round that no sum may come of."""
        if current is None:
            return self._fail_orphan(wall)
        return self._fail(current, "it was planned without the noise that [privacy] promises", wall)

    def _fail_orphan(self, wall: float) -> Event:
        """Close a round whose plans were put back into a ledger that knows nothing of its masks."""
        number, self._orphan = self._orphan, 0
        with self._ledger.transaction():
            self._close_failed(number, wall)
        self.failed += 1
        plans = self._ledger.plans(number)
        self._announcer.withdraw(sorted(plans))
        self._take_back(plans)
        self._events.tell("masks_failed", round=number, reason="the ledger lost what came of it", phase="")
        return Event.FAILED

    def _fail(self, current: MaskedState, reason: str, wall: float, more: Told | None = None) -> Event:
        """Close a round that makes no version: its deltas are part of none, and can be opened by nobody."""
        number = current.row.round
        report = {"members": len(current.places), "failed": reason, **(more or {})}
        with self._ledger.transaction():
            self._close_failed(number, wall)
            self._ledger.tell_masks(number, report)
            self._ledger.forget_mask_bodies(number)
        self._events.tell("masks_failed", round=number, reason=reason, phase=current.phase.value)
        self.failed += 1
        self._announcer.withdraw(sorted(current.plans))
        self._take_back(current.places)
        self._current = None
        self.stop()
        return Event.FAILED

    def _close_failed(self, number: int, wall: float) -> None:
        self._ledger.fail_round(number, wall)
        self._ledger.drop_masked(number)
        self._ledger.put(FAILED_ROUNDS, str(self.failed + 1))

    def _take_back(self, devices: Iterable[str]) -> None:
        for device in sorted(devices):
            self._publisher.publish(Topic.SECURE, device, [b""])

    # steps

    def _awaits(self, expected: set[str], came: set[str], until: float, now: float) -> bool:
        awaited = expected - came
        return bool(awaited - self._roster.gone(awaited)) and now < until

    def _bodies(self, current: MaskedState, kind: pb.Kind, status: RoundStatus) -> dict[str, bytes]:
        """Return what came, without that of devices that take no part any more."""
        revoked = self._store.watch.revoked() | status.void
        bodies = self._ledger.mask_bodies(current.row.round, kind)
        return {device: body for device, body in bodies.items() if device not in revoked}

    def _deltas(self, current: MaskedState) -> list[DeltaRow]:
        """Return the accepted deltas that can still be part of a sum."""
        revoked = self._store.watch.revoked() if current.attendance is None else frozenset[str]()
        rows = self._ledger.deltas(current.row.round)
        return [row for row in rows if row.version is None and row.device not in revoked]

    def _tell_step(self, current: MaskedState, status: RoundStatus, now: float) -> None:
        """Take up a step that the ledger has; take plans back of whom the round goes on without, and tell the others.

        Raises:
            StorageError: when the disk refuses; it is told with the next look.
        """
        current.untold = True
        current.take_up(self._store)
        out = current.out(status.plans) - status.void
        self._announcer.withdraw(sorted(out))
        status.void |= out
        status.withdrawn |= out
        self._publish(current)
        current.untold, current.since = False, now
        if current.phase is Phase.DELTAS:  # only now can anybody send one
            status.deadline_at = now + self._round_rules.deadline_s
        survivors = len(current.attendance.survivors) if current.attendance is not None else None
        self._events.tell(
            "masks", round=current.row.round, phase=current.phase.value, members=len(current.places),
            dealt=len(current.dealt), survivors=survivors,
        )  # fmt: skip

    def _publish(self, current: MaskedState) -> None:
        for message in current.messages():
            device, payload = message.device, encode(message)
            self._publisher.publish(Topic.SECURE, device, [payload])
            self._roster.count(device, down=len(payload))
