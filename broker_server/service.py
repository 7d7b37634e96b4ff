"""The running gateway: broker, link, state and rounds in one process, with one thread that decides everything.

Messages from the MQTT client and results of the evaluator come through one queue; between them the clock is looked at.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import time
from dataclasses import dataclass
from typing import Final, Self

from broker_server.broker.access import Revoked
from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.mosquitto import Mosquitto, Said
from broker_server.broker.mosquitto_config import Listener, Tls
from broker_server.broker.mqtt import Arrived, Down, Link, LinkEvent, Target, Up
from broker_server.broker.tls import TlsFiles
from broker_server.config import MOSQUITTO, GatewayConfig
from broker_server.errors import StateError, StorageError
from broker_server.evaluation.gain import no_better_than
from broker_server.evaluation.onnx_model import TextFigures
from broker_server.evaluation.worker import Evaluated, Evaluator
from broker_server.events import Events
from broker_server.identity.key_files import read_revoked
from broker_server.rounds.conductor import Conductor
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.reception import Reception
from broker_server.rounds.roster import Roster
from broker_server.rounds.signer import Signer, SigningPublisher
from broker_server.rules.round import State
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.broker_url import BrokerUrl
from edge_runtime.wire.csv_header import Columns
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import encode
from edge_runtime.wire.signatures import SigningKey
from edge_runtime.wire.topics import Topic

TICK_S: Final = 0.1
QUEUE_LENGTH: Final = 4096
STORAGE_RETRY_S: Final = 5.0
FLUSH_S: Final = 10.0
REVOKED_S: Final = 2.0
"""How often another process's revocations are looked for, which the broker has to know."""


class Stop:
    """A request to end; a plain flag, because a signal handler must take no lock."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self) -> None:
        """Request the end."""
        self.asked = True


@dataclass(frozen=True)
class Notice:
    """The embedded broker turned somebody away, or held somebody to a limit. Args: fields: of the event ``kind``."""

    kind: str
    fields: dict[str, object]


class Service:
    """A gateway from start to stop; use as a context manager.

    Args:
        config: settings.
        events: told what happens; watchers may already listen.
        stop: ends ``run`` soon after it was asked, whoever asks.
        accept_loss: go on without announced versions that are lost, instead of refusing to start.

    Raises:
        PackageError, StateError, ListenError, DataError, EvaluationError: when it cannot start; nothing is left
            running.
    """

    def __init__(
        self, config: GatewayConfig, events: Events, stop: Stop | None = None, *, accept_loss: bool = False
    ) -> None:
        self._config, self._events, self._stop = config, events, stop or Stop()
        self._queue: queue.Queue[LinkEvent | Evaluated | Notice | Said] = queue.Queue(QUEUE_LENGTH)
        self._package = Package.open(config.package, part="gateway")
        self._broker: EmbeddedBroker | None = None
        self._mosquitto: Mosquitto | None = None
        self._link: Link | None = None
        self._evaluator: Evaluator | None = None
        self._finished_at: float | None = None
        self._rest_until = self._revoked_at = -1.0
        self._up = self._closed = False
        self._evaluated = -1
        # Devices may still train from a version that is max_staleness merges old.
        keep = config.limits.keep_versions and max(config.limits.keep_versions, config.round.max_staleness + 2)
        self._store = Store.open(config.state, self._package, time.time(), keep_versions=keep, accept_loss=accept_loss)
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
        if config.evaluate is not None:
            columns = Columns(config.text_column, config.label_column)
            self._evaluator = Evaluator(self._package, config.evaluate, self._post, columns)
        target = self._target()
        session = secrets.token_bytes(16)
        key = SigningKey.read(config.signing_key) if config.signing_key is not None else None
        signer = Signer(key, config.federation, self._store.ledger)
        will = pb.GatewayState(federation_digest=self._store.lineage.federation, online=False, session=session)
        self._link = Link(target, config.federation, signer.signed(Topic.GATEWAY, "", encode(will)), self._post)
        self._publisher = SigningPublisher(self._link, signer)
        parts = GatewayParts(config, self._store, Roster(), self._publisher, self._events, signer)
        self._roster = parts.roster
        self._conductor = Conductor(parts, session)
        self._reception = Reception(parts, self._conductor)
        architecture = self._package.manifest.architecture
        self._events.tell(
            "listening", url=self._url, federation=config.federation, embedded=self._broker is not None,
            federation_digest=architecture.digest().hex(), package=str(config.package), state=str(config.state),
            version=self._conductor.row.version, rounds=config.rounds, quorum=config.round.quorum,
            backbone=architecture.backbone.name, labels=len(architecture.labels), experts=architecture.experts,
            layers=list(architecture.adapted_layers), gate=architecture.gate,
            gateway_key=key.public.hex() if key is not None else "",
        )  # fmt: skip
        for note in self._store.notes:
            self._events.tell("repaired", detail=note)
        self._conductor.resume(time.monotonic())
        self._submit_missed()
        self._link.start()

    def _target(self) -> Target:
        """Return the broker to connect to, started if it is ours; ``url`` is then known."""
        config, listen = self._config, self._config.listen
        if config.broker == MOSQUITTO:
            target = self._start_mosquitto()
        elif config.broker:
            files = {"ca": config.ca, "certificate": config.certificate, "key": config.key}
            target = Target.parse(config.broker, allow_plaintext=listen.allow_plaintext, **files)
        else:
            self._broker = self._embedded()
            target = Target(self._broker.start())
        self._url = str(target if self._broker is None else self._broker.url)
        return target

    def _tls(self) -> TlsFiles | None:
        listen = self._config.listen
        if listen.ca is None or listen.certificate is None or listen.key is None:
            return None
        return TlsFiles(listen.certificate, listen.key, listen.ca)

    def _embedded(self) -> EmbeddedBroker:
        listen, tls = self._config.listen, self._tls()
        broker = EmbeddedBroker(
            listen.host,
            listen.port,
            websocket_port=listen.websocket_port,
            federation=self._config.federation,
            limits=listen,
            tls=tls,
            tell=self._notice,
        )
        broker.revoke(self._revocations())
        return broker

    def _revocations(self) -> Revoked:
        """Return who is refused: devices by the ledger, certificates by their file."""
        file = self._config.listen.revoked
        certificates = read_revoked(file) if file is not None else frozenset[str]()
        return Revoked(frozenset(self._store.ledger.revoked_devices()), certificates)

    def _notice(self, kind: str, fields: dict[str, object]) -> None:
        """Queue what the embedded broker has to tell; while there is more to do than room, it is lost."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(Notice(kind, fields))

    def _start_mosquitto(self) -> Target:
        config, listen, files = self._config, self._config.listen, self._tls()
        tls = Tls(files.authority, files.certificate, files.key) if files is not None else None
        listener = Listener(listen.host, listen.port, listen.websocket_port, listen.connections, tls)
        self._mosquitto = Mosquitto(listener, config.federation, config.state, self._post)
        self._mosquitto.revoke(self._store.ledger.revoked_devices())
        self._mosquitto.start()
        url = BrokerUrl(listen.host, self._mosquitto.port, tls is not None)
        return Target(url, socket=self._mosquitto.socket)

    def run(self) -> bool:
        """Serve until the last round is done and fetched, or until stopped; return whether it finished."""
        while True:
            try:
                event = self._queue.get(timeout=TICK_S)
            except queue.Empty:
                event = None
            if self._stop.asked:
                return False
            now, wall = time.monotonic(), time.time()
            if event is not None:
                self._take(event, now, wall)
            if now >= self._rest_until:
                self._tick(now, wall)
            if self._over(now):
                self._tell_finished(wall)
                return True

    def _post(self, event: LinkEvent | Evaluated | Notice | Said) -> None:
        """Queue an event; a full queue makes the broker wait, unless the loop that empties it has ended."""
        while not self._closed:
            try:
                self._queue.put(event, timeout=0.5)
            except queue.Full:
                continue
            return

    def _take(self, event: LinkEvent | Evaluated | Notice | Said, now: float, wall: float) -> None:
        if isinstance(event, Arrived):
            self._reception.take(event.topic, event.payload, now, wall)
        elif isinstance(event, Up):
            self._up = True
            self._conductor.announce()
            self._events.tell("up", url=self._url)
        elif isinstance(event, Down):
            if self._up or self._broker is None:
                self._events.tell("down", reason=event.reason)
            self._up = False
        elif isinstance(event, Notice):
            reason, times = str(event.fields["reason"]), int(str(event.fields["times"]))
            self._roster.hit("", reason if event.kind == "limit" else f"refused: {reason}", times)
            self._events.tell(event.kind, **event.fields)
        elif isinstance(event, Said):
            self._events.tell("broker", detail=event.text)
        elif isinstance(event, Evaluated):
            self._note(event, wall)

    def _tick(self, now: float, wall: float) -> None:
        try:
            self._reception.tick(now, wall)
            self._conductor.tick(now, wall)
            self._tell_revoked(now)
        except StorageError as error:
            self._rest_until = now + STORAGE_RETRY_S
            self._events.tell("storage", detail=str(error))
        self._submit()

    def _tell_revoked(self, now: float) -> None:
        """Let the broker know whom another process revoked."""
        if now < self._revoked_at:
            return
        self._revoked_at = now + REVOKED_S
        if self._mosquitto is not None:
            self._mosquitto.revoke(self._store.ledger.revoked_devices())
        if self._broker is not None:
            self._broker.revoke(self._revocations())

    def _submit_missed(self) -> None:
        """Have versions measured that a gateway before this one did not come to."""
        if self._evaluator is None:
            return
        data, ledger = self._evaluator.data, self._store.ledger
        done = {row["version"] for row in (*ledger.evaluations(), *ledger.text_evaluations()) if row["data"] == data}
        for row in self._store.ledger.versions():
            if row.version not in done:
                with contextlib.suppress(StateError):  # its blocks were removed, or are damaged
                    self._evaluator.submit(row.version, self._store.lineage.load(row.version)[1])
        self._evaluated = self._conductor.row.version

    def _submit(self) -> None:
        if self._evaluator is not None and self._conductor.row.version > self._evaluated:
            self._evaluated = self._conductor.row.version
            self._evaluator.submit(self._evaluated, self._conductor.bank)

    def _note(self, result: Evaluated, wall: float) -> None:
        if self._evaluator is not None:
            self._evaluator.pending -= 1
        if result.figures is None:
            self._events.tell("evaluated", version=result.version, failure=result.failure[:300])
            return
        figures, ledger = result.figures, self._store.ledger
        with ledger.transaction():
            if isinstance(figures, TextFigures):
                ledger.keep_text_evaluation(result.version, result.data, (figures.loss, figures.tokens), wall)
            else:
                row = (figures.accuracy, figures.macro_f1, figures.examples)
                ledger.keep_evaluation(result.version, result.data, row, wall)
        start = no_better_than(result.version, figures, ledger.versions(), ledger.accuracies(result.data))
        more = {} if start is None else {"no_better_than": start}
        self._events.tell("evaluated", version=result.version, **figures.plain(), **more)

    def _over(self, now: float) -> bool:
        """Tell whether to leave: all rounds done, and every registered device came for the last version and went.

        After a restart devices come back one by one, so who has not come yet is waited for, ``linger_s`` at most.
        """
        if self._conductor.state is not State.FINISHED or self._config.keep_serving:
            return False
        if self._finished_at is None:
            self._finished_at = now
        if self._evaluator is not None and self._evaluator.pending:
            return False
        waited = now - self._finished_at
        registered = {row["device"] for row in self._store.ledger.devices()}
        all_went = not self._roster.here() and registered <= set(self._roster.members)
        return waited >= self._config.linger_s or (waited >= 1.0 and all_went)

    def _tell_finished(self, wall: float) -> None:
        self._reception.write_traffic(wall)
        devices = {
            row["device"]: {"bytes_up": row["bytes_up"], "bytes_down": row["bytes_down"]}
            for row in self._store.ledger.devices()
        }
        self._events.tell(
            "finished", version=self._conductor.row.version, rounds=self._conductor.round, devices=devices,
            bytes_up=sum(row["bytes_up"] for row in devices.values()),
            bytes_down=sum(row["bytes_down"] for row in devices.values()),
        )  # fmt: skip

    def close(self) -> None:
        """Say goodbye and let everything go; safe to call twice."""
        self._closed = True
        if self._evaluator is not None:
            self._evaluator.stop()
        if self._link is not None:
            if self._up:
                self._publisher.publish(Topic.GATEWAY, "", [encode(self._conductor.gateway_state(online=False))])
                self._reception.write_traffic(time.time())
            self._link.stop(FLUSH_S if self._up else 0.0)
            self._link = None
        if self._broker is not None:
            self._broker.stop()
            self._broker = None
        if self._mosquitto is not None:
            self._mosquitto.stop()
            self._mosquitto = None
        self._store.close()
