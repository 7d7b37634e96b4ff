"""``edge_runtime run``: take part in a federation."""

from __future__ import annotations

import argparse
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
    positive,
    prefixes_of,
    public_key,
    until_signal,
    warn,
)
from edge_runtime.commands.prior_options import add_prior_to_run
from edge_runtime.commands.telling import Bars, EventLines
from edge_runtime.federation.config import CODECS, default_device
from edge_runtime.federation.link import Broker, Mqtt
from edge_runtime.interface.model import Model
from edge_runtime.interface.participation import check_alone, way_to
from edge_runtime.interface.results import Progress
from edge_runtime.wire.enrolment import Enrolment

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
        "--gateway-key",
        type=public_key,
        metavar="HEX",
        help="refuse what the gateway did not sign with this key",
    )
    limits = run.add_argument_group("budget", "in place of the profile's; 0 = no limit")
    limits.add_argument("--max-memory-mib", type=amount, metavar="MIB", help="resident memory of this process")
    limits.add_argument("--max-storage-mb", type=amount, metavar="MB", help="size of the package on disk")
    limits.add_argument("--max-bytes-up", type=amount, metavar="BYTES", help="bytes sent in a round")
    limits.add_argument("--max-bytes-down", type=amount, metavar="BYTES", help="bytes received in a round")
    limits.add_argument("--max-seconds", type=amount, metavar="S", help="seconds of training in a round")
    run.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Run a device; returns when it is done or was asked to stop."""
    files = {"ca": arguments.ca, "certificate": arguments.certificate, "key": arguments.key}
    way = way_to(arguments.enrolment or arguments.broker, files, allow_plaintext=arguments.allow_plaintext)
    if isinstance(way, Enrolment):
        check_alone({f"--{name.replace('_', '-')}": getattr(arguments, name) for name in _ENROLLED})
    with (
        EventLines(arguments.events, as_json=arguments.json) as events,
        Model.open(arguments.package, threads=arguments.threads, maker=_maker(way), warn=warn) as model,
        Bars(show=not arguments.json) as bars,
        until_signal() as stopped,
    ):

        def shown(progress: Progress) -> None:
            if stopped():
                raise KeyboardInterrupt  # before it joined there is nothing to keep
            bars(progress)

        model.join(
            arguments.enrolment or arguments.broker,
            csv=arguments.data,
            **columns_of(arguments),
            device=arguments.device_id or "",
            federation=arguments.federation or "",
            state=arguments.state,
            rounds=arguments.rounds,
            **files,
            gateway_key=arguments.gateway_key or "",
            allow_plaintext=arguments.allow_plaintext,
            mqtt=arguments.mqtt,
            codec=arguments.codec or "",
            budget=_budget(arguments),
            tier=arguments.tier,
            checkpoint_s=arguments.checkpoint_every,
            label_prior=arguments.label_prior,
            **prefixes_of(arguments),
            events=events,
            progress=shown,
            stopped=stopped,
        )
    return 0


_ENROLLED: Final = ("device_id", "federation", "ca", "certificate", "key", "allow_plaintext", "gateway_key")
"""Arguments in whose place an enrolment stands."""


def _maker(way: Broker | Enrolment) -> str:
    """Return the key that must have signed the package, before anything of it is opened."""
    return way.package_key if isinstance(way, Enrolment) else ""


def _budget(arguments: argparse.Namespace) -> dict[str, float]:
    limits = {
        "memory_mib": arguments.max_memory_mib,
        "storage_mb": arguments.max_storage_mb,
        "bytes_up": arguments.max_bytes_up,
        "bytes_down": arguments.max_bytes_down,
        "round_seconds": arguments.max_seconds,
    }
    return {name: limit for name, limit in limits.items() if limit is not None}
