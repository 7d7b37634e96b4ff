"""A device in a federation: ties session, membership, work and link together.

One thread does everything but the broker's sockets: take events, let the session decide, act, make one training step,
look again. So a step is never interrupted half way, and nothing here needs a lock.
"""

from __future__ import annotations

import queue
import random
import time
from collections.abc import Callable
from typing import Final, Protocol

from edge_runtime.errors import EdgeError, SessionError
from edge_runtime.federation.at_hand import AtHand
from edge_runtime.federation.catching_up import CatchingUp
from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.delta_delivery import DeltaDelivery
from edge_runtime.federation.fetch import Fetcher
from edge_runtime.federation.ignored import Ignored
from edge_runtime.federation.link import Arrived, Down, Link, LinkEvent, Up
from edge_runtime.federation.mask_delivery import MaskDelivery
from edge_runtime.federation.membership import Identity, Membership
from edge_runtime.federation.plan_training import PlanTraining
from edge_runtime.federation.report import Report
from edge_runtime.federation.session import Action, Event, LinkState, Session, WorkState, step
from edge_runtime.federation.timers import FIRST_RESEND_S, Timers
from edge_runtime.federation.trust import Trust
from edge_runtime.federation.work import Work
from edge_runtime.program.memory import peak_rss_mib
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.topics import Topic

GATEWAY_S: Final = 10.0  # a broker sends what it retained at once
LONGEST_PAUSE_S: Final = 0.5  # a signal handler cannot wake a queue
TIMERS: Final = ("hello", "resend", "sent", "want", "release", "pieces", "statistics", "gateway", "masks")


class CarryingOut(Protocol):
    """Does what a plan asks, a little at a time; returns which event of the session follows, or None."""

    def begin(self) -> Event | None:
        """Begin the waiting plan, or go on with it: FAILED when it cannot be, DAMAGED when its version is."""
        ...

    def step(self) -> Event | None:
        """Do a little of it: TRAINED when its delta is there, FAILED when there will be none."""
        ...


class ExpelledError(EdgeError):
    """The gateway will not have this device; the text says why."""


class Device:
    """One device, from connecting until it is stopped or done.

    Args:
        config: how it takes part.
        work: the plan at hand and its delta.
        carrying_out: does what a plan asks; None: trains it, ``work`` being a device's.
        identity: for Hello and the statistics.
        link: to the broker; its events come through ``inbox``.
        inbox: filled by the link.
        report: where events are told.
        stopped: asked before every turn; true ends ``run`` after the step at hand.
        clock: seconds, for timers.
        chance: numbers in [0, 1), for jitter.
    """

    def __init__(
        self,
        config: RunConfig,
        work: AtHand,
        identity: Identity,
        link: Link,
        inbox: queue.Queue[LinkEvent],
        *,
        report: Report,
        stopped: Callable[[], bool] = lambda: False,
        carrying_out: CarryingOut | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._config, self._work, self._versions, self._link = config, work, work.versions, link
        self._inbox, self._report = inbox, report
        shape = work.architecture.bank_shape
        self._fetcher = Fetcher(work.versions, link, config.device, shape, work.store.folder / "pieces")
        self._timers = Timers(TIMERS, clock, chance)
        self._membership = Membership(config, work, identity, link, timers=self._timers, report=report)
        self._catching_up = CatchingUp(work, self._fetcher, timers=self._timers, report=report)
        self._carrying_out = carrying_out or _training(config, work, report, clock)
        self._delivery = DeltaDelivery(config, work, link, timers=self._timers, report=report)
        self._masks = MaskDelivery(config, work.masks, link, timers=self._timers, report=report, over=self._masks_over)
        self._trust = Trust(config.gateway_key, work.store)
        self._ignored = Ignored(report)
        self._stopped = stopped
        self.session = Session(work=work.resume())

    @property
    def _at_work(self) -> bool:
        """Whether there is a training step to make."""
        return self.session.work is WorkState.TRAINING and self._work.unmasked is None

    # --- the loop ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Take part until done or stopped; the work at hand is kept either way.

        Raises:
            ExpelledError: when the gateway refuses this device for good.
        """
        self._link.start()
        try:
            while not self.finished:
                self.turn()
        finally:
            self._work.save()
            self._fetcher.save()
            self._link.stop(messages.encode(pb.Bye(device=self._config.device)))
            self._report.emit("stopped", rounds=self._delivery.settled, peak_rss_mib=round(peak_rss_mib(), 1))
        if self._membership.expelled:
            raise ExpelledError(self._membership.expelled)

    def greet_again(self, statistics: bytes) -> None:
        """Say Hello anew, as soon as there is a gateway: what this member can do has changed.

        Args:
            statistics: class statistics that it has from now on; empty: none.
        """
        self._membership.bring_statistics(statistics)
        if self.session.link in (LinkState.GREETING, LinkState.MEMBER):
            self._apply(Event.GATEWAY)

    @property
    def gateway(self) -> pb.GatewayState | None:
        """The state of the gateway, while it is online and serves this federation."""
        return self._membership.gateway

    @property
    def rounds(self) -> int:
        """Deltas of this device that were decided on since it started."""
        return self._delivery.settled

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do: expelled, enough rounds, or the gateway is done and its end is here."""
        if self._membership.expelled or self._stopped():
            return True
        if self.session.work in (WorkState.TRAINING, WorkState.UPLOADING):
            return False
        if self._config.rounds and self._delivery.settled >= self._config.rounds:
            return True
        state, newest = self._membership.gateway, self._versions.newest
        if state is None or not state.finished or newest is None:
            return False
        return newest.version == state.version and not self._versions.missing(newest)

    def turn(self) -> None:
        """Handle what came, fire what is due, make one training step if there is one to make."""
        event = self._next(0.0 if self._at_work else self._timers.pause(LONGEST_PAUSE_S))
        while event is not None:
            self._handle(event)
            event = None if self._membership.expelled or self._stopped() else self._next(0.0)
        for name in self._timers.take_due():
            self._due(name)
        if self.session.work is WorkState.WAITING and (self.session.member or self._work.resumed) and self._work.ready:
            self._apply(Event.READY)
        if self.session.work is WorkState.TRAINING:
            self._follow(self._carrying_out.step())

    def _next(self, wait_s: float) -> LinkEvent | None:
        try:
            return self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
        except queue.Empty:
            return None

    def _apply(self, event: Event) -> None:
        try:
            self.session, actions = step(self.session, event)
        except SessionError as error:
            self._report.emit("ignored", reason=str(error))
            return
        for action in actions:
            self._act(action)

    def _follow(self, event: Event | None) -> None:
        """Apply what follows from a plan's training or its delta; after one plan, take up the newest that waits."""
        if event is None:
            return
        self._apply(event)
        over = event in (Event.FAILED, Event.SETTLED)
        if over and self._work.waiting is not None and self.session.work is WorkState.IDLE:
            self._apply(Event.PLAN)

    def _act(self, action: Action) -> None:
        act: dict[Action, Callable[[], None]] = {
            Action.HELLO: self._membership.send_hello,
            Action.TRAIN: lambda: self._follow(self._carrying_out.begin()),
            Action.ABANDON: self._work.abandon,
            Action.OFFER: self._delivery.offer_pending,
            Action.FETCH: lambda: self._fetch(again=True),
        }
        act[action]()

    # --- timers -----------------------------------------------------------------------------------------------

    def _due(self, name: str) -> None:
        act: dict[str, Callable[[], None]] = {
            "gateway": self._membership.tell_no_gateway,
            "release": self._fetcher.release,
            "pieces": self._fetcher.save,
        }
        if name in act:
            act[name]()
        elif self._link.busy:  # what was sent last is still on its way: a slow link is not helped by more
            self._timers.again(name, FIRST_RESEND_S)
        else:
            self._say_again(name)

    def _say_again(self, name: str) -> None:
        if name == "hello" and self.session.link is LinkState.GREETING:
            self._apply(Event.HELLO_DUE)
        elif name == "resend" and self.session.work is WorkState.UPLOADING:
            self._apply(Event.RESEND_DUE)
        elif name == "sent" and self.session.member:
            self._delivery.offer_sent()
        elif name == "want" and self.session.member:
            self._catching_up.ask_again()
        elif name == "statistics" and self.session.member:
            self._membership.offer_statistics()
        elif name == "masks" and self.session.member:
            self._masks.offer_again()

    # --- what came --------------------------------------------------------------------------------------------

    def _handle(self, event: LinkEvent) -> None:
        if isinstance(event, Up):
            self._membership.forget_greeting()
            self._report.emit("connected", "connected to the broker")
            self._timers.again("gateway", GATEWAY_S)
            self._apply(Event.LINK_UP)
        elif isinstance(event, Down):
            self._lost(event)
        else:
            self._arrived(event)

    def _lost(self, event: Down) -> None:
        text = f"no broker: {event.reason}; trying again, at most a minute apart" if event.first else ""
        self._report.emit("disconnected", text, reason=event.reason, again_s=round(event.again_s, 1))
        self._timers.stop_all()
        self._fetcher.save()
        self._apply(Event.LINK_DOWN)

    def _arrived(self, event: Arrived) -> None:
        topic = event.address.topic
        handlers: dict[Topic, Callable[[Arrived], None]] = {
            Topic.GATEWAY: self._on_gateway,
            Topic.VERSION: self._on_version,
            Topic.PLAN: self._on_plan,
            Topic.VERDICT: self._on_verdict,
            Topic.BLOB: self._on_blob,
            Topic.SECURE: self._on_secure,
        }
        handler = handlers.get(topic)
        if handler is None:
            return
        try:
            self._trust.check(event.address, event.payload)
            handler(event)
        except WireError as error:
            self._ignored.tell(topic, error)

    def _on_gateway(self, event: Arrived) -> None:
        self._timers.stop("gateway")
        follows = self._membership.take_state(event.payload, told=self.session.link is LinkState.STRANGER)
        if follows is not None:
            self._apply(follows)

    def _on_version(self, event: Arrived) -> None:
        if not event.payload:
            return
        self._catching_up.take_version(event.payload)
        self._fetch()

    def _on_plan(self, event: Arrived) -> None:
        if not event.payload:
            if self._work.waiting is not None or self._work.under_way is not None:
                self._report.emit("withdrawn", "the gateway took the plan back")
            if not self._work.masks_delivered:
                self._work.masks.drop()  # after its delta, a round under masks still asks for the answer
            self._work.withdraw()
            self._apply(Event.WITHDRAWN)
            return
        plan = self._work.take(event.payload)
        if plan is None:
            return
        experts = len(plan.train)
        self._report.emit("plan", round=plan.round, experts=experts, steps=plan.steps, deadline_s=plan.deadline_s)
        self._masks.begin(plan, event.payload)
        self._apply(Event.PLAN)
        self._fetch()

    def _on_secure(self, event: Arrived) -> None:
        self._masks.take(event)
        self._fetch()

    def _masks_over(self) -> None:
        """Drop the plan whose round under masks is over for this device."""
        if self.session.work is WorkState.WAITING:
            self._work.refuse()
            self._apply(Event.FAILED)
        elif self.session.work is WorkState.TRAINING:
            self._follow(Event.FAILED)

    def _on_blob(self, event: Arrived) -> None:
        if self._catching_up.take_blob(event):
            self._fetch()

    def _fetch(self, *, again: bool = False) -> None:
        self._masks.advance(member=self.session.member)
        self._catching_up.fetch(member=self.session.member, again=again)

    def _on_verdict(self, event: Arrived) -> None:
        verdict = messages.decode(pb.Verdict, event.payload)
        member, pending, kept = self._membership, self._work.pending, self._work.sent
        sent: dict[tuple[int, bytes], Callable[[pb.Verdict], None]] = {
            (pb.HELLO, self._fetcher.want_digest): self._catching_up.take_verdict,
            (pb.HELLO, member.hello_digest): self._on_hello_verdict,
            (pb.STATISTICS, member.statistics_digest): member.take_statistics_verdict,
            self._masks.sent: self._masks.take_verdict,
            (pb.DELTA, kept.digest if kept is not None else b""): self._delivery.take_sent_verdict,
            (pb.DELTA, pending.digest if pending is not None else b""): self._on_delta_verdict,
        }
        handle = sent.get((verdict.kind, verdict.digest))
        if handle is None:
            return  # about something that was decided already, or sent before a restart
        follows = member.take_verdict(verdict)
        if verdict.kind == pb.DELTA and verdict.code != pb.INCOMPLETE:
            self._delivery.stop(verdict.digest)
        if follows is not None:
            self._apply(follows)
        else:
            handle(verdict)

    def _on_hello_verdict(self, verdict: pb.Verdict) -> None:
        if self.session.link is not LinkState.GREETING:
            return
        follows = self._membership.take_hello_verdict(verdict)
        if follows is None:
            return
        self._apply(follows)
        self._masks.greeted()
        if verdict.want_statistics:
            self._membership.offer_statistics()

    def _on_delta_verdict(self, verdict: pb.Verdict) -> None:
        self._follow(self._delivery.take_pending_verdict(verdict))


def _training(config: RunConfig, work: AtHand, report: Report, clock: Callable[[], float]) -> PlanTraining:
    assert isinstance(work, Work)  # noqa: S101 - who carries plans out otherwise says how
    return PlanTraining(config, work, report, clock)
