"""What a member of a federation has at hand, whatever a plan asks: a plan that waits, a delta, what outlives a kill.

A device trains a plan (``work.py``); a site hands it on to its own devices. Either way these hold:
    begin    plan
    finish   delta; then the plan goes
    settle   done; an accepted delta is renamed to sent, another one goes
    version  of that round or a later one: sent goes
each write atomic. A kill between any two leaves a state from which ``resume`` goes on to the same bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from edge_runtime.federation.delta import PendingDelta, SentDelta
from edge_runtime.federation.masks import Masks
from edge_runtime.federation.session import WorkState
from edge_runtime.federation.unmasked import Unmasked
from edge_runtime.federation.versions import Versions
from edge_runtime.store import Record, Store
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.manifest import Architecture
from edge_runtime.wire.secure.signed_keys import KeySigner
from edge_runtime.wire.secure.terms import Terms

_REMEMBERED = 32


@dataclass(frozen=True)
class UnderWay:
    """A plan that is being carried out. Args: plan: decoded; digest: over its bytes."""

    plan: pb.Plan
    digest: bytes


@dataclass
class AtHand(ABC):
    """A plan that waits, the one that is carried out, a delta that is pending; kept on disk.

    Args:
        store: of this member.
        versions: of the bank.
        device: its id.
        signer: of its keys under masks, where it has a certificate.
    """

    store: Store
    versions: Versions
    device: str
    signer: KeySigner | None = None
    waiting: pb.Plan | None = field(default=None, init=False)
    waiting_digest: bytes = field(default=b"", init=False)
    pending: PendingDelta | None = field(default=None, init=False)
    sent: SentDelta | None = field(default=None, init=False)
    unmasked: Unmasked | None = field(default=None, init=False)
    class_sums: ClassSums | None = field(default=None, init=False)
    """Of its data; a round under masks may ask for them."""
    masks: Masks = field(init=False)
    """The round under masks at hand."""
    _waiting_bytes: bytes = field(default=b"", init=False)
    _done: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.masks = Masks(self.store, self.device, self.signer)

    # --- what a plan comes to is for others to say ------------------------------------------------------------

    @property
    @abstractmethod
    def architecture(self) -> Architecture:
        """What is served."""

    @property
    @abstractmethod
    def under_way(self) -> UnderWay | None:
        """The plan that is carried out."""

    @abstractmethod
    def hello(self) -> pb.Hello:
        """Return what this member can do, as a Hello tells it."""

    @abstractmethod
    def abandon(self) -> None:
        """Drop the plan that is carried out; it is not taken up again."""

    @abstractmethod
    def save(self) -> None:
        """Write down how far it is."""

    def _drop_plan(self) -> None:
        """Forget the plan that was begun, and all that was made of it."""
        self.store.remove("plan")

    def _holds(self, _begun: Record) -> bool:
        """Return whether a plan that was begun still holds. Args: its record."""
        return True

    @abstractmethod
    def _kept(self, digest: bytes) -> None:
        """Take note that a delta was accepted. Args: its digest."""

    @abstractmethod
    def _left(self) -> None:
        """Take note that a delta is decided on."""

    def _resumed_without_plan(self) -> WorkState | None:
        """Return the work that an earlier process was at, if its plan is not needed for it any more."""
        return None

    # --- the same for all -------------------------------------------------------------------------------------

    def resume(self) -> WorkState:
        """Read what an earlier process left, and return the work that it was at."""
        done = self.store.recall("done")
        self._done = list(done.head["plans"]) if done else []
        sent = self.store.recall("sent")
        self.sent = SentDelta(sha256(sent.body), int(sent.head["round"])) if sent is not None else None
        left = self.store.recall("delta")
        if left is not None:
            plan_digest = bytes.fromhex(left.head["plan"])
            self.pending = PendingDelta(sha256(left.body), left.body, int(left.head["round"]), plan_digest)
            self._drop_plan()
            return WorkState.UPLOADING
        state = self._resumed_without_plan()
        if state is not None:
            return state
        plan = self.store.recall("plan")
        if plan is None:
            return WorkState.IDLE
        if not self._holds(plan):
            self._drop_plan()
            return WorkState.IDLE
        self.waiting, self.waiting_digest = messages.decode(pb.Plan, plan.body), sha256(plan.body)
        return WorkState.WAITING

    def take(self, payload: bytes) -> pb.Plan | None:
        """Take a plan's bytes; None when it is done, or the one at hand.

        Raises:
            WireError: when the bytes are no plan for this device.
        """
        plan, digest = messages.decode(pb.Plan, payload), sha256(payload)
        if plan.device != self.device:
            raise WireError(pb.MALFORMED, f"a plan for {plan.device} came on the topic of {self.device}")
        terms = [Terms.of(one) for one in plan.masks]
        if any(one.private and one.of_classes(circle) for one in terms for circle in one.circles):
            raise WireError(
                pb.UNSUPPORTED_WIRE, "a plan that asks for class sums beside noise, which they would not have"
            )
        # A plan is retained: it comes again with every connection, also while its delta waits for the verdict.
        at_hand = [
            self.waiting_digest,
            self.under_way and self.under_way.digest,
            self.pending and self.pending.plan_digest,
            self.unmasked and self.unmasked.plan_digest,
        ]
        if digest in at_hand or self.is_done(digest):
            return None
        self.waiting, self.waiting_digest = plan, digest
        self._waiting_bytes = payload
        return plan

    def is_done(self, plan_digest: bytes) -> bool:
        """Return whether a plan was carried out or given up."""
        return plan_digest.hex() in self._done

    def withdraw(self) -> None:
        """Forget the plan that waits."""
        self.waiting, self.waiting_digest, self._waiting_bytes = None, b"", b""

    @property
    def wanted_versions(self) -> list[bytes]:
        """Digests of the versions that plans at hand start from."""
        return [plan.version_digest for plan in self._plans]

    def missed_versions(self) -> list[bytes]:
        """Return which of these were announced while this member was away; their lists of blocks are to be fetched.

        Lists that came are taken up; what came and is no list is not asked for again.
        """
        known = self.versions.knows
        missed = [plan.version_digest for plan in self._plans if not known(plan.version_digest, plan.base_version)]
        return [digest for digest in missed if not self.store.has_blob(digest)]

    @property
    def _plans(self) -> list[pb.Plan]:
        plans = (self.waiting, self.under_way.plan if self.under_way is not None else None)
        return [plan for plan in plans if plan is not None]

    @property
    def resumed(self) -> bool:
        """Whether the waiting plan is one that this device had begun: it may go on before a gateway is there."""
        return self.waiting is not None and not self._waiting_bytes

    @property
    def ready(self) -> bool:
        """Whether the waiting plan's version is complete."""
        if self.waiting is None:
            return False
        version = self.versions.find(self.waiting.version_digest)
        return version is not None and not self.versions.missing(version)

    def settle(self, *, accepted: bool) -> None:
        """Forget the delta; what its codec left behind counts for the next one when it was accepted."""
        if self.pending is None:
            return
        if accepted:
            self._kept(self.pending.digest)
        self._finished(self.pending.plan_digest)
        if accepted:
            # The gateway's disk may lose what it accepted, and then it asks for the same bytes again.
            self.store.rename("delta", "sent")
            self.sent = SentDelta(self.pending.digest, self.pending.round)
        else:
            self.store.remove("delta")
        self._left()
        self.pending = None

    def sent_body(self) -> bytes | None:
        """Return the body of the accepted delta that is kept; None when there is none, or it is damaged."""
        record = self.store.recall("sent") if self.sent is not None else None
        return record.body if record is not None else None

    def round_of(self, digest: bytes) -> int:
        """Return the round of the delta at hand with this digest; 0 for another."""
        at_hand = (one for one in (self.pending, self.sent) if one is not None)
        return next((one.round for one in at_hand if one.digest == digest), 0)

    def let_go(self, round_number: int | None = None) -> None:
        """Drop the accepted delta that is kept: a version of round ``round_number`` is announced, or it is refused."""
        if self.sent is not None and (round_number is None or round_number >= self.sent.round):
            self.sent = None
            self.store.remove("sent")

    def _write_delta(self, pending: PendingDelta) -> None:
        """Keep a delta: it waits for its verdict from now on."""
        self.store.write("delta", Record({"round": pending.round, "plan": pending.plan_digest.hex()}, pending.body))
        self.pending = pending

    def refuse(self) -> None:
        """Drop the plan that waits; it is not taken up again."""
        if self.waiting is not None:
            self._finished(self.waiting_digest)
        self.withdraw()
        self._drop_plan()

    @property
    def masks_delivered(self) -> bool:
        """Whether the delta of the round under masks at hand is made."""
        pending, sent = self.pending, self.sent
        waits = pending is not None and pending.plan_digest == self.masks.plan_digest
        return waits or (sent is not None and sent.round == self.masks.round)

    def _finished(self, plan_digest: bytes) -> None:
        if plan_digest.hex() not in self._done:
            self._done = [*self._done, plan_digest.hex()][-_REMEMBERED:]
            self.store.write("done", Record({"plans": self._done}))
