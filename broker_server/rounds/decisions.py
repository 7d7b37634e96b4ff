"""Complete bodies until their verdict: looked at, decided in groups, on the disk together, and only then told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from broker_server.errors import StateError, StorageError
from broker_server.rounds.acceptance import Acceptance, Candidate, Usual
from broker_server.rounds.answers import Answers
from broker_server.rounds.checking import Body, CheckingPool, Looked, MaskBody, look_at
from broker_server.rounds.conductor import Conductor
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rules.admission import Checked, check_sender, check_statistics
from broker_server.rules.site_admission import check_partial_statistics
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError

GROUP_BYTES: Final = 32 * 1024 * 1024
"""Bodies that wait for a decision; with more, it is made at once."""
_PASSING: Final = frozenset({pb.UNKNOWN_DEVICE, pb.REVOKED, pb.BUSY, pb.STORAGE_FULL})
"""Verdicts on the sender or the moment, not on the body."""


@dataclass(frozen=True)
class _Masks:
    """A body that concerns masks. Args: round: it is kept for; before: it is kept already."""

    message: MaskBody
    round: int
    before: bool


@dataclass(frozen=True)
class _Outcome:
    """What becomes of a body.

    Args:
        candidate, statistics, masks: what is kept of it.
        final: a refusal that is kept.
    """

    body: Body
    verdict: pb.Verdict
    told: dict[str, Any] = field(default_factory=dict)
    candidate: Candidate | None = None
    statistics: pb.ClassStatistics | pb.PartialStatistics | None = None
    masks: _Masks | None = None
    final: bool = False

    @property
    def keeps(self) -> bool:
        """Whether it is accepted."""
        return self.candidate is not None or self.statistics is not None or self.masks is not None


class Decisions:
    """Bodies in, verdicts out.

    Args:
        parts: shared parts of the gateway.
        conductor: of the rounds.
        answers: to the devices.
        pool: looks at bodies in other threads, and posts to ``looked``; None: they are looked at here.
    """

    def __init__(
        self, parts: GatewayParts, conductor: Conductor, answers: Answers, pool: CheckingPool | None = None
    ) -> None:
        self._store, self._roster, self._events = parts.store, parts.roster, parts.events
        self._parts, self._answers, self._pool = parts, answers, pool
        self._rounds = conductor.masks
        self._acceptance = Acceptance(parts, conductor)
        self._under_way: set[tuple[str, bytes]] = set()
        self._ready: list[Looked] = []
        self._ready_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Return the bytes of the bodies that are complete and have no verdict yet."""
        return self._ready_bytes + (self._pool.held_bytes if self._pool is not None else 0)

    def has(self, device: str, digest: bytes) -> bool:
        """Return whether a body is complete and has no verdict yet."""
        return (device, digest) in self._under_way

    def submit(self, body: Body, wall: float) -> None:
        """Take a complete body. Args: wall: seconds since 1970."""
        self._under_way.add((body.device, body.digest))
        if self._pool is None or not self._pool.submit(body):
            self._ready_bytes += len(body.data)
            self._ready.append(look_at(body, self._store.lineage.shape))
            if self._ready_bytes > GROUP_BYTES:
                self.decide(wall)

    def looked(self, looked: Looked) -> None:
        """Take what the pool says of a body.

        Raises:
            Exception: what went wrong there, a mistake of ours.
        """
        if looked.failure is not None:
            raise looked.failure
        self._ready.append(looked)

    def decide(self, wall: float) -> None:
        """Decide on all that is ready as one group: one file, one transaction, then the verdicts. Args: as submit.

        What cannot be decided (the ledger is damaged) gets no verdict, and comes again.
        """
        ready, self._ready, self._ready_bytes = self._ready, [], 0
        if not ready:
            return
        try:
            self._decide(ready, wall)
        except StateError as error:
            self._events.tell("storage", device="", topic="", detail=str(error))
        finally:
            for looked in ready:
                self._under_way.discard((looked.body.device, looked.body.digest))
                if looked.pooled and self._pool is not None:
                    self._pool.release(looked.body)

    def _decide(self, ready: Sequence[Looked], wall: float) -> None:
        usual, together = self._acceptance.usual(), dict[tuple[str, int], bytes]()
        self._masks_together: dict[tuple[str, int], bytes] = {}
        outcomes = [self._outcome(looked, usual, together) for looked in ready]
        try:
            self._keep(outcomes, wall)
        except StorageError as error:
            outcomes = [self._not_kept(one, error) for one in outcomes]
        for one in outcomes:
            if one.candidate is not None and not one.candidate.before:
                self._acceptance.note(one.candidate)
            if one.masks is not None:
                self._rounds.note(one.masks.round, one.body.kind, one.masks.message, one.body.device)
            self._answers.answer(one.body.device, one.verdict)
            self._tell(one)

    def _outcome(self, looked: Looked, usual: Usual, together: dict[tuple[str, int], bytes]) -> _Outcome:
        body = looked.body
        self._roster.heard(body.device)
        try:
            if looked.checked is not None:
                return self._delta(looked.checked, body, usual, together)
            if looked.statistics is not None:
                return self._statistics(looked.statistics, body)
            if looked.masks is not None:
                return self._masks(looked.masks, body)
            raise looked.refusal or WireError(pb.MALFORMED, "a body that is nothing")
        except WireError as error:
            final = body.kind == pb.DELTA and error.code not in _PASSING
            return _Outcome(body, self._answers.refusal(body.kind, body.digest, error), final=final)

    def _delta(self, checked: Checked, body: Body, usual: Usual, together: dict[tuple[str, int], bytes]) -> _Outcome:
        identity, delta = self._parts.identity(body.device), checked.delta
        candidate = self._acceptance.consider(checked, body, identity, usual, together)
        together[body.device, delta.round] = body.digest
        verdict = pb.Verdict(kind=pb.DELTA, digest=body.digest, code=pb.ACCEPTED, round=delta.round)
        told = {
            "round": delta.round, "experts": len(candidate.row.blocks), "examples": delta.examples,
            "loss_first": round(delta.loss_first, 4), "loss_last": round(delta.loss_last, 4),
            "step_ms": round(delta.step_ms, 2), "staleness": candidate.staleness,
        }  # fmt: skip
        if delta.masked:
            told["masked"] = True
        return _Outcome(body, verdict, told, candidate)

    def _statistics(self, statistics: pb.ClassStatistics | pb.PartialStatistics, body: Body) -> _Outcome:
        lineage, examples = self._store.lineage, self._roster.examples(body.device)
        identity = self._parts.identity(body.device)
        if isinstance(statistics, pb.PartialStatistics):
            check_partial_statistics(statistics, identity, lineage.federation, lineage.shape, examples)
        else:
            check_statistics(statistics, identity, lineage.federation, lineage.shape, examples)
        verdict = pb.Verdict(kind=pb.STATISTICS, digest=body.digest, code=pb.ACCEPTED)
        return _Outcome(body, verdict, statistics=statistics)

    def _masks(self, message: MaskBody, body: Body) -> _Outcome:
        check_sender(self._parts.identity(body.device), message.device)
        if self._masks_together.setdefault((body.device, body.kind), body.digest) != body.digest:
            raise WireError(pb.DUPLICATE, "another such body of this device came with it")
        number, before = self._rounds.consider(message, body)
        verdict = pb.Verdict(kind=body.kind, digest=body.digest, code=pb.ACCEPTED, round=number)
        return _Outcome(body, verdict, {"round": number}, masks=_Masks(message, number, before=before))

    def _keep(self, outcomes: Sequence[_Outcome], wall: float) -> None:
        """Write a group: bodies, synced, then one transaction.

        Raises:
            StorageError: when the disk refuses; nothing was accepted.
        """
        fresh = [one for one in outcomes if one.candidate is not None and not one.candidate.before]
        self._store.spool.keep_all([(one.body.digest, one.body.data) for one in fresh])
        kept = [one for one in outcomes if one.keeps or one.final]
        if not kept:
            return
        ledger = self._store.ledger
        with ledger.transaction():
            for one in kept:
                if one.candidate is not None and not one.candidate.before:
                    ledger.accept(one.candidate.row, wall)
                if one.masks is not None:
                    self._keep_masks(one.masks, one.body)
                elif one.statistics is not None:
                    ledger.keep_statistics(one.statistics, one.body.digest, wall)
                else:
                    ledger.decide(one.verdict, one.body.device, wall)
            # With it, so that a kill loses few of the counted bytes.
            ledger.count_bytes(self._roster.take_traffic(), wall)

    def _keep_masks(self, masks: _Masks, body: Body) -> None:
        if not masks.before:
            self._store.ledger.keep_mask_body(body.device, masks.round, body.kind, body.digest, body.data)

    def _not_kept(self, one: _Outcome, error: StorageError) -> _Outcome:
        """Return what is told when the disk refused: what was refused would be refused again anyway."""
        if not one.keeps:
            return one
        if one.candidate is not None and one.candidate.before:
            return one
        refusal = WireError(pb.STORAGE_FULL, str(error))
        return _Outcome(one.body, self._answers.refusal(one.body.kind, one.body.digest, refusal))

    def _tell(self, one: _Outcome) -> None:
        device, size = one.body.device, len(one.body.data)
        if one.verdict.code != pb.ACCEPTED:
            self._answers.tell_refused(device, one.verdict, size)
        elif one.candidate is not None:
            self._events.tell("delta", device=device, code="ACCEPTED", bytes=size, **one.told)
        else:
            kind = pb.Kind.Name(one.body.kind).lower()
            self._events.tell(kind, device=device, code="ACCEPTED", bytes=size, **one.told)
