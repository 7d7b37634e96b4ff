"""What a site has at hand above, kept as a device keeps it: a plan that its devices carry out, a pending sum."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from broker_server.upstream.desk import Complete, Desk, Facts, Handed
from edge_runtime.federation.at_hand import AtHand, UnderWay
from edge_runtime.federation.delta import PendingDelta
from edge_runtime.federation.session import Event, WorkState
from edge_runtime.store import Record
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.manifest import Architecture

FACTS = "site"
"""Record in the store: what the site said of itself last, so that a restart speaks before its devices are back."""


@dataclass(kw_only=True)
class SiteWork(AtHand):
    """A plan of a site, and its sum.

    Args:
        store: below the state directory of the gateway.
        versions: of the bank, as they come from above.
        device: the site's name there.
        served: what is served.
        profile: of the package.
        desk: to the thread that decides.
    """

    served: Architecture
    profile: str
    desk: Desk
    facts: Facts | None = field(default=None, init=False)
    _under_way: UnderWay | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        record = self.store.recall(FACTS)
        if record is not None:
            self.facts = Facts(bytes.fromhex(record.head["hello"]), record.body)

    def bring_facts(self, facts: Facts) -> None:
        """Say from now on what the site can do."""
        if facts != self.facts:
            self.facts = facts
            self.store.write(FACTS, Record({"hello": facts.hello.hex()}, facts.statistics))

    @property
    def decided(self) -> list[bytes]:
        """Digests of plans that are carried out or given up, whatever the thread that decides knows of it."""
        done = [bytes.fromhex(digest) for digest in self._done]
        return [*done, self.pending.plan_digest] if self.pending is not None else done

    @property
    def architecture(self) -> Architecture:
        """What is served."""
        return self.served

    @property
    def under_way(self) -> UnderWay | None:
        """The plan that devices carry out."""
        return self._under_way

    def hello(self) -> pb.Hello:
        """Return what the site's devices can do together, as a Hello tells it."""
        hello = pb.Hello.FromString(self.facts.hello if self.facts is not None else b"")
        hello.profile = self.profile
        return hello

    def resume(self) -> WorkState:
        """As AtHand; the plan that was begun waits again."""
        state = super().resume()
        self._expect()
        return state

    def take(self, payload: bytes) -> pb.Plan | None:
        """As AtHand; versions beyond the plan's base wait from now on, so that devices are told of that one first."""
        plan = super().take(payload)
        self._expect()
        return plan

    def withdraw(self) -> None:
        """As AtHand."""
        super().withdraw()
        self._expect()

    def _expect(self) -> None:
        if self.waiting is not None:
            self.desk.expect(self.waiting_digest, self.waiting.base_version)
        else:
            self.desk.expect_none()

    def begin(self) -> Handed | None:
        """Return the waiting plan with its version, to be handed over; None: a block of that proved damaged."""
        plan, digest = self.waiting, self.waiting_digest
        base = self.complete(self.versions.find(plan.version_digest)) if plan is not None else None
        if plan is None or base is None:
            return None
        message = pb.Version()
        message.CopyFrom(base.message)
        if message.version != plan.base_version:  # of versions with the same blocks (after a rollback) one is kept
            earlier, message.version = message.version, plan.base_version
            message.parent = earlier if earlier < plan.base_version else max(0, plan.base_version - 1)
        if self._waiting_bytes:
            self.store.write("plan", Record({}, self._waiting_bytes))
        self._under_way = UnderWay(plan, digest)
        super().withdraw()  # the desk goes on expecting it until it is handed over
        return Handed(plan, digest, replace(base, message=message))

    def complete(self, version: pb.Version | None) -> Complete | None:
        """Return a version with its bank, and the updates that are here; None when a block lacks or is damaged."""
        bank = self.versions.bank(version) if version is not None else None
        if version is None or bank is None:
            return None
        updates: dict[ExpertId, tuple[bytes, bytes]] = {}
        for block in version.blocks:
            data = self.store.blob(block.updates[0].digest) if block.updates else None
            if data is not None:
                updates[ExpertId(block.layer, block.index)] = (block.updates[0].base, data)
        return Complete(version, bank, updates)

    def finish(self, body: bytes) -> None:
        """Turn the plan into a sum that waits for its verdict. Args: body: of it."""
        assert self._under_way is not None  # noqa: S101 - the session says TRAINING
        plan, digest = self._under_way.plan, self._under_way.digest
        self._write_delta(PendingDelta(sha256(body), body, plan.round, digest))
        self._drop_plan()

    def abandon(self) -> None:
        """Give the plan up; it is not taken up again."""
        if self._under_way is not None:
            digest = self._under_way.digest
            self._finished(digest)
            self._drop_plan()
            self.desk.drop(digest)

    def save(self) -> None:
        """Nothing is written in between: the devices' deltas are in the gateway's own state."""

    def _drop_plan(self) -> None:
        self._under_way = None
        super()._drop_plan()

    def _kept(self, digest: bytes) -> None:
        """A sum leaves nothing behind: it is exact."""

    def _left(self) -> None:
        """Nor does its verdict."""


class SitePlans:
    """Carries plans out by having them done here. Args: work: at hand; desk: to the thread that decides."""

    def __init__(self, work: SiteWork, desk: Desk) -> None:
        self._work, self._desk = work, desk

    def begin(self) -> Event | None:
        """Hand the waiting plan over; DAMAGED when a block of its version is."""
        handed = self._work.begin()
        if handed is None:
            return Event.DAMAGED
        self._desk.hand(handed)
        return None

    def step(self) -> Event | None:
        """Look whether there is a sum: TRAINED; or whether there will be none: FAILED."""
        under_way = self._work.under_way
        if under_way is None:
            return None
        body = self._desk.wait_for_sum(under_way.digest)
        if body is None:
            return None
        if not body:
            return Event.FAILED
        self._work.finish(body)
        self._desk.keep(under_way.digest)
        return Event.TRAINED
