"""Rounds of a site: one for each plan from above, and its sum in place of a version.

Round R here is round R above. Versions are taken up between rounds. What must not be forgotten is on the disk before
anybody is told: the plan from above with the round that it opened, the devices' deltas in the spool, the sum where a
device has its delta. The same deltas give the same sum, so a kill before it was written costs nothing, and after it
the round is closed by what is there.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Final

from broker_server.errors import BodyError, StateError, StorageError
from broker_server.rounds.conductor import RETRY_S, Conductor
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.new_versions import merging_of
from broker_server.rules import round as rules
from broker_server.rules.round import Event, State
from broker_server.state.rows import LEFT_OUT, DeltaRow, RoundRow
from broker_server.state.settings_table import ROLLBACK, SITE_PLAN, UPSTREAM_LOOK
from broker_server.upstream.desk import Complete, Desk, Facts, Handed, Look
from broker_server.upstream.site_merging import SiteMerging, deltas_in, devices_of
from broker_server.upstream.site_plans import SiteRoundPlans
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import decode, encode

FACTS_S: Final = 5.0
"""How often a site says anew above what it can do, at most."""
DEADLINE_SHARE: Final = 0.8
"""Of the time that a plan from above gives, for the site's devices; the rest is for the way up."""
STALE: Final = 1_000_000
"""Age of a delta that no sum has a place for any more."""


def came_to_nothing(last: RoundRow, plan: pb.Plan) -> bool:
    """Return whether a plan is of the last round again, which is over and of which no sum was written."""
    ended = last.closed is not None and last.version == 0  # a sum's deltas are noted by the version after their base
    return ended and (last.round, last.base_version) == (plan.round, plan.base_version)


def kept_plan(handed: Handed) -> str:
    """Return what the ledger keeps of a plan from above."""
    kept = {"round": handed.plan.round, "plan": encode(handed.plan).hex(), "digest": handed.digest.hex()}
    return json.dumps(kept)


class SiteConductor(Conductor):
    """Rounds of a site.

    Args:
        parts: shared parts of the gateway.
        session: 16 random bytes of this start.
        desk: to the thread that speaks with the gateway above.
        name: of this site there.
        url: of its broker, for people.
    """

    def __init__(self, parts: GatewayParts, session: bytes, desk: Desk, name: str, url: str) -> None:
        self._site = merging_of(parts, SiteMerging)
        self._above = SiteRoundPlans(parts, self._site)
        super().__init__(parts, session, self._site, self._above)
        self._desk, self._name, self._url = desk, name, url
        self._handed: Handed | None = None
        self._given_up = b""
        self._facts: Facts | None = None
        self._facts_at = -FACTS_S
        self._shown: Look | None = None

    def age(self, base_version: int) -> int:
        """Return 0 for deltas of the round that is open: a sum that went up has no place for others."""
        handed = self._handed
        fits = self.state is State.OPEN and handed is not None and handed.plan.base_version == base_version
        return 0 if fits else STALE

    # start

    def resume(self, now: float) -> None:
        """Take up what the ledger says was going on."""
        last, kept = self._store.ledger.last_round(), json.loads(self._store.ledger.get(SITE_PLAN) or "{}")
        if last is not None and last.closed is None and kept.get("round") == last.round:
            handed = Handed(decode(pb.Plan, bytes.fromhex(kept["plan"])), bytes.fromhex(kept["digest"]))
            try:
                self._site.go_back(handed.plan.base_version)
                self._handed, self._above.above = handed, handed.plan
            except StateError as error:  # its round is closed without a sum
                self._give_up(handed)
                self._events.tell("damaged", detail=str(error))
        super().resume(now)
        if self._handed is None:
            return
        if self._desk.is_kept(self._handed.digest):  # the sum was written, and the end of its round not yet
            self.state = rules.step(self.state, Event.DEADLINE)

    # the table

    def _advance(self, now: float, wall: float) -> None:
        finished = self._desk.finished  # before the look at what came: the last version is among that
        self._tell_upstream()
        if self.state is State.GATHERING:
            self._gather(now, wall, finished=finished)
        elif self.state is State.OPEN:
            self._look_at_round(now, wall)
        elif self.state is State.MERGING and self._handed is not None:
            if self._desk.is_kept(self._handed.digest):
                self._end_round(self._handed.plan.base_version + 1, now, wall)
            elif self._desk.is_dropped(self._handed.digest):
                self._end_round(LEFT_OUT, now, wall)

    def _gather(self, now: float, wall: float, *, finished: bool) -> None:
        """Serve the version that the next round starts from, and open it once enough devices are here."""
        handed = self._desk.plan()
        if handed is None:
            self._serve_newest(wall)
        elif handed.digest == self._given_up:
            return
        elif not self._serve_base(handed, wall):
            self._give_up(handed)
            return
        present = self._waiting.present(now)
        starts = rules.may_start(rules.Gathering(present, now), self._config.round) is Event.QUORUM
        if handed is None:
            if finished:
                self._finish()
            elif now - self._facts_at >= FACTS_S and (starts or self._facts is not None):
                self._say_facts(now)
            return
        last = self._store.ledger.last_round()
        anew = last is not None and came_to_nothing(last, handed.plan)
        late = last is not None and handed.plan.round <= last.round and not anew
        if late or self._desk.next_base(handed.digest) is not None:
            self._give_up(handed)
        elif starts and now >= self._retry_at:
            open_under = self._open_anew if anew else self._open_under
            open_under(handed, sorted(rules.ready(present)), now, wall)

    def _give_up(self, handed: Handed) -> None:
        """Say above that there will be no sum for a plan."""
        self._given_up = handed.digest
        self._desk.give_up(handed.digest)

    def _serve_newest(self, wall: float) -> None:
        """Serve what came from above, oldest first; not beyond the base of the plan that waits there."""
        waiting = self._desk.versions()
        while waiting:
            last = self._desk.next_base()
            if last is not None and waiting[0].message.version > last:
                self._desk.put_back(waiting)
                return
            version = waiting.pop(0)
            try:
                self._serve(version, wall)
            except StorageError:
                self._desk.put_back([version, *waiting])
                raise
            except StateError as error:
                self._events.tell("damaged", detail=str(error))

    def _serve_base(self, handed: Handed, wall: float) -> bool:
        """Serve the version that a plan starts from, whether or not newer ones came; return whether that can be.

        Devices are told of it as of the newest, and fetch it so. The newer ones wait at the desk until the round is
        over, the one that was served among them.
        """
        if (handed.plan.base_version, handed.plan.version_digest) == (self.row.version, self.row.digest):
            return True
        if handed.base is None:
            return False
        newer = [self._site.served()] if self.row.version > handed.plan.base_version else []
        try:
            self._serve(handed.base, wall, base=True)
        except StateError as error:
            self._events.tell("damaged", detail=str(error))
            return False
        self._desk.put_back(newer)
        return True

    def _serve(self, version: Complete, wall: float, *, base: bool = False) -> None:
        if self._site.adopt(version, wall, base=base):
            self._versions.announce()
            self.publish_state()
            self._events.tell("version", reason="upstream", version=self.row.version, parent=self.row.parent)

    def _open_under(self, handed: Handed, devices: list[str], now: float, wall: float) -> None:
        """Open the round of a plan from above."""
        self._above.above = handed.plan
        with self._store.ledger.transaction():
            self._store.ledger.put(SITE_PLAN, kept_plan(handed))
        deadline_s = self._deadline_s(handed.plan)
        if self._open_round(self._waiting.cohort(devices), handed.plan.round, deadline_s, now, wall):
            self._handed = replace(handed, base=None)

    def _open_anew(self, handed: Handed, devices: list[str], now: float, wall: float) -> None:
        """Open the last round once more, of whose first plan nothing went up, for the plan that came in its place.

        What devices sent for the first is gone before the round is open: none of it may count in the second's sum.
        """
        if not self._store.tidy():
            self._retry_at = now + RETRY_S  # somebody copies the state
            return
        number = handed.plan.round
        with self._store.ledger.transaction():
            self._store.ledger.put(SITE_PLAN, kept_plan(handed))
            self._store.ledger.reopen_round(number)
        self._above.above, self._handed = handed.plan, replace(handed, base=None)
        row = self._store.ledger.round(number)
        assert row is not None  # noqa: S101 - it was opened just now
        self._reopen(row, now)
        self._plan_anew(handed, devices, now, wall)

    def _plan_anew(self, handed: Handed, devices: list[str], now: float, wall: float) -> None:
        """Plan in a round that is open and has no plans: it is open anew. Args: devices: that are ready."""
        if self._desk.next_base(handed.digest) is not None:
            self._give_up(handed)
        elif devices and now >= self._retry_at:
            self._retry_at = now + RETRY_S  # whether the disk refuses, or no device has room
            self._round.void |= set(devices)  # no plan may have the bytes of the first: its device is done with these
            self._extend(now, wall)
            self._round.deadline_at = now + self._deadline_s(handed.plan)

    def _deadline_s(self, plan: pb.Plan) -> float:
        return min(self._config.round.deadline_s, DEADLINE_SHARE * plan.deadline_s)

    def _look_at_round(self, now: float, wall: float) -> None:
        if self._handed is None or self._desk.is_dropped(self._handed.digest):
            self.state = rules.step(self.state, Event.DEADLINE)
            self._end_round(LEFT_OUT, now, wall)
            return
        if not self._round.plans:
            self._plan_anew(self._handed, sorted(self._waiting.ready(now)), now, wall)
            return
        due = rules.may_close(self._waiting.opened(self._round, now), self._config.round)
        if due is Event.SHORT and now >= self._round.deadline_at and self._rows():
            due = Event.DEADLINE  # above, a quorum is counted in sums
        if due is Event.SHORT and self._desk.next_base(self._handed.digest) is not None:
            self._give_up(self._handed)  # nobody answered, and there is a newer plan
        elif due is Event.SHORT:
            self._extend(now, wall)
        elif due is not None:
            self._sum(due, now, wall)

    def _sum(self, reason: Event, now: float, wall: float) -> None:
        handed, rows = self._handed, self._rows()
        if handed is None or not rows:
            return
        try:
            body = self._site.summed(self._name, handed, self._config.limits.most_examples, rows)
        except BodyError:
            self._lost.take_back(self._round, wall)
            return  # the table is looked at again without them
        self._waiting.note_missed(self._round, now)
        self.state = rules.step(self.state, reason)
        self._desk.bring_sum(handed.digest, body)
        deltas, digest = sum(map(deltas_in, rows)), sha256(body).hex()
        self._events.tell("sum", round=self.round, closed=reason.value, devices=deltas, bytes=len(body), digest=digest)

    def _rows(self) -> list[DeltaRow]:
        """Return the deltas of the round: all that wait, whose devices were not removed, in the order of the ledger."""
        return self._waiting_rows()[0]

    def _waiting_rows(self) -> tuple[list[DeltaRow], list[DeltaRow]]:
        """Return the deltas that wait, and those of them whose devices were removed since."""
        ledger = self._store.ledger
        waiting, removed = ledger.waiting(), set(ledger.revoked_devices())
        return [row for row in waiting if row.device not in removed], [row for row in waiting if row.device in removed]

    def _end_round(self, version: int, now: float, wall: float) -> None:
        """Close the round, whose sum is written. Args: version: that its deltas may be in; LEFT_OUT: in none."""
        ledger = self._store.ledger
        rows, removed = self._waiting_rows()
        with ledger.transaction():
            if version == LEFT_OUT:
                ledger.put_aside(rows)
            else:
                ledger.fold(rows, version)
            ledger.put_aside(removed)
            ledger.close_round(self.round, max(version, 0), wall)
            ledger.forget_lost(self.round)
        self.state = rules.step(self.state, Event.MERGED)
        self._handed, self._retry_at = None, now
        self._announcer.withdraw(list(self._announcer.outstanding))
        self._site.merged()
        self.publish_state()

    def _finish(self) -> None:
        self.state = State.FINISHED
        self._announcer.withdraw(list(self._announcer.outstanding))
        self.publish_state()

    def _roll_back(self, wall: float) -> bool:  # noqa: ARG002 - as Conductor
        """Versions are the upstream's: a rollback that was asked for here is taken back, and told."""
        if not self._versions.rollback_asked:
            return False
        with self._store.ledger.transaction():
            self._store.ledger.put(ROLLBACK, "")
        self._events.tell("damaged", detail="a site has the versions of the gateway above: roll back there")
        return False

    # what is said above

    def _say_facts(self, now: float) -> None:
        """Say above what the devices here can do together, and bring their class sums, when that has changed."""
        self._facts_at = now
        here = [self._roster.members[name].hello for name in sorted(self._waiting.ready(now))]
        if not here:
            return
        body, examples, devices = self._site.statistics(self._name)
        shape = self._store.lineage.shape
        trained = min(shape.experts, sum(hello.trained_slots for hello in here))
        hello = pb.Hello(
            trained_slots=trained,
            held_slots=max(trained, *(hello.held_slots for hello in here)),
            batch_size=max(hello.batch_size for hello in here),
            examples=min(2**32 - 1, max(round(examples), sum(hello.examples for hello in here))),
            devices=max(devices, sum(map(devices_of, here))),
        )
        facts = Facts(hello.SerializeToString(deterministic=True), body)
        if facts == self._facts:
            return
        self._site.note_sums(self._store.ledger.statistics_digests())
        self._facts = facts
        self._desk.bring_facts(facts)

    def _tell_upstream(self) -> None:
        """Tell what happened above, and let commands beside this process know how things stand."""
        for event in self._desk.told():
            self._events.tell("upstream", **event)
        look = self._desk.look()
        if look == self._shown:
            return
        self._shown = look
        kept = {"url": self._url, "site": self._name, **vars(look)}
        with contextlib.suppress(StorageError), self._store.ledger.transaction():
            self._store.ledger.put(UPSTREAM_LOOK, json.dumps(kept))
