"""``broker_server run``: serve rounds until they are done, or until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from broker_server.commands import Subcommands, add_columns, parser
from broker_server.commands.package_folder import package_folder
from broker_server.config import CODECS, CODECS_DOWN, LOG_FORMATS, LOG_LEVELS, GatewayConfig
from broker_server.config_file import here, load
from broker_server.display import LiveTable
from broker_server.engine_config import ENGINES
from broker_server.events import Events, JsonLines
from broker_server.gateway import run
from broker_server.logs import LEVELS, Lines, Records, is_journal
from broker_server.service import Stop
from broker_server.systemd import Supervisor
from edge_runtime.wire.data_files import HELP

EXAMPLES = """  broker_server run                                    the only package below packages/, port 1883
  broker_server run --package packages/pixel8 --rounds 20 --quorum 6
  broker_server run --broker mqtts://gw:secret@broker.example:8883 --ca ca.pem
  broker_server run --broker mosquitto                 certificates and ports as gateway.toml says
  broker_server run --engine ray --shards 4            merging by Ray actors (docs/operating.md)
  broker_server run --upstream north.enrolment.json    a site of the gateway that wrote this file (docs/operating.md)
  broker_server run --config gateway.toml --evaluate heldout.csv --events runs/events.jsonl
"""
POLL_S: Final = 0.1
GIVE_UP_S: Final = 1.3
"""How long an orderly end may take once it was asked for."""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(commands, "run", "serve rounds, with an embedded MQTT broker unless --broker is given", EXAMPLES)
    command.set_defaults(main=main)
    command.add_argument(
        "--config",
        type=Path,
        metavar="TOML",
        help="settings file; options given here override it (default: gateway.toml, if this folder has one)",
    )
    command.add_argument(
        "--package",
        type=Path,
        metavar="DIR",
        help="device package of the federation, any profile (default: the one the state names, or the only one)",
    )
    command.add_argument("--state", type=Path, metavar="DIR", help="state directory (default: gateway-state)")
    command.add_argument(
        "--accept-loss",
        action="store_true",
        help="go on with the newest version that is whole when announced ones are lost, instead of refusing to start",
    )
    command.add_argument(
        "--federation", metavar="NAME", help="the federation's name, part of every topic (default: default)"
    )
    _add_broker(command)
    _add_rounds(command)
    _add_training(command)
    _add_engine(command)
    _add_upstream(command)
    output = command.add_argument_group("output")
    output.add_argument("--events", type=Path, metavar="JSONL", help="append every event to this file, one JSON a line")
    output.add_argument("--evaluate", type=Path, metavar="FILE", help=f"measure each version on this file: {HELP}")
    add_columns(output)
    output.add_argument(
        "--log-format", choices=LOG_FORMATS, help="form of the log; auto: a table on a terminal, else lines (default)"
    )
    output.add_argument("--log-level", choices=LOG_LEVELS, help="lowest level that is logged (default: info)")
    output.add_argument("--json", action="store_true", help="the same as --log-format json")
    output.add_argument("--verbose", action="store_true", help="log everything, and what the broker sees to stderr")


def _add_broker(command: argparse.ArgumentParser) -> None:
    broker = command.add_argument_group("broker")
    broker.add_argument("--host", help="address of the embedded broker (default: 127.0.0.1)")
    broker.add_argument("--port", type=int, help="its port; 0 chooses a free one (default: 1883)")
    broker.add_argument(
        "--allow-plaintext", action="store_true", default=None,
        help="serve other machines, or use mqtt:// on another one, without encryption: anyone on the way can read and "
        "change what is sent",
    )  # fmt: skip
    broker.add_argument(
        "--broker", metavar="URL",
        help="use this broker: mqtt://[USER:PASSWORD@]HOST[:PORT] or mqtts://; mosquitto: start and watch one in place "
        "of the embedded broker (docs/brokers.md)",
    )  # fmt: skip
    broker.add_argument("--ca", type=Path, metavar="PEM", help="authority of that broker's certificate")
    broker.add_argument(
        "--certificate", type=Path, metavar="PEM", help="the gateway's certificate, for a broker that demands one"
    )
    broker.add_argument("--key", type=Path, metavar="PEM", help="its private key, not encrypted")
    broker.add_argument(
        "--signing-key",
        type=Path,
        metavar="PEM",
        help="Ed25519 key that signs what devices are told (default: none)",
    )


def _add_rounds(command: argparse.ArgumentParser) -> None:
    rounds = command.add_argument_group("rounds")
    rounds.add_argument(
        "--rounds", type=int, metavar="N", help="stop after round N of this state directory; 0: no limit (default: 0)"
    )
    rounds.add_argument(
        "--quorum", type=int, metavar="N", help="devices needed to start a round, and deltas to close it (default: 2)"
    )
    rounds.add_argument(
        "--deadline", type=float, metavar="S", help="seconds that a round waits for deltas (default: 300)"
    )
    rounds.add_argument(
        "--join-wait", type=float, metavar="S", help="start S seconds after the quorum was ready (default: 2)"
    )
    rounds.add_argument(
        "--grace", type=float, metavar="S", help="seconds that a start waits for class statistics (default: 60)"
    )
    rounds.add_argument(
        "--max-staleness", type=int, metavar="N", help="refuse a delta that is more than N merges late (default: 2)"
    )
    rounds.add_argument(
        "--keep-serving", action="store_true", default=None, help="after the last round, go on serving its version"
    )
    rounds.add_argument(
        "--linger",
        type=float,
        metavar="S",
        help="seconds to stay for devices that fetch the last version (default: 30)",
    )


def _add_training(command: argparse.ArgumentParser) -> None:
    train = command.add_argument_group("training")
    train.add_argument("--steps", type=int, help="optimizer steps of a device in a round (default: 30)")
    train.add_argument(
        "--training-s",
        type=float,
        metavar="S",
        help="seconds that every device trains in a round: in as many steps as fit, the slow in the top layers alone"
        " (default: 0: --steps steps, however long they take)",
    )
    train.add_argument("--lr", type=float, metavar="RATE", help="learning rate, falling to a tenth (default: 0.004)")
    train.add_argument(
        "--head-share",
        type=float,
        metavar="X",
        help="the head's learning rate as a share of --lr; 0 keeps class means"
        " (default: 0; 0.1 is worth up to a point, and each delta then tells label counts)",
    )
    train.add_argument(
        "--shared-share",
        type=float,
        metavar="X",
        help="the shared experts' learning rate as a share of --lr (default: 1)",
    )
    train.add_argument(
        "--weight-decay", type=float, metavar="X", help="decoupled weight decay, as in AdamW (default: 0)"
    )
    train.add_argument(
        "--codec",
        choices=sorted(CODECS),
        help="encoding of deltas; auto: int8 where float32 is too large (default: int8)",
    )
    train.add_argument(
        "--codec-down", choices=CODECS_DOWN, help="encoding of what changes from version to version (default: int8)"
    )


def _add_engine(command: argparse.ArgumentParser) -> None:
    engine = command.add_argument_group("engine")
    engine.add_argument(
        "--engine", choices=ENGINES, help="who merges: this process, or Ray actors; the versions are the same"
        " (default: in-process)",
    )  # fmt: skip
    engine.add_argument("--shards", type=int, metavar="N", help="Ray actors that share the experts (default: 1)")
    engine.add_argument(
        "--ray-address", metavar="ADDRESS", help="a running cluster: HOST:PORT, or auto for this machine's (default:"
        " one is started here, on 127.0.0.1)",
    )  # fmt: skip


def _add_upstream(command: argparse.ArgumentParser) -> None:
    upstream = command.add_argument_group("gateway above")
    upstream.add_argument(
        "--upstream", metavar="URL", help="be a site of the gateway at this broker, mqtts://HOST[:PORT]: add up what"
        " devices send, hand the sum on; or the enrolment file that it wrote for this site",
    )  # fmt: skip
    upstream.add_argument("--site", metavar="NAME", help="name of this site there; with a URL")


def main(args: argparse.Namespace) -> int:
    """Do it."""
    config = _settings(args)
    events, supervisor = Events(), Supervisor()
    if config.events is not None:
        events.watch(JsonLines(config.events))
    display = _log(config, verbose=args.verbose)
    events.watch(display)
    events.watch(supervisor)
    stop = Stop()
    asked, ask = socket.socketpair()
    asked.settimeout(0)
    ask.settimeout(0)
    wakes = signal.set_wakeup_fd(ask.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: stop.ask()) for number in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: stop.ask_reload())
    ended = threading.Event()
    threading.Thread(target=_end_in_time, args=(stop, asked, ended), name="end-in-time", daemon=True).start()
    try:
        run(config, events, stop, accept_loss=args.accept_loss, read=lambda: _settings(args), alive=supervisor.alive)
    finally:
        ended.set()
        display.close()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakes)
        ask.close()
    return 0


def _settings(args: argparse.Namespace) -> GatewayConfig:
    return load(here(args.config), _overrides(args), lambda state: package_folder(None, state))


def _end_in_time(stop: Stop, asked: socket.socket, ended: threading.Event) -> None:
    """End the process when what it is busy with takes too long: whatever it was, the next start goes on from there.

    Python runs a signal's handler on the main thread alone, between two instructions; that thread may be in the middle
    of a library's call. So the numbers of signals are read here, too.
    """
    with asked:
        while not stop.asked:
            if ended.wait(POLL_S):
                return
            with contextlib.suppress(BlockingIOError):
                if set(asked.recv(64)) & {signal.SIGINT, signal.SIGTERM}:
                    stop.ask()
    if not ended.wait(GIVE_UP_S):
        sys.stderr.write("broker_server: ended in the middle of its work; the next start goes on from there\n")
        sys.stderr.flush()
        os._exit(0)


def _log(config: GatewayConfig, *, verbose: bool) -> Lines | LiveTable:
    """Return what is told of events, and have what libraries log written in the same form to stderr."""
    console, least = Console(), LEVELS["debug" if verbose else config.log_level]
    table = config.log_format == "auto" and console.is_terminal
    form = config.log_format
    if form == "auto":
        form = "journal" if is_journal(sys.stdout, os.environ) else "text"
    library = logging.DEBUG if verbose else max(least, logging.WARNING)
    logging.basicConfig(level=library, handlers=[Records(Lines(sys.stderr, form, library))], force=True)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return LiveTable(console) if table else Lines(sys.stdout, form, least)


def _upstream(where: str | None) -> dict[str, Any]:
    """Return the settings that --upstream stands for: a URL, or an enrolment file."""
    if where is None or "://" in where:
        return {"upstream.url": where}
    return {"upstream.enrolment": Path(where)}


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "package": args.package,
        "state": args.state,
        "federation": args.federation,
        "broker": args.broker,
        "ca": args.ca,
        "certificate": args.certificate,
        "key": args.key,
        "signing_key": args.signing_key,
        "rounds": args.rounds,
        "keep_serving": args.keep_serving,
        "linger_s": args.linger,
        "events": args.events,
        "evaluate": args.evaluate,
        "text_column": args.text_column,
        "label_column": args.label_column,
        "log_format": "json" if args.json else args.log_format,
        "log_level": args.log_level,
        "listen.host": args.host,
        "listen.port": args.port,
        "listen.allow_plaintext": args.allow_plaintext,
        **_upstream(args.upstream),
        "upstream.name": args.site,
        "engine.kind": args.engine,
        "engine.shards": args.shards,
        "engine.address": args.ray_address,
        "round.quorum": args.quorum,
        "round.deadline_s": args.deadline,
        "round.join_wait_s": args.join_wait,
        "round.grace_s": args.grace,
        "round.max_staleness": args.max_staleness,
        "round.training_s": args.training_s,
        "train.steps": args.steps,
        "train.learning_rate": args.lr,
        "train.head_share": args.head_share,
        "train.shared_share": args.shared_share,
        "train.weight_decay": args.weight_decay,
        "train.codec": args.codec,
        "train.codec_down": args.codec_down,
    }
