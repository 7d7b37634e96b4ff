"""Settings of a gateway: their defaults, which values they take, and in what two of them differ. Frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker_server.config_tables import Limits, Listen, RoundRules, Train
from broker_server.engine_config import EngineTable
from broker_server.errors import UsageError
from broker_server.gate_config import Gate
from broker_server.privacy_config import PrivacyTable, conflict
from broker_server.secure_config import Secure, secure_conflict
from broker_server.server_config import RobustMerging, Server, exact_conflict
from broker_server.upstream_config import UpstreamTable, site_conflict
from broker_server.web_config import Web
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.broker_url import is_loopback
from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.topics import check_name

MOSQUITTO: Final = "mosquitto"
"""As ``broker``: a Mosquitto that the gateway starts and watches."""
CODECS: Final = {"auto": None, "float32": pb.FLOAT32, "int8": pb.INT8}
MQTT: Final = ("3", "5")
CODECS_DOWN: Final = ("float32", "int8")
LOG_FORMATS: Final = ("auto", "text", "json", "journal")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
STATE: Final = Path("gateway-state")


@dataclass(frozen=True)
class GatewayConfig:
    """Settings of a gateway; docs/reference.md has those of its tables (``listen``, ``round``, ``train``, ...), too.

    Args:
        package: device package of the federation; only its manifest, bank, tokenizer and gateway/ are read.
        state: directory where the gateway keeps everything: versions, deltas, the ledger.
        federation: its name, a word of every MQTT topic.
        broker: URL of an external broker; "mosquitto" starts and watches one; empty starts the embedded one.
        mqtt: version that the gateway speaks with a Mosquitto or an external broker: "3" is 3.1.1, "5" tells more and
            costs 0.1 ms a message. Devices may speak another.
        ca: PEM file of the authority that signed the external broker's certificate.
        certificate: PEM file of the gateway's certificate, for an external broker that demands one.
        key: PEM file of its key, not encrypted.
        signing_key: PEM file of the Ed25519 key that signs the gateway's messages; without it nothing is signed.
        rounds: how many this state directory gets in all; 0: no end.
        keep_serving: go on serving versions after the last round.
        linger_s: after the last round, how long devices may take to fetch the final version.
        events: file that every event is appended to, as one JSON object a line.
        evaluate: held-out file that each version is measured on (docs/data.md); [gate] says what follows from it.
        text_column: the column of the texts in that file; "": text.
        label_column: the column of the labels in that file; "": label.
        log_format: "text": time, level and words; "json": one object a line; "journal": as systemd's journal takes it;
            "auto": a table on a terminal, "journal" where that reads, else "text".
        log_level: the least grave lines that are written: "debug", "info", "warning" or "error".
    """

    package: Path
    state: Path = STATE
    federation: str = "default"
    broker: str = ""
    mqtt: str = "3"
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    signing_key: Path | None = None
    rounds: int = 0
    keep_serving: bool = False
    linger_s: float = 30.0
    events: Path | None = None
    evaluate: Path | None = None
    text_column: str = ""
    label_column: str = ""
    log_format: str = "auto"
    log_level: str = "info"
    listen: Listen = field(default_factory=Listen)
    round: RoundRules = field(default_factory=RoundRules)
    train: Train = field(default_factory=Train)
    limits: Limits = field(default_factory=Limits)
    server: Server = field(default_factory=Server)
    robust: RobustMerging = field(default_factory=RobustMerging)
    gate: Gate = field(default_factory=Gate)
    privacy: PrivacyTable = field(default_factory=PrivacyTable)
    secure: Secure = field(default_factory=Secure)
    web: Web = field(default_factory=Web)
    engine: EngineTable = field(default_factory=EngineTable)
    upstream: UpstreamTable = field(default_factory=UpstreamTable)

    def __post_init__(self) -> None:
        try:
            check_name(self.federation, "federation")
        except MalformedMessage as error:
            raise UsageError(error.detail) from error
        _need(self.round.quorum >= 1, f"quorum {self.round.quorum}, expected 1 or more")
        cohort, quorum = self.round.cohort, self.round.quorum
        _need(
            cohort == 0 or cohort >= quorum,
            f"a cohort of {cohort} devices cannot be a quorum of {quorum}: expected {quorum} or more, or 0 for all",
        )
        _need(self.round.deadline_s > 0, f"deadline {self.round.deadline_s} s, expected more than 0")
        waits = (
            self.round.join_wait_s,
            self.round.grace_s,
            self.round.newcomer_wait_s,
            self.round.every_s,
            self.linger_s,
        )
        _need(self.round.training_s >= 0, f"training_s {self.round.training_s}, expected 0 or more")
        _need(min(waits) >= 0, "times cannot be negative")
        _need(self.round.buffer >= 0, f"buffer {self.round.buffer}, expected 1 or more deltas, or 0 for rounds")
        _need(self.round.missed_plans >= 0, f"missed_plans {self.round.missed_plans}, expected 0 or more")
        _need(self.round.max_staleness >= 0, f"max_staleness {self.round.max_staleness}, expected 0 or more")
        for name in ("keep_versions", "keep_rounds"):
            _need(getattr(self.limits, name) >= 0, f"{name} {getattr(self.limits, name)}, expected 0 or more")
        _need(self.rounds >= 0, f"rounds {self.rounds}, expected 0 or more")
        _need(self.limits.devices >= 1, f"limits.devices {self.limits.devices}, expected 1 or more")
        _need(self.limits.transfer_bytes >= 1, f"transfer_bytes {self.limits.transfer_bytes}, expected 1 or more")
        for name in ("hellos_per_minute", "new_names_per_hour", "idle_names", "most_examples"):
            _need(getattr(self.limits, name) >= 0, f"{name} {getattr(self.limits, name)}, expected 0 or more")
        _need(0 < self.limits.weight_share <= 1, f"weight_share {self.limits.weight_share}, expected over 0 to 1")
        for name in ("norm_factor", "norm_clip", "weight_multiple"):
            value = getattr(self.limits, name)
            _need(value == 0 or value >= 1, f"{name} {value}, expected 1 or more, or 0 for no limit")
        _need(0 <= self.listen.port <= 0xFFFF, f"port {self.listen.port}, expected 0 to 65535")
        _need(1 <= self.train.steps <= 1_000_000, f"{self.train.steps} steps, expected 1 to 1,000,000")
        for name in ("most_steps", "enough_steps"):
            value = getattr(self.train, name)
            _need(1 <= value <= 1_000_000, f"{name} {value}, expected 1 to 1,000,000")
        _need(self.train.most_epochs >= 0, f"most_epochs {self.train.most_epochs}, expected more than 0, or 0 for any")
        _need(0 < self.train.learning_rate <= 10, f"learning rate {self.train.learning_rate}, expected up to 10")
        for name in ("final_share", "shared_share", "head_share", "weight_decay"):
            value = getattr(self.train, name)
            _need(0 <= value <= 1, f"{name} {value}, expected 0 to 1")
        _need(self.log_format in LOG_FORMATS, f"log_format {self.log_format!r}, expected {', '.join(LOG_FORMATS)}")
        _need(self.log_level in LOG_LEVELS, f"log_level {self.log_level!r}, expected {', '.join(LOG_LEVELS)}")
        _need(self.train.codec in CODECS, f"codec {self.train.codec!r}, expected one of {', '.join(CODECS)}")
        _need(self.mqtt in MQTT, f"mqtt {self.mqtt!r}, expected one of {', '.join(MQTT)}")
        down = self.train.codec_down
        _need(down in CODECS_DOWN, f"codec_down {down!r}, expected one of {', '.join(CODECS_DOWN)}")
        tables = (self.server, self.robust, self.privacy, self.secure, self.upstream)
        conflicts = (conflict(self), secure_conflict(self), exact_conflict(self), site_conflict(self))
        for fault in (*(table.fault() for table in tables), *conflicts):
            _need(not fault, fault)
        _need(
            not self.gate.hold or self.evaluate is not None,
            "gate.hold measures each version before devices get it: set evaluate to a file of texts that no device "
            "trains on, or hold to false",
        )
        self._check_listen()

    @property
    def certified(self) -> bool:
        """Whether every device proves its name with a certificate of the operator's authority."""
        return self.listen.certificate is not None and self.broker in ("", MOSQUITTO)

    @property
    def key_authority(self) -> Path | None:
        """PEM file of the authority whose devices sign their keys for masks; None: they need not."""
        if not self.secure.enabled:
            return None
        return self.secure.authority or (self.listen.ca if self.certified else None)

    @property
    def kept_versions(self) -> int:
        """The newest versions whose blocks stay: devices may still train from one that is max_staleness merges old."""
        return self.limits.keep_versions and max(self.limits.keep_versions, self.round.max_staleness + 2)

    def _check_listen(self) -> None:
        listen = self.listen
        files = [listen.ca, listen.certificate, listen.key]
        _need(
            all(files) or not any(files),
            "listen.ca, listen.certificate and listen.key go together: give all three",
        )
        for name in ("connections", "connections_per_address", "handshakes", "handshakes_per_address"):
            value = getattr(listen, name)
            _need(value >= 1, f"listen.{name} {value}, expected 1 or more")
        for name in ("connect_s", "messages_per_s", "hellos_per_s"):
            value = getattr(listen, name)
            _need(value > 0, f"listen.{name} {value}, expected more than 0")
        _need(0 <= listen.websocket_port <= 0xFFFF, f"websocket_port {listen.websocket_port}, expected 0 to 65535")
        web = self.web
        _need(
            not web.port or web.local or all(files) or web.allow_plaintext,
            f"the page on {web.host} can be reached from other machines, and without listen.certificate and listen.key "
            "whoever is on the way reads its token; make them with broker_server init, leave web.host at 127.0.0.1, or "
            "set allow_plaintext in [web] behind a proxy with TLS",
        )
        plaintext = self.broker in ("", MOSQUITTO) and not all(files)
        if plaintext and not listen.allow_plaintext:
            _need(
                is_loopback(listen.host),
                f"{listen.host} can be reached from other machines, and without certificates nothing is encrypted; "
                "make them with broker_server init, listen on 127.0.0.1, use a broker with TLS (mqtts://...), or allow "
                "it: listen.allow_plaintext",
                about=("broker", "listen.allow_plaintext"),
            )
        if plaintext and self.broker and listen.websocket_port:
            _need(
                listen.allow_plaintext,
                "mosquitto's WebSocket port is open on every address of this machine; it needs TLS "
                "(listen.certificate)",
            )


def differences(old: GatewayConfig, new: GatewayConfig, of: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the dotted keys whose values differ: those in ``of``, and the others."""
    before, after = flat(old), flat(new)
    changed = [key for key in before if before[key] != after[key]]
    return [key for key in changed if key in of], [key for key in changed if key not in of]


def flat(config: Any, path: str = "") -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    """Return the values of a configuration by dotted key."""
    values: dict[str, Any] = {}
    for field_ in dataclasses.fields(config):
        value = getattr(config, field_.name)
        name = f"{path}{field_.name}"
        values |= flat(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return values


def _need(condition: bool, message: str, about: tuple[str, ...] = ()) -> None:
    if not condition:
        raise UsageError(message).about(*about)
