"""The settings of a gateway, for commands that are about it while it need not run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from broker_server.config import STATE, GatewayConfig
from broker_server.config_file import here, load


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add the options that say where the gateway's settings and state are."""
    command.add_argument(
        "--config",
        type=Path,
        metavar="TOML",
        help="the gateway's settings (default: gateway.toml, if this folder has one)",
    )
    command.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help=f"state directory of the gateway (default: the one of the settings, or {STATE})",
    )


def settings_of(args: argparse.Namespace, package_of: Callable[[Path], Path]) -> GatewayConfig | None:
    """Return the gateway's settings; None when there is no file of them.

    Args:
        args: of the command line.
        package_of: chooses the package for a state directory when the settings name none.
    """
    file = here(args.config)
    return None if file is None else load(file, {}, lambda state: package_of(args.state or state))


def state_of(args: argparse.Namespace, config: GatewayConfig | None) -> Path:
    """Return the gateway's state directory."""
    state: Path = args.state or (config.state if config is not None else STATE)
    return state
