"""Taking part in a federation with an opened package: state directory, link, device, and what came of it."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from edge_runtime.data.batches import Source
from edge_runtime.data.prefix_cache import PrefixCache
from edge_runtime.data.windows import WindowSource
from edge_runtime.errors import ConfigError, StoreError
from edge_runtime.federation.config import RunConfig, credentials, default_state
from edge_runtime.federation.device import Device
from edge_runtime.federation.enrolled import broker_of, check_package, read_enrolment, signer_of
from edge_runtime.federation.link import Broker, LinkEvent, Mqtt
from edge_runtime.federation.membership import Identity
from edge_runtime.federation.mqtt.link import MqttLink
from edge_runtime.federation.report import DeviceEvent, Report
from edge_runtime.federation.versions import Versions
from edge_runtime.federation.work import Work
from edge_runtime.inference.class_sums import class_sums, recalled, remember
from edge_runtime.inference.own_labels import OwnLabels
from edge_runtime.inference.own_labels import remember as remember_labels
from edge_runtime.interface.results import JoinReport, Told, begin, nobody
from edge_runtime.interface.texts import PathLike, Texts, suited
from edge_runtime.opened_package import Parts
from edge_runtime.program.drivers import inspect
from edge_runtime.store import Record, Store
from edge_runtime.training.trainer import Tools
from edge_runtime.training.watch import Watch
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.enrolment import Enrolment
from edge_runtime.wire.errors import PackageError
from edge_runtime.wire.manifest import Architecture, Package
from edge_runtime.wire.secure.signed_keys import Federation
from edge_runtime.wire.text import counted

_INBOX = 64  # messages that wait here; beyond, the broker waits


@dataclass(frozen=True)
class Participation:
    """How a device takes part.

    Args:
        way: to the gateway.
        config: name, federation, rounds, budget; what executes programs is put in.
        texts: to learn from.
        state: directory; None: below ~/.local/state, by federation and device.
        tier: name of a program size, or "auto".
        mqtt: which is spoken.
        prefixes: returns the cache of frozen prefixes, given a folder.
        rounding: of these prefixes.
        events: takes what happens.
        progress: takes how far the class sums are.
        stopped: true ends it after the step at hand.
    """

    way: Broker | Enrolment
    config: RunConfig
    texts: Texts
    state: Path | None
    tier: str
    mqtt: Mqtt
    prefixes: Callable[[Path], PrefixCache]
    rounding: str
    stopped: Callable[[], bool]
    events: Callable[[DeviceEvent], None] = field(default=nobody)
    progress: Told = field(default=nobody)


def take_part(parts: Parts, how: Participation) -> tuple[JoinReport, Bank | None]:
    """Take part until the gateway has done its rounds, this device its own, or it is to stop.

    Returns:
        What came of it, and the bank of the newest version that is whole here; None when none came.

    Raises:
        ConfigError, StoreError, DataError, PackageError: when it cannot begin.
        ExpelledError: when the gateway refuses this device for good.
    """
    check_task(how.config.label_prior, parts.manifest.architecture)
    state = how.state or default_state(how.config.federation, how.config.device)
    runtime = inspect()
    config = replace(how.config, driver=f"{runtime.driver} executorch {runtime.executorch}")
    report = Report(config.device, how.events)
    with Store(state) as store:
        broker = how.way if isinstance(how.way, Broker) else _enrolled(how.way, parts.package, state)
        watch = Watch.of(parts.manifest, config.budget, how.tier)
        source = how.texts.source(parts, watch.largest)
        watch = suited(watch, parts, source)
        tier = watch.largest
        bind(store, parts, config)
        _keep_labels(store, source, parts, config)
        if source.skipped:
            report.emit("skipped", left_out(source.skipped), rows=source.skipped)
        inbox: queue.Queue[LinkEvent] = queue.Queue(_INBOX)
        will = messages.encode(pb.Bye(device=config.device))
        link = MqttLink(broker, config.federation, config.device, will, inbox.put, mqtt=how.mqtt)
        report.traffic = link.traffic
        report.emit(
            "started",
            f"{counted(len(source), 'example')}, {tier.trained_slots} of {tier.held_slots} slots trained, "
            f"broker {broker}",
            examples=len(source),
            tier=tier.method,
            profile=parts.manifest.device,
            runtime=config.driver,
            label_prior=config.label_prior,
        )
        versions = Versions(store, parts.package)
        cache = how.prefixes(state / "prefixes") if watch.uses_prefixes() else None
        tools = Tools(parts.program, parts.manifest, parts.tokenizer, source, tier, cache=cache, rounding=how.rounding)
        signer = signer_of(broker, Federation(config.federation, parts.manifest.architecture.digest()))
        if signer is not None and signer.fault:
            report.emit("masks", f"no part in rounds under masks: {signer.fault}", reason=signer.fault)
        work = Work(store, versions, config.device, signer, tools=tools, watch=watch)
        identity = Identity(parts.package.digest, _statistics(store, parts, source, report, how.progress))
        device = Device(config, work, identity, link, inbox, report=report, stopped=how.stopped)
        device.run()
        if cache is not None:
            report.emit("prefixes", **asdict(cache.use))
        stopped = how.stopped()
        report.emit("done", "stopped; the same command goes on from here" if stopped else "done")
        bank, version = versions.received() or (None, None)
    up, down = report.traffic.bytes_up, report.traffic.bytes_down
    return JoinReport(config.device, config.federation, device.rounds, version, up, down, stopped=stopped), bank


def way_to(where: PathLike, files: Mapping[str, PathLike | None], *, allow_plaintext: bool) -> Broker | Enrolment:
    """Return the way to a gateway: an enrolment where a file is named, a broker where a URL is.

    Args:
        where: URL, or a file: a path, or a string that names one. The URL may have a user, else EDGE_RUNTIME_USER and
            EDGE_RUNTIME_PASSWORD are taken.
        files: ca, certificate, key, for a URL.
        allow_plaintext: take mqtt:// to another machine.

    Raises:
        ConfigError: for a URL that is none, or a file that cannot be read.
        EnrolmentError: when the file is no enrolment.
    """
    if isinstance(where, str) and not where.endswith(".json") and not Path(where).is_file():
        paths = {name: Path(file) if file else None for name, file in files.items()}
        return Broker.parse(where, allow_plaintext=allow_plaintext, **paths).with_user(*credentials())
    return read_enrolment(Path(where))


def check_alone(also: Mapping[str, object]) -> None:
    """Refuse what an enrolment says already. Args: also: by name, what came beside it.

    Raises:
        ConfigError: naming them.
    """
    names = [name for name, value in also.items() if value]
    if names:
        raise ConfigError(f"{', '.join(names)} came beside an enrolment, which says it already; leave one of them out")


def check_task(label_prior: float, architecture: Architecture) -> None:
    """Refuse a label prior where there are no labels.

    Raises:
        ConfigError: saying what to do.
    """
    if label_prior and not architecture.labels:
        raise ConfigError("a label prior: this package continues texts and has no labels; leave it out")


def left_out(skipped: int) -> str:
    """Return what is said of rows without a text."""
    return f"{counted(skipped, 'row')} without a text {'was' if skipped == 1 else 'were'} left out"


def _enrolled(enrolment: Enrolment, package: Package, state: Path) -> Broker:
    """Return the broker of an enrolment, once it is clear that this package is the one that it asks for."""
    check_package(enrolment, package)
    if enrolment.package_key:
        maker = bytes.fromhex(enrolment.package_key)
        if Package.open(package.folder, part="manifest", maker=maker).digest != package.digest:
            raise PackageError(f"package {package.folder} was changed since it was opened; open it again")
    return broker_of(enrolment, state)


def bind(store: Store, parts: Parts, config: RunConfig) -> None:
    """Bind a state directory to a device and a federation; a new package of the same federation starts its plan anew.

    Raises:
        StoreError: when the directory belongs to another device or federation.
    """
    mine = {"device": config.device, "federation": config.federation}
    mine["architecture"] = parts.manifest.architecture.digest().hex()
    record = store.recall("enrolment")
    bound = record.head if record is not None else {}
    for name, value in mine.items():
        if bound.get(name, value) != value:
            raise StoreError(
                f"the state directory {store.folder} belongs to {name} {bound[name][:64]}, this is {value[:64]}; "
                "choose another"
            ).about("state")
    package = parts.package.digest.hex()
    if bound.get("package", package) != package:
        store.remove("checkpoint")  # of a program that is no longer there
    if bound != {**mine, "package": package}:
        store.write("enrolment", Record({**mine, "package": package}))


def _keep_labels(store: Store, source: Source, parts: Parts, config: RunConfig) -> None:
    """Keep how often each label occurs here, for ``predict``; windows have none."""
    if not isinstance(source, WindowSource):
        labels = len(parts.manifest.architecture.labels)
        remember_labels(store, OwnLabels.of(source, labels, config.label_prior))


def _statistics(store: Store, parts: Parts, source: Source, report: Report, progress: Told) -> ClassSums | None:
    """Return the class sums, computed or remembered; None for windows, which have no classes."""
    if isinstance(source, WindowSource):
        return None
    sums = recalled(store, source, parts.package.digest)
    if sums is None:
        advance = begin(progress, "features", len(source))
        sums = class_sums(parts.program, parts.manifest, parts.tokenizer, source, advance)
        remember(store, sums, source, parts.package.digest)
    report.emit("features", examples=len(source))
    return sums
