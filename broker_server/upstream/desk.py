"""What passes between the thread that speaks with the gateway above and the one that decides here; locked, no I/O."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import ExpertId

WAIT_S: Final = 0.05
"""How long a look for a sum may take; messages from above wait for it."""
REMEMBERED: Final = 64
"""Plans of which it is known that their sum was written."""
KEPT: Final = 3
"""Versions that wait to be taken up, at most: while a round is open none is. Of more the newest stay."""


@dataclass(frozen=True)
class Facts:
    """What a site says of itself above.

    Args:
        hello: what its devices can do together; who it is is not filled in.
        statistics: a PartialStatistics of theirs; empty: they have no classes.
    """

    hello: bytes
    statistics: bytes = b""


@dataclass(frozen=True)
class Complete:
    """A version that is here whole.

    Args:
        message: that announced it.
        bank: its blocks, each with the digest that the message says.
        updates: by block, the base that it is an update of, and its bytes; of some.
    """

    message: pb.Version
    bank: Bank
    updates: Mapping[ExpertId, tuple[bytes, bytes]]


@dataclass(frozen=True)
class Handed:
    """A plan that came from above.

    Args:
        plan: decoded.
        digest: over its bytes.
        base: the version that it starts from, often not the newest any more; None: it is taken up already.
    """

    plan: pb.Plan
    digest: bytes
    base: Complete | None = None


@dataclass(frozen=True)
class Look:
    """How things stand above, for people. Args: state: in a few words; detail: why; round: of the last sum."""

    state: str = "waiting for devices"
    detail: str = ""
    round: int = 0


@dataclass
class _Shared:
    facts: Facts | None = None
    plan: Handed | None = None
    sums: dict[bytes, bytes] = field(default_factory=dict)
    given_up: set[bytes] = field(default_factory=set)
    kept: list[bytes] = field(default_factory=list)
    dropped: set[bytes] = field(default_factory=set)
    versions: list[Complete] = field(default_factory=list)
    waiting: tuple[bytes, int] | None = None
    look: Look = field(default_factory=Look)
    told: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False


class Desk:
    """Between two threads; each name is put down by one of them and taken by the other."""

    def __init__(self) -> None:
        self._shared, self._changed = _Shared(), threading.Condition()

    # --- of the thread that decides ------------------------------------------------------------------------------

    def bring_facts(self, facts: Facts) -> None:
        """Say anew what the site can do."""
        with self._changed:
            self._shared.facts = facts
            self._changed.notify_all()

    def plan(self) -> Handed | None:
        """Return the plan at hand above: what the site is to do."""
        with self._changed:
            return self._shared.plan

    def bring_sum(self, plan_digest: bytes, body: bytes) -> None:
        """Hand over the sum for a plan."""
        with self._changed:
            self._shared.sums = {plan_digest: body}
            self._changed.notify_all()

    def give_up(self, plan_digest: bytes) -> None:
        """Say that there will be no sum for a plan."""
        with self._changed:
            self._shared.given_up.add(plan_digest)
            self._changed.notify_all()

    def is_kept(self, plan_digest: bytes) -> bool:
        """Return whether the sum for a plan is on the disk, whatever became of it above."""
        with self._changed:
            return plan_digest in self._shared.kept

    def is_dropped(self, plan_digest: bytes) -> bool:
        """Return whether a plan was taken back, or is at hand no more for another reason: another one is."""
        with self._changed:
            shared = self._shared
            another = shared.plan is not None and shared.plan.digest != plan_digest and plan_digest not in shared.kept
            return another or plan_digest in shared.dropped

    def next_base(self, plan_digest: bytes = b"") -> int | None:
        """Return the base version of the plan that waits to be handed over; None: none does. Args: after this one."""
        with self._changed:
            waiting = self._shared.waiting
            return waiting[1] if waiting is not None and waiting[0] != plan_digest else None

    def versions(self) -> list[Complete]:
        """Take the versions that became complete, oldest first."""
        with self._changed:
            taken, self._shared.versions = self._shared.versions, []
            return taken

    def put_back(self, versions: list[Complete]) -> None:
        """Put versions back that cannot be taken up yet."""
        with self._changed:
            self._shared.versions = [*versions, *self._shared.versions][-KEPT:]

    def look(self) -> Look:
        """Return how things stand."""
        with self._changed:
            return self._shared.look

    def told(self) -> list[dict[str, Any]]:
        """Take what is to be told of."""
        with self._changed:
            taken, self._shared.told = self._shared.told, []
            return taken

    @property
    def finished(self) -> bool:
        """Whether the gateway above is done, and its last version is here."""
        with self._changed:
            return self._shared.finished

    # --- of the thread that speaks with the gateway above -------------------------------------------------------

    def wait_for_facts(self, seconds: float, before: Facts | None = None) -> Facts | None:
        """Return what the site can do, once it says something else than ``before``; None: it does not yet."""
        with self._changed:
            self._changed.wait_for(lambda: self._shared.facts != before, seconds)
            return self._shared.facts if self._shared.facts != before else None

    def expect(self, plan_digest: bytes, base_version: int) -> None:
        """Say which version the plan that waits starts from; it is handed over once that is here, and its turn."""
        with self._changed:
            self._shared.waiting = plan_digest, base_version

    def expect_none(self) -> None:
        """Say that no plan waits."""
        with self._changed:
            self._shared.waiting = None

    def hand(self, plan: Handed) -> None:
        """Hand the plan that waited over."""
        with self._changed:
            self._shared.plan, self._shared.waiting = plan, None
            self._shared.dropped.discard(plan.digest)

    def wait_for_sum(self, plan_digest: bytes) -> bytes | None:
        """Return the sum for a plan; empty: there will be none; None: not yet."""
        with self._changed:
            shared = self._shared
            self._changed.wait_for(lambda: plan_digest in shared.sums or plan_digest in shared.given_up, WAIT_S)
            return b"" if plan_digest in shared.given_up else shared.sums.get(plan_digest)

    def keep(self, plan_digest: bytes) -> None:
        """Say that a plan's sum is on the disk."""
        with self._changed:
            self._shared.kept = [*self._shared.kept, plan_digest][-REMEMBERED:]
            self._shared.plan = None
            self._shared.sums.pop(plan_digest, None)

    def drop(self, plan_digest: bytes) -> None:
        """Say that a plan is at hand no more."""
        with self._changed:
            self._shared.dropped = {plan_digest}
            self._shared.plan = None
            self._shared.sums.pop(plan_digest, None)
            self._shared.given_up.discard(plan_digest)

    def bring_version(self, version: Complete) -> None:
        """Hand over a version that is whole."""
        with self._changed:
            self._shared.versions = [*self._shared.versions, version][-KEPT:]

    def tell(self, look: Look, **event: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Say how things stand, and what happened."""
        with self._changed:
            self._shared.look = look
            if event:
                self._shared.told.append(event)

    def finish(self) -> None:
        """Say that the gateway above is done: no plan is waited for any more."""
        with self._changed:
            self._shared.finished, self._shared.waiting = True, None
