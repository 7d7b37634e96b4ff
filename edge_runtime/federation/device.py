"""A device in a federation: ties session, membership, work and link together.

One thread does everything but the broker's sockets: take events, let the session decide, act, make one training step,
look again. So a step is never interrupted half way, and nothing here needs a lock.
"""

from __future__ import annotations

import queue
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from edge_runtime.errors import EdgeError, PlanError, SessionError
from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.fetch import Fetcher
from edge_runtime.federation.link import Arrived, Down, Link, LinkEvent, Up
from edge_runtime.federation.membership import Identity, Membership
from edge_runtime.federation.report import Report
from edge_runtime.federation.session import Action, Event, LinkState, Session, WorkState, step
from edge_runtime.federation.timers import FIRST_RESEND_S, Timers
from edge_runtime.federation.trust import Trust
from edge_runtime.federation.upload import Upload
from edge_runtime.federation.work import Work
from edge_runtime.program.memory import peak_rss_mib
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import BankError, WireError
from edge_runtime.wire.topics import Topic

GATEWAY_S: Final = 10.0  # a broker sends what it retained at once
LONGEST_PAUSE_S: Final = 0.5  # a signal handler cannot wake a queue
_STEP_EVENTS_S: Final = 0.2
TIMERS: Final = ("hello", "resend", "sent", "want", "release", "pieces", "statistics", "gateway")
RELEASE_S: Final = 0.25
"""How long topics of blobs that came are listened to, at most: another device may ask for the same blob."""
PIECES_S: Final = 2.0
"""How long a blob is on its way before its pieces are written down."""


class ExpelledError(EdgeError):
    """The gateway will not have this device; the text says why."""


class Device:
    """One device, from connecting until it is stopped or done.

    Args:
        config: how it takes part.
        work: the plan at hand and its delta.
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
        work: Work,
        identity: Identity,
        link: Link,
        inbox: queue.Queue[LinkEvent],
        *,
        report: Report,
        stopped: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._config, self._work, self._versions, self._link = config, work, work.versions, link
        self._inbox, self._report, self._clock, self._chance = inbox, report, clock, chance
        shape = work.tools.manifest.architecture.bank_shape
        self._fetcher = Fetcher(work.versions, link, config.device, shape, work.store.folder / "pieces")
        self._timers = Timers(TIMERS, clock, chance)
        self._membership = Membership(config, work, identity, link, timers=self._timers, report=report)
        self._trust = Trust(config.gateway_key, work.store)
        self._forged: Counter[Topic] = Counter()
        """Messages that are not the gateway's."""
        self._saved_at = self._told_at = 0.0
        self._spent_s = 0.0
        self._rounds_settled = 0
        self._upload: Upload | None = None
        self._sent_upload: Upload | None = None
        self._stopped = stopped
        self.session = Session(work=work.resume())

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
            self._report.emit("stopped", rounds=self._rounds_settled, peak_rss_mib=round(peak_rss_mib(), 1))
        if self._membership.expelled:
            raise ExpelledError(self._membership.expelled)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do: expelled, enough rounds, or the gateway is done and its end is here."""
        if self._membership.expelled or self._stopped():
            return True
        if self.session.work in (WorkState.TRAINING, WorkState.UPLOADING):
            return False
        if self._config.rounds and self._rounds_settled >= self._config.rounds:
            return True
        state, newest = self._membership.gateway, self._versions.newest
        if state is None or not state.finished or newest is None:
            return False
        return newest.version == state.version and not self._versions.missing(newest)

    def turn(self) -> None:
        """Handle what came, fire what is due, make one training step if there is one to make."""
        event = self._next(0.0 if self.session.work is WorkState.TRAINING else self._timers.pause(LONGEST_PAUSE_S))
        while event is not None:
            self._handle(event)
            event = None if self._membership.expelled or self._stopped() else self._next(0.0)
        for name in self._timers.take_due():
            self._due(name)
        if self.session.work is WorkState.WAITING and (self.session.member or self._work.resumed) and self._work.ready:
            self._apply(Event.READY)
        if self.session.work is WorkState.TRAINING:
            self._train_step()

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

    def _act(self, action: Action) -> None:
        act: dict[Action, Callable[[], None]] = {
            Action.HELLO: self._membership.send_hello,
            Action.TRAIN: self._begin,
            Action.ABANDON: self._work.abandon,
            Action.OFFER: self._offer_delta,
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
            self._offer_sent()
        elif name == "want" and self.session.member:
            if not self._fetcher.again_s:  # else it was told to ask again
                self._versions.unanswered()
            self._fetch(again=True)
        elif name == "statistics" and self.session.member:
            self._membership.offer_statistics()

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
        }
        handler = handlers.get(topic)
        if handler is None:
            return
        try:
            self._trust.check(event.address, event.payload)
            handler(event)
        except WireError as error:
            self._ignored(topic, error)

    def _ignored(self, topic: Topic, error: WireError) -> None:
        text, times = f"ignored a message on {topic.value}: {error}", 1
        if error.code == pb.BAD_SIGNATURE:
            self._forged[topic] += 1
            times = self._forged[topic]
            if times & (times - 1):  # whoever can send one can send a million: told are 1, 2, 4, 8 ... of them
                return
            text = f"{text}; somebody else can publish at the broker" if times == 1 else ""
        self._report.emit("ignored", text, topic=topic.value, reason=str(error), times=times)

    def _on_gateway(self, event: Arrived) -> None:
        self._timers.stop("gateway")
        follows = self._membership.take_state(event.payload, told=self.session.link is LinkState.STRANGER)
        if follows is not None:
            self._apply(follows)

    def _on_version(self, event: Arrived) -> None:
        if not event.payload:
            return
        version = self._versions.announce(event.payload)
        self._work.let_go(version.round)
        self._report.emit(
            "version_announced",
            version=version.version,
            round=version.round,
            missing=len(self._versions.missing(version)),
        )
        self._fetch()

    def _on_plan(self, event: Arrived) -> None:
        if not event.payload:
            if self._work.waiting is not None or self._work.training is not None:
                self._report.emit("withdrawn", "the gateway took the plan back")
            self._work.withdraw()
            self._apply(Event.WITHDRAWN)
            return
        plan = self._work.take(event.payload)
        if plan is None:
            return
        experts = len(plan.train)
        self._report.emit("plan", round=plan.round, experts=experts, steps=plan.steps, deadline_s=plan.deadline_s)
        self._apply(Event.PLAN)
        self._fetch()

    def _on_blob(self, event: Arrived) -> None:
        if not self._fetcher.take(event.address.name, event.payload):
            return
        self._timers.stop("want")
        self._timers.again("want", self._fetcher.again_s)
        if self._fetcher.partial and not self._timers.running("pieces"):
            self._timers.again("pieces", PIECES_S)
        if self._fetcher.leaving and not self._timers.running("release"):
            self._timers.again("release", RELEASE_S)
        self._fetch()

    def _fetch(self, *, again: bool = False) -> None:
        """Ask for what is missing (``again``: also for what was asked before); note when the newest became complete."""
        others = self._work.wanted_versions
        wanted = self._fetcher.wanted(others)
        if not wanted:
            self._timers.stop("want")
        if self._adopt(others):
            number = self._versions.newest.version if self._versions.newest else 0
            self._report.emit("version", f"version {number} is here", version=number)
        if self.session.member and self._fetcher.ask(wanted, again=again):
            self._timers.again("want")

    def _adopt(self, others: list[bytes]) -> bool:
        try:
            return self._versions.adopt_newest(others)
        except BankError as error:
            self._report.emit("ignored", f"{error}; the version before stays", topic="version", reason=str(error))
            return False

    def _on_verdict(self, event: Arrived) -> None:
        verdict = messages.decode(pb.Verdict, event.payload)
        member, pending, kept = self._membership, self._work.pending, self._work.sent
        sent: dict[tuple[int, bytes], Callable[[pb.Verdict], None]] = {
            (pb.HELLO, self._fetcher.want_digest): self._on_want_verdict,
            (pb.HELLO, member.hello_digest): self._on_hello_verdict,
            (pb.STATISTICS, member.statistics_digest): member.take_statistics_verdict,
            (pb.DELTA, kept.digest if kept is not None else b""): self._on_sent_verdict,
            (pb.DELTA, pending.digest if pending is not None else b""): self._on_delta_verdict,
        }
        handle = sent.get((verdict.kind, verdict.digest))
        if handle is None:
            return  # about something that was decided already, or sent before a restart
        follows = member.take_verdict(verdict)
        if verdict.kind == pb.DELTA and verdict.code != pb.INCOMPLETE:
            self._stop_sending(verdict.digest)
        if follows is not None:
            self._apply(follows)
        else:
            handle(verdict)

    def _stop_sending(self, digest: bytes) -> None:
        for upload in (self._upload, self._sent_upload):
            if upload is not None and upload.digest == digest:
                upload.stop()

    def _on_hello_verdict(self, verdict: pb.Verdict) -> None:
        if self.session.link is not LinkState.GREETING:
            return
        follows = self._membership.take_hello_verdict(verdict)
        if follows is None:
            return
        self._apply(follows)
        if verdict.want_statistics:
            self._membership.offer_statistics()

    def _on_want_verdict(self, verdict: pb.Verdict) -> None:
        """What the gateway published before this verdict is here now, or will not come: ask for the rest."""
        if verdict.retry_after_s > 0:
            self._fetcher.again_s = verdict.retry_after_s
            self._timers.stop("want")
            self._timers.again("want", verdict.retry_after_s)

    def _on_delta_verdict(self, verdict: pb.Verdict) -> None:
        upload = self._delta_upload() if verdict.code == pb.INCOMPLETE else None
        if upload is not None:
            self._send_chunks(upload, verdict, "sending")
        if verdict.retry_after_s > 0:
            self._timers.again("resend", verdict.retry_after_s)
            return
        self._timers.stop("resend")
        self._work.settle(accepted=verdict.code == pb.ACCEPTED)
        self._rounds_settled += 1
        self._apply(Event.SETTLED)
        self._take_next()

    def _on_sent_verdict(self, verdict: pb.Verdict) -> None:
        """The gateway accepted this delta, and speaks of it again: its disk lost it, or it takes no more of it."""
        if verdict.code == pb.INCOMPLETE and self._sent_upload is not None:
            self._send_chunks(self._sent_upload, verdict, "sending again, though it was accepted,")
        if verdict.retry_after_s > 0:
            self._timers.again("sent", verdict.retry_after_s)
            return
        self._timers.stop("sent")
        self._sent_upload = None
        if verdict.code != pb.ACCEPTED:
            self._work.let_go()

    def _take_next(self) -> None:
        """After one plan, the newest that came meanwhile."""
        if self._work.waiting is not None and self.session.work is WorkState.IDLE:
            self._apply(Event.PLAN)

    # --- what to do -------------------------------------------------------------------------------------------

    def _offer_delta(self) -> None:
        upload, pending = self._delta_upload(), self._work.pending
        if upload is None or pending is None:
            return
        self._report.emit("offer", round=pending.round, bytes=len(pending.body))
        self._link.send(Topic.OFFER, [upload.offer(self._link.chunk_bytes)])
        self._timers.again("resend")

    def _delta_upload(self) -> Upload | None:
        pending = self._work.pending
        if pending is None:
            return None
        if self._upload is None or self._upload.digest != pending.digest:
            self._upload = Upload(self._config.device, pb.DELTA, pending.body)
        return self._upload

    def _offer_sent(self) -> None:
        """Offer the accepted delta that is kept, if it is; where it is not, the gateway plans anew."""
        body = self._work.sent_body()
        if body is None:
            self._sent_upload = None
            return
        self._sent_upload = self._sent_upload or Upload(self._config.device, pb.DELTA, body)
        self._link.send(Topic.OFFER, [self._sent_upload.offer(self._link.chunk_bytes)])
        self._timers.again("sent")

    def _send_chunks(self, upload: Upload, verdict: pb.Verdict, what: str) -> None:
        asked, size = upload.asked(verdict.missing)
        number = self._work.round_of(verdict.digest)
        self._report.emit("delta", f"round {number}: {what} {size / 1000:.0f} kB", round=number, bytes=size)
        self._link.send(Topic.DELTA, asked)

    def _begin(self) -> None:
        try:
            training = self._work.begin()
        except (PlanError, BankError) as error:
            self._give_up(str(error))
            return
        if training is None:
            self._apply(Event.DAMAGED)
            return
        self._saved_at, self._spent_s = self._clock(), 0.0
        plan, trainer = training.plan, training.trainer
        blocks = [f"{block.layer}.{block.index}" for block in messages.ids(plan.train)]
        text = f"round {plan.round}: training {len(blocks)} blocks from version {plan.base_version}"
        text += f", going on after step {trainer.steps}" if trainer.steps else ""
        self._report.emit(
            "round",
            text,
            round=plan.round,
            base_version=plan.base_version,
            blocks=blocks,
            steps=plan.steps,
            step=trainer.steps,
        )

    def _give_up(self, reason: str) -> None:
        self._report.emit("error", reason, reason=reason)
        self._apply(Event.FAILED)
        self._take_next()

    def _train_step(self) -> None:
        training = self._work.training
        if training is None:
            return
        trainer, limit = training.trainer, self._config.budget.round_seconds
        if not trainer.done and not (limit and trainer.steps and self._spent_s >= limit):
            moved = self._work.adapt()
            if moved:
                self._report.emit(
                    "tier", f"round {training.plan.round}: {moved}", moved=moved, tier=trainer.tier.method
                )
            loss = trainer.step()
            self._spent_s += trainer.last_ms / 1000
            self._tell_step(training.plan.round, trainer.steps, training.plan.steps, loss, trainer.last_ms)
            if self._clock() - self._saved_at >= self._config.checkpoint_s:
                self._work.save()
                self._saved_at = self._clock()
            return
        try:
            pending, outcome = self._work.finish()
        except WireError as error:
            self._give_up(f"round {training.plan.round}: training diverged, nothing is sent ({error.detail})")
            return
        fields = {"loss_first": round(outcome.loss_first, 4), "loss_last": round(outcome.loss_last, 4)}
        self._report.emit(
            "trained",
            f"round {pending.round}: loss {fields['loss_first']:.3f} -> {fields['loss_last']:.3f}; {outcome.fill}",
            round=pending.round,
            steps=len(outcome.losses),
            step_ms=round(outcome.step_ms, 2),
            examples=outcome.examples,
            peak_rss_mib=round(peak_rss_mib(), 1),
            **outcome.fill.figures(),
            **fields,
        )
        self._apply(Event.TRAINED)

    def _tell_step(self, number: int, step: int, steps: int, loss: float, ms: float) -> None:
        now = self._clock()
        if step == steps or now - self._told_at >= _STEP_EVENTS_S:
            self._told_at = now
            self._report.emit("step", round=number, step=step, steps=steps, loss=round(loss, 4), step_ms=round(ms, 2))
