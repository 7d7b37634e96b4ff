"""Which package a command is about, when its user does not say."""

from __future__ import annotations

from pathlib import Path

from broker_server.config_file import PACKAGES, default_package
from broker_server.state.ledger import NAME, Ledger
from edge_runtime.wire.manifest import MANIFEST


def package_folder(chosen: Path | None, state: Path) -> Path:
    """Return the chosen package, else the one that a gateway with this state had last, else the only one there is.

    Raises:
        UsageError: when there is none, or more than one.
    """
    if chosen is not None:
        return chosen
    recorded = recorded_setting(state, "package")
    if recorded and (Path(recorded) / MANIFEST).is_file():
        return Path(recorded)
    return default_package(PACKAGES)


def recorded_setting(state: Path, key: str) -> str:
    """Return what a state directory says of the gateway that it belongs to; empty without such a directory."""
    if not (state / NAME).exists():
        return ""
    ledger = Ledger(state / NAME, read_only=True)
    try:
        return ledger.get(key) or ""
    finally:
        ledger.close()
