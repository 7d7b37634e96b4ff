"""The running gateway: broker, link, state and rounds in one process, with one thread that decides everything.

Messages from the MQTT client and results of the evaluator come through one inbox; between them the clock is looked at.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Final, Self

from broker_server.broker.gateway_broker import GatewayBroker, Notice
from broker_server.broker.link import Arrived, Down, GatewayLink, LinkEvent, Up
from broker_server.broker.mosquitto import Said
from broker_server.config import GatewayConfig, differences
from broker_server.config_tables import ConnectionLimits
from broker_server.engine.ray_engine import RayShards, ShardState
from broker_server.engine.shard import Layout
from broker_server.engine_config import RAY
from broker_server.errors import EngineError, StorageError, UsageError
from broker_server.evaluation.worker import Evaluated
from broker_server.events import Events
from broker_server.exposure import exposures
from broker_server.inbox import Inbox
from broker_server.rounds.certificate_watch import CertificateWatch
from broker_server.rounds.checking import CheckingPool, Looked
from broker_server.rounds.conductor import Conductor
from broker_server.rounds.ending import Ending
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.measuring import Measuring
from broker_server.rounds.reception import Reception
from broker_server.rounds.roster import Roster
from broker_server.rounds.signer import Signer, SigningPublisher
from broker_server.state.gateway_facts import GatewayFacts
from broker_server.state.settings_table import ENGINE
from broker_server.state.store import Store
from broker_server.upstream.desk import Desk
from broker_server.upstream.site_conductor import SiteConductor
from broker_server.upstream.uplink import Uplink
from broker_server.views.live import LOOK_S, Live, Load, look
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import FederationError
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import encode
from edge_runtime.wire.signatures import SigningKey
from edge_runtime.wire.topics import Topic

TICK_S: Final = 0.1
STORAGE_RETRY_S: Final = 5.0
FLUSH_S: Final = 0.5
"""How long a goodbye may take; where it does not get through, the broker says it (the will)."""
ALIVE_S: Final = 5.0
"""How often it is noted that the gateway is alive."""
RELOADED: Final = (
    *(f"listen.{field.name}" for field in fields(ConnectionLimits)),
    *("listen.ca", "listen.certificate", "listen.key", "listen.revoked", "ca", "certificate", "key"),
)
"""Settings that can change while a gateway runs."""
REVOKED_S: Final = 2.0
"""How often another process's revocations are looked for, which the broker has to know."""


Happened = LinkEvent | Looked | Evaluated | Notice | Said
"""What comes to the thread that decides."""


class Stop:
    """Requests to a gateway; plain flags, because a signal handler must take no lock."""

    def __init__(self) -> None:
        self.asked = False
        self.reload = False

    def ask(self) -> None:
        """Request the end."""
        self.asked = True

    def ask_reload(self) -> None:
        """Request that settings and files are read again."""
        self.reload = True


class Service:
    """A gateway from start to stop; use as a context manager.

    Args:
        config: settings.
        events: told what happens; watchers may already listen.
        stop: ends ``run`` soon after it was asked, whoever asks; or has it read its settings again.
        read: returns the settings as they are now.
        accept_loss: go on without announced versions that are lost, instead of refusing to start.
        alive: called every few seconds by the thread that decides.

    Raises:
        PackageError, StateError, ListenError, DataError, EvaluationError: when it cannot start; nothing is left
            running.
    """

    def __init__(
        self,
        config: GatewayConfig,
        events: Events,
        stop: Stop | None = None,
        *,
        accept_loss: bool = False,
        read: Callable[[], GatewayConfig] | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._config, self._events, self._stop = config, events, stop or Stop()
        self._read, self._applied, self._alive = read or (lambda: config), config, alive
        self._inbox: Inbox[Happened] = Inbox()
        self._package = Package.open(config.package, part="gateway")
        self._broker: GatewayBroker | None = None
        self._link: GatewayLink | None = None
        self._pool: CheckingPool | None = None
        self._engine: RayShards | None = None
        self._uplink: Uplink | None = None
        self._shards: tuple[ShardState, ...] = ()
        self._rest_until = self._revoked_at = self._alive_at = self._look_at = -1.0
        self._started = time.time()
        self.live: Live | None = None
        """The last look at the gateway; whoever reads it from another thread takes it as it is."""
        self._up = False
        self._store = Store.open(
            config.state, self._package, time.time(), keep_versions=config.kept_versions, accept_loss=accept_loss
        )
        self._measuring = Measuring(self._store, events)
        self._certificate = CertificateWatch(events)
        try:
            with contextlib.suppress(StorageError):
                self._store.ledger.put("federation", config.federation)
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def conductor(self) -> Conductor:
        """Return the conductor of the rounds."""
        return self._conductor

    @property
    def url(self) -> str:
        """Return where devices connect."""
        return self._url

    def _start(self) -> None:
        config = self._config
        self._start_engine()
        self._measuring.start(config, self._package, self._post)
        self._broker = broker = GatewayBroker(config, self._store.ledger.revoked_devices, self._notice, self._post)
        broker.start()
        self._url = broker.url
        session = secrets.token_bytes(16)
        key = SigningKey.read(config.signing_key) if config.signing_key is not None else None
        signer = Signer(key, config.federation, self._store.ledger)
        will = pb.GatewayState(federation_digest=self._store.lineage.federation, online=False, session=session)
        self._link = broker.connect(signer.signed(Topic.GATEWAY, "", encode(will)), self._inbox, self._post)
        self._publisher = SigningPublisher(self._link, signer)
        parts = GatewayParts(config, self._store, Roster(), self._publisher, self._events, signer, self._engine)
        self._roster = parts.roster
        self._conductor = self._conductor_of(parts, session)
        self._pool = CheckingPool(self._store.lineage.shape, self._inbox.push)
        self._reception = Reception(parts, self._conductor, self._pool)
        self._ending = Ending(parts, self._conductor, self._reception, self._measuring)
        architecture = self._package.manifest.architecture
        self._events.tell(
            "listening", url=self._url, federation=config.federation, embedded=broker.embedded,
            federation_digest=architecture.digest().hex(), package=str(config.package), state=str(config.state),
            version=self._conductor.row.version, rounds=config.rounds, quorum=config.round.quorum,
            backbone=architecture.backbone.name, labels=len(architecture.labels), experts=architecture.experts,
            layers=list(architecture.adapted_layers), gate=architecture.gate,
            gateway_key=key.public.hex() if key is not None else "",
        )  # fmt: skip
        rules, secure = config.round, config.secure.enabled
        private = config.privacy.enabled
        facts = GatewayFacts(
            self._started, self._url, rules.quorum, config.rounds, buffer=rules.buffer, secure=secure, private=private,
            signed=config.key_authority is not None,
        )  # fmt: skip
        self._keep_facts(facts)
        self._events.watch(self._note_page)
        for exposure in exposures(config):
            self._events.tell("plaintext", detail=exposure)
        for note in self._store.notes:
            self._events.tell("repaired", detail=note)
        self._conductor.resume(time.monotonic())
        if self._uplink is not None:
            self._uplink.start()
        self._measuring.submit_missed(self._conductor.newest.version, self._conductor.compared)
        self._link.start()

    def _conductor_of(self, parts: GatewayParts, session: bytes) -> Conductor:
        """Return what conducts rounds: those of a site, where there is a gateway above."""
        config, gate = self._config, self._package.manifest.architecture.gate
        if gate == "topk" and (config.upstream.enabled or config.server.sites):
            msg = "sites want soft gates: statistics of top-k gates are not added up across sites (docs/operating.md)"
            raise UsageError(msg)
        if not config.upstream.enabled:
            return Conductor(parts, session)
        desk = Desk()
        self._uplink = Uplink(config.upstream, config.federation, self._package, self._store.folder, desk)
        return SiteConductor(parts, session, desk, self._uplink.name, self._uplink.url)

    def _start_engine(self) -> None:
        """Start what merges, unless this process does."""
        table = self._config.engine
        if table.kind == RAY:
            lineage, gate = self._store.lineage, self._package.manifest.architecture.gate
            layout = Layout(lineage.federation, lineage.shape, gate == "topk", lineage.shape.ids())
            self._engine = RayShards(table, self._store.spool, layout, self._store.folder)
            self._events.tell("engine", engine=RAY, shards=table.shards, address=table.address or "this gateway's own")
        self._note_shards()

    def _note_shards(self) -> None:
        """Tell of shards that came back or went away, and let commands beside this process know how they are."""
        states = self._engine.states() if self._engine is not None else ()
        for before, now in zip(self._shards, states, strict=False):
            if (before.state, before.restarts) != (now.state, now.restarts):
                self._events.tell("shard", shard=now.number, state=now.state, restarts=now.restarts, node=now.node)
        told = [vars(one) for one in states]
        if states != self._shards or self._look_at < 0:
            with contextlib.suppress(StorageError):
                self._store.ledger.put(ENGINE, json.dumps({"kind": self._config.engine.kind, "shards": told}))
        self._shards = states

    def _keep_facts(self, facts: GatewayFacts) -> None:
        """Let commands beside this process know; a full disk costs what only people read."""
        self._facts = facts
        with contextlib.suppress(StorageError):
            facts.keep(self._store.ledger)

    def _note_page(self, event: dict[str, Any]) -> None:
        """Note where the page is, which starts after the gateway."""
        if event["event"] == "page" and "url" in event:
            self._keep_facts(replace(self._facts, page=event["url"]))

    def _notice(self, notice: Notice) -> None:
        """Queue what the embedded broker has to tell; while there is more to do than room, it is lost."""
        self._inbox.offer(notice)

    def run(self) -> bool:
        """Serve until the last round is done and fetched, or until stopped; return whether it finished."""
        while True:
            events = self._inbox.take(TICK_S)
            if self._stop.asked:
                return False
            if self._stop.reload:
                self._stop.reload = False
                self._reload()
            now, wall = time.monotonic(), time.time()
            for event in events:
                if self._stop.asked:
                    return False
                self._take(event, now, wall)
            self._reception.decide(wall)
            if now >= self._rest_until:
                self._tick(now, wall)
            if now >= self._look_at:
                self._look(now, wall)
            if self._ending.over(now):
                self._ending.tell(wall)
                return True

    def _look(self, now: float, wall: float) -> None:
        self._note_shards()
        self._look_at = now + LOOK_S
        transfers = self._reception.transfers
        load = Load(
            inbox_events=len(self._inbox),
            inbox_bytes=self._inbox.held_bytes,
            offers_waiting=transfers.waiting,
            granted_bytes=transfers.granted_bytes,
            partial_bytes=transfers.held_bytes,
            evaluating=self._measuring.pending,
            broker_up=self._up,
            disk_refuses=now < self._rest_until,
        )
        self.live = look(self._conductor, self._roster, load, (now, wall), self._started)

    def _reload(self) -> None:
        """Read settings and files again, and tell what came of it; what cannot be used changes nothing."""
        try:
            config = self._read()
            applied, _ = differences(self._applied, config, RELOADED)
            _, later = differences(self._config, config, RELOADED)
            if self._broker is not None:
                self._broker.reload(config)
        except FederationError as error:
            self._events.tell("reload", failure=str(error))
            return
        self._applied = config
        self._certificate.look_again()
        self._events.tell("reload", changed=applied, later=later)

    def _post(self, event: Happened) -> None:
        """Queue an event; a full inbox makes the broker wait, unless the loop that empties it has ended."""
        self._inbox.put(event, len(event.payload) if isinstance(event, Arrived) else 0)

    def _take(self, event: Happened, now: float, wall: float) -> None:
        if isinstance(event, Arrived):
            self._reception.take(event.topic, event.payload, now, wall)
        elif isinstance(event, Looked):
            self._reception.looked(event)
        elif isinstance(event, Up):
            self._up = True
            self._conductor.announce()
            self._events.tell("up", url=self._url)
            if self._broker is not None:
                self._broker.check()
        elif isinstance(event, Down):
            if self._up or not self._embedded:
                self._events.tell("down", reason=event.reason)
            self._up = False
        elif isinstance(event, Notice):
            reason, times = str(event.fields["reason"]), int(str(event.fields["times"]))
            self._roster.hit("", reason if event.kind == "limit" else f"refused: {reason}", times)
            self._events.tell(event.kind, **event.fields)
        elif isinstance(event, Said):
            self._events.tell("broker", detail=event.text)
        elif isinstance(event, Evaluated):
            self._note_measured(event, wall)

    def _note_measured(self, result: Evaluated, wall: float) -> None:
        """Take what a version is worth; a full disk costs the row, not the decision."""
        self._conductor.measured(result)
        try:
            self._measuring.note(result, wall)
        except StorageError as error:
            self._events.tell("storage", detail=str(error))

    @property
    def _embedded(self) -> bool:
        return self._broker is not None and self._broker.embedded

    def _tick(self, now: float, wall: float) -> None:
        if now >= self._alive_at:
            self._alive_at = now + ALIVE_S
            self._store.tell_alive()
            self._alive()
        self._certificate.look(self._applied.listen.certificate, now)
        try:
            self._reception.tick(now, wall)
            self._conductor.tick(now, wall)
            self._tell_revoked(now)
        except StorageError as error:
            self._rest_until = now + STORAGE_RETRY_S
            self._events.tell("storage", detail=str(error))
        except EngineError as error:
            self._rest_until = now + STORAGE_RETRY_S
            self._events.tell("engine", failure=str(error))
        self._measuring.submit(self._conductor.newest, self._conductor.bank)

    def _tell_revoked(self, now: float) -> None:
        """Let the broker know whom another process revoked."""
        if now < self._revoked_at:
            return
        self._revoked_at = now + REVOKED_S
        if self._broker is not None:
            self._broker.revoke()

    def close(self) -> None:
        """Say goodbye and let everything go; safe to call twice."""
        self._inbox.close()
        if self._pool is not None:
            self._pool.stop()
            self._conductor.masks.stop()
        self._measuring.stop()
        if self._uplink is not None:
            self._uplink.stop()
            self._uplink = None
        if self._link is not None:
            if self._up:
                self._publisher.publish(Topic.GATEWAY, "", [encode(self._conductor.gateway_state(online=False))])
                self._reception.write_traffic(time.time())
            self._reception.transfers.stop()
            self._link.stop(FLUSH_S if self._up else 0.0)
            self._link = None
        if self._broker is not None:
            self._broker.stop()
            self._broker = None
        self._store.close()
        if self._engine is not None:  # last: it takes seconds, and everything is safe by now
            self._engine.close()
            self._engine = None
