"""``edge_runtime run``: take part in a federation."""

from __future__ import annotations

import argparse
import queue
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from edge_runtime.commands.common import (
    DATA_HELP,
    Subcommands,
    add_columns,
    add_command,
    add_prefixes,
    add_threads,
    add_tier,
    amount,
    columns_of,
    left_out,
    open_prefixes,
    positive,
    public_key,
    suited,
    until_signal,
)
from edge_runtime.commands.prior_options import add_prior_to_run, check_task
from edge_runtime.data.batches import Source
from edge_runtime.data.windows import WindowSource
from edge_runtime.errors import ConfigError, StoreError
from edge_runtime.federation.config import CODECS, RunConfig, credentials, default_device, default_state
from edge_runtime.federation.device import Device
from edge_runtime.federation.enrolled import broker_of, check_package, read_enrolment
from edge_runtime.federation.link import Broker, LinkEvent, Mqtt
from edge_runtime.federation.membership import Identity
from edge_runtime.federation.mqtt.link import MqttLink
from edge_runtime.federation.report import Report, bar
from edge_runtime.federation.versions import Versions
from edge_runtime.federation.work import Work
from edge_runtime.inference.class_sums import class_sums, recalled, remember
from edge_runtime.inference.own_labels import OwnLabels
from edge_runtime.inference.own_labels import remember as remember_labels
from edge_runtime.opened_package import Parts
from edge_runtime.program.program import inspect
from edge_runtime.store import Record, Store
from edge_runtime.training.budget import Budget
from edge_runtime.training.trainer import Tools
from edge_runtime.training.watch import Watch
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.enrolment import Enrolment
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.text import counted

_INBOX = 64  # messages that wait here; beyond, the broker waits

EXAMPLES = """\
  edge_runtime run --enrolment kitchen.enrolment.json --package packages/pixel8 --data my.csv
  edge_runtime run --package packages/pixel8 --broker mqtt://localhost:1883 --data my.csv
  edge_runtime run --package packages/pixel8 --broker mqtt://localhost:1883 --data my.csv --label-prior 0.5
  edge_runtime run --package packages/pixel8 --broker mqtts://gateway.example:8883 --ca ca.pem \\
      --certificate me.pem --key me.key --device-id kitchen --data my.jsonl --rounds 20 --codec int8
"""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    run = add_command(
        commands,
        "run",
        "take part in a federation",
        "Joins rounds until interrupted or until the gateway has done all its rounds. What leaves this device:\n"
        "deltas of experts, counts, losses, step times, class sums; never text. State survives a kill at any moment:\n"
        "start the same command again. EDGE_RUNTIME_USER and EDGE_RUNTIME_PASSWORD are for the broker.",
        EXAMPLES,
    )
    way = run.add_mutually_exclusive_group(required=True)
    way.add_argument(
        "--enrolment",
        type=Path,
        metavar="FILE",
        help="what broker_server enroll wrote for this device: its name, the broker, all keys",
    )
    way.add_argument("--broker", metavar="URL", help="mqtt://HOST:PORT or mqtts://HOST:PORT")
    run.add_argument(
        "--mqtt", type=Mqtt, choices=[*Mqtt], default=Mqtt.AUTO, help="version: 3 is 3.1.1; auto: 5 where it is taken"
    )
    run.add_argument("--data", type=Path, required=True, metavar="FILE", help=DATA_HELP)
    add_columns(run)
    run.add_argument("--device-id", metavar="ID", help=f"name in the federation ({default_device()})")
    run.add_argument("--federation", metavar="NAME", help="the federation's name (default: default)")
    run.add_argument("--state", type=Path, metavar="DIR", help="where progress is kept (default: below ~/.local/state)")
    run.add_argument("--rounds", type=positive, default=0, metavar="N", help="stop after N rounds (default: no limit)")
    run.add_argument("--codec", choices=sorted(CODECS), help="offer only this encoding of deltas (default: both)")
    run.add_argument(
        "--checkpoint-every", type=amount, default=5.0, metavar="S", help="seconds between checkpoints (%(default)s)"
    )
    run.add_argument("--events", type=Path, metavar="FILE", help="append one JSON object for each event")
    run.add_argument("--json", action="store_true", help="write events to stdout instead of lines for people")
    add_threads(run)
    add_prefixes(run, "prefixes in the state directory")
    add_tier(run)
    add_prior_to_run(run)
    secure = run.add_argument_group("security", "with --broker; an enrolment has all of it")
    secure.add_argument("--ca", type=Path, metavar="PEM", help="authority that signed the broker's certificate")
    secure.add_argument(
        "--certificate", type=Path, metavar="PEM", help="this device's certificate (its CN is the device id)"
    )
    secure.add_argument("--key", type=Path, metavar="PEM", help="its private key")
    secure.add_argument(
        "--allow-plaintext", action="store_true", help="allow mqtt:// to another machine, without encryption"
    )
    secure.add_argument(
        "--gateway-key", type=public_key, metavar="HEX", help="refuse what the gateway did not sign with this key"
    )
    limits = run.add_argument_group("budget", "in place of the profile's; 0 = no limit")
    limits.add_argument("--max-memory-mib", type=amount, metavar="MIB", help="resident memory of the process")
    limits.add_argument("--max-storage-mb", type=amount, metavar="MB", help="of the package on the disk")
    limits.add_argument("--max-bytes-up", type=amount, metavar="BYTES", help="sent in a round")
    limits.add_argument("--max-bytes-down", type=amount, metavar="BYTES", help="received in a round")
    limits.add_argument("--max-seconds", type=amount, metavar="S", help="seconds of training in a round")
    run.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Run a device; returns when it is done or was asked to stop."""
    enrolment = _enrolment(arguments)
    way = enrolment or _broker(arguments)
    config = _config(arguments, enrolment)
    state = arguments.state or default_state(config.federation, config.device)
    maker = bytes.fromhex(enrolment.package_key) if enrolment is not None else b""
    with (
        Report(config.device, arguments.events, as_json=arguments.json) as report,
        Store(state) as store,
        Parts.open(arguments.package, arguments.threads, maker) as parts,
    ):
        broker = way if isinstance(way, Broker) else _enrolled(way, parts.package, state)
        check_task(arguments.label_prior, parts.manifest.architecture)
        config = _complete(config, parts, arguments)
        watch = Watch.of(parts.manifest, config.budget, arguments.tier)
        source = parts.examples(arguments.data, watch.largest, columns_of(arguments))
        watch = suited(watch, parts, source)
        tier = watch.largest
        enrol(store, parts, config)
        _keep_labels(store, source, parts, config)
        if source.skipped:
            report.emit("skipped", left_out(source.skipped), rows=source.skipped)
        inbox: queue.Queue[LinkEvent] = queue.Queue(_INBOX)
        will = messages.encode(pb.Bye(device=config.device))
        link = MqttLink(broker, config.federation, config.device, will, inbox.put, mqtt=arguments.mqtt)
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
        cache = open_prefixes(arguments, state / "prefixes") if watch.uses_prefixes() else None
        rounding = arguments.prefix_rounding
        tools = Tools(parts.program, parts.manifest, parts.tokenizer, source, tier, cache=cache, rounding=rounding)
        work = Work(tools, store, versions, config.device, watch)
        identity = Identity(parts.package.digest, _statistics(store, parts, source, report))
        with until_signal() as stopped:
            Device(config, work, identity, link, inbox, report=report, stopped=stopped).run()
        if cache is not None:
            report.emit("prefixes", **asdict(cache.use))
        report.emit("done", "stopped; the same command goes on from here" if stopped() else "done")
    return 0


_ENROLLED: Final = ("device_id", "federation", "ca", "certificate", "key", "allow_plaintext", "gateway_key")
"""Arguments in whose place an enrolment stands."""


def _enrolment(arguments: argparse.Namespace) -> Enrolment | None:
    if arguments.enrolment is None:
        return None
    also = [f"--{name.replace('_', '-')}" for name in _ENROLLED if getattr(arguments, name)]
    if also:
        raise ConfigError(f"{', '.join(also)} came beside --enrolment, which says it already; leave one of them out")
    return read_enrolment(arguments.enrolment)


def _broker(arguments: argparse.Namespace) -> Broker:
    files = {"ca": arguments.ca, "certificate": arguments.certificate, "key": arguments.key}
    broker = Broker.parse(arguments.broker, allow_plaintext=arguments.allow_plaintext, **files)
    return broker.with_user(*credentials())


def _enrolled(enrolment: Enrolment, package: Package, state: Path) -> Broker:
    check_package(enrolment, package)
    return broker_of(enrolment, state)


def _config(arguments: argparse.Namespace, enrolment: Enrolment | None) -> RunConfig:
    rounds = arguments.rounds
    if enrolment is not None:
        key = bytes.fromhex(enrolment.gateway_key)
        return RunConfig(enrolment.device, enrolment.federation, rounds, gateway_key=key)
    device, federation = arguments.device_id or default_device(), arguments.federation or "default"
    return RunConfig(device, federation, rounds, gateway_key=arguments.gateway_key or b"")


def _complete(config: RunConfig, parts: Parts, arguments: argparse.Namespace) -> RunConfig:
    budget = Budget.from_profile(parts.manifest.profile).override(
        memory_mib=arguments.max_memory_mib,
        storage_mb=arguments.max_storage_mb,
        bytes_up=arguments.max_bytes_up,
        bytes_down=arguments.max_bytes_down,
        round_seconds=arguments.max_seconds,
    )
    runtime = inspect()
    codecs = (CODECS[arguments.codec],) if arguments.codec else config.codecs
    driver = f"{runtime.driver} executorch {runtime.executorch}"
    own = {"checkpoint_s": arguments.checkpoint_every, "label_prior": arguments.label_prior}
    return replace(config, codecs=codecs, budget=budget, driver=driver, **own)


def enrol(store: Store, parts: Parts, config: RunConfig) -> None:
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
                "choose another --state"
            )
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


def _statistics(store: Store, parts: Parts, source: Source, report: Report) -> ClassSums | None:
    """Return the class sums, computed or remembered; None for windows, which have no classes."""
    if isinstance(source, WindowSource):
        return None
    sums = recalled(store, source, parts.package.digest)
    if sums is None:
        with bar("features", len(source)) as advance:
            sums = class_sums(parts.program, parts.manifest, parts.tokenizer, source, advance)
        remember(store, sums, source, parts.package.digest)
    report.emit("features", examples=len(source))
    return sums
