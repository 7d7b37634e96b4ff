"""Carries the round table out: plans go out, deltas are folded, versions come. All that it decides is in pure modules.

What it must not forget is in the ledger before anybody is told: after ``kill -9`` the same round goes on with the same
plans, byte for byte, and the deltas that were accepted.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker_server import balance as balance_rules
from broker_server import round as rules
from broker_server.admission import Identity, Known, read_contribution, typical
from broker_server.aggregate import Contribution, Sums, close, fold
from broker_server.balance import Balance
from broker_server.config import CODECS, GatewayConfig
from broker_server.events import Events
from broker_server.head import absent_labels, with_new_labels
from broker_server.journal import RoundLine
from broker_server.ledger import DeltaRow, VersionRow
from broker_server.lineage import Origin
from broker_server.planner import Coverage, Wishes, Work, plan_round
from broker_server.plans import Base, plan_message
from broker_server.roster import Roster
from broker_server.round import Event, State
from broker_server.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.topics import Topic

NORM_HISTORY = 256
RETRY_S = 5.0
HEAD_SUMS = "head_statistics"
"""Setting of the state directory: JSON, digest in hex of the class sums that the head was made from, by device."""


class Send(Protocol):
    """A way to the devices."""

    def publish(self, topic: Topic, name: str, payloads: Iterable[bytes]) -> None:
        """Send payloads on a topic; ``name`` is the device, the blob, or empty."""
        ...


@dataclass(frozen=True)
class House:
    """What conductor and reception share.

    Args:
        config: settings.
        store: opened state.
        roster: who is here.
        send: a way to the devices.
        events: told what happens.
    """

    config: GatewayConfig
    store: Store
    roster: Roster
    send: Send
    events: Events


class Conductor:
    """Rounds of one federation. Args: house: shared parts; session: 16 random bytes of this start."""

    def __init__(self, house: House, session: bytes) -> None:
        self._config, self._store, self._roster = house.config, house.store, house.roster
        self._send, self._events, self._session = house.send, house.events, session
        store = house.store
        self._architecture = store.manifest.architecture
        self._topk = self._architecture.gate == "topk"
        self.row, self.bank = store.lineage.load()
        versions = store.ledger.versions()
        self._merges = [row.version for row in versions if row.reason == "merge"]
        trees = [row.balance for row in versions if row.balance]
        self._balance = (
            Balance.from_tree(json.loads(trees[-1])) if trees else Balance.start(self._architecture.bank_shape)
        )
        self._norms: dict[str, list[float]] = {}
        for delta in store.ledger.recent_deltas(NORM_HISTORY):
            self._sample(delta)
        self.state = State.GATHERING
        self.round = 0
        self.plans: dict[str, bytes] = {}
        self._answered: set[str] = set()
        self._opened_at = self._deadline_at = 0.0
        self._extensions = 0
        self._retry_at = -1.0
        self._outstanding: dict[str, int] = {}
        self._head_sums = _digests(store.ledger.get(HEAD_SUMS))
        self._withdrawn: set[str] = set()  # devices whose plan was taken back in this round
        self._void: set[str] = set()  # of them, those without another plan and without a delta
        self._passed_over: set[str] = set()  # of them, those that the planner had no work for

    # start and announcements

    def resume(self, now: float) -> None:
        """Take up what the ledger says was going on."""
        rounds = self._store.ledger.rounds()
        for past in rounds:
            if self.age(past.base_version) <= self._config.round.max_staleness:
                answered = {row.device for row in self._store.ledger.deltas(past.round)}
                for device in self._store.ledger.plans(past.round):
                    self._outstanding.pop(device, None)
                    if device not in answered:
                        self._outstanding[device] = past.base_version
        if rounds:
            last = rounds[-1]
            self.round = last.round
            if last.closed is None:
                self.state = State.OPEN
                self.plans = self._store.ledger.plans(last.round)
                self._answered = {row.device for row in self._store.ledger.deltas(last.round)}
                self._extensions = last.extensions
                self._opened_at, self._deadline_at = now, now + self._config.round.deadline_s
                self._void = {
                    row["device"]
                    for row in self._store.ledger.devices()
                    if row["device"] in set(self.plans) - self._answered and not self._in_head(row["hello"])
                }
                self._withdrawn = set(self._void)
                self._events.tell(
                    "resumed", round=self.round, planned=sorted(self.plans), accepted=sorted(self._answered)
                )
            elif self._over():
                self.state = State.FINISHED

    def announce(self) -> None:
        """Publish everything that is retained; after a start, and when the broker was away."""
        self._send.publish(Topic.VERSION, "", [self.row.payload])
        for device in sorted(row["device"] for row in self._store.ledger.devices()):
            if self.state is State.OPEN and device in set(self.plans) - self._answered - self._void:
                self._send.publish(Topic.PLAN, device, [self.plans[device]])
            elif self.state is State.FINISHED or device in self._void or device not in self._outstanding:
                # What an external broker still holds is done or too old; a late delta may yet come for the others.
                self._send.publish(Topic.PLAN, device, [b""])
        self.publish_state()

    def publish_state(self) -> None:
        """Publish what the gateway is doing."""
        self._send.publish(Topic.GATEWAY, "", [encode(self.gateway_state(online=True))])

    def gateway_state(self, *, online: bool) -> pb.GatewayState:
        """Return the message that says so."""
        return pb.GatewayState(
            federation_digest=self._store.lineage.federation,
            online=online,
            session=self._session,
            version=self.row.version,
            round=self.round,
            rounds_planned=self._config.rounds,
            finished=self.state is State.FINISHED,
        )

    def _in_head(self, hello: pb.Hello) -> bool:
        """Return whether the head was made from the data that a device has now."""
        return not hello.statistics_digest or self._head_sums.get(hello.device) == hello.statistics_digest

    def greeted(self, hello: pb.Hello) -> None:
        """Take a device's plan back when its data are not those that the head was made from.

        To be called before the device is welcomed: it begins nothing until then. A delta that it has finished counts.
        """
        device = hello.device
        if self.state is State.FINISHED or device not in self._outstanding or self._in_head(hello):
            return
        del self._outstanding[device]
        if self.state is State.OPEN and device in self.plans:
            self._void.add(device)
            self._withdrawn.add(device)
        self._send.publish(Topic.PLAN, device, [b""])
        self._events.tell("withdrawn", device=device, round=self.round, version=self.row.version)

    def _over(self) -> bool:
        return 0 < self._config.rounds <= self.round

    # what reception asks

    def known(self, delta: pb.Delta, identity: Identity) -> Known:
        """Return what a delta is judged against."""
        payload = self._store.ledger.plan(identity.device, delta.plan_digest)
        plan = decode(pb.Plan, payload) if payload is not None else None
        return Known(
            identity,
            plan,
            self._store.ledger.accepted_digest(identity.device, plan.round) if plan is not None else None,
            self.age(plan.base_version) if plan is not None else 0,
            self._config.round.max_staleness,
            self._architecture.bank_shape,
            typical(self._norms),
            self._config.limits.norm_factor,
            closed=self.state is State.FINISHED,
        )

    def age(self, base_version: int) -> int:
        """Return how many merges the bank is ahead of a version; a new head does not count."""
        return sum(version > base_version for version in self._merges)

    def accepted(self, row: DeltaRow) -> None:
        """Take note of a delta that is in the ledger."""
        self.state = rules.step(self.state, Event.DELTA)
        self._sample(row)
        self._roster.trained(row.device, row.step_ms)
        self._outstanding.pop(row.device, None)
        if row.round == self.round:
            self._answered.add(row.device)
            self._void.discard(row.device)

    def _sample(self, row: DeltaRow) -> None:
        for kind, norm in row.norms.items():
            samples = self._norms.setdefault(kind, [])
            samples.append(norm)
            del samples[:-NORM_HISTORY]

    # the table

    def tick(self, now: float, wall: float) -> None:
        """Do what is due. Args: now: monotonic seconds; wall: seconds since 1970.

        Raises:
            StorageError: when the disk refuses; nothing is lost, and the next tick tries again.
        """
        if self.state is State.GATHERING and now >= self._retry_at:
            here = self._roster.present(self._store.ledger.statistics_digests())
            if rules.may_start(rules.Gathering(here, now), self._config.round) is Event.QUORUM:
                self._open(sorted(rules.ready(here)), now, wall)
        elif self.state is State.OPEN:
            due = rules.may_close(self._opened(now), self._config.round)
            if due is Event.SHORT:
                self._extend(now, wall)
            elif due is not None:
                self._merge(due, now, wall)

    def _opened(self, now: float) -> rules.Opened:
        planned = frozenset(self.plans)
        return rules.Opened(
            planned,
            frozenset(self._answered),
            planned & (self._roster.gone() | self._void),
            self._deadline_at,
            now,
            (self._ready() & self._void) - self._passed_over if self._void else frozenset(),
        )

    def _ready(self) -> frozenset[str]:
        """Return who is here and may be planned for."""
        return rules.ready(self._roster.present(self._store.ledger.statistics_digests()))

    def _open(self, devices: Sequence[str], now: float, wall: float) -> None:
        self._refresh_head(wall)
        number = self.round + 1
        work = self._work(devices, number)
        if not work:
            self._retry_at = now + RETRY_S
            self._events.tell("waiting", reason="no device's budget has room for one expert", devices=list(devices))
            return
        plans = self._plans(work, number)
        with self._store.ledger.transaction():
            rows = {device: (sha256(payload), payload) for device, payload in plans.items()}
            self._store.ledger.open_round(number, self.row.version, rows, wall)
        self.state = rules.step(self.state, Event.QUORUM)
        self.round, self.plans, self._answered, self._extensions = number, plans, set(), 0
        self._withdrawn, self._void, self._passed_over = set(), set(), set()
        self._opened_at, self._deadline_at = now, now + self._config.round.deadline_s
        self._withdraw_old()
        self._publish_plans(plans)
        self.publish_state()
        self._tell_plans("round", work)

    def _extend(self, now: float, wall: float) -> None:
        self._refresh_head(wall)
        self.state = rules.step(self.state, Event.SHORT)
        newcomers = sorted(self._ready() - (set(self.plans) - self._void))
        work = self._work(newcomers, self.round) if newcomers else {}
        plans = self._plans(work, self.round)
        with self._store.ledger.transaction():
            rows = {device: (sha256(payload), payload) for device, payload in plans.items()}
            self._store.ledger.add_plans(self.round, rows)
            self._store.ledger.extend_round(self.round)
        self._extensions += 1
        self._deadline_at = now + self._config.round.deadline_s
        self.plans |= plans
        self._void -= set(plans)
        self._passed_over = set(newcomers) & self._void
        self._publish_plans(plans)
        self._tell_plans("extended", work)

    def _merge(self, reason: Event, now: float, wall: float) -> None:
        rows = self._store.ledger.waiting()
        sums, light = Sums(), []
        for update in self._contributions(rows):
            fold(sums, update, self._architecture.bank_shape, topk=self._topk)
            light.append(dataclasses.replace(update, deltas={}))
        bank = close(self.bank, sums)
        balance = self._balance
        if self._topk:
            balance = balance_rules.next_balance(balance, light, top_k=self._architecture.top_k)
        tree = json.dumps(balance.to_tree()) if self._topk else None
        origin = Origin(self.row.version, self.round, len(rows), "merge", tree)
        version = self._store.lineage.row(self.row.version + 1, self._store.lineage.write_blocks(bank), origin, wall)
        with self._store.ledger.transaction():
            self._store.ledger.append_version(version)
            self._store.ledger.fold(rows, version.version)
            self._store.ledger.close_round(self.round, version.version, wall)
        self.state = rules.step(self.state, reason)
        self.state = rules.step(self.state, Event.LAST if self._over() else Event.MERGED)
        self._merges.append(version.version)
        self._balance = balance
        self._use(version, bank)
        line = self._line(reason, rows, sums, now)
        line.write(self._store.folder / "journal.jsonl")
        self._store.spool.sweep(())
        fields = dataclasses.asdict(line) | {"closed": line.reason, "reason": "merge"}
        self._events.tell("version", **fields)
        if self.state is State.FINISHED:
            for device in self._outstanding:
                self._send.publish(Topic.PLAN, device, [b""])
            self._outstanding = {}
        self.publish_state()

    def _contributions(self, rows: Iterable[DeltaRow]) -> Iterator[Contribution]:
        for row in rows:
            delta = decode(pb.Delta, self._store.spool.read(row.digest))
            yield read_contribution(delta, self._architecture.bank_shape, self.age(delta.base_version))

    def _use(self, version: VersionRow, bank: Bank) -> None:
        self.row, self.bank = version, bank
        self._send.publish(Topic.VERSION, "", [version.payload])
        for device in self._roster.here():
            self._roster.count(device, down=len(version.payload))

    # the head

    def _refresh_head(self, wall: float) -> None:
        """Make the head anew when class statistics came; of a head that devices train, only the rows of new labels."""
        ledger, shape = self._store.ledger, self._architecture.bank_shape
        digests = ledger.statistics_digests()
        if digests == self._head_sums:
            return
        scale = self._architecture.logit_scale
        blocks = class_mean_head(
            ClassSums.total(ClassSums.from_bytes(counts, sums) for _, counts, sums in ledger.statistics()), scale
        )
        if self._config.train.head_share > 0 and ledger.get(HEAD_SUMS) is not None:
            blocks = {HEAD: with_new_labels(self.bank.head, blocks[HEAD], shape.labels, scale)}
        bank = self.bank.replace(blocks)
        lost = absent_labels(bank.head, shape.labels, scale) & ~absent_labels(self.bank.head, shape.labels, scale)
        labels_lost = int(lost.sum()) if self._head_sums else 0  # the initial head knows of no examples
        origin = Origin(self.row.version, 0, len(digests), "head")
        version = self._store.lineage.row(self.row.version + 1, self._store.lineage.write_blocks(bank), origin, wall)
        changed = version.digest != self.row.digest
        with ledger.transaction():
            if changed:
                ledger.append_version(version)
            ledger.put(HEAD_SUMS, json.dumps({device: digest.hex() for device, digest in digests.items()}))
        self._head_sums = digests
        if changed:
            self._use(version, bank)
            self._events.tell(
                "version", reason="head", version=version.version, devices=len(digests), labels_lost=labels_lost
            )

    # plans

    def _work(self, devices: Iterable[str], number: int) -> dict[str, Work]:
        trained = self._store.ledger.trained()
        total: dict[ExpertId, int] = {}
        for (_, block), times in trained.items():
            total[block] = total.get(block, 0) + times
        train = self._config.train
        wishes = Wishes(train.steps, CODECS[train.codec], train.head_share > 0, train.shared_share > 0)
        budgets = [self._roster.budget(device) for device in devices]
        return plan_round(budgets, self._architecture.bank_shape, number, Coverage(total, trained), wishes)

    def _plans(self, work: Mapping[str, Work], number: int) -> dict[str, bytes]:
        base = Base(number, self.row.version, self.row.digest, self._balance if self._topk else None)
        return {device: plan_message(device, part, base, self._config) for device, part in work.items()}

    def _publish_plans(self, plans: dict[str, bytes]) -> None:
        for device, payload in sorted(plans.items()):
            self._send.publish(Topic.PLAN, device, [payload])
            self._roster.count(device, down=len(payload))
            self._outstanding[device] = self.row.version

    def _withdraw_old(self) -> None:
        """Take back plans whose deltas would come too late to count."""
        for device, base in list(self._outstanding.items()):
            if device not in self.plans and self.age(base) > self._config.round.max_staleness:
                self._send.publish(Topic.PLAN, device, [b""])
                del self._outstanding[device]

    # reports

    def _tell_plans(self, kind: str, work: dict[str, Work]) -> None:
        devices = {
            device: {
                "experts": [[block.layer, block.index] for block in part.train],
                "steps": part.steps,
                "codec": pb.Codec.Name(part.codec).lower(),
                "bytes_planned": part.bytes_up,
            }
            for device, part in sorted(work.items())
        }
        self._events.tell(
            kind, round=self.round, version=self.row.version, quorum=self._config.round.quorum,
            answered=len(self._answered), deadline_s=self._config.round.deadline_s, devices=devices,
        )  # fmt: skip

    def _line(self, reason: Event, rows: Sequence[DeltaRow], sums: Sums, now: float) -> RoundLine:
        shape = self._architecture.bank_shape
        trainers = [sums.devices.get(ExpertId(layer, i), 0) for layer in shape.layers for i in range(shape.experts)]
        return RoundLine(
            round=self.round,
            version=self.row.version,
            reason=reason.value,
            seconds=round(now - self._opened_at, 1),
            planned=len(self.plans),
            accepted=len(rows),
            late=sum(row.round != self.round for row in rows),
            left=len(set(self.plans) & self._roster.gone()),
            withdrawn=len(self._withdrawn),
            extensions=self._extensions,
            experts_trained=sum(times > 0 for times in trainers),
            trainers_min=min(trainers),
            trainers_max=max(trainers),
            bytes_deltas=sum(row.bytes for row in rows),
            examples=sum(row.examples for row in rows),
            loss_first=_mean([row.loss_first for row in rows]),
            loss_last=_mean([row.loss_last for row in rows]),
        )


def _digests(setting: str | None) -> dict[str, bytes]:
    """Read HEAD_SUMS; a state directory of before it was JSON knows no digests, and its head is made again."""
    if setting is None or not setting.startswith("{"):
        return {}
    return {device: bytes.fromhex(digest) for device, digest in json.loads(setting).items()}


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0
