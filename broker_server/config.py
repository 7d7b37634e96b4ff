"""Settings of a gateway: defaults, over them a TOML file, over it the command line. Frozen; the only reader of both."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from broker_server.errors import UsageError
from broker_server.web_config import Web
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.broker_url import is_loopback
from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.manifest import MANIFEST
from edge_runtime.wire.topics import check_name

MOSQUITTO: Final = "mosquitto"
"""As ``broker``: a Mosquitto that the gateway starts and watches."""
CODECS: Final = {"auto": None, "float32": pb.FLOAT32, "int8": pb.INT8}
MQTT: Final = ("3", "5")
CODECS_DOWN: Final = ("float32", "int8")
LOG_FORMATS: Final = ("auto", "text", "json", "journal")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
PACKAGES: Final = Path("packages")
STATE: Final = Path("gateway-state")
CONFIG: Final = Path("gateway.toml")
"""What ``broker_server init`` writes; read from the working folder when no other is named."""

T = TypeVar("T")


@dataclass(frozen=True)
class ConnectionLimits:
    """What the embedded broker puts up with from one client, one address, and all.

    Args:
        connections: devices that are connected, at most.
        connections_per_address: of them from one IPv4 address or IPv6 /64 network.
        handshakes: connections that have not said who they are, at most; the oldest silent one goes for the next.
        handshakes_per_address: of them from one address, likewise.
        connect_s: seconds in which a connection has to say who it is, TLS included.
        messages_per_s: of one device; one that sends faster is read more slowly, and nothing is dropped.
        hellos_per_s: of one device, Hello and Bye together, likewise.
    """

    connections: int = 2048
    connections_per_address: int = 256
    handshakes: int = 512
    handshakes_per_address: int = 64
    connect_s: float = 10.0
    messages_per_s: float = 200.0
    hellos_per_s: float = 2.0


@dataclass(frozen=True)
class Listen(ConnectionLimits):
    """The listener of the embedded broker, or of a supervised Mosquitto.

    Args:
        host: address to listen on.
        port: 0 chooses a free one.
        allow_plaintext: take devices from other machines without encryption.
        ca: PEM file of the authority that signs devices' certificates; with it only these are let in, over TLS.
        certificate: PEM file of the gateway's certificate; it goes with ``ca``.
        key: PEM file of its key, not encrypted.
        revoked: file of the certificates that are refused, by serial number, one a line; a change is heeded at once.
        public_host: the host by which devices reach the gateway, for their enrolments; "": ``host``.
        websocket_port: of MQTT over WebSockets; 0: none.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    allow_plaintext: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    revoked: Path | None = None
    public_host: str = ""
    websocket_port: int = 0


@dataclass(frozen=True)
class RoundRules:
    """What a round asks for.

    Args:
        quorum: devices that must be ready before a round starts, and deltas that it needs to close.
        deadline_s: from the opening, and again after each extension.
        join_wait_s: from when the quorum was ready, so that devices that start together share a round.
        grace_s: likewise, how long the start waits for class statistics on their way; it then goes on without them.
        max_staleness: versions that a delta's base may lie behind the current one.
        newcomer_wait_s: once all devices that answered a plan before have answered, how long the others are waited for.
        missed_plans: in a row without an answer, after which a device rests: it has no place in a quorum and gets no
            plan for ``deadline_s``, then for twice as long with each further one, up to an hour; 0: never.
    """

    quorum: int = 2
    deadline_s: float = 300.0
    join_wait_s: float = 2.0
    grace_s: float = 60.0
    max_staleness: int = 2
    newcomer_wait_s: float = 30.0
    missed_plans: int = 2


@dataclass(frozen=True)
class Train:
    """What devices are asked to do.

    Args:
        steps: optimizer steps in a round.
        learning_rate: in the first round; falls in a straight line over ``decay_rounds`` to ``final_share`` of it.
        final_share: of the learning rate, in the last round and after it.
        decay_rounds: 0: the planned rounds, or 40 when no end is planned.
        shared_share: learning rate of the shared experts, as a share of ``learning_rate``; 0: they are not trained.
        head_share: learning rate of the head, likewise; 0: the head stays as the class means made it.
        weight_decay: of AdamW.
        codec: "float32", "int8", or "auto": float32, and int8 where the device's uplink budget is too small for it.
        codec_down: "float32": devices get each version exactly as it was merged; "int8": in steps that take about a
            quarter of the bytes, and what a step leaves out comes with the next merge.
    """

    steps: int = 10
    learning_rate: float = 4e-3
    final_share: float = 0.1
    decay_rounds: int = 0
    shared_share: float = 1.0
    head_share: float = 0.0
    weight_decay: float = 0.0
    codec: str = "auto"
    codec_down: str = "float32"


@dataclass(frozen=True)
class Limits:
    """What the gateway puts up with.

    Args:
        norm_factor: an update this many times the usual norm is refused; 0: norms are not checked.
        norm_clip: an update's blocks are cut to this many times the round's median norm of their kind; 0: never.
        weight_multiple: a device's examples count for at most this many times the round's median; 0: any number.
        weight_share: and for at most this share of all examples of the round, or twice an equal part if that is more;
            1: any share. Class sums are capped likewise, in all and label by label.
        hellos_per_minute: of one device; for more it is told BUSY, and then nothing. 0: any number.
        new_names_per_hour: names that never said Hello before, where no certificates prove them; 0: any number.
        idle_names: names that never had a delta accepted and are not here, of which those seen last are remembered.
        blob_window_s: requests for blocks are gathered until none came for so long, for eight times as long at most, or
            until all that are here asked; then each block is published once.
        blob_repeat_s: how soon a block is published again; who has it lets go of its topic meanwhile.
        retry_after_s: what a device is told when the disk is full, or when it is BUSY.
        body_bytes: of one body; 0: what the bank's size makes possible.
        transfer_bytes: of the bodies that devices may send at a time; what others offer waits for its turn. What came
            of bodies that stopped coming takes up as much again, in memory and on the disk.
        keep_versions: the newest versions whose blocks stay on the disk, and version 0, with the rows of their deltas
            and of plans since; older ones are removed, as far as no plan or delta on its way needs them. 0: all.
        keep_rounds: the last rounds of which the ledger tells when they ran, what version they made and what that was
            worth, and the journal has a line; at least those of the versions that are kept. 0: all.
    """

    norm_factor: float = 10.0
    norm_clip: float = 1.5
    weight_multiple: float = 10.0
    weight_share: float = 0.25
    hellos_per_minute: int = 30
    new_names_per_hour: int = 300
    idle_names: int = 5000
    blob_window_s: float = 0.25
    blob_repeat_s: float = 2.0
    retry_after_s: float = 60.0
    body_bytes: int = 0
    transfer_bytes: int = 32 * 1024 * 1024
    keep_versions: int = 50
    keep_rounds: int = 1000


@dataclass(frozen=True)
class GatewayConfig:
    """Everything that ``broker_server run`` can be told.

    Args:
        package: device package of the federation; only its manifest, bank, tokenizer and gateway/ are read.
        state: directory that survives everything.
        federation: second word of every topic.
        broker: URL of an external broker; "mosquitto" starts and watches one; empty starts the embedded one.
        mqtt: version that the gateway speaks with a Mosquitto or an external broker: "3" is 3.1.1, "5" tells more and
            costs 0.1 ms a message. Devices may speak another.
        ca: PEM file of the authority that signed the external broker's certificate.
        certificate: PEM file of the gateway's certificate, for an external broker that demands one.
        key: PEM file of its key, not encrypted.
        signing_key: PEM file of the Ed25519 key that signs what the gateway says; without it nothing is signed.
        rounds: of this state directory in all; 0: no end.
        keep_serving: go on serving versions after the last round.
        linger_s: after the last round, how long devices may take to fetch the final version.
        events: file for one JSON object a line.
        evaluate: held-out file that each version is measured on (docs/data.md).
        text_column: of that file; "": text.
        label_column: of that file; "": label.
        log_format: "text": time, level and words; "json": one object a line; "journal": as systemd's journal takes it;
            "auto": a table on a terminal, "journal" where that reads, else "text".
        log_level: of the lines that are written, at least: "debug", "info", "warning" or "error".
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
    web: Web = field(default_factory=Web)

    def __post_init__(self) -> None:
        try:
            check_name(self.federation, "federation")
        except MalformedMessage as error:
            raise UsageError(error.detail) from error
        _need(self.round.quorum >= 1, f"quorum {self.round.quorum}, expected 1 or more")
        _need(self.round.deadline_s > 0, f"deadline {self.round.deadline_s} s, expected more than 0")
        waits = (self.round.join_wait_s, self.round.grace_s, self.round.newcomer_wait_s, self.linger_s)
        _need(min(waits) >= 0, "times cannot be negative")
        _need(self.round.missed_plans >= 0, f"missed_plans {self.round.missed_plans}, expected 0 or more")
        _need(self.round.max_staleness >= 0, f"max_staleness {self.round.max_staleness}, expected 0 or more")
        for name in ("keep_versions", "keep_rounds"):
            _need(getattr(self.limits, name) >= 0, f"{name} {getattr(self.limits, name)}, expected 0 or more")
        _need(self.rounds >= 0, f"rounds {self.rounds}, expected 0 or more")
        _need(self.limits.transfer_bytes >= 1, f"transfer_bytes {self.limits.transfer_bytes}, expected 1 or more")
        for name in ("hellos_per_minute", "new_names_per_hour", "idle_names"):
            _need(getattr(self.limits, name) >= 0, f"{name} {getattr(self.limits, name)}, expected 0 or more")
        _need(0 < self.limits.weight_share <= 1, f"weight_share {self.limits.weight_share}, expected over 0 to 1")
        for name in ("norm_factor", "norm_clip", "weight_multiple"):
            value = getattr(self.limits, name)
            _need(value == 0 or value >= 1, f"{name} {value}, expected 1 or more, or 0 for no limit")
        _need(0 <= self.listen.port <= 0xFFFF, f"port {self.listen.port}, expected 0 to 65535")
        _need(1 <= self.train.steps <= 1_000_000, f"{self.train.steps} steps, expected 1 to 1,000,000")
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
        self._check_listen()

    @property
    def certified(self) -> bool:
        """Whether every device proves its name with a certificate of the operator's authority."""
        return self.listen.certificate is not None and self.broker in ("", MOSQUITTO)

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
                "make them with broker_server init, listen on 127.0.0.1, use a broker with TLS (--broker mqtts://...), "
                "or say --allow-plaintext",
            )
        if plaintext and self.broker and listen.websocket_port:
            _need(
                listen.allow_plaintext,
                "mosquitto's WebSocket port is open on every address of this machine; it needs TLS "
                "(listen.certificate)",
            )


def only_package(_state: Path) -> Path:
    """Return the only package below ``packages/``, whatever the state."""
    return default_package(PACKAGES)


def here(chosen: Path | None) -> Path | None:
    """Return the chosen configuration file, else the one of this folder, if there is one."""
    return CONFIG if chosen is None and CONFIG.is_file() else chosen


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


def load(
    file: Path | None, overrides: dict[str, Any], package_of: Callable[[Path], Path] = only_package
) -> GatewayConfig:
    """Read a TOML file and put the command line over it.

    Args:
        file: with the keys of GatewayConfig; its tables are [listen], [round], [train], [limits] and [web].
            Relative paths in it begin in its folder, and "" is no path.
        overrides: values by dotted key ("round.quorum"); None leaves the file's value.
        package_of: chooses the package for a state directory when neither names one.

    Raises:
        UsageError: for an unreadable file, an unknown key, or a value of the wrong kind.
    """
    tree: dict[str, Any] = {}
    if file is not None:
        try:
            tree = _placed(GatewayConfig, tomllib.loads(file.read_text(encoding="utf-8")), file.parent)
        except OSError as error:
            msg = f"cannot read configuration {file}: {error.strerror}"
            raise UsageError(msg) from error
        except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
            msg = f"configuration {file} is not TOML: {error}"
            raise UsageError(msg) from error
    for key, value in overrides.items():
        if value is not None:
            table = tree
            *path, last = key.split(".")
            for name in path:
                table = table.setdefault(name, {})
            table[last] = value
    if "package" not in tree:
        state = tree.get("state", STATE)
        tree["package"] = package_of(Path(state) if isinstance(state, (str, Path)) else STATE)
    return _built(GatewayConfig, tree, str(file or "command line"))


def default_package(folder: Path) -> Path:
    """Return the only package below ``folder``.

    Raises:
        UsageError: when there is none, or more than one.
    """
    packages = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    if len(packages) == 1:
        return packages[0]
    if packages:
        names = ", ".join(str(path) for path in packages)
        msg = f"there are {len(packages)} packages ({names}): choose one with --package; any of a federation will do"
    else:
        msg = f"no package below {folder}/: make one with python -m export.build --device pixel8, or give --package"
    raise UsageError(msg)


def _placed(kind: Any, tree: dict[str, Any], folder: Path) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    """Return a table whose paths begin in ``folder``; an empty one is left out. What is wrong is refused later."""
    hints = typing.get_type_hints(kind)
    placed: dict[str, Any] = {}
    for name, value in tree.items():
        hint = hints.get(name)
        if isinstance(value, dict) and dataclasses.is_dataclass(hint):
            placed[name] = _placed(hint, value, folder)
        elif isinstance(value, str) and Path in (hint, *typing.get_args(hint)):
            placed |= {name: folder / value} if value else {}
        else:
            placed[name] = value
    return placed


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)


def _built(kind: type[T], tree: Any, where: str) -> T:  # noqa: ANN401 - what TOML holds
    hints = typing.get_type_hints(kind)
    if not isinstance(tree, dict):
        msg = f"{where}: expected a table, got {tree!r}"
        raise UsageError(msg)
    unknown = sorted(set(tree) - set(hints))
    if unknown:
        msg = f"{where}: unknown keys {', '.join(unknown)}; known: {', '.join(hints)}"
        raise UsageError(msg)
    values = {name: _value(value, hints[name], f"{where}: {name}") for name, value in tree.items()}
    return kind(**values)


def _value(value: Any, kind: Any, where: str) -> Any:  # noqa: ANN401
    if dataclasses.is_dataclass(kind):
        return _built(typing.cast("type[Any]", kind), value, where)
    if typing.get_origin(kind) is types.UnionType:
        kind = next(one for one in typing.get_args(kind) if one is not types.NoneType)
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        msg = f"{where} is {value}, expected a number; 0 stands for no limit where there is one"
        raise UsageError(msg)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        msg = f"{where} is {value!r}, expected {kind.__name__}"
        raise UsageError(msg)
    return value
